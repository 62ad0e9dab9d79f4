"""Which closed pieces of a surface lie within others, so that a cavity can be told from a solid."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

_INSIDE = 0.75
"""Least winding number of a point that counts as inside; on the surface it is a half."""
_PAIRS = 1 << 18
"""Number of pairs of triangles that are compared at a time."""


def nesting(
    corners: np.ndarray, label: np.ndarray, closed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many closed pieces of a surface each of them lies within: even for the outside of a
    solid, odd for the wall of a cavity.

    Args:
        corners: (F, 3, 3) float64, of faces that are turned outwards.
        label: (F,) the number of every face's piece.
        closed: (P,) bool, the pieces that count.

    Returns:
        The depth (P,) int64 of every piece, and the number (P,) of the smallest one around it, -1
        for none. One that is not closed has 0, and so have those that would be walls of voids and
        cross each other: which of them bounds what is not known.
    """
    count = len(closed)
    out, around = np.zeros(count, np.int64), np.full(count, -1)
    if np.count_nonzero(closed) < 2:
        return out, around
    order = np.argsort(label, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1])
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, label, corners.min(1))
    np.maximum.at(high, label, corners.max(1))
    for outer in np.flatnonzero(closed).tolist():
        within = closed & (low >= low[outer]).all(1) & (high <= high[outer]).all(1)
        within[outer] = False
        for inner in _inside(corners, rows, outer, np.flatnonzero(within)):
            out[inner] += 1
            best = around[inner]
            if best < 0 or (high - low)[outer].prod() < (high - low)[best].prod():
                around[inner] = outer
    walls = out % 2 == 1
    for piece in np.flatnonzero(walls).tolist():
        near = walls & (low <= high[piece]).all(1) & (high >= low[piece]).all(1)
        near[piece] = False
        if any(_cross(corners[rows[piece]], corners[rows[k]]) for k in np.flatnonzero(near)):
            out[piece] = 0
    return out, around


def _inside(
    corners: np.ndarray, rows: list[np.ndarray], outer: int, pieces: np.ndarray
) -> list[int]:
    """Those of some pieces all of whose faces have their middle inside another one."""
    if not len(pieces):
        return []
    # Here, because loading it takes longer than cleaning a small mesh.
    import torch

    from ...kernels import surface_tree, winding_number

    wall = corners[rows[outer]]
    centre, extent = wall.mean((0, 1)), float(np.ptp(wall, axis=(0, 1)).max())
    points = torch.from_numpy(((wall - centre) / extent).astype(np.float32)).reshape(-1, 3)
    tree = surface_tree(points, torch.arange(len(points)).view(-1, 3))
    asked = (np.concatenate([corners[rows[k]].mean(1) for k in pieces]) - centre) / extent
    inside = winding_number(tree, torch.from_numpy(asked.astype(np.float32))).numpy() > _INSIDE
    ends = np.cumsum([len(rows[k]) for k in pieces])[:-1]
    return [
        int(k)
        for k, own in zip(pieces, np.split(inside, ends))
        if own.all() and not _cross(corners[rows[k]], wall)
    ]


def _cross(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether any of the triangles (F, 3, 3) of a surface crosses one of another."""
    low = np.maximum(one.min((0, 1)), two.min((0, 1)))
    high = np.minimum(one.max((0, 1)), two.max((0, 1)))

    def near(own: np.ndarray) -> np.ndarray:
        return own[((own.min(1) <= high) & (own.max(1) >= low)).all(1)]

    one, two = near(one), near(two)
    if not (len(one) and len(two)):
        return False
    middles, radii = _balls(one)
    others, reach = _balls(two)
    tree, furthest = cKDTree(others), float(reach.max())
    step = max(1, min(1024, (1 << 22) // len(two)))
    for begin in range(0, len(one), step):
        some = slice(begin, begin + step)
        found = tree.query_ball_point(middles[some], radii[some] + furthest)
        left = np.repeat(np.arange(len(found)) + begin, [len(f) for f in found])
        right = np.concatenate([np.asarray(f, np.int64) for f in found])
        gap = np.linalg.norm(middles[left] - others[right], axis=1)
        close = gap <= radii[left] + reach[right]
        left, right = left[close], right[close]
        for at in range(0, len(left), _PAIRS):
            a, b = one[left[at : at + _PAIRS]], two[right[at : at + _PAIRS]]
            if _pierced(a, b).any() or _pierced(b, a).any():
                return True
    return False


def _balls(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles (F, 3) and radii (F,) of balls about triangles."""
    middle = triangles.mean(1)
    return middle, np.linalg.norm(triangles - middle[:, None], axis=2).max(1)


def _pierced(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Whether an edge of each triangle (N, 3, 3) goes through its partner: (N,) bool. Where it only
    begins or ends there, or lies in it, it does not."""
    origin, side, other = two[:, 0], two[:, 1] - two[:, 0], two[:, 2] - two[:, 0]
    normal = np.cross(side, other)
    out = np.zeros(len(one), bool)
    for k in range(3):
        start, way = one[:, k], one[:, (k + 1) % 3] - one[:, k]
        # start + t way = origin + u side + v other, by Cramer's rule.
        det = -np.einsum("ni,ni->n", way, normal)
        away = start - origin
        turn = np.cross(away, way)
        with np.errstate(all="ignore"):
            t = np.einsum("ni,ni->n", away, normal) / det
            u = np.einsum("ni,ni->n", other, turn) / det
            v = -np.einsum("ni,ni->n", side, turn) / det
            inside = (u > -1e-9) & (v > -1e-9) & (u + v < 1 + 1e-9)
        out |= inside & (t > 1e-9) & (t < 1 - 1e-9)
    return out
