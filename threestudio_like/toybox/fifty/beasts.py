"""What animals, people and the snowman of the second edition have in common."""

from __future__ import annotations

from ..objects.parts import Part
from .solids import ball, pair

BEAST = ("tall", "low", "long", "short", "thick", "thin")
"""The adjectives of what goes on four legs."""


def eyes(x: float, y: float, z: float, r: float = 0.05) -> list[Part]:
    """Two eyes at (+-x, y, z)."""
    return pair(ball(r, (x, y, z), 8, 6), "coal")
