"""Where Gaussians begin: a ball, points, a mesh, or a field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from ..engine.random import RandomStream
from .field import Field
from .voxel_grid import density_volume, sample_grid

WIDE, FLAT = 0.8, 0.15
"""Width and thickness of a disc on a surface, as shares of the distance to its neighbours: they
cover the surface and reach little beyond its edges."""


@dataclass(frozen=True)
class Start:
    """points (N, 3), scales (N, 3), quaternions (N, 4), w first, and opacities (N,)."""

    points: torch.Tensor
    scales: torch.Tensor
    rotations: torch.Tensor
    opacities: torch.Tensor


def of_points(points: torch.Tensor, opacity: float = 0.1) -> Start:
    """Round Gaussians at points (N, 3), as large as their three nearest neighbours are far: root
    mean square, as published."""
    count = len(points)
    places = points.detach().cpu().double().numpy()
    if count > 1:
        found, _ = cKDTree(places).query(places, k=min(4, count))
        far = np.sqrt((found[:, 1:] ** 2).mean(1))
    else:
        far = np.full(count, 0.1)
    scales = torch.from_numpy(far.astype(np.float32)).clamp_min(1e-4)[:, None].repeat(1, 3)
    turns = torch.tensor([1.0, 0, 0, 0]).repeat(count, 1)
    return Start(points.detach().cpu().float(), scales, turns, torch.full((count,), opacity))


def ball(count: int, radius: float, opacity: float, random: RandomStream) -> Start:
    """Points spread evenly in a ball about the origin."""
    directions = torch.nn.functional.normalize(random.normal("ball", (count, 3)), dim=-1)
    return of_points(directions * radius * random.uniform("radius", (count, 1)) ** (1 / 3), opacity)


def turned_to(normals: torch.Tensor) -> torch.Tensor:
    """Quaternions (N, 4) that turn the third axis to unit normals (N, 3)."""
    x, y, z = normals.unbind(-1)
    # Half way between the axis and the normal; for a normal opposite to it, about the first axis.
    quaternion = torch.stack([1 + z, -y, x, torch.zeros_like(z)], -1)
    opposite = quaternion.new_tensor([0.0, 1.0, 0.0, 0.0]).expand_as(quaternion)
    quaternion = torch.where(z[:, None] < -0.9999, opposite, quaternion)
    return torch.nn.functional.normalize(quaternion, dim=-1)


@dataclass(frozen=True)
class Spread:
    """Points spread evenly over a surface: points (N, 3), unit normals (N, 3), the face (N,) that
    each lies in, and its weights (N, 3) of the face's corners."""

    points: torch.Tensor
    normals: torch.Tensor
    face: torch.Tensor
    weights: torch.Tensor


def spread(vertices: torch.Tensor, faces: torch.Tensor, count: int, random: RandomStream) -> Spread:
    """`count` points on a surface, one in each of as many equal shares of its area.

    Args:
        vertices: (V, 3). faces: (F, 3).
    """
    corners = vertices.float().cpu()[faces.long().cpu()]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    along = cross.norm(dim=-1).double().cumsum(0)
    within = (torch.arange(count) + random.uniform("area", (count,))).double() / max(count, 1)
    face = torch.searchsorted(along, within * along[-1]).clamp_max(len(faces) - 1)
    u = random.uniform("corner", (count, 2))
    u = torch.where(u.sum(1, keepdim=True) > 1, 1 - u, u)
    weights = torch.stack([1 - u.sum(1), u[:, 0], u[:, 1]], 1)
    points = (corners[face] * weights[..., None]).sum(1)
    return Spread(points, torch.nn.functional.normalize(cross[face], dim=-1), face, weights)


def discs(points: torch.Tensor, normals: torch.Tensor, opacity: float = 0.9) -> Start:
    """Flat Gaussians at points (N, 3) across unit normals (N, 3)."""
    start = of_points(points, opacity)
    flat = start.scales * start.scales.new_tensor([WIDE, WIDE, FLAT])
    return Start(start.points, flat, turned_to(normals), start.opacities)


@torch.no_grad()
def of_field(
    other: Field, count: int, random: RandomStream, size: int = 64
) -> tuple[Start, torch.Tensor]:
    """Points where a field is dense, and its features there (N, C).

    Cells are drawn by how much they hide; a point lies anywhere in its cell.
    """
    volume = density_volume(other, size).cpu().float()
    hidden = -torch.expm1(-volume.reshape(-1) * (2.0 / size))
    along = hidden.double().cumsum(0)
    if float(along[-1]) <= 0:
        start = ball(count, 0.5, 0.1, random)
    else:
        within = (torch.arange(count) + random.uniform("cells", (count,))).double() / count
        cell = torch.searchsorted(along, within * along[-1]).clamp_max(len(along) - 1)
        place = torch.stack([cell % size, cell // size % size, cell // size**2], -1)
        spread = random.uniform("within", (count, 3)) - 0.5
        points = (place + spread) * (2.0 / (size - 1)) - 1
        start = of_points(points.clamp(-1, 1), 0.5)
    features = torch.cat([sample_grid(other, p)[1].cpu() for p in start.points.split(1 << 16)])
    return start, features.float()
