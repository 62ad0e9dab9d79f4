"""Meshes that stand far from the origin, where float32 would round their shape away."""

from __future__ import annotations

import numpy as np


def near_origin(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) float64 as float32, and the offset (3,) float64 that was taken off them.

    The offset is zero unless rounding to float32 would move points by more than 1e-5 of their
    extent; then it is the centre of the bounding box, rounded to whole units.
    """
    offset = np.zeros(3)
    finite = points[np.isfinite(points).all(1)]
    if len(finite):
        low, high = finite.min(0), finite.max(0)
        extent = float((high - low).max())
        if max(np.abs(low).max(), np.abs(high).max()) * 2.0**-24 > 1e-5 * extent > 0:
            offset = np.round((low + high) / 2)
            points = points - offset
    # What float32 cannot hold becomes infinite, and is refused later.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(points, np.float32), offset
