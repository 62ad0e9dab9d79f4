"""Draws 3D Gaussians: projected, sorted by depth, blended front to back, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..engine.errors import ConfigError
from ..engine.random import RandomStream
from ..engine.schema.bounds import Count, Number
from ..kernels import project_gaussians, splat
from ..representations.field import Field
from ..representations.gaussians import GaussianCloud
from .backgrounds import BackgroundSample
from .cameras import Cameras
from .gradient_scaling import DepthScaling
from .rendering import Rendering
from .shading import PointLight


@dataclass(frozen=True, kw_only=True)
class SplatConfig:
    """How Gaussians are drawn."""

    normals: bool = True
    """Draw the shortest axes too, turned to the camera (as 2D Gaussians have them)."""
    chunk: Count = 0
    """Projected Gaussians that are held in memory at once, in whole views. Gradients are the same,
    at the cost of a second evaluation; 0 holds all."""
    refresh: Number = 16
    """Means nothing here: there is no occupancy grid."""


class SplatRenderer(nn.Module):
    """Renders a GaussianCloud. It has no state, but the methods that stages ask a renderer for."""

    def __init__(self, config: SplatConfig | None = None, chunk: int | None = None) -> None:
        super().__init__()
        self.config = config or SplatConfig()
        self.chunk = self.config.chunk if chunk is None else chunk

    def refresh(self, field: Field, random: RandomStream) -> None:
        """Nothing: every picture looks at all Gaussians."""

    def reset(self) -> None:
        """Nothing, as `refresh`."""

    def normals(self, field: Field, points: torch.Tensor) -> torch.Tensor:
        """Normals (S, 3) at points (S, 3): of the density there."""
        return field.normals(points)

    def render(
        self,
        field: Field,
        cameras: Cameras,
        background: BackgroundSample,
        random: RandomStream | None = None,
        pixels: torch.Tensor | None = None,
        known: tuple[torch.Tensor, DepthScaling] | None = None,
        light: PointLight | None = None,
    ) -> Rendering:
        """Render full pictures, or the pixels (P,) of the flattened (B, H, W) bundle as one picture
        (1, 1, P, C).

        The depth is that of the Gaussians' centres, along the ray to each.

        Args:
            field: a `GaussianCloud`.
            cameras: B cameras.
            background: values (B, H, W, C).
            random: nothing is drawn.
            pixels: indices of pixels, int64.
            light: lights every Gaussian by its normal.

        Raises:
            TypeError: another representation.
            ConfigError: `known`, which scales gradients of samples along rays; there are none.
        """
        if not isinstance(field, GaussianCloud):
            raise TypeError(f"draws a GaussianCloud, not a {type(field).__name__}")
        if known is not None:
            raise ConfigError(
                "scales the gradients of samples along rays, and Gaussians have none",
                "--terms.scale-gradients",
                "Add --terms.scale-gradients False, or take another representation",
            )
        device, channels = field.device, field.channels
        cameras, background = cameras.to(device), background.to(device)
        views, count = len(cameras), len(field)
        each = max(1, self.chunk // max(1, count)) if self.chunk > 0 else views
        lights = None if light is None else light.positions.to(device)
        pieces = []
        for first in range(0, views, each):
            part = slice(first, first + each)
            given = (field, cameras[part], views, light, None if lights is None else lights[part])
            if each < views and torch.is_grad_enabled():
                pieces.append(
                    checkpoint(self._draw, *given, use_reentrant=False, preserve_rng_state=False)
                )
            else:
                pieces.append(self._draw(*given))
        out = torch.cat(pieces)
        behind = background.values.expand(views, cameras.height, cameras.width, channels)
        if pixels is not None:
            pixels = pixels.to(device)
            out = out.reshape(-1, out.shape[-1])[pixels].view(1, 1, len(pixels), -1)
            behind = behind.reshape(-1, channels)[pixels].view(1, 1, len(pixels), channels)
        opacity = out[..., -1:]
        return Rendering(
            out[..., :channels] + (1 - opacity) * behind,
            opacity,
            out[..., channels : channels + 1],
            background=behind,
            normals=out[..., channels + 1 : channels + 4] if self.config.normals else None,
        )

    def _draw(
        self,
        field: GaussianCloud,
        cameras: Cameras,
        views: int,
        light: PointLight | None,
        lights: torch.Tensor | None,
    ) -> torch.Tensor:
        """Features, distance, normals and opacity (B, H, W, C + 2 or C + 5) over nothing.

        Args:
            views: of the whole rendering, of which these cameras may be a part.
            lights: (B, 3) positions.
        """
        own = field.gaussians()
        height, width = cameras.height, cameras.width
        focal = 0.5 * height / torch.tan(cameras.fov_y / 2)
        matrices = torch.linalg.inv(cameras.camera_to_world)
        centres, conics, depths = project_gaussians(
            *(own.means, own.scales, own.rotations, matrices, focal), height=height, width=width
        )
        seen = (depths > 0) & (centres.detach() > 0).all(-1)
        seen &= (centres.detach() < centres.new_tensor([width, height])).all(-1)
        centres = field.noted(centres, seen, height, width, views)
        away = own.means - cameras.camera_to_world[:, None, :3, 3]
        distance = away.norm(dim=-1, keepdim=True)
        features = field.features(own, away / distance.detach().clamp_min(1e-6))
        values = [features.expand(len(cameras), -1, -1), distance]
        if self.config.normals or light is not None:
            axes = own.normals()
            turned = torch.where((axes * away.detach()).sum(-1, keepdim=True) > 0, -axes, axes)
            if light is not None and lights is not None:
                values[0] = self._lit(values[0], own.means, turned, light, lights)
            if self.config.normals:
                values.append(turned)
        return splat(
            *(centres, conics, own.opacities, depths, torch.cat(values, -1)),
            height=height,
            width=width,
        )

    @staticmethod
    def _lit(
        features: torch.Tensor,
        means: torch.Tensor,
        normals: torch.Tensor,
        light: PointLight,
        lights: torch.Tensor,
    ) -> torch.Tensor:
        """Features (B, N, C) under the light of each view, at means (N, 3) with normals (B, N,
        3)."""
        views, count, channels = features.shape
        lit = light(
            features.reshape(-1, channels),
            means.repeat(views, 1),
            F.normalize(normals.reshape(-1, 3), dim=-1),
            lights.repeat_interleave(count, 0),
        )
        return lit.view(views, count, channels)
