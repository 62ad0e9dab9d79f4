"""Editions of the toybox: what there is in a world, in one object, and how its objects are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .objects.parts import ACCENTS, Part, Proportions, Unit
from .patterns import Pattern
from .toy_object import SPLITS, ToyObject, fit_to_sphere
from .words import RGB, Phrase, Vocabulary

if TYPE_CHECKING:
    from .arranging import ToyScene

Builder = Callable[[Proportions, "str | None"], list[Part]]


@dataclass(frozen=True, kw_only=True)
class Category:
    """A kind of thing.

    Args:
        build: from proportions and a mode to coloured parts, with +Y up and the front towards +Z,
            in any size.
        modes: its shapes by name; the bare word means the first. Empty for one shape.
        front: whether its front can be told from its side or back.
        parts: the parts whose colour a caption can name, each with what paints it otherwise:
            "main" or a name of `ACCENTS`.
        adjectives: those that change its shape.
        materials: those that it is made of now and then, besides the patterns.
        plural: the word for several of it.
        size: what it usually measures in metres, across its largest diagonal.
        top: where things can stand on it, the height as a share of its own; None for nowhere.
    """

    name: str
    build: Builder
    modes: tuple[str, ...] = ()
    front: bool = True
    parts: Mapping[str, str] = field(default_factory=dict)
    adjectives: tuple[str, ...] = ()
    materials: tuple[str, ...] = ()
    plural: str = ""
    size: float = 1.0
    top: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Edition:
    """A world: its words, its categories, and the rules by which its objects are drawn.

    Args:
        name: what --world and the cards of models call it.
        vocabulary: its words; the categories are in the same order.
        categories: what there is.
        patterns: how each pattern word is painted.
        units: for a split, a function from (generator, number of the proportion) to a proportion's
            place in its range, in [0, 1].
        stretch: for each adjective, the directions that it changes, and by what factor.
        sizes: for each adjective, the size of a single object in units of `RADIUS`.
        usual: the share of objects that have their category's first mode.
        plain: the share of objects without a pattern or material.
        adjective, part: the shares of objects with an adjective, and with a part of its own colour.
        longest_prompt: tokens of the longest caption with its view, and of both ends.
        scene: from (edition, generator, split, number of objects) to a scene.
        layout: the same with known placements, and a relation if it is given.
        interior: from (edition, generator, split) to things as they stand in a room; None for an
            edition without rooms.
        rooms: the share of the segmenter's and the depth estimator's pictures that are taken in
            rooms. No other training has any.
    """

    name: str
    vocabulary: Vocabulary
    categories: tuple[Category, ...]
    patterns: Mapping[str, Pattern]
    units: Callable[[np.random.Generator, str], Unit]
    stretch: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sizes: Mapping[str, float] = field(default_factory=dict)
    usual: float = 0.65
    plain: float = 0.8
    adjective: float = 0.0
    part: float = 0.0
    longest_prompt: int = 32
    scene: Callable[[Edition, np.random.Generator, str, int], ToyObject]
    layout: Callable[[Edition, np.random.Generator, str, int, str | None], ToyScene]
    interior: Callable[[Edition, np.random.Generator, str], ToyScene] | None = None
    rooms: float = 0.0

    @cached_property
    def by_name(self) -> dict[str, Category]:
        """The categories by their words."""
        return {category.name: category for category in self.categories}

    @cached_property
    def has_front(self) -> frozenset[str]:
        """Categories whose front can be distinguished from the side or back."""
        return frozenset(c.name for c in self.categories if c.front)

    def captions(self) -> list[str]:
        """The plain caption of every category and colour, with categories as the outer loop."""
        words = self.vocabulary
        return [words.describe(words.plain(c, k)) for c in words.categories for k in words.colours]

    def build(self, phrase: Phrase, rng: np.random.Generator, split: str = "train") -> ToyObject:
        """One object of the phrase's description, with proportions drawn from `rng`. Coloured parts
        that the mode lacks are left out of the object's own phrase and caption."""
        category = self.by_name[phrase.category]
        factors: dict[str, float] = {}
        for word in phrase.adjectives:
            factors |= self.stretch.get(word, {})
        proportions = Proportions(rng, self.units(rng, split), factors)
        main = self._main_colour(phrase, rng)
        built = category.build(proportions, phrase.mode)
        # Not every mode has all parts of its kind; a caption names those that can be seen.
        there = {part for _, part in built}
        phrase = replace(phrase, parts=tuple(p for p in phrase.parts if p[0] in there))
        named = dict(phrase.parts)
        vertices, faces, material = [], [], []
        roles: dict[str, int] = {}
        materials: list[list[float]] = []
        offset = 0
        for (v, f), part in built:
            role = part if part in named else category.parts.get(part, part)
            if role not in roles:
                roles[role] = len(materials)
                if role == "main":
                    materials.append(self._material(rng, main, phrase.pattern, jitter=0.025))
                else:
                    rgb = self.vocabulary.colours[named[role]] if role in named else ACCENTS[role]
                    materials.append(self._material(rng, rgb, "plain", jitter=0.02))
            vertices.append(v)
            faces.append(f + offset)
            material.append(np.full(len(f), roles[role], np.int32))
            offset += len(v)
        points, triangles = fit_to_sphere(np.concatenate(vertices)), np.concatenate(faces)
        for word in phrase.adjectives:
            points = points * np.float32(self.sizes.get(word, 1.0))
        return ToyObject(
            points,
            triangles,
            np.concatenate(material),
            materials=np.asarray(materials, np.float32),
            caption=self.vocabulary.describe(phrase),
            phrases=[phrase],
            parts=[(0, len(triangles))],
        )

    def _main_colour(self, phrase: Phrase, rng: np.random.Generator) -> RGB:
        natural = self.patterns[phrase.pattern].natural
        if phrase.colour is None and natural is not None:
            return natural
        colours = self.vocabulary.colours
        return colours[phrase.colour or str(rng.choice(list(colours)))]

    def _material(
        self, rng: np.random.Generator, rgb: RGB, word: str, jitter: float
    ) -> list[float]:
        colour = np.clip(np.asarray(rgb) + rng.normal(0, jitter, 3), 0.02, 0.98)
        pattern = self.patterns[word]
        return [*colour.tolist(), *pattern.second(colour), float(pattern.code)]

    def draw_phrase(
        self,
        rng: np.random.Generator,
        split: str = "train",
        category: str | None = None,
        every_pair: bool = False,
        patterned: bool = False,
    ) -> Phrase:
        """A random description of an object.

        The training split never pairs a category with its held-out colours, unless `every_pair` is
        set. With `patterned`, every pattern is as likely as plain.
        """
        words = self.vocabulary
        category = category or str(rng.choice(words.categories))
        kind = self.by_name[category]
        if split == "train" and not every_pair:
            colours = [c for c in words.colours if c not in words.held_out_colours[category]]
        else:
            colours = list(words.colours)
        modes = kind.modes
        first = modes and (len(modes) == 1 or rng.random() < self.usual)
        mode = None if not modes else modes[0] if first else str(rng.choice(modes[1:]))
        choices = [
            w
            for w, p in self.patterns.items()
            if w != "plain" and (p.natural is None or w in kind.materials)
        ]
        plain = rng.random() < (1 / (1 + len(choices)) if patterned else self.plain)
        pattern = "plain" if plain else str(rng.choice(choices))
        phrase = Phrase(category, str(rng.choice(colours)), mode, pattern=pattern)
        return self._detailed(phrase, kind, rng, colours)

    def _detailed(
        self, phrase: Phrase, kind: Category, rng: np.random.Generator, colours: list[str]
    ) -> Phrase:
        """The phrase with, now and then, the bare material, an adjective and coloured parts. Draws
        nothing in an edition without them."""
        if self.patterns[phrase.pattern].natural is not None and rng.random() < 0.6:
            phrase = replace(phrase, colour=None)
        if self.adjective and rng.random() < self.adjective:
            able = self.vocabulary.adjectives[phrase.category]
            phrase = replace(phrase, adjectives=(str(rng.choice(able)),))
        if self.part and kind.parts and rng.random() < self.part:
            count = min(len(kind.parts), 2 if rng.random() < 0.2 else 1)
            chosen = rng.choice(list(kind.parts), count, replace=False)
            other = [c for c in colours if c != phrase.colour]
            parts = tuple((str(p), str(rng.choice(other))) for p in chosen)
            phrase = replace(phrase, parts=parts)
        return phrase

    def caption_of(self, obj: ToyObject, rng: np.random.Generator) -> str:
        """A caption as training pictures have it, sometimes with a synonym, the name of the usual
        mode, or no colour."""
        if len(obj.phrases) > 1:
            return obj.caption
        words = self.vocabulary
        phrase = obj.phrases[0]
        others = [s for s, w in words.synonyms.items() if w == phrase.category]
        synonym = str(rng.choice(others)) if others and rng.random() < 0.2 else None
        if rng.random() < 0.03:
            phrase = replace(phrase, colour=None)
        text = words.describe(phrase, synonym, bool(rng.random() < 0.3))
        for other, word in words.synonyms.items():
            if word in words.colours and f" {word} " in text and rng.random() < 0.1:
                text = text.replace(f" {word} ", f" {other} ")
        return text

    def draw(
        self,
        seed: int,
        index: int,
        split: str = "train",
        scenes: float = 0.0,
        every_pair: bool = False,
        patterned: bool = False,
    ) -> ToyObject:
        """Object number `index` of a world; the same arguments give the same bytes.

        `scenes` is the share of scenes. `every_pair` lets the training split show the colours that
        the benchmark asks for, which judges need.
        """
        rng = np.random.Generator(np.random.Philox(key=[(seed << 2) | SPLITS.index(split), index]))
        u = rng.random()
        if u < scenes:
            return self.scene(self, rng, split, 3 if u < 0.25 * scenes else 2)
        category = self.categories[index % len(self.categories)].name
        phrase = self.draw_phrase(rng, split, category, every_pair=every_pair, patterned=patterned)
        return self.build(phrase, rng, split)

    def draw_interior(self, seed: int, index: int, split: str = "test") -> ToyScene:
        """Interior number `index` of a world; the same arguments give the same bytes.

        Raises:
            ValueError: the edition has none.
        """
        if self.interior is None:
            raise ValueError(f"the edition {self.name} has no interiors")
        rng = np.random.Generator(
            np.random.Philox(key=[(seed << 2) | SPLITS.index(split), index + (2 << 32)])
        )
        return self.interior(self, rng, split)

    def draw_layout(
        self, seed: int, index: int, split: str = "test", counts: tuple[int, ...] = (2, 3, 4)
    ) -> ToyScene:
        """Scene number `index` of a world; the same arguments give the same bytes. Numbers of
        objects and relations alternate."""
        rng = np.random.Generator(
            np.random.Philox(key=[(seed << 2) | SPLITS.index(split), index + (1 << 32)])
        )
        relations = self.vocabulary.relations
        relation = relations[(index // len(counts)) % len(relations)]
        return self.layout(self, rng, split, counts[index % len(counts)], relation)
