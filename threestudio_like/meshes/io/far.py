"""Coordinates that stand so far from their origin that float32 would not hold them."""

from __future__ import annotations

import numpy as np


def near_origin(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) float64 as float32, and the offset (3,) float64 that has to be added to them.

    The offset is zero unless rounding to float32 would move a point by more than a hundred
    thousandth of the extent; then it is the centre of the bounding box.
    """
    offset = np.zeros(3)
    there = np.isfinite(points).all(1)
    finite = points if there.all() else points[there]
    if len(finite):
        low, high = finite.min(0), finite.max(0)
        largest = max(abs(float(low.min())), abs(float(high.max())))
        if largest * 2.0**-24 > 1e-5 * float((high - low).max()) and (high > low).any():
            offset = (low + high) / 2
    # What is outside of float32's range becomes infinite, and is refused later.
    with np.errstate(over="ignore"):
        return (points - offset).astype(np.float32), offset
