"""Positions far from the origin, such as a building in the coordinates of its country."""

from __future__ import annotations

import numpy as np

COARSEST = 1e-5
"""Largest rounding error of a position, as a part of the whole extent, that is left alone."""


def near_origin(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points as float32 and the offset that has to be added to them.

    The offset is zero unless float32 would round the points by more than `COARSEST` of their
    extent; then it is the centre of their bounding box. A file of several parts gives the points of
    all of them at once, so that they share one offset.

    Args:
        points: (N, 3) float64.

    Returns:
        points (N, 3) float32; offset (3,) float64.
    """
    with np.errstate(invalid="ignore"):
        points = np.asarray(points, np.float64)
    usable = points[np.isfinite(points).all(1)] if len(points) else points
    if len(usable):
        low, high = usable.min(0), usable.max(0)
        extent = float((high - low).max())
        largest = float(max(np.abs(low).max(), np.abs(high).max()))
        if extent > 0 and largest * 2.0**-24 > COARSEST * extent:
            offset = (low + high) / 2
            return (points - offset).astype(np.float32), offset
    with np.errstate(over="ignore"):
        return points.astype(np.float32), np.zeros(3)
