"""The coloured parts of objects, and random numbers for their proportions."""

from __future__ import annotations

import numpy as np

from ..shapes import Primitive, box

Part = tuple[Primitive, str]
"""A primitive and its role: "main" takes the object's named colour, any other role a colour of
`ACCENTS`."""


ACCENTS: dict[str, tuple[float, float, float]] = {
    "wood": (0.55, 0.36, 0.19),
    "dark": (0.17, 0.17, 0.20),
    "metal": (0.66, 0.68, 0.72),
    "glass": (0.58, 0.80, 0.92),
    "cream": (0.95, 0.91, 0.78),
    "coal": (0.08, 0.08, 0.09),
    "carrot": (0.95, 0.45, 0.08),
    "roof": (0.52, 0.20, 0.16),
    "leaf": (0.20, 0.52, 0.20),
}
"""Colours of parts that the caption does not name."""


class Proportions:
    """The random proportions of one object. `key` is its leading proportion, whose range differs
    between the splits of the world."""

    def __init__(self, rng: np.random.Generator, key: float) -> None:
        self._rng, self._key, self._used = rng, key, False

    def __call__(self, low: float, high: float) -> float:
        u = self._rng.random()
        if not self._used:
            u, self._used = self._key, True
        return float(low + (high - low) * u)

    def choice(self, options: list[str]) -> str:
        return options[int(self._rng.integers(len(options)))]


def legs(
    width: float, depth: float, height: float, thick: float, role: str, inset: float = 0.0
) -> list[Part]:
    """Four legs of a square section under a rectangle, `inset` from its edges."""
    x, z = width / 2 - thick / 2 - inset, depth / 2 - thick / 2 - inset
    return [
        (box((thick, height, thick), (sx * x, height / 2, sz * z)), role)
        for sx in (-1, 1)
        for sz in (-1, 1)
    ]
