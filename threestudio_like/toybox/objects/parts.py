"""The coloured parts of objects, and random numbers for their proportions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from ..shapes import Primitive, box

Part = tuple[Primitive, str]
"""A primitive and its role: "main" takes the object's named colour, the name of a part the colour
that the caption gives it, any other role a colour of `ACCENTS`."""

Unit = Callable[[np.random.Generator, int], float]
"""Where a proportion lies in its range, in [0, 1]: drawn for its number among the object's."""


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
    "skin": (0.90, 0.70, 0.55),
}
"""Colours of parts that the caption does not name."""


class Proportions:
    """The random proportions of one object.

    Args:
        unit: draws where each proportion lies in its range.
        factors: by how much adjectives change the proportions of a direction ("height", "width",
            "length", "thickness").

    Attributes:
        units: where the proportions drawn so far lie in their ranges.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        unit: Unit,
        factors: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._rng, self._unit, self._factors = rng, unit, factors
        self.units: list[float] = []

    def __call__(self, low: float, high: float, direction: str = "") -> float:
        u = self._unit(self._rng, len(self.units))
        self.units.append(u)
        return float(low + (high - low) * u) * self._factors.get(direction, 1.0)

    def height(self, low: float, high: float) -> float:
        """A proportion that "tall" and "low" change."""
        return self(low, high, "height")

    def width(self, low: float, high: float) -> float:
        """A proportion from left to right, which "wide" and "narrow" change."""
        return self(low, high, "width")

    def length(self, low: float, high: float) -> float:
        """A proportion along the thing, which "long" and "short" change."""
        return self(low, high, "length")

    def thickness(self, low: float, high: float) -> float:
        """A proportion that "thick" and "thin" change."""
        return self(low, high, "thickness")


def bottle_outline(
    r: float, body: float, shoulder: float, neck: float, length: float
) -> list[tuple[float, float]]:
    """The profile (radius, height) of a round bottle: its radius, the heights of body and shoulder,
    and the radius and length of its neck."""
    top = body + shoulder
    return [
        (0, 0),
        (r, 0),
        (r, body),
        (r * 0.85, body + shoulder * 0.45),
        (neck, top),
        (neck, top + length),
        (0, top + length),
    ]


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
