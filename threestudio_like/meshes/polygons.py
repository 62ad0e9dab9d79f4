"""Division of polygons into triangles, concave ones as well."""

from __future__ import annotations

import numpy as np

_LARGEST_CONCAVE = 4096
"""Largest number of corners of a polygon whose ears are clipped; the time grows with the square."""


def triangulate(points: np.ndarray) -> np.ndarray:
    """Triangles (N - 2, 3) of a polygon's corners (N, 3), by number, in the polygon's direction.

    Corners are projected along the polygon's normal by Newell's method; ears are clipped. Polygons
    that cross themselves still give N - 2 triangles.
    """
    count = len(points)
    fan = np.stack([np.zeros(count - 2, np.int64), np.arange(1, count - 1), np.arange(2, count)], 1)
    if count == 3:
        return fan
    flat = _flattened(np.asarray(points, np.float64))
    if flat is None or is_convex(flat) or count > _LARGEST_CONCAVE:
        return fan
    return _ears(flat)


def _flattened(points: np.ndarray) -> np.ndarray | None:
    """The corners (N, 2) seen against the normal, counter-clockwise; None without area."""
    centred = points - points.mean(0)
    normal = np.cross(centred, np.roll(centred, -1, 0)).sum(0)
    length = np.linalg.norm(normal)
    if not np.isfinite(length) or length <= 0:
        return None
    normal /= length
    axis = np.eye(3)[np.argmin(np.abs(normal))]
    right = np.cross(axis, normal)
    right /= np.linalg.norm(right)
    return np.stack([centred @ right, centred @ np.cross(normal, right)], 1)


def is_convex(flat: np.ndarray) -> bool:
    """Whether the polygon (N, 2), counter-clockwise, turns left at every corner, and once in
    all."""
    side = np.roll(flat, -1, 0) - flat
    before = np.roll(side, 1, 0)
    turn = before[:, 0] * side[:, 1] - before[:, 1] * side[:, 0]
    ahead = (before * side).sum(1)
    scale = np.abs(turn).max()
    if (turn < -1e-9 * scale).any():
        return False
    return bool(abs(np.arctan2(turn, ahead).sum() - 2 * np.pi) < 1e-6)


def _ears(flat: np.ndarray) -> np.ndarray:
    ring = list(range(len(flat)))
    out = []

    def turn(a: int, b: int, c: int) -> float:
        return float(
            (flat[b, 0] - flat[a, 0]) * (flat[c, 1] - flat[a, 1])
            - (flat[b, 1] - flat[a, 1]) * (flat[c, 0] - flat[a, 0])
        )

    at, tried = 0, 0
    while len(ring) > 3:
        count = len(ring)
        at %= count
        a, b, c = ring[at - 1], ring[at], ring[(at + 1) % count]
        # Where no corner is an ear any more (the polygon crosses itself), any is cut off.
        if tried >= count or (turn(a, b, c) > 0 and not _holds(flat, ring, a, b, c)):
            out.append((a, b, c))
            del ring[at]
            tried = 0
            at = max(0, at - 1)
        else:
            at += 1
            tried += 1
    return np.array([*out, tuple(ring)], np.int64)


def _holds(flat: np.ndarray, ring: list[int], a: int, b: int, c: int) -> bool:
    """Whether another corner of the ring lies in the triangle."""
    others = np.array([i for i in ring if i not in (a, b, c)])
    p, corners = flat[others], flat[[a, b, c]]
    inside = np.ones(len(p), bool)
    for k in range(3):
        one, side = corners[k], corners[(k + 1) % 3] - corners[k]
        inside &= side[0] * (p[:, 1] - one[1]) - side[1] * (p[:, 0] - one[0]) >= 0
    # Corners at the place of one of the three (a slit, a bridge to a hole) do not block.
    for corner in corners:
        inside &= (p != corner).any(1)
    return bool(inside.any())
