"""Which edition of the toybox a benchmark asks for, the prompts that it asks in that edition's
words, and where its runs lie.

The edition is that of the model at hand, by its card, unless --world says otherwise. Runs of other
editions than the default one have folders of their own, so that no table mixes two.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from second_world.judge_data import parts_of
from tables import ROOT, note

from threestudio_like.priors.registry import embedded_folder
from threestudio_like.toybox.edition import Category, Edition
from threestudio_like.toybox.editions import DEFAULT, edition, edition_of
from threestudio_like.toybox.words import Phrase

CHOSEN = "BENCHMARK_WORLD"
"""The variable by which the processes that a benchmark starts know what --world said."""
SEED = 6100
Which = Literal["benchmark", "development"]
COUNTS = {
    "relation": 6,
    "material": 6,
    "part": 10,
    "adjective": 10,
    "mode": 10,
    "pattern": 9,
    "plain": 9,
}
"""Prompts of every kind of an edition that has them all; the rarest kinds choose first."""
_SIDES = ("left of", "right of", "in front of", "behind")


class _Choose(argparse.Action):
    def __call__(self, parser: Any, space: Any, value: Any, option: str | None = None) -> None:
        os.environ[CHOSEN] = edition(str(value)).name
        setattr(space, self.dest, value)


def add_world(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark the option --world."""
    parser.add_argument(
        "--world",
        action=_Choose,
        default="",
        help="edition of the toybox (default: that of the model at hand)",
    )


