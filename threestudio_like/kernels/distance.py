"""Distances to a surface and winding numbers, through a tree of boxes over its triangles.

tree = surface_tree(vertices, tri)
distance, face, point = nearest(tree, queries)
inside = winding_number(tree, queries) > 0.5
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from . import pool
from .dispatch import serves_cpu
from .ops import as_array
from .reference import distance as reference


@dataclass(frozen=True)
class SurfaceTree:
    """A tree over the triangles of a mesh: corners (F, 3, 3), and the arrays that the CPU twin walks."""

    corners: torch.Tensor
    triangles: np.ndarray
    order: np.ndarray
    bounds: np.ndarray
    moments: np.ndarray
    child: np.ndarray
    span: np.ndarray


def surface_tree(
    vertices: torch.Tensor,  # [V, 3]
    tri: torch.Tensor,  # [F, 3] int
) -> SurfaceTree:
    """Build the tree; about a millisecond a thousand faces. Raises ValueError for a mesh without faces."""
    from .cpu.tree import build_tree, dipoles

    if len(tri) == 0:
        raise ValueError("surface_tree wants at least one face")
    corners = vertices.detach().float()[tri.long()].contiguous()
    array = corners.numpy()
    low, high = array.min(1), array.max(1)
    count = 2 * len(array) + 1
    order, child, span = (
        np.arange(len(array), dtype=np.int32),
        np.empty(count, np.int32),
        np.empty((count, 2), np.int32),
    )
    bounds, moments = np.empty((count, 6), np.float32), np.empty((count, 7), np.float32)
    used = build_tree(low, high, np.ascontiguousarray((low + high) * np.float32(0.5)), order, bounds, child, span)
    dipoles(array, order, child, span, used, moments)
    triangles = np.ascontiguousarray(array[order].reshape(-1, 9))
    return SurfaceTree(corners, triangles, order, bounds[:used], moments[:used], child[:used], span[:used])


def nearest(
    tree: SurfaceTree,
    queries: torch.Tensor,  # [Q, 3]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # distance [Q], face [Q] int64, point [Q, 3]
    """The surface point nearest to every query, its face and its distance. Not differentiable: its gradient in the query is
    (query - point) / distance."""
    if not serves_cpu("nearest", queries):
        return reference.nearest(queries.detach(), tree.corners.to(queries))
    from .cpu.tree import nearest_range

    q = as_array(queries)
    distance, place, point = np.empty(len(q), np.float32), np.empty(len(q), np.int32), np.empty((len(q), 3), np.float32)
    pool.run(nearest_range, [
        (q, tree.triangles, tree.bounds, tree.child, tree.span, a, b, distance, place, point) for a, b in pool.split(len(q), 256)
    ])  # fmt: skip
    face = torch.from_numpy(tree.order[place].astype(np.int64))
    return torch.from_numpy(distance), face, torch.from_numpy(point)


def winding_number(
    tree: SurfaceTree,
    queries: torch.Tensor,  # [Q, 3]
    beta: float = 3.0,
) -> torch.Tensor:  # [Q]
    """The generalised winding number of a triangle soup: above one half inside, also of open and self-intersecting surfaces.

    Args:
        beta: parts farther than this many of their radii count as one dipole; larger is more exact and slower (0.01 off at 3).
    """
    if not serves_cpu("winding_number", queries):
        return reference.winding_number(queries.detach(), tree.corners.to(queries))
    from .cpu.tree import winding_range

    q, out = as_array(queries), np.empty(len(queries), np.float32)
    pool.run(winding_range, [
        (q, tree.triangles, tree.moments, tree.child, tree.span, np.float32(beta), a, b, out) for a, b in pool.split(len(q), 256)
    ])  # fmt: skip
    return torch.from_numpy(out)
