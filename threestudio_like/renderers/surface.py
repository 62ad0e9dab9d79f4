"""Renders a textured mesh: rasterise, look up, light, composite, average and antialias."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ..engine.random import RandomStream
from ..engine.schema.bounds import Number, Share
from ..kernels import antialias, behind, interpolate, rasterize, texture_level
from ..representations.textured_mesh import TexturedMesh
from .backgrounds import BackgroundSample
from .cameras import Cameras
from .light import EnvironmentLight
from .rendering import Rendering

LAYERS = 8
"""Largest number of holes behind one another through which a pixel sees."""


@dataclass(frozen=True, kw_only=True)
class SurfaceConfig:
    """How a textured mesh is rendered."""

    supersample: Number = 2
    """Number of samples along the edge of a pixel."""
    lookup: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    mip: bool = True
    """Read the texture at the mip level at which a texel is about as large as a sample."""
    jitter: bool = True
    """Shift the picture by a random fraction of a pixel at every step, so that no texel stays
    between samples."""
    grazing: Share = 0.35
    """Cosine between normal and view direction below which a texel's gradient fades to zero,
    because grazing views show a surface badly."""


class SurfaceRenderer(nn.Module):
    """Renders a TexturedMesh. Differentiable in its texels, and in its offsets if it has any."""

    def __init__(self, config: SurfaceConfig) -> None:
        super().__init__()
        self.config = config

    def render(
        self,
        surface: TexturedMesh,
        cameras: Cameras,
        background: BackgroundSample,
        random: RandomStream | None = None,
        light: EnvironmentLight | None = None,
    ) -> Rendering:
        """Render the pictures of all cameras.

        Args:
            background: values (B, H, W, C), with C = 3 for lit surfaces of five channels.
            random: shifts the picture; None for no shift.
            light: on a surface with RGB or PBR texels; None shows the base colour.
        """
        config, many = self.config, self.config.supersample
        cameras, background = (
            cameras.to(surface.points.device),
            background.to(surface.points.device),
        )
        height, width = cameras.height * many, cameras.width * many
        points = surface.vertices()
        homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], 1)
        clip = homogeneous @ cameras.view_projection().transpose(1, 2)
        if random is not None and config.jitter:
            drawn = random.uniform("pixels", (len(cameras), 1, 2), cameras.device) - 0.5
            shift = drawn * drawn.new_tensor([2 / cameras.width, 2 / cameras.height])
            clip = torch.cat([clip[..., :2] + shift * clip[..., 3:], clip[..., 2:]], -1)
        pixels = seen_pixels(surface, clip, height, width=width)
        hit = (pixels[..., 3:] > 0).float().detach()
        uv = interpolate(surface.uv, surface.tri, pixels)
        level = (
            texture_level(
                clip, surface.tri, surface.uv, pixels=pixels, resolution=surface.resolution
            )
            if config.mip
            else None
        )
        values = surface.sample(uv, level, config.lookup)
        with torch.no_grad():
            local = interpolate(torch.cat([surface.normals, points], 1), surface.tri, pixels)
            normals = F.normalize(local[..., :3], dim=-1)
            towards = F.normalize(
                cameras.camera_to_world[:, None, None, :3, 3] - local[..., 3:], dim=-1
            )
            facing = (normals * towards).sum(-1, keepdim=True)
            # A back face is seen from inside, so its normal has to be reversed.
            normals = torch.where(facing < 0, -normals, normals)
            weight = (facing.abs() / max(config.grazing, 1e-6)).clamp(0, 1)
        if config.grazing > 0:
            values = weight * values + (1 - weight) * values.detach()
        if surface.channels == 5:
            values = shade(values, normals, towards, light=light)
        elif light is not None:
            values = values * light(normals)
        channels = values.shape[-1]
        behind = background.values.expand(len(cameras), -1, -1, -1)
        if many > 1:
            large = F.interpolate(
                behind.permute(0, 3, 1, 2), (height, width), mode="bilinear", align_corners=False
            ).permute(0, 2, 3, 1)
        else:
            large = behind
        depth = (cameras.camera_to_world[:, None, None, :3, 3] - local[..., 3:]).norm(
            dim=-1, keepdim=True
        )
        whole = torch.cat([values * hit + (1 - hit) * large, hit, depth * hit, normals * hit], -1)
        if surface.offsets is not None:
            whole = antialias(whole, pixels, clip, table=surface.edges())
        if many > 1:
            whole = F.avg_pool2d(whole.permute(0, 3, 1, 2), many).permute(0, 2, 3, 1)
        return Rendering(
            whole[..., :channels],
            whole[..., channels : channels + 1],
            whole[..., channels + 1 : channels + 2],
            background=behind,
            normals=whole[..., channels + 2 :],
        )


def seen_pixels(surface: TexturedMesh, clip: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """What `kernels.rasterize` shows of a surface at clip positions ((B,) V, 4); through its holes,
    what lies behind. Differentiable in `clip` where the nearest triangle is seen."""
    pixels = rasterize(clip, surface.tri, height, width=width)
    if surface.alpha is None:
        return pixels
    for _ in range(LAYERS):
        through = surface.cut(interpolate(surface.uv, surface.tri, pixels)) & (pixels[..., 3] > 0)
        if not bool(through.any()):
            return pixels
        beyond = rasterize(clip, surface.tri, height, width=width, beyond=behind(pixels, through))
        pixels = torch.where(through[..., None], beyond, pixels)
    through = surface.cut(interpolate(surface.uv, surface.tri, pixels))
    return torch.where(through[..., None], torch.zeros_like(pixels), pixels)


def shade(
    values: torch.Tensor,
    normals: torch.Tensor,
    towards: torch.Tensor,
    light: EnvironmentLight | None,
) -> torch.Tensor:
    """Display RGB (..., 3) of base colour, roughness and metallic (..., 5) under a light.

    The matt share is multiplied by E and the metallic share by the reflection in the mirror
    direction. Without a light, the base colour is returned.
    """
    base, rough, metal = values[..., :3], values[..., 3:4], values[..., 4:5]
    if light is None:
        return base
    rough, metal = rough.clamp(0, 1), metal.clamp(0, 1)
    return base * ((1 - metal) * light(normals) + metal * light.reflected(normals, towards, rough))


def texels_seen(
    surface: TexturedMesh, cameras: Cameras, size: int = 512, slack: float = 0.02
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Which of the N texels of `surface.texel_geometry()` each camera sees, and where.

    Returns for every camera the cosine (N,) between the normal and the direction to the camera, 0
    where the camera does not see the texel, and the position (N, 2) of the texel on the picture, x
    to the right and y down in [-1, 1].

    Args:
        size: size in pixels of the depth pictures that decide what is hidden.
        slack: distance in scene units by which a texel may lie behind the depth picture.
    """
    geometry = surface.texel_geometry()
    points = surface.vertices().detach()
    cameras = cameras.to(points.device)
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], 1)
    texel = torch.cat([geometry.points, torch.ones_like(geometry.points[:, :1])], 1)
    for number in range(len(cameras)):
        camera = cameras[[number]].resized(size, size)
        matrix = camera.view_projection()[0]
        eye = camera.camera_to_world[0, :3, 3]
        pixels = seen_pixels(surface, homogeneous @ matrix.t(), size, width=size)
        distance = (interpolate(points, surface.tri, pixels) - eye).norm(dim=-1)
        clip = texel @ matrix.t()
        screen = clip[:, :2] / clip[:, 3:].clamp_min(1e-6)
        column = ((screen[:, 0] + 1) * size / 2).long().clamp(0, size - 1)
        row = ((1 - screen[:, 1]) * size / 2).long().clamp(0, size - 1)
        within = (clip[:, 3] > 0) & (screen.abs() <= 1).all(1) & (pixels[row, column, 3] > 0)
        away = (eye - geometry.points).norm(dim=-1)
        cosine = (geometry.normals * (eye - geometry.points)).sum(-1) / away.clamp_min(1e-9)
        seen = within & (away <= distance[row, column] + slack) & (cosine > 0)
        yield torch.where(seen, cosine, 0), torch.stack([screen[:, 0], -screen[:, 1]], 1)


