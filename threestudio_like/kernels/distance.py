"""Distances to a surface and winding numbers, through a tree of boxes over its triangles.

tree = surface_tree(vertices, tri)
distance, face, point = nearest(tree, queries)
inside = winding_number(tree, queries) > 0.5
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .dispatch import implementation
from .reference import distance as reference


@dataclass(frozen=True)
class SurfaceTree:
    """A bounding-volume tree over the triangles of a mesh: corners (F, 3, 3) on the mesh's device,
    and the arrays that the CPU backend traverses."""

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
    """Build the tree of a mesh; it takes about a millisecond for a thousand faces. Raises
    ValueError for a mesh without faces."""
    from .cpu.tree import MOMENTS, build_tree, dipoles

    if len(tri) == 0:
        raise ValueError("surface_tree needs at least one face")
    corners = vertices.detach().float()[tri.long()].contiguous()
    array = corners.cpu().numpy()
    low, high = array.min(1), array.max(1)
    count = 2 * len(array) + 1
    order, child, span = (
        np.arange(len(array), dtype=np.int32),
        np.empty(count, np.int32),
        np.empty((count, 2), np.int32),
    )
    bounds, moments = np.empty((count, 6), np.float32), np.empty((count, MOMENTS), np.float32)
    used = build_tree(
        low, high, np.ascontiguousarray((low + high) * np.float32(0.5)), order, bounds, child, span
    )
    dipoles(array, order, child, span, used, moments)
    triangles = np.ascontiguousarray(array[order].reshape(-1, 9))
    return SurfaceTree(
        corners,
        triangles,
        order,
        bounds=bounds[:used],
        moments=moments[:used],
        child=child[:used],
        span=span[:used],
    )


def _nearest(
    queries: torch.Tensor, tree: SurfaceTree
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return reference.nearest(queries, tree.corners.to(queries))


def _winding_number(queries: torch.Tensor, tree: SurfaceTree, beta: float) -> torch.Tensor:
    return reference.winding_number(queries, tree.corners.to(queries))


def nearest(
    tree: SurfaceTree,
    queries: torch.Tensor,  # [Q, 3]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # distance [Q], face [Q] int64, point [Q, 3]
    """The surface point nearest to every query, its face and its distance. Not differentiable: its
    gradient in the query is (query - point) / distance."""
    return implementation("nearest", _nearest, queries)(queries.detach(), tree)


def winding_number(
    tree: SurfaceTree,
    queries: torch.Tensor,  # [Q, 3]
    beta: float = 3.0,
) -> torch.Tensor:  # [Q]
    """The generalised winding number of a triangle soup: above one half inside, also for open and
    self-intersecting surfaces.

    Args:
        beta: parts farther away than this many of their radii are approximated by the first three
            terms of a series (Barill et al. 2018). A larger value is more exact and slower; the
            error is at most 0.003 at 3 and 0.01 at 2. A GPU sums every triangle.
    """
    return implementation("winding_number", _winding_number, queries)(queries.detach(), tree, beta)
