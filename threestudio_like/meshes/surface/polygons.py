"""Cuts polygons with any number of corners, concave ones too, into triangles."""

from __future__ import annotations

import numpy as np


def triangulate(points: np.ndarray) -> np.ndarray:
    """Triangles (N - 2, 3) int64 of one polygon: numbers of its corners, in its own sense of
    rotation.

    The polygon is projected along Newell's normal and its ears are clipped; a convex one becomes a
    fan. One that crosses itself still gives N - 2 triangles.

    Args:
        points: (N, 3), the corners in order.
    """
    points = np.asarray(points, np.float64)
    if len(points) < 3:
        return np.zeros((0, 3), np.int64)
    return _of_one_size(points[None])[0]


def triangulate_all(
    points: np.ndarray, corners: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of many polygons, in their order; a polygon of fewer than three corners gives none.

    Args:
        points: (V, 3).
        corners: (C,) the point of every corner, polygon by polygon.
        sizes: (P,) the number of corners of every polygon; their sum is C.

    Returns:
        triangles (T, 3) int64: numbers of corners (in `corners`, not in `points`); owner (T,)
        int64: the polygon of every triangle.
    """
    sizes = np.asarray(sizes, np.int64)
    starts = np.cumsum(sizes) - sizes
    triangles, owners = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.int64)]
    for size in np.unique(sizes[sizes >= 3]).tolist():
        mine = np.flatnonzero(sizes == size)
        slots = starts[mine, None] + np.arange(size)
        if size == 3:
            triangles.append(slots)
        else:
            local = _of_one_size(np.asarray(points, np.float64)[corners[slots]])
            triangles.append((starts[mine, None, None] + local).reshape(-1, 3))
        owners.append(np.repeat(mine, size - 2))
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(triangles)[order], owner[order]


def _of_one_size(points: np.ndarray) -> np.ndarray:
    """Triangles (P, N - 2, 3) int64 of polygons (P, N, 3) with equally many corners."""
    size = points.shape[1]
    rest = np.arange(1, size - 1)
    fan = np.stack([np.zeros_like(rest), rest, rest + 1], 1)
    out = np.repeat(fan[None], len(points), 0)
    if size == 3:
        return out
    flat = _projected(points)
    whole = np.abs(_turns(flat, fan)).sum(1)
    # A triangle thinner than this is no triangle.
    least = 1e-9 * whole[:, None]
    usual = (_turns(flat, fan) > least).all(1)
    if size == 4:
        other = np.array([[1, 2, 3], [1, 3, 0]])
        out[~usual & (_turns(flat, other) > least).all(1)] = other
        done = usual | (_turns(flat, other) > least).all(1)
    else:
        # Convex, or else a spiral could have a fan of triangles that all turn the right way.
        turn = np.arange(size)
        around = np.stack([turn - 1, turn, (turn + 1) % size], 1)
        done = usual & (_turns(flat, around) > -least).all(1)
    # What is no area at all has no better triangles than the fan, and no ears.
    todo = np.flatnonzero(~done & (whole > 0) & np.isfinite(whole))
    if len(todo):
        from .ears import clip_ears

        out[todo] = clip_ears(np.ascontiguousarray(flat[todo]))
    return out


def _projected(points: np.ndarray) -> np.ndarray:
    """Polygons (P, N, 3) in the plane across Newell's normal, (P, N, 2), counter-clockwise."""
    with np.errstate(all="ignore"):
        local = points - points.mean(1, keepdims=True)
        local = local / np.maximum(np.abs(local).max((1, 2)), 1e-300)[:, None, None]
        normal = np.cross(local, np.roll(local, -1, 1)).sum(1)
        normal = normal / np.maximum(np.linalg.norm(normal, axis=1), 1e-300)[:, None]
        # The axis that the normal is least along makes the steadiest tangent.
        axis = np.eye(3)[np.argmin(np.abs(normal), 1)]
        tangent = np.cross(axis, normal)
        tangent = tangent / np.maximum(np.linalg.norm(tangent, axis=1), 1e-300)[:, None]
        bitangent = np.cross(normal, tangent)
        return np.stack(
            [np.einsum("pnk,pk->pn", local, tangent), np.einsum("pnk,pk->pn", local, bitangent)], -1
        )


def _turns(flat: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Twice the signed areas (P, T) of triangles (T, 3) of polygons (P, N, 2)."""
    with np.errstate(all="ignore"):
        a, b, c = (flat[:, triangles[:, k]] for k in range(3))
        u, v = b - a, c - a
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
