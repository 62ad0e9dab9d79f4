"""Which options a user wrote, also those whose value is the default: where a command goes on from a
finished run, a default that was written must not give way to what that run had."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from typing import Any

from .options import flat, given

_PRIOR = "prior concept lora lora_weight vae like like_weight ip_adapter embeddings"
OF_THE_SOURCE: Mapping[str, frozenset[str]] = {"refine": frozenset(_PRIOR.split())}
"""By command, the options which, where nothing is said, are those of the run that it goes on from:
a default that was written is another wish than none."""

_WRITTEN: ContextVar[tuple[type, frozenset[str]]] = ContextVar(
    "options as written", default=(object, frozenset())
)


@contextmanager
def written_options(kind: type, names: Iterable[str]) -> Iterator[None]:
    """While a command with options of the class `kind` is carried out, `names` (of `flat`) of which
    were written."""
    token = _WRITTEN.set((kind, frozenset(names)))
    try:
        yield
    finally:
        _WRITTEN.reset(token)


def names_written(kind: type, arguments: Iterable[str]) -> set[str]:
    """The options of a class that stand among the arguments of a command line, by `flat`'s
    names."""
    flags = {a.partition("=")[0].replace("_", "-") for a in arguments if a.startswith("--")}
    flags |= {"--" + f[5:] for f in flags if f.startswith("--no-")}
    return {n for n, said, _ in options_in(kind) if "--" + said.replace("_", "-") in flags}


def asked(options: Any) -> dict[str, Any]:
    """The options that differ from their defaults, and those that were written, by `flat`'s
    names."""
    kind, names = _WRITTEN.get()
    found = given(options)
    if type(options) is kind and names:
        found |= {k: v for k, v in flat(options).items() if k in names}
    return found


def options_in(kind: type) -> Iterator[tuple[str, str, Any]]:
    """Every option of a class, those of its groups among them: its name, the name that its flag
    has, and its type without marks."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for item in fields(kind):
        hint = hints[item.name]
        marks = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
        bare = typing.get_args(hint)[0] if marks else hint
        if isinstance(bare, type) and is_dataclass(bare):
            yield from options_in(bare)
            continue
        yield item.name, next((m.name for m in marks if getattr(m, "name", None)), item.name), bare
