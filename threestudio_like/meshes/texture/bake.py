"""Bakes a colour function over the surface into a texture atlas, with padding around the charts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from ...kernels import interpolate, rasterize
from ..mesh import Mesh

SurfaceColour = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Maps (points (N, 3), unit normals (N, 3)) to colours (N, 3) in [0, 1]."""


def atlas_raster(mesh: Mesh, resolution: int) -> torch.Tensor:
    """The rasterised atlas (R, R, 4) as `kernels.rasterize` returns it, with row 0 at v = 1."""
    assert mesh.uv is not None
    clip = np.concatenate(
        [mesh.uv * 2 - 1, np.zeros((len(mesh.uv), 1)), np.ones((len(mesh.uv), 1))], 1
    ).astype(np.float32)
    return rasterize(
        torch.from_numpy(clip), torch.from_numpy(mesh.faces), resolution, width=resolution
    )


def fill_gaps(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Give texels (H, W, C) outside of `known` (H, W) the value of the nearest known texel."""
    if known.all() or not known.any():
        return values
    rows, columns = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[rows, columns]


@torch.no_grad()
def bake(mesh: Mesh, colour: SurfaceColour, resolution: int) -> Mesh:
    """The mesh with a texture (R, R, 3) uint8 that is sampled from `colour` at every texel's point
    on the surface."""
    with_normals = mesh if mesh.normals is not None else mesh.with_normals()
    assert with_normals.normals is not None
    pixels = atlas_raster(mesh, resolution)
    faces = torch.from_numpy(mesh.faces)
    attributes = torch.from_numpy(np.concatenate([mesh.vertices, with_normals.normals], 1))
    surface = interpolate(attributes, faces, pixels)
    known = (pixels[..., 3] > 0).numpy()
    flat = surface[pixels[..., 3] > 0]
    normals = torch.nn.functional.normalize(flat[:, 3:], dim=-1)
    values = np.zeros((resolution, resolution, 3), np.float32)
    values[known] = colour(flat[:, :3].contiguous(), normals).clamp(0, 1).numpy()
    texture = np.rint(fill_gaps(values, known) * 255).astype(np.uint8)
    return replace(mesh, texture=texture, normals=with_normals.normals)
