"""nvdiffrast (non-commercial licence): its rasteriser, interpolation, texture lookup and
antialiasing, with the signatures of this package.

nvdiffrast's pictures have row 0 at the bottom, those of this package at the top. Its antialiasing
examines the edges of the triangle that a pixel shows, so that silhouette gradients fade where
triangles are smaller than pixels; the self-check refuses it where that differs.
"""

from __future__ import annotations

from typing import Any

import torch

from ..surface import EdgeTable

_contexts: dict[torch.device, Any] = {}


def _context(device: torch.device) -> Any:
    import nvdiffrast.torch as dr

    if device not in _contexts:
        _contexts[device] = dr.RasterizeCudaContext(device)
    return _contexts[device]


def rasterize(clip: torch.Tensor, tri: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """See `kernels.rasterize`; clip (B, V, 4)."""
    import nvdiffrast.torch as dr

    faces = tri.to(clip.device, torch.int32).contiguous()
    pixels, _ = dr.rasterize(
        _context(clip.device), clip.contiguous(), faces, (height, width), grad_db=False
    )
    return pixels.flip(1)


def interpolate(attributes: torch.Tensor, tri: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """See `kernels.interpolate`; pixels (B, H, W, 4)."""
    import nvdiffrast.torch as dr

    faces = tri.to(attributes.device, torch.int32).contiguous()
    return dr.interpolate(attributes[None].contiguous(), pixels.contiguous(), faces)[0]


def antialias(
    colour: torch.Tensor, pixels: torch.Tensor, clip: torch.Tensor, table: EdgeTable
) -> torch.Tensor:
    """See `kernels.antialias`; batches."""
    import nvdiffrast.torch as dr

    faces = table.tri.to(clip.device, torch.int32).contiguous()
    return dr.antialias(
        colour.flip(1).contiguous(), pixels.flip(1).contiguous(), clip.contiguous(), faces
    ).flip(1)


def texture(
    texels: torch.Tensor,
    uv: torch.Tensor,
    level: torch.Tensor | None = None,
    mode: str = "bilinear",
) -> torch.Tensor:
    """See `kernels.texture`. Raises ValueError for a bicubic lookup, which nvdiffrast does not
    have."""
    import nvdiffrast.torch as dr

    if mode == "bicubic":
        raise ValueError("nvdiffrast has no bicubic lookup")
    shape = uv.shape[:-1]
    # Its v grows with the row.
    place = torch.stack([uv[..., 0], 1 - uv[..., 1]], -1).reshape(1, 1, -1, 2).contiguous()
    values = texels.permute(0, 2, 3, 1).contiguous()
    if level is None:
        out = dr.texture(
            values,
            place,
            filter_mode="nearest" if mode == "nearest" else "linear",
            boundary_mode="clamp",
        )
    else:
        bias = level.reshape(1, 1, -1).contiguous()
        out = dr.texture(
            values,
            place,
            mip_level_bias=bias,
            filter_mode="linear-mipmap-linear",
            boundary_mode="clamp",
        )
    return out.reshape(*shape, -1)
