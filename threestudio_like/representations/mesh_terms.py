"""Regularisers of a mesh whose vertices move, with threestudio's names. Vertices are welded: two at
one place are one."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def smooth_normals(points: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Unit normals (V, 3) of vertices (V, 3): those of their faces (F, 3), weighted by area.
    Differentiable; zero where no face has an area."""
    a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    cross = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(points)
    for corner in range(3):
        total = total.index_add(0, faces[:, corner], cross)
    return F.normalize(total, dim=-1)


def normal_consistency(
    points: torch.Tensor, faces: torch.Tensor, edges: torch.Tensor
) -> torch.Tensor:
    """Mean over edges (E, 2) of 1 - cos of the angle between the vertex normals at their ends
    (threestudio's lambda_normal_consistency)."""
    ends = smooth_normals(points, faces)[edges]
    return (1 - F.cosine_similarity(ends[:, 0], ends[:, 1], dim=-1)).mean()


def laplacian_smoothness(points: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Mean over vertices of |sum_j (v_i - v_j)| over their neighbours: the uniform Laplacian, not
    divided by their number (threestudio's lambda_laplacian_smoothness)."""
    step = points[edges[:, 0]] - points[edges[:, 1]]
    total = torch.zeros_like(points).index_add(0, edges[:, 0], step)
    return total.index_add(0, edges[:, 1], -step).norm(dim=1).mean()
