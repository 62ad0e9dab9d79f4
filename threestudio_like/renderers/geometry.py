"""What pictures of a mesh say of its geometry alone: depth, normals, creases and silhouettes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..kernels import interpolate, rasterize
from ..representations.textured_mesh import TexturedMesh
from .cameras import Cameras
from .surface import seen_pixels

CREASE = 42.0
"""Angle in degrees between two faces above which the edge between them is a crease."""
STEP = 1.5
"""Distance of two neighbouring pixels' surfaces, in pixels at their depth, above which one stands
before the other."""


@dataclass(frozen=True, eq=False)
class GeometryMaps:
    """Maps of B pictures.

    hit (B, H, W) bool; depth (B, H, W) along the optical axis in scene units, 0 outside; normals
    (B, H, W, 3) of what is seen, towards the camera, in its own axes (x to the right, y up, z to
    the viewer), 0 outside; edges (B, H, W) bool: creases, silhouettes and where one surface stands
    before another, a pixel wide.
    """

    hit: torch.Tensor
    depth: torch.Tensor
    normals: torch.Tensor
    edges: torch.Tensor

    def part(self, entries: slice) -> GeometryMaps:
        """The maps of consecutive pictures."""
        return GeometryMaps(
            self.hit[entries],
            self.depth[entries],
            normals=self.normals[entries],
            edges=self.edges[entries],
        )


@dataclass(frozen=True, eq=False)
class Shape:
    """Triangles with normals that are smooth but for creases.

    points (V, 3) and tri (F, 3) int32 are drawn; normals (F, 3, 3) are those of the corners;
    surface: whose holes are looked through, or None.
    """

    points: torch.Tensor
    tri: torch.Tensor
    normals: torch.Tensor
    surface: TexturedMesh | None = None

    @staticmethod
    def of(
        points: torch.Tensor,
        tri: torch.Tensor,
        welded: torch.Tensor | None = None,
        surface: TexturedMesh | None = None,
    ) -> Shape:
        """The shape of a mesh; `welded` (V,) says which vertices are one."""
        from ..meshes.surface.creases import crease_normals

        joined = tri.long() if welded is None else welded[tri.long()]
        normals = crease_normals(
            np.ascontiguousarray(points.detach().cpu().numpy(), np.float32),
            np.ascontiguousarray(joined.cpu().numpy(), np.int32),
            np.float32(np.cos(np.deg2rad(CREASE))),
        )
        there = points.device
        return Shape(points.detach(), tri.int(), torch.from_numpy(normals).to(there), surface)

    @staticmethod
    def of_surface(surface: TexturedMesh) -> Shape:
        """The shape of a textured mesh as it stands now."""
        return Shape.of(surface.vertices(), surface.tri, surface.welded, surface)


@torch.no_grad()
def geometry_maps(shape: Shape, cameras: Cameras, size: int) -> GeometryMaps:
    """The maps of B pictures of `size` pixels."""
    points, tri = shape.points, shape.tri
    cameras = cameras.to(points.device).resized(size, size)
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], 1)
    clip = (homogeneous @ cameras.view_projection().transpose(1, 2)).contiguous()
    if shape.surface is None:
        pixels = rasterize(clip, tri, size, width=size)
    else:
        pixels = seen_pixels(shape.surface, clip, size, width=size)
    hit = pixels[..., 3] > 0
    corners = torch.arange(3 * len(tri), device=points.device, dtype=torch.int32).view(-1, 3)
    own = interpolate(shape.normals.reshape(-1, 3), corners, pixels)
    place = interpolate(points, tri, pixels)
    turn = cameras.camera_to_world[:, None, None, :3, :3]
    # Into the camera's axes: the transpose of its turn.
    normals = F.normalize((own[..., None, :] @ turn)[..., 0, :], dim=-1)
    place = ((place - cameras.camera_to_world[:, None, None, :3, 3])[..., None, :] @ turn)[
        ..., 0, :
    ]
    away = -(normals * place).sum(-1, keepdim=True)
    normals = torch.where(away < 0, -normals, normals) * hit[..., None]
    depth = torch.where(hit, -place[..., 2], 0)
    pixel = 2 * torch.tan(cameras.fov_y / 2)[:, None, None] / size
    return GeometryMaps(hit, depth, normals, edges=_edges(hit, place, normals, pixel=pixel))


def _edges(
    hit: torch.Tensor, place: torch.Tensor, normals: torch.Tensor, pixel: torch.Tensor
) -> torch.Tensor:
    """Edges (B, H, W) between each pixel and its right and lower neighbours, a pixel wide: on the
    nearer of two surfaces, on the object at its silhouette, above or left of a crease.

    Args:
        place: (B, H, W, 3) in the camera's axes. pixel: (B, 1, 1) width of a pixel at depth 1.
    """
    edges = torch.zeros_like(hit)
    limit = float(np.cos(np.deg2rad(CREASE)))
    for axis in (1, 2):
        length = hit.shape[axis] - 1
        one, two = (
            tuple(x.narrow(axis, begin, length) for x in (hit, place, normals)) for begin in (0, 1)
        )
        both = one[0] & two[0]
        apart = two[1] - one[1]
        gap = torch.minimum((one[2] * apart).sum(-1).abs(), (two[2] * apart).sum(-1).abs())
        near = torch.minimum(-one[1][..., 2], -two[1][..., 2])
        step = both & (gap > STEP * pixel * near)
        bent = both & ~step & ((one[2] * two[2]).sum(-1) < limit)
        first = apart[..., 2] < 0
        edges.narrow(axis, 0, length).logical_or_((one[0] & ~two[0]) | (step & first) | bent)
        edges.narrow(axis, 1, length).logical_or_((two[0] & ~one[0]) | (step & ~first))
    return edges
