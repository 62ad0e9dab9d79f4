"""The procedural world: coloured objects and scenes with captions, deterministic by (split, seed).
Functions of an edition, by default of the one that the shipped weights know."""

from __future__ import annotations

import numpy as np

from .edition import Edition
from .toy_object import RADIUS, SPLITS, ToyObject, fit_to_sphere, merge
from .twenty import TWENTY
from .words import Phrase

__all__ = [
    "RADIUS",
    "SPLITS",
    "Phrase",
    "ToyObject",
    "build",
    "build_scene",
    "caption_of",
    "describe",
    "draw",
    "draw_phrase",
    "fit_to_sphere",
    "merge",
]


def build(
    phrase: Phrase, rng: np.random.Generator, split: str = "train", edition: Edition = TWENTY
) -> ToyObject:
    """See `Edition.build`."""
    return edition.build(phrase, rng, split)


def describe(phrase: Phrase, synonym: str | None = None, name_mode: bool = False) -> str:
    """The caption of one object of the default edition; see `Vocabulary.describe`."""
    return TWENTY.vocabulary.describe(phrase, synonym, name_mode)


def draw_phrase(
    rng: np.random.Generator,
    split: str = "train",
    category: str | None = None,
    every_pair: bool = False,
    patterned: bool = False,
) -> Phrase:
    """A random description of an object of the default edition; see `Edition.draw_phrase`."""
    return TWENTY.draw_phrase(rng, split, category, every_pair=every_pair, patterned=patterned)


def caption_of(obj: ToyObject, rng: np.random.Generator, edition: Edition = TWENTY) -> str:
    """See `Edition.caption_of`."""
    return edition.caption_of(obj, rng)


def build_scene(
    rng: np.random.Generator, split: str = "train", count: int = 2, edition: Edition = TWENTY
) -> ToyObject:
    """Two or three objects in a spatial relation, as one mesh with a face range for each object."""
    return edition.scene(edition, rng, split, count)


def draw(
    seed: int,
    index: int,
    split: str = "train",
    scenes: float = 0.0,
    every_pair: bool = False,
    patterned: bool = False,
    edition: Edition = TWENTY,
) -> ToyObject:
    """See `Edition.draw`."""
    return edition.draw(seed, index, split, scenes, every_pair=every_pair, patterned=patterned)
