"""Renders a mesh that changes from step to step, with the colours that a field has on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ..engine.random import RandomStream
from ..kernels import antialias, interpolate, rasterize
from ..representations import Field
from ..representations.mesh_terms import smooth_normals
from ..representations.surfaces import SurfaceMesh
from .backgrounds import BackgroundSample
from .cameras import Cameras
from .rendering import Rendering
from .shading import PointLight


@dataclass(frozen=True, kw_only=True)
class MeshRendererConfig:
    """How a surface is rendered."""

    normals: Literal["face", "vertex"] = "face"
    """Normals of the faces, which edges keep, or of the vertices and interpolated."""
    jitter: bool = True
    """Shift the picture by a random fraction of a pixel at every step."""


class MeshRenderer(nn.Module):
    """Rasterises a `SurfaceMesh`. Differentiable in its points, through silhouettes, depth, normals
    and the places at which the field's colours are read, and in the field."""

    def __init__(self, config: MeshRendererConfig | None = None) -> None:
        super().__init__()
        self.config = config or MeshRendererConfig()

    def render(
        self,
        mesh: SurfaceMesh,
        cameras: Cameras,
        background: BackgroundSample,
        random: RandomStream | None = None,
        appearance: Field | None = None,
        light: PointLight | None = None,
    ) -> Rendering:
        """Render the pictures of all cameras.

        Args:
            mesh: within [-1, 1]^3.
            cameras: B cameras; their height and width are those of the pictures.
            background: values (B, H, W, C).
            random: shifts the pictures; None for no shift.
            appearance: gives the features (C) of surface points; None shows the normals of the
                surface as colours, (n + 1) / 2, and C is 3.
            light: lights the features of an RGB field.

        Returns:
            Features over the background, opacity, the distance along the ray and the normals (in
            the scene's frame), the latter two times the opacity; antialiased at silhouettes.
        """
        points, tri = mesh.points, mesh.tri.int()
        cameras, background = cameras.to(points.device), background.to(points.device)
        height, width = cameras.height, cameras.width
        homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], 1)
        clip = homogeneous @ cameras.view_projection().transpose(1, 2)
        if random is not None and self.config.jitter:
            drawn = random.uniform("pixels", (len(cameras), 1, 2), points.device) - 0.5
            shift = drawn * drawn.new_tensor([2 / width, 2 / height])
            clip = torch.cat([clip[..., :2] + shift * clip[..., 3:], clip[..., 2:]], -1)
        clip = clip.contiguous()
        pixels = rasterize(clip, tri, height, width=width)
        found = pixels[..., 3] > 0
        hit = found[..., None].to(points)
        place = interpolate(points, tri, pixels)
        away = (place - cameras.camera_to_world[:, None, None, :3, 3]).square().sum(-1)
        depth = away.clamp_min(1e-12).sqrt()[..., None]
        normals = self._normals(mesh, pixels, found)
        behind = background.values.expand(len(cameras), -1, -1, -1)
        if appearance is None:
            features = (normals + 1) / 2
        else:
            # Only what is seen is asked for.
            own = appearance(place[found].clamp(-1, 1))[1]
            if light is not None:
                camera = found.nonzero()[:, 0]
                positions = light.positions.to(points)[camera]
                own = light(own, place[found], normals[found], positions)
            features = torch.zeros(*found.shape, own.shape[-1], device=own.device, dtype=own.dtype)
            features = features.masked_scatter(found[..., None].expand_as(features), own)
        channels = features.shape[-1]
        shown = features * hit + behind * (1 - hit)
        whole = torch.cat([shown, hit, depth * hit, normals * hit], -1)
        if len(tri):
            whole = antialias(whole, pixels, clip, table=mesh.edges())
        return Rendering(
            whole[..., :channels],
            whole[..., channels : channels + 1],
            whole[..., channels + 1 : channels + 2],
            background=behind,
            normals=whole[..., channels + 2 :],
        )

    def _normals(
        self, mesh: SurfaceMesh, pixels: torch.Tensor, found: torch.Tensor
    ) -> torch.Tensor:
        """Normals (B, H, W, 3) of what pixels show; zero where nothing is `found`."""
        if self.config.normals == "face":
            own = mesh.face_normals()
            if not len(own):
                return pixels[..., :3] * 0
            return own[(pixels[..., 3].long() - 1).clamp_min(0)] * found[..., None]
        smooth = interpolate(smooth_normals(mesh.points, mesh.tri), mesh.tri.int(), pixels)
        return F.normalize(smooth, dim=-1)
