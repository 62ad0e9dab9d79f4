"""Values that a user writes and that nothing reads, because another value switches off what they
belong to: they are said, for what changes nothing is easily taken for what does not help.

A configuration that has such values says so itself, by a method `idle(words, place)`: why nothing
reads the value that `words`, its name within the configuration, mean; "" where something may. What
goes before the words in the whole name is `place` ("mesh.", or "").
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Literal

from ..engine.schema.by_name import ConfigsByName
from ..guidance.choice import MAIN, WEIGHT, Guidances
from ..guidance.registry import GUIDANCES
from .demand import distilling

EVERYWHERE = "guidance"
"""The first word of names that mean the guidances of all stages (`guide_stages`)."""
SHOWN = 4
"""Names in a line at most."""


def idle_values(config: Any, names: Iterable[str]) -> list[str]:
    """A line for every reason why values change nothing: sizes of a kind that is not chosen, a
    guidance without a weight, a stage that is switched off.

    Args:
        config: of a system.
        names: dotted names of the values that were written.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        why = next(_reasons(config, name.replace("-", "_").split(".")), "")
        if why:
            found.setdefault(why, []).append(name)
    lines = []
    for why, own in found.items():
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in own[:SHOWN])
        more = f" and {len(own) - SHOWN} more" if len(own) > SHOWN else ""
        lines.append(f"{shown}{more} {'change' if len(own) > 1 else 'changes'} nothing: {why}")
    return lines


def _reasons(config: Any, words: list[str]) -> Iterator[str]:
    """Why the value of a dotted name changes nothing; nothing where it may change something."""
    if words[0] == EVERYWHERE and len(words) > 2:
        stages = [getattr(stage, "guidances", None) for _, stage, _ in distilling(config)]
        guided = [own for own in stages if isinstance(own, Guidances)]
        if guided and all(_unweighed(own, words[1:]) for own in guided):
            yield f"--guidance.{words[1].replace('_', '-')}.weight is 0"
        return
    node, place = config, ""
    for at, word in enumerate(words):
        rest = words[at:]
        if isinstance(node, Guidances):
            if _unweighed(node, rest):
                yield f"--{place}{word.replace('_', '-')}.weight is 0"
            return
        if not dataclasses.is_dataclass(node):
            return
        idle = getattr(node, "idle", None)
        if idle is not None:
            yield from filter(None, (idle(rest, place),))
        yield from _not_chosen(node, word, place)
        node, place = getattr(node, word, None), f"{place}{word}."


def _unweighed(guidances: Guidances, words: list[str]) -> bool:
    """Whether a value of a guidance is of one that is not the main one and has no weight."""
    if words[0] == MAIN or len(words) < 2 or words[1] == WEIGHT:
        return False
    name = GUIDANCES.canonical(words[0].replace("_", "-"))
    name = name if name in GUIDANCES.names() else words[0]
    return name != guidances.main and not guidances.weighs(name)


def _not_chosen(node: Any, word: str, place: str) -> Iterator[str]:
    """The choice of another one, where `word` is one of several of which a configuration takes the
    one that a value of it names."""
    for selector, names in _choices(node.__class__):
        chosen = str(getattr(node, selector)).replace("-", "_")
        if word in names and word != chosen:
            yield f"--{place}{selector.replace('_', '-')} is {getattr(node, selector)}"
    others = getattr(node, "others", None)
    if isinstance(others, ConfigsByName):
        known = {name.replace("-", "_") for name in (*type(others).own, *others.names())}
        if word in known and word != others.registry.canonical(node.kind).replace("-", "_"):
            yield f"--{place}kind is {node.kind}"


@cache
def _choices(kind: Any) -> list[tuple[str, frozenset[str]]]:
    """Values that name one of their neighbours and nothing else, with all that they may name."""
    hints, names = typing.get_type_hints(kind), {f.name for f in dataclasses.fields(kind)}
    found = []
    for name, hint in hints.items():
        if name in names and typing.get_origin(hint) is Literal:
            meant = {str(value).replace("-", "_") for value in typing.get_args(hint)}
            if meant <= names:
                found.append((name, frozenset(meant)))
    return found
