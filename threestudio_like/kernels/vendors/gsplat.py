"""gsplat (Apache-2.0): its blending of projected Gaussians, with the signature of this package.

It needs a CUDA build of torch, and a compiler where no wheel has its kernels. A Gaussian covers at
most 0.999 there and 0.99 here (as published), so very opaque ones differ by that.
"""

from __future__ import annotations

import torch

from ..reference.gaussians import TILE, extents


def splat(
    centres: torch.Tensor,
    conics: torch.Tensor,
    opacities: torch.Tensor,
    depths: torch.Tensor,
    values: torch.Tensor,
    height: int,
    width: int,
) -> torch.Tensor:
    """See `kernels.splat`."""
    import gsplat

    views, _, channels = values.shape
    boxes = extents(centres.detach(), conics.detach(), opacities.detach(), depths)
    radii = ((boxes[..., 1::2] - boxes[..., ::2]) / 2).clamp_min(0).ceil().int()
    tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
    _, pairs, flat = gsplat.isect_tiles(
        centres.detach().contiguous(), radii, depths.contiguous(), TILE, tiles_x, tiles_y
    )
    offsets = gsplat.isect_offset_encode(pairs, views, tiles_x, tiles_y)
    blended, opacity = gsplat.rasterize_to_pixels(
        centres.contiguous(),
        conics.contiguous(),
        values.contiguous(),
        opacities[None].expand(views, -1).contiguous(),
        width,
        height,
        TILE,
        offsets,
        flat,
    )
    assert blended.shape[-1] == channels
    return torch.cat([blended, opacity], -1)
