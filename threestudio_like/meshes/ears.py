"""Compiled clipping of the ears of polygons, in a separate file because Numba takes long to
import."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..kernels.compiling import CACHE

BUDGET = 200_000_000
"""Number of looks at a corner that one call may take; polygons that are not done by then, which are
made to be slow, are cut as they come."""


@njit(nogil=True, cache=CACHE)
def _turn(points, a, b, c):
    return (points[b, 0] - points[a, 0]) * (points[c, 1] - points[a, 1]) - (
        points[b, 1] - points[a, 1]
    ) * (points[c, 0] - points[a, 0])


@njit(nogil=True, cache=CACHE)
def _same(points, a, b):
    return points[a, 0] == points[b, 0] and points[a, 1] == points[b, 1]


@njit(nogil=True, cache=CACHE)
def _free(points, before, after, a, b, c, least):
    """Whether no other corner lies in the triangle of a, b and c; and how many were looked at."""
    low_x = min(points[a, 0], points[b, 0], points[c, 0])
    high_x = max(points[a, 0], points[b, 0], points[c, 0])
    low_y = min(points[a, 1], points[b, 1], points[c, 1])
    high_y = max(points[a, 1], points[b, 1], points[c, 1])
    looked = 0
    p = after[c]
    while p != a:
        looked += 1
        x, y = points[p, 0], points[p, 1]
        if (
            low_x <= x <= high_x
            and low_y <= y <= high_y
            and not (_same(points, p, a) or _same(points, p, b) or _same(points, p, c))
            # A convex corner inside means that one beside it is inside and is not convex.
            and _turn(points, before[p], p, after[p]) <= least
            and _turn(points, a, b, p) >= 0
            and _turn(points, b, c, p) >= 0
            and _turn(points, c, a, p) >= 0
        ):
            return False, looked
        p = after[p]
    return True, looked


@njit(nogil=True, cache=CACHE)
def clip_ears(polygons):
    """Triangles (P, N - 2, 3) int64 of counter-clockwise polygons (P, N, 2) float64."""
    many, size = polygons.shape[0], polygons.shape[1]
    out = np.zeros((many, size - 2, 3), np.int64)
    before, after = np.empty(size, np.int64), np.empty(size, np.int64)
    spent = 0
    for n in range(many):
        points = polygons[n]
        extent = 0.0
        for k in range(size):
            before[k], after[k] = (k - 1) % size, (k + 1) % size
            extent = max(extent, abs(points[k, 0]), abs(points[k, 1]))
        least = 1e-12 * extent * extent
        left, made, here, waited, level = size, 0, 1, 0, 0
        while left > 3:
            a, c = before[here], after[here]
            turn = _turn(points, a, here, c)
            # First true ears, then corners on a straight line, then corners that turn the wrong
            # way, then, of a polygon that crosses itself, whatever comes.
            take = level == 3 or spent > BUDGET
            if not take and (turn > least or (level > 0 and turn >= -least) or level == 2):
                take, looked = _free(points, before, after, a, here, c, least)
                spent += looked
            if take:
                out[n, made, 0], out[n, made, 1], out[n, made, 2] = a, here, c
                made += 1
                left -= 1
                after[a], before[c] = c, a
                # The corner after next makes rounder triangles than the next would.
                here, waited, level = after[c], 0, 0
            else:
                here = c
                waited += 1
                if waited > left:
                    waited = 0
                    level += 1
        out[n, made, 0], out[n, made, 1], out[n, made, 2] = before[here], here, after[here]
    return out