def add_share(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark whose work several processes share the options --share and --page."""
    parser.add_argument("--share", default="1/1", help="which of several processes this one is")
    parser.add_argument("--page", action="store_true", help="only publish what is there")


def share_of(arguments: argparse.Namespace) -> tuple[int, int]:
    """Which process this one is, from 1, and of how many."""
    one, every = (int(x) for x in arguments.share.split("/"))
    return one, every


def world_at_hand(model: str | Path = "diffusion") -> Edition:
    """The edition that --world named, else that of a model; the page will say so.

    Args:
        model: a folder, or the name of an embedded model ("diffusion", "depth", "cisp/clip" …).

    Raises ConfigError, ModelError.
    """
    said = os.environ.get(CHOSEN, "")
    folder = model if isinstance(model, Path) else embedded_folder(model)
    world = edition(said) if said else edition_of(folder)
    note("world", world.name + (" (as --world says)" if said else " (as the model's card says)"))
    return world


def runs(name: str, model: str | Path = "diffusion") -> Path:
    """Where a benchmark keeps its runs, or its lines of them, under the edition at hand."""
    world = world_at_hand(model)
    return ROOT / "outputs" / "benchmark" / ("" if world is DEFAULT else world.name) / name


def kept(name: str, model: str | Path = "diffusion") -> list[dict[str, Any]]:
    """The lines of JSON that a benchmark has kept under this name; none where there is no file."""
    path = runs(name, model)
    return [json.loads(x) for x in path.read_text().splitlines()] if path.is_file() else []


@dataclass(frozen=True)
class Asked:
    """A prompt, what kind of words it tries, and the objects that it names."""

    text: str
    kind: str
    phrases: tuple[Phrase, ...]


def prompts(world: Edition, which: Which = "benchmark", count: int = 60) -> list[str]:
    """The first `count` of the prompts of `asked`."""
    return [one.text for one in asked(world, which)[:count]]


def asked(world: Edition, which: Which = "benchmark") -> list[Asked]:
    """Sixty prompts of an edition. None is in both sets, nor is any pair of category and colour:
    defaults are chosen on "development", and tables are made of "benchmark", whose pairs no
    training picture shows.

    An edition of categories and colours alone is asked for three colours of each; one with more
    words, for all kinds of them. They are in such an order that the first ones are of all kinds.
    """
    if not world.vocabulary.parts:
        return _of_colours(world, which)
    chosen = _chosen(world)
    return _spread(_Writer(world, which).write(chosen[which]))


def _of_colours(world: Edition, which: Which) -> list[Asked]:
    """Every category in three colours, colours outermost: an unfinished benchmark has seen every
    category. The colours of the development set are among those of the training."""
    words = world.vocabulary
    out = []
    for k in range(3):
        for n, category in enumerate(words.categories):
            held_out = words.held_out_colours[category]
            others = [c for c in words.colours if c not in held_out]
            colour = held_out[k] if which == "benchmark" else others[(3 * n + 2 * k) % len(others)]
            phrase = words.plain(category, colour)
            out.append(Asked(words.describe(phrase), "plain", (phrase,)))
    return out


ABLE: dict[str, Callable[[Edition, Category], Any]] = {
    "material": lambda world, c: c.materials,
    "part": lambda world, c: parts_of(world, Phrase(c.name, None, world.vocabulary.usual(c.name))),
    "adjective": lambda world, c: c.adjectives,
    "mode": lambda world, c: len(c.modes) > 1,
}
"""Which categories a kind of prompt can be about; the other kinds are about any."""


def _able(world: Edition, kind: str, name: str) -> bool:
    return kind not in ABLE or bool(ABLE[kind](world, world.by_name[name]))


def _chosen(world: Edition) -> dict[str, dict[str, list[str]]]:
    """The categories of every kind of prompt, of both sets: each but for related ones once, and of
    another kind in the other set."""
    out: dict[str, dict[str, list[str]]] = {}
    taken: dict[str, set[str]] = {kind: set() for kind in COUNTS}
    for number, which in enumerate(("benchmark", "development")):
        rng = np.random.Generator(np.random.Philox(key=[SEED, number]))
        names = [str(n) for n in rng.permutation(world.vocabulary.categories)]
        used: set[str] = set()
        out[which] = {}
        for kind, count in COUNTS.items():
            able = [n for n in names if n not in taken[kind] and _able(world, kind, n)]
            fresh = [n for n in able if n not in used]
            out[which][kind] = (fresh + [n for n in able if n in used])[:count]
            used |= set(out[which][kind])
        for kind, some in out[which].items():
            taken[kind] |= set(some)
    return out


class _Writer:
    """Writes prompts about chosen categories."""

    def __init__(self, world: Edition, which: Which) -> None:
        self.world, self.words, self.which = world, world.vocabulary, which
        self.rng = np.random.Generator(np.random.Philox(key=[SEED + 1, int(which != "benchmark")]))

    def write(self, chosen: dict[str, list[str]]) -> list[Asked]:
        out = []
        for kind, names in chosen.items():
            for n, name in enumerate(names):
                if kind == "relation":
                    out.append(self.related(name, self.words.relations[n]))
                    continue
                phrase = self.phrase(name, kind, n)
                out.append(Asked(self.words.describe(phrase), kind, (phrase,)))
        return out

    def choice(self, values: Sequence[str]) -> str:
        return str(self.rng.choice(list(values)))

    def plain(self, name: str) -> Phrase:
        held_out = self.words.held_out_colours[name]
        colours = held_out[:2] if self.which == "benchmark" else held_out[2:]
        return self.words.plain(name, self.choice(colours))

    def phrase(self, name: str, kind: str, n: int) -> Phrase:
        """A phrase that tries a kind of words, the n-th of its kind."""
        category, phrase = self.world.by_name[name], self.plain(name)
        patterns = self.world.patterns
        if kind == "mode":
            return replace(phrase, mode=self.choice(category.modes[1:]))
        if kind == "pattern":
            bare = [w for w, p in patterns.items() if p.natural is None and w != "plain"]
            return replace(phrase, pattern=bare[n % len(bare)])
        if kind == "material":
            made = replace(phrase, pattern=self.choice(category.materials))
            return replace(made, colour=None) if n % 2 == 0 else made
        if kind == "adjective":
            # The one that changes a size and no shape goes with every category.
            able = category.adjectives if n % 5 else [*self.world.sizes]
            return replace(phrase, adjectives=(self.choice(able),))
        if kind == "part":
            shown = parts_of(self.world, phrase)
            count = min(len(shown), 2 if n % 5 == 4 else 1)
            parts = [str(p) for p in self.rng.permutation(shown)[:count]]
            others = [c for c in self.words.colours if c != phrase.colour]
            return replace(phrase, parts=tuple((p, self.choice(others)) for p in parts))
        return phrase

    def related(self, name: str, relation: str) -> Asked:
        """A thing and another one that it can stand so to."""
        every = self.world.categories
        one = self.world.by_name[name]
        if relation in _SIDES:
            others = [c.name for c in every if c.name != name and 0.4 < c.size / one.size < 2.5]
            two = self.plain(self.choice(others))
        elif relation == "under":
            two = self.plain("table")
        else:
            two = self.plain(self.choice([c.name for c in every if c.top is not None]))
        if relation not in _SIDES:
            size = self.world.by_name[two.category].size
            small = [c.name for c in every if c.size < 0.7 * size and c.name != two.category]
            name = name if name in small else self.choice(small)
        first = self.plain(name)
        text = f"{self.words.describe(first)} {relation} {self.words.describe(two)}"
        return Asked(text, "relation", (first, two))


def _spread(prompts: list[Asked]) -> list[Asked]:
    """The kinds evenly mixed."""
    seen: dict[str, int] = {}
    places = []
    for one in prompts:
        seen[one.kind] = seen.get(one.kind, 0) + 1
        places.append((seen[one.kind] - 0.5) / COUNTS[one.kind])
    return [one for _, one in sorted(zip(places, prompts), key=lambda pair: pair[0])]
