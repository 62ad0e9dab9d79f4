"""Scenes of two to four toybox objects with known placements: `compose` is measured on them, and
the segmenter is trained on them."""

from __future__ import annotations

import numpy as np

from .arranging import ToyScene
from .edition import Edition
from .twenty import TWENTY

__all__ = ["ToyScene", "build_layout", "draw_layout"]


def build_layout(
    rng: np.random.Generator,
    split: str = "train",
    count: int = 2,
    relation: str | None = None,
    edition: Edition = TWENTY,
) -> ToyScene:
    """A scene of `count` objects.

    The first two are in `relation` (any of the six by default), and every further one is beside,
    before or behind an existing object.

    Raises:
        ValueError: there are fewer than two objects.
    """
    return edition.layout(edition, rng, split, count, relation)


def draw_layout(
    seed: int,
    index: int,
    split: str = "test",
    counts: tuple[int, ...] = (2, 3, 4),
    edition: Edition = TWENTY,
) -> ToyScene:
    """See `Edition.draw_layout`."""
    return edition.draw_layout(seed, index, split, counts)
