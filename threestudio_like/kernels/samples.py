"""Small sets of rays, surfaces and Gaussians for checks and examples of kernels."""

from __future__ import annotations

import torch


def sample_rays(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Origins (R, 3), unit directions (R, 3) towards the cube, jitter (R,)."""
    generator = torch.Generator().manual_seed(0)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) * 3
    targets = torch.rand(count, 3, generator=generator) - 0.5
    return (
        origins,
        torch.nn.functional.normalize(targets - origins, dim=-1),
        torch.rand(count, generator=generator),
    )


def sample_triangles() -> tuple[torch.Tensor, torch.Tensor]:
    """Clip-space corners (60, 4) of twenty triangles, and their indices (20, 3)."""
    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(20, 1, 3, generator=generator) * 2 - 1
    points = (corner + torch.rand(20, 3, 3, generator=generator) - 0.5).reshape(-1, 3)
    w = 1.5 + points[:, 2:]
    return torch.cat([points * torch.tensor([1.0, 1.0, 0.5]), w], 1), torch.arange(
        60, dtype=torch.int32
    ).view(20, 3)


def sample_gaussians(
    count: int, size: float = 0.12, seed: int = 5
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gaussians within the unit sphere: means (N, 3), scales (N, 3) of about `size`, quaternions
    (N, 4) not of length one, and opacities (N,)."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    means = means * torch.rand(count, 1, generator=generator) ** (1 / 3)
    scales = size * torch.exp(0.5 * torch.randn(count, 3, generator=generator))
    quaternions = 2 * torch.randn(count, 4, generator=generator)
    return means, scales, quaternions, 0.02 + 0.96 * torch.rand(count, generator=generator)


def sample_views(count: int, height: int) -> tuple[torch.Tensor, torch.Tensor]:
    """World-to-camera matrices (B, 4, 4) of cameras around the unit sphere, and their focal lengths
    (B,) in pixels."""
    turn = torch.arange(count) * 2.4 + 0.3
    zero, one = torch.zeros(count), torch.ones(count)
    rise = 0.3 * torch.sin(turn)
    about = torch.stack(
        [
            *(turn.cos(), zero, -turn.sin()),
            *(-rise.sin() * turn.sin(), rise.cos(), -rise.sin() * turn.cos()),
            *(rise.cos() * turn.sin(), rise.sin(), rise.cos() * turn.cos()),
        ],
        -1,
    ).view(count, 3, 3)
    views = torch.eye(4).repeat(count, 1, 1)
    views[:, :3, :3], views[:, 2, 3] = about, -2.6 * one
    return views, 1.3 * height * one


def sample_surface(rows: int = 9, columns: int = 14) -> tuple[torch.Tensor, torch.Tensor]:
    """A closed body: vertices (V, 3) and faces (F, 3) of a wavy sphere of latitude and
    longitude."""
    polar = torch.linspace(0, torch.pi, rows)[:, None]
    turn = torch.arange(columns) * (2 * torch.pi / columns)
    radius = 0.7 + 0.1 * torch.sin(3 * polar) * torch.cos(2 * turn)
    points = radius[..., None] * torch.stack(
        [polar.sin() * turn.cos(), polar.cos().expand(rows, columns), polar.sin() * turn.sin()], -1
    )
    # One vertex at each pole.
    points[0], points[-1] = points[0].mean(0), points[-1].mean(0)
    index = torch.arange(rows * columns).view(rows, columns)
    a, b = index[:-1], index[1:]
    c, d = a.roll(-1, 1), b.roll(-1, 1)
    faces = torch.stack([torch.stack([a, c, b], -1), torch.stack([c, d, b], -1)], 2).view(-1, 3)
    return points.reshape(-1, 3), faces
