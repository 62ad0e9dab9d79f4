"""The definition of ray marching and compositing, in plain torch, on any device."""

from __future__ import annotations

import torch


def box_range(origins: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where rays [R, 3] enter and leave [-1, 1]^3: (near, far) [R]; near >= 0, and far <= near for
    a miss."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a, b = (-1 - origins) / safe, (1 - origins) / safe
    near = torch.minimum(a, b).amax(-1).clamp_min(0.0)
    return near, torch.maximum(a, b).amin(-1)


def march(
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3] unit
    occupied: torch.Tensor,  # [G, G, G] bool, axes z, y, x over [-1, 1]^3
    step: float,
    jitter: torch.Tensor,  # [R] in [0, 1)
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # t [S], ray [S] int64, offsets [R + 1] int64
    """Samples at near + (k + jitter) * step that lie in occupied cells, ray by ray. Not
    differentiable."""
    near, far = box_range(origins, directions)
    count = int(((far - near) / step).clamp_min(0).max().ceil()) + 1 if len(origins) else 0
    k = torch.arange(count, device=origins.device, dtype=origins.dtype)
    t = near[:, None] + (k[None] + jitter[:, None]) * step
    inside = t < far[:, None]
    position = origins[:, None] + t[..., None] * directions[:, None]
    size = occupied.shape[0]
    cell = ((position + 1) * (size * 0.5)).floor().long().clamp(0, size - 1)
    keep = inside & occupied[cell[..., 2], cell[..., 1], cell[..., 0]]
    ray = keep.nonzero()[:, 0]
    offsets = torch.zeros(len(origins) + 1, dtype=torch.long, device=origins.device)
    offsets[1:] = keep.sum(1).cumsum(0)
    return t[keep], ray, offsets


def composite(
    sigma: torch.Tensor,  # [S]
    features: torch.Tensor,  # [S, C]
    t: torch.Tensor,  # [S]
    offsets: torch.Tensor,  # [R + 1] int64
    step: float,
    stop: float = 1e-4,
) -> tuple[torch.Tensor, torch.Tensor]:  # [R, C + 2] features, opacity, depth; weights [S]
    """Emission-absorption compositing; a ray ends where its transmittance falls under `stop`.

    Depth is the expected distance along the ray, not divided by the opacity. Differentiable in
    `sigma` and `features`.
    """
    rays = offsets.numel() - 1
    lengths = offsets.diff()
    ray = torch.repeat_interleave(torch.arange(rays, device=sigma.device), lengths)
    # A float64 running sum: float32 loses digits over hundreds of thousands of samples.
    optical = (sigma * step).double()
    total = torch.cat([optical.new_zeros(1), optical.cumsum(0)])
    before = total[:-1] - total[offsets[:-1]][ray]
    transmittance = torch.exp(-before)
    alive = (transmittance >= stop).to(sigma.dtype)
    weights = (transmittance * -torch.expm1(-optical)).to(sigma.dtype) * alive
    columns = torch.cat([features, torch.ones_like(sigma)[:, None], t[:, None]], 1)
    out = torch.zeros(rays, columns.shape[1], dtype=sigma.dtype, device=sigma.device)
    return out.index_add(0, ray, weights[:, None] * columns), weights
