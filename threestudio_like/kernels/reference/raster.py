"""What correctness means for rasterisation and attribute interpolation: plain torch, any device."""

from __future__ import annotations

import torch


def rasterize(
    clip: torch.Tensor,  # [V, 4]
    tri: torch.Tensor,  # [F, 3] int
    height: int,
    width: int,
) -> torch.Tensor:  # [H, W, 4]: u, v, z/w, triangle + 1 (0 where nothing is hit)
    """The nearest triangle of every pixel centre, OpenGL convention, row 0 at the top. Not differentiable itself."""
    dtype = clip.dtype
    y = 1 - (torch.arange(height, dtype=dtype) + 0.5) * (2 / height)
    x = (torch.arange(width, dtype=dtype) + 0.5) * (2 / width) - 1
    pixels = torch.stack(
        [x[None].expand(height, width), y[:, None].expand(height, width), torch.ones(height, width, dtype=dtype)], -1
    )
    pixels = pixels.reshape(-1, 3)
    depth = torch.full((height * width,), 2.0, dtype=dtype)
    out = torch.zeros(height * width, 4, dtype=dtype)
    for number, (a, b, c) in enumerate(tri.tolist()):
        corners = clip[[a, b, c]]
        matrix = corners[:, [0, 1, 3]].double()
        if float(corners[:, 3].max()) <= 0 or abs(float(torch.linalg.det(matrix))) < 1e-14:
            continue
        q = (pixels.double() @ torch.linalg.inv(matrix)).to(dtype)
        total = q.sum(1)
        z = q @ corners[:, 2]
        hit = (q >= 0).all(1) & (total > 0) & (z >= -1) & (z <= 1) & (z < depth)
        depth = torch.where(hit, z, depth)
        safe = torch.where(total == 0, torch.ones_like(total), total)
        row = torch.stack([q[:, 0] / safe, q[:, 1] / safe, z, torch.full_like(z, number + 1)], 1)
        out = torch.where(hit[:, None], row, out)
    return out.reshape(height, width, 4)


def interpolate(
    attributes: torch.Tensor,  # [V, C]
    tri: torch.Tensor,  # [F, 3] int
    raster: torch.Tensor,  # [H, W, 4] from `rasterize`
) -> torch.Tensor:  # [H, W, C], zero where nothing is hit
    """Perspective-correct vertex attributes at every pixel. Differentiable in `attributes`."""
    hit = raster[..., 3].long() - 1
    corners = tri.long()[hit.clamp_min(0)]
    u, v = raster[..., 0:1], raster[..., 1:2]
    value = (
        attributes[corners[..., 0]] * u + attributes[corners[..., 1]] * v + attributes[corners[..., 2]] * (1 - u - v)
    )
    return value * (hit >= 0)[..., None]
