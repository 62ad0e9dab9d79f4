"""G3DR's canonical camera, its novel ones, and what every step is asked for (METHODS 3.2, 3.7)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ...engine.random import RandomStream
from ...engine.schema.bounds import FieldOfView, Positive, Weight

GREY = 0.8
"""Level of the embedded world's background."""
WALL = 0.95
"""Where the embedded world's background stands: this share of the way from the near end of the
depth range to its far end."""
DEPTH_NEAR, DEPTH_SPAN = 4.0, 2.0
"""Depth maps hold distances from 4 to 6 in sixteen bits."""


@dataclass(frozen=True, kw_only=True)
class CanonicalCamera:
    """The one camera that is held to have taken every picture: on +Z, looking at the origin. Angles
    in degrees."""

    radius: Positive = 5.0
    fov: FieldOfView = 18.0

    @property
    def half_width(self) -> float:
        """Half of what is seen in the plane through the origin: 0.792."""
        return self.radius * math.tan(math.radians(self.fov) / 2)

    def rays(
        self, size: int, yaw: torch.Tensor | None = None, pitch: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Origins and unit directions (B, size^2, 3) for offsets of yaw and pitch (B,) in radians
        (none: the canonical camera, B = 1).

        The pixel grid spans -1 to 1 inclusive, row 0 at the top. The eye is r (sin p sin y, cos p,
        sin p cos y), p from the top: a positive yaw offset moves it to +X, a positive pitch offset
        down.
        """
        if yaw is None or pitch is None:
            yaw = pitch = torch.zeros(1)
        p = math.pi / 2 + pitch
        eye = self.radius * torch.stack([p.sin() * yaw.sin(), p.cos(), p.sin() * yaw.cos()], -1)
        forward = -eye / self.radius
        right = torch.nn.functional.normalize(
            torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0]).expand_as(forward)), dim=-1
        )
        up = torch.linalg.cross(right, forward)
        line = torch.linspace(-1, 1, size) * math.tan(math.radians(self.fov) / 2)
        y, x = torch.meshgrid(-line, line, indexing="ij")
        local = torch.stack([x, y, torch.ones_like(x)], -1).view(1, -1, 3)
        directions = (
            local[..., :1] * right[:, None]
            + local[..., 1:2] * up[:, None]
            + local[..., 2:] * forward[:, None]
        )
        directions = torch.nn.functional.normalize(directions, dim=-1)
        return eye[:, None].expand_as(directions).contiguous(), directions


def decode_depth(raw: np.ndarray) -> np.ndarray:
    """Sixteen-bit values to distances: raw / 65536 * 2 + 4."""
    return (raw.astype(np.float64) / 65536 * DEPTH_SPAN + DEPTH_NEAR).astype(np.float32)


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """The inverse of `decode_depth`, limited to what sixteen bits hold."""
    return np.clip(
        np.rint((depth.astype(np.float64) - DEPTH_NEAR) / DEPTH_SPAN * 65536), 0, 65535
    ).astype(np.uint16)


def novel_probability(fraction: float, most: float = 0.4) -> float:
    """Probability of a novel view: it grows from 0, by 0.4 over the first fifth, up to `most`."""
    return min(most, 2 * fraction)


def yaw_limit(fraction: float) -> float:
    """Largest yaw offset in radians: pi / k, k falls from 24 to 6 over the first third (7.5 to 30
    degrees)."""
    return math.pi / (24 - 18 * min(1.0, 3 * fraction))


PITCH_LIMIT = math.radians(10.0)


def novel_offsets(
    random: RandomStream, count: int, fraction: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Yaw and pitch offsets (count,) in radians of novel views, uniform within their limits."""
    u = random.uniform("novel", (2, count)) * 2 - 1
    return u[0] * yaw_limit(fraction), u[1] * PITCH_LIMIT


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of a step. perceptual_deep: the perceptual loss looks at its last two layers only."""

    rgb: Weight = 0.0
    depth: Weight = 0.0
    perceptual: Weight = 0.0
    clip: Weight = 0.0
    smooth: Weight = 0.0
    opacity: Weight = 0.0
    perceptual_deep: bool = False


def loss_weights(novel: bool, fraction: float) -> LossWeights:
    """The table of METHODS 3.7. Canonical: RGB 1, depth 2; perceptual 1 and CLIP 0.175 from one
    half on. Novel: perceptual (deep) 2, CLIP 0.35, depth TV 0.1. Both: opacity, which rises from 0
    to 1 over the first half."""
    opacity = min(1.0, 2 * fraction)
    if novel:
        return LossWeights(
            perceptual=2.0, clip=0.35, smooth=0.1, opacity=opacity, perceptual_deep=True
        )
    late = fraction >= 0.5
    return LossWeights(
        rgb=1.0,
        depth=2.0,
        perceptual=1.0 if late else 0.0,
        clip=0.175 if late else 0.0,
        smooth=0.0,
        opacity=opacity,
    )


def depth_variation(depth: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of neighbouring pixels of depths (B, H, W)."""
    return depth.diff(dim=1).square().mean() + depth.diff(dim=2).square().mean()
