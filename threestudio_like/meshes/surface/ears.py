"""Clipping of the ears of polygons. Numba takes long to import and to compile, so that a few small
polygons are done without it."""

from __future__ import annotations

from typing import Any

import numpy as np

BUDGET = 200_000_000
"""Number of looks at a corner that one call may take; polygons that are not done by then, which are
made to be slow, are cut as they come."""
_SMALL = 2_000
"""Polygons times the square of their corners up to which Python is fast enough."""


def clip_ears(polygons: np.ndarray) -> np.ndarray:
    """Triangles (P, N - 2, 3) int64 of counter-clockwise polygons (P, N, 2) float64."""
    if polygons.shape[0] * polygons.shape[1] ** 2 <= _SMALL:
        return _clipped(polygons, BUDGET)
    global _compiled
    if _compiled is None:
        from numba import njit

        from ...kernels.compiling import CACHE

        _compiled = njit(nogil=True, cache=CACHE)(_clipped)
    return _compiled(polygons, BUDGET)


_compiled: Any = None


def _clipped(polygons, budget):
    many, size = polygons.shape[0], polygons.shape[1]
    out = np.zeros((many, size - 2, 3), np.int64)
    before, after = np.empty(size, np.int64), np.empty(size, np.int64)
    spent = 0
    for n in range(many):
        xs, ys = polygons[n, :, 0], polygons[n, :, 1]
        extent = 0.0
        for k in range(size):
            before[k], after[k] = (k - 1) % size, (k + 1) % size
            extent = max(extent, abs(xs[k]), abs(ys[k]))
        least = 1e-12 * extent * extent
        left, made, b, waited, level = size, 0, 1, 0, 0
        while left > 3:
            a, c = before[b], after[b]
            ax, ay, bx, by, cx, cy = xs[a], ys[a], xs[b], ys[b], xs[c], ys[c]
            turn = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
            # First true ears, then corners on a straight line, then corners that turn the wrong
            # way, then, of a polygon that crosses itself, whatever comes.
            take = level == 3 or spent > budget
            if not take and (turn > least or (level > 0 and turn >= -least) or level == 2):
                take = True
                p = after[c]
                while p != a:
                    spent += 1
                    x, y = xs[p], ys[p]
                    if (
                        min(ax, bx, cx) <= x <= max(ax, bx, cx)
                        and min(ay, by, cy) <= y <= max(ay, by, cy)
                        and (bx - ax) * (y - ay) >= (by - ay) * (x - ax)
                        and (cx - bx) * (y - by) >= (cy - by) * (x - bx)
                        and (ax - cx) * (y - cy) >= (ay - cy) * (x - cx)
                        and not (x == ax and y == ay)
                        and not (x == bx and y == by)
                        and not (x == cx and y == cy)
                    ):
                        o, q = before[p], after[p]
                        # A convex corner inside means that one beside it is inside and is not.
                        if (x - xs[o]) * (ys[q] - ys[o]) - (y - ys[o]) * (xs[q] - xs[o]) <= least:
                            take = False
                            break
                    p = after[p]
            if take:
                out[n, made, 0], out[n, made, 1], out[n, made, 2] = a, b, c
                made += 1
                left -= 1
                after[a], before[c] = c, a
                # The corner after next makes rounder triangles than the next would.
                b, waited, level = after[c], 0, 0
            else:
                b = c
                waited += 1
                if waited > left:
                    waited = 0
                    level += 1
        out[n, made, 0], out[n, made, 1], out[n, made, 2] = before[b], b, after[b]
    return out
