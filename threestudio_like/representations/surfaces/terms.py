"""Regularisers of any triangle mesh: what makes flat parts flat and leaves edges sharp."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ...engine.schema.bounds import PositiveSchedule, ScheduleText
from ...kernels import EdgeTable
from ..mesh_terms import laplacian_smoothness, normal_consistency


@dataclass(frozen=True, kw_only=True)
class SurfaceTerms:
    """Schedules of weights; "0" switches a term off."""

    creases: ScheduleText = "0"
    """Sparsity of creases: a small angle between two faces costs, a large one hardly more."""
    crease_angle: PositiveSchedule = "20"
    """No weight: the angle in degrees at which the cost of a crease is half its largest."""
    smoothness: ScheduleText = "0"
    """Curvature-aware smoothing: the umbrella vectors of vertices that lie on no crease."""
    deviation: ScheduleText = "0"
    """FlexiCubes' L_dev: dual vertices as far from all crossings of their own edges."""
    sign_changes: ScheduleText = "0"
    """Entropy of sign changes between neighbouring grid points: nothing floats inside or
    outside."""
    normal_consistency: ScheduleText = "0"
    """threestudio's lambda_normal_consistency."""
    laplacian_smoothness: ScheduleText = "0"
    """threestudio's lambda_laplacian_smoothness."""


def dihedral(
    points: torch.Tensor, tri: torch.Tensor, table: EdgeTable
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """1 - cos of the angle between the normals at every edge of two faces (E,), the edges' lengths
    (E,), and their ends (E, 2). Differentiable in points (V, 3)."""
    inner = table.opposite[:, 1] >= 0
    ends, far = table.edges[inner].long(), table.opposite[inner].long()
    a, b = points[ends[:, 0]], points[ends[:, 1]]
    edge = b - a
    # Both normals from the edge itself: which way the faces turn does not matter.
    one = F.normalize(torch.linalg.cross(edge, points[far[:, 0]] - a), dim=-1, eps=1e-12)
    two = F.normalize(torch.linalg.cross(points[far[:, 1]] - a, edge), dim=-1, eps=1e-12)
    return 1 - (one * two).sum(-1), edge.norm(dim=-1), ends


def crease_sparsity(
    points: torch.Tensor, tri: torch.Tensor, table: EdgeTable, angle: float = 20.0
) -> torch.Tensor:
    """A smooth stand-in for the number of creases (an l0 norm of the normals' jumps): the mean
    over the edges, weighted by their lengths, of q / (q + q0), with q = 1 - cos of the dihedral
    angle and q0 that of `angle` degrees (Geman and McClure's function of the normals' distance).

    Its gradient fades at real creases, so that planes become flat and edges stay.
    """
    if angle <= 0:
        raise ValueError(f"the angle must be positive, got {angle}")
    turn, length, _ = dihedral(points, tri, table)
    half = 1 - torch.cos(torch.deg2rad(torch.tensor(float(angle)))).to(turn)
    # Lengths are weights and no way to a lower loss.
    length = length.detach()
    return (length * turn / (turn + half)).sum() / length.sum().clamp_min(1e-12)


def crease_aware_smoothness(
    points: torch.Tensor, tri: torch.Tensor, table: EdgeTable, angle: float = 20.0
) -> torch.Tensor:
    """Mean squared umbrella vector of the vertices over the mean squared length of the edges,
    every vertex weighted by how little creased its sharpest edge is: (1 + q / q0)^-2."""
    turn, length, ends = dihedral(points, tri, table)
    if len(ends) == 0:
        return points.sum() * 0
    half = 1 - torch.cos(torch.deg2rad(torch.tensor(float(angle)))).to(turn)
    count = len(points)
    every = torch.cat([ends[:, 0], ends[:, 1]])
    sharpest = torch.zeros(count, dtype=turn.dtype, device=turn.device)
    sharpest = sharpest.scatter_reduce(0, every, turn.detach().repeat(2), "amax")
    weight = (1 + sharpest / half).pow(-2)
    step = points[ends[:, 1]] - points[ends[:, 0]]
    total = torch.zeros_like(points).index_add(0, ends[:, 0], step)
    total = total.index_add(0, ends[:, 1], -step)
    degree = torch.bincount(every, minlength=count).clamp_min(1).to(points)
    umbrella = total / degree[:, None]
    scale = length.detach().square().mean().clamp_min(1e-12)
    return (weight * umbrella.square().sum(-1)).mean() / scale


def weighted(
    points: torch.Tensor, tri: torch.Tensor, table: EdgeTable, weights: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """The weighted terms that every mesh has, by their names in `SurfaceTerms`."""
    angle = weights.get("crease_angle", 20.0)
    found: dict[str, torch.Tensor] = {}
    if len(tri) == 0:
        return found

    def add(name: str, value: torch.Tensor) -> None:
        found[name] = weights[name] * value

    if weights.get("creases", 0) > 0:
        add("creases", crease_sparsity(points, tri, table, angle=angle))
    if weights.get("smoothness", 0) > 0:
        add("smoothness", crease_aware_smoothness(points, tri, table, angle=angle))
    if weights.get("normal_consistency", 0) > 0:
        add("normal_consistency", normal_consistency(points, tri, table.edges.long()))
    if weights.get("laplacian_smoothness", 0) > 0:
        add("laplacian_smoothness", laplacian_smoothness(points, table.edges.long()))
    return found
