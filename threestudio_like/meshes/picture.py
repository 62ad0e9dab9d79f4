"""Pictures of meshes by the rasteriser: textured without light (what a viewer with flat lighting shows), or shaded clay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..kernels import interpolate, rasterize
from .mesh import Mesh


@dataclass
class Picture:
    """image (B, S, S, 3) float32 in [0, 1], mask (B, S, S) in [0, 1]."""

    image: np.ndarray
    mask: np.ndarray


@torch.no_grad()
def render_mesh(
    mesh: Mesh,
    view_projection: np.ndarray,
    size: int,
    background: float = 1.0,
    clay: bool = False,
    supersample: int = 2,
) -> Picture:
    """Render one mesh from several cameras.

    Args:
        view_projection: (B, 4, 4) world to clip space.
        size: pixels along the edge.
        background: grey level.
        clay: ignore colours and shade by the normals under three fixed lights.
        supersample: samples along a pixel's edge.
    """
    faces = torch.from_numpy(np.ascontiguousarray(mesh.faces, np.int32))
    homogeneous = torch.from_numpy(np.concatenate([mesh.vertices, np.ones((len(mesh.vertices), 1), np.float32)], 1))
    textured = mesh.texture is not None and mesh.uv is not None and not clay
    if textured:
        attributes = torch.from_numpy(np.ascontiguousarray(mesh.uv, np.float32))
        texture = torch.from_numpy(mesh.texture.astype(np.float32) / 255).permute(2, 0, 1)[None]  # type: ignore[union-attr]
    elif mesh.colours is not None and not clay:
        attributes = torch.from_numpy(np.ascontiguousarray(mesh.colours, np.float32))
    else:
        normals = mesh.normals if mesh.normals is not None else mesh.with_normals().normals
        attributes = torch.from_numpy(np.ascontiguousarray(normals, np.float32))
    images, masks = [], []
    edge = size * supersample
    for matrix in view_projection:
        clip = homogeneous @ torch.from_numpy(np.ascontiguousarray(matrix, np.float32)).T
        pixels = rasterize(clip, faces, edge, edge)
        values = interpolate(attributes, faces, pixels)
        hit = (pixels[..., 3:] > 0).float()
        if textured:
            grid = torch.stack([values[..., 0] * 2 - 1, 1 - values[..., 1] * 2], -1)[None]
            colour = F.grid_sample(texture, grid, padding_mode="border", align_corners=False)[0].permute(1, 2, 0)
        elif mesh.colours is not None and not clay:
            colour = values
        else:
            unit = F.normalize(values, dim=-1)
            lights = torch.tensor([[0.5, 0.7, 0.5], [-0.7, 0.3, 0.4], [0.1, 0.4, -0.9]])
            strength = torch.tensor([0.55, 0.3, 0.3])
            lit = 0.18 + ((unit @ F.normalize(lights, dim=-1).T).clamp_min(0) * strength).sum(-1, keepdim=True)
            colour = lit.clamp(0, 1).expand(-1, -1, 3) * torch.tensor([0.92, 0.90, 0.87])
        whole = torch.cat([colour * hit + background * (1 - hit), hit], -1).permute(2, 0, 1)[None]
        whole = F.avg_pool2d(whole, supersample)[0]
        images.append(whole[:3].permute(1, 2, 0).numpy())
        masks.append(whole[3].numpy())
    return Picture(np.stack(images), np.stack(masks))
