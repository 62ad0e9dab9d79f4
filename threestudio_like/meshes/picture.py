"""Pictures of assets by the rasteriser: textured with flat lighting, lit, or as shaded clay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..kernels import interpolate, rasterize
from .mesh import Asset, Mesh

Light = Callable[[torch.Tensor], torch.Tensor]
"""Maps unit normals (..., 3) to irradiance (..., 1 or 3): the display value of a white matt
surface."""


@dataclass
class Picture:
    """Rendered pictures: image (B, S, S, 3) float32 in [0, 1] and mask (B, S, S) in [0, 1]."""

    image: np.ndarray
    mask: np.ndarray


def clay_light(normals: torch.Tensor) -> torch.Tensor:
    """Three fixed lights on warm grey: maps unit normals (..., 3) to colours (..., 3)."""
    lights = torch.tensor([[0.5, 0.7, 0.5], [-0.7, 0.3, 0.4], [0.1, 0.4, -0.9]])
    strength = torch.tensor([0.55, 0.3, 0.3])
    lit = 0.18 + ((normals @ F.normalize(lights, dim=-1).T).clamp_min(0) * strength).sum(
        -1, keepdim=True
    )
    return lit.clamp(0, 1) * torch.tensor([0.92, 0.90, 0.87])


class Appearance:
    """The unlit colours of one mesh, from its texture, its vertices or its material.

    Args:
        finest: largest number of texels along an edge; larger textures are averaged down, and 0
            keeps them as they are.
    """

    def __init__(self, mesh: Mesh, finest: int = 0) -> None:
        self.factor = torch.tensor(
            mesh.material.colour[:3] if mesh.material is not None else (1.0, 1.0, 1.0)
        )
        self.texture = self.attributes = None
        if mesh.texture is not None and mesh.uv is not None:
            self.texture = torch.from_numpy(mesh.texture[..., :3].astype(np.float32) / 255).permute(
                2, 0, 1
            )[None]
            if finest and max(self.texture.shape[2:]) > finest:
                self.texture = F.interpolate(self.texture, (finest, finest), mode="area")
            self.attributes = torch.from_numpy(np.ascontiguousarray(mesh.uv, np.float32))
        elif mesh.colours is not None:
            self.attributes = torch.from_numpy(np.ascontiguousarray(mesh.colours, np.float32))
        self.grey = self.attributes is None and mesh.material is None

    def colour(self, values: torch.Tensor | None) -> torch.Tensor:
        """Display RGB (N, 3) at interpolated attributes (N, 2 or 3). Differentiable in the
        attributes."""
        if values is None:
            return self.factor
        factor = self.factor.to(values)
        if self.texture is None:
            return values * factor
        # Coordinates outside of [0, 1] repeat the texture, as in glTF; at the border itself nothing
        # is repeated.
        wrapped = torch.where((values < 0) | (values > 1), values - values.floor(), values)
        grid = torch.stack([wrapped[:, 0] * 2 - 1, 1 - wrapped[:, 1] * 2], -1)[None, None]
        texture = self.texture.to(values)
        return (
            F.grid_sample(texture, grid, padding_mode="border", align_corners=False)[0, :, 0].t()
            * factor
        )


@torch.no_grad()
def render_asset(
    asset: Asset,
    view_projection: np.ndarray,
    size: int,
    background: float = 1.0,
    clay: bool = False,
    supersample: int = 2,
    light: Light | None = None,
) -> Picture:
    """Render all meshes of an asset from several cameras.

    Args:
        view_projection: (B, 4, 4) world to clip space.
        size: pixels along the edge.
        background: grey level in [0, 1].
        clay: ignore the colours and shade by the normals under three fixed lights.
        supersample: number of samples along the edge of a pixel.
        light: irradiance on the surface; without it the base colour is shown.
    """
    meshes = list(asset.meshes.values())
    parts = [Appearance(m) for m in meshes]
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    first_face = torch.from_numpy(np.cumsum([0, *(len(m.faces) for m in meshes)])[:-1])
    faces = torch.from_numpy(
        np.concatenate([m.faces + o for m, o in zip(meshes, offsets)]).astype(np.int32)
    )
    points = np.concatenate([m.vertices for m in meshes]).astype(np.float32)
    homogeneous = torch.from_numpy(
        np.concatenate([points, np.ones((len(points), 1), np.float32)], 1)
    )
    shaded = clay or light is not None or any(p.grey for p in parts)
    normals = None
    if shaded:
        each = [(m if m.normals is not None else m.with_normals()).normals for m in meshes]
        normals = torch.from_numpy(
            np.concatenate([n for n in each if n is not None]).astype(np.float32)
        )
    images, masks = [], []
    edge = size * supersample
    for matrix in view_projection:
        clip = homogeneous @ torch.from_numpy(np.ascontiguousarray(matrix, np.float32)).T
        pixels = rasterize(clip, faces, edge, edge)
        hit = pixels[..., 3] > 0
        unit = None if normals is None else F.normalize(interpolate(normals, faces, pixels), dim=-1)
        colour = torch.full((edge, edge, 3), float(background))
        owner = torch.searchsorted(first_face, pixels[..., 3].long() - 1, right=True) - 1
        for number, part in enumerate(parts):
            here = hit & (owner == number) if len(parts) > 1 else hit
            if not bool(here.any()):
                continue
            if clay or part.grey:
                assert unit is not None
                colour[here] = clay_light(unit[here])
                continue
            values = None
            if part.attributes is not None:
                own = pixels[here].clone()[None]
                own[..., 3] -= float(first_face[number])
                own_faces = faces[
                    int(first_face[number]) : int(first_face[number]) + len(meshes[number].faces)
                ]
                values = interpolate(part.attributes, own_faces - int(offsets[number]), own)[0]
            shown = part.colour(values)
            colour[here] = shown if light is None or unit is None else shown * light(unit[here])
        whole = torch.cat([colour.clamp(0, 1), hit[..., None].float()], -1).permute(2, 0, 1)[None]
        whole = F.avg_pool2d(whole, supersample)[0]
        images.append(whole[:3].permute(1, 2, 0).numpy())
        masks.append(whole[3].numpy())
    return Picture(np.stack(images), np.stack(masks))


def render_mesh(
    mesh: Mesh,
    view_projection: np.ndarray,
    size: int,
    background: float = 1.0,
    clay: bool = False,
    supersample: int = 2,
    light: Light | None = None,
) -> Picture:
    """The same as `render_asset`, for one mesh."""
    return render_asset(
        Asset({"": mesh}), view_projection, size, background, clay, supersample, light
    )