@torch.no_grad()
def visibility(
    surface: TexturedMesh, cameras: Cameras, size: int = 512, slack: float = 0.02
) -> torch.Tensor:
    """For every texel (R, R), the largest cosine between its normal and the direction to a camera
    that sees it; 0 if no camera sees it.

    See `texels_seen` for the arguments.
    """
    geometry = surface.texel_geometry()
    best = geometry.points.new_zeros(len(geometry.rows))
    for cosine, _ in texels_seen(surface, cameras, size, slack=slack):
        best = torch.maximum(best, cosine)
    out = best.new_zeros(surface.resolution, surface.resolution)
    out[geometry.rows, geometry.columns] = best
    return out


@torch.no_grad()
def back_project(
    surface: TexturedMesh,
    cameras: Cameras,
    pictures: torch.Tensor,
    valid: torch.Tensor | None = None,
    power: float = 6.0,
    counts: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Project pictures back onto the surface that they show.

    Returns texels (C, R, R) and the sum of weights (R, R) of each texel, 0 where no picture shows
    it.

    Args:
        pictures: (B, H, W, C), one for each camera.
        valid: (B, H, W) in [0, 1], where the pictures can be trusted; everywhere by default.
        power: exponent of the cosine that weights the pictures of a texel.
        counts: (B, H, W), by how much each pixel counts besides; all alike by default.
    """

    def at(picture: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        plane = picture[None, None].to(grid.device)
        return F.grid_sample(plane, grid, mode="bilinear", align_corners=False)[0, 0, 0]

    geometry = surface.texel_geometry()
    planes = pictures.permute(0, 3, 1, 2).to(geometry.points.device)
    total = planes.new_zeros(planes.shape[1], len(geometry.rows))
    weight = planes.new_zeros(len(geometry.rows))
    for number, (cosine, place) in enumerate(texels_seen(surface, cameras)):
        grid = place.view(1, 1, -1, 2)
        sampled = F.grid_sample(
            planes[number][None], grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        share = cosine**power
        if valid is not None:
            share = share * (at(valid[number], grid) > 0.99)
        if counts is not None:
            share = share * at(counts[number], grid)
        total += sampled[0, :, 0] * share
        weight += share
    out = planes.new_zeros(planes.shape[1], surface.resolution, surface.resolution)
    out[:, geometry.rows, geometry.columns] = total / weight.clamp_min(1e-12)
    weights = planes.new_zeros(surface.resolution, surface.resolution)
    weights[geometry.rows, geometry.columns] = weight
    return out, weights
