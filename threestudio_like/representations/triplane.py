"""Three feature planes (EG3D, Chan et al. 2022), read at one resolution or at several (G3DR,
METHODS 3.3, 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ..kernels import triplane
from .field import Field, activate_density, density_blob

AXES: dict[str, tuple[tuple[int, int], ...]] = {
    "proper": ((0, 1), (0, 2), (1, 2)),
    "eg3d": ((0, 1), (0, 2), (2, 0)),
}
"""Which coordinates every plane sees. EG3D's released matrices never look at (y, z): a slip that
others inherited."""

Axes = Literal["proper", "eg3d"]


def pyramid(planes: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """Planes (N, C, R, R) and `levels` - 1 copies, each half as fine, by antialiased bilinear
    downsampling."""
    out = [planes]
    for level in range(1, levels):
        size = planes.shape[-1] // 2**level
        out.append(
            F.interpolate(
                planes, (size, size), mode="bilinear", align_corners=False, antialias=True
            )
        )
    return out


def sample_planes(
    planes: torch.Tensor,
    points: torch.Tensor,
    levels: int = 3,
    axes: Axes = "proper",
    replicate: bool = False,
) -> torch.Tensor:
    """Features (B, N, C) of points (B, N, 3) in [-1, 1]^3 on planes (B, 3, C, R, R).

    Every level of the pyramid is read bilinearly (zero outside, as published) and the levels are
    summed; then the mean over the planes. No parameter is added by more levels.

    Args:
        levels: 1 reads the planes alone, 3 is G3DR's.
        axes: see `AXES`; a plane's first coordinate runs along its columns, the second along its
            rows.
        replicate: what lies beyond the centres of the coarsest level's outermost texels reads as
            they do, instead of fading towards zero.
    """
    if replicate:
        reach = 1 - 2 ** (levels - 1) / planes.shape[-1]
        points = points.clamp(-reach, reach)
    flat = planes.reshape(-1, *planes.shape[2:])
    # Channels last: a texel's features lie together.
    maps = [
        level.unflatten(0, planes.shape[:2]).permute(0, 1, 3, 4, 2).contiguous()
        for level in pyramid(flat, levels)
    ]
    return triplane(points, maps, AXES[axes])


class EqualLinear(nn.Module):
    """A linear layer whose weights are N(0, 1) and scaled by 1 / sqrt(fan-in) when used (StyleGAN's
    equalised learning rate)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside))
        self.bias = nn.Parameter(torch.zeros(outside))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inside) -> (..., outside)."""
        return F.linear(x, self.weight * self.weight.shape[1] ** -0.5, self.bias)


class PlaneDecoder(nn.Module):
    """Features (..., C) to raw density (...,) and colours (..., channels): two equalised layers,
    softplus between; no view direction."""

    def __init__(self, features: int, channels: int = 3, hidden: int = 64) -> None:
        super().__init__()
        self.hidden, self.out = EqualLinear(features, hidden), EqualLinear(hidden, 1 + channels)

    def forward(
        self, features: torch.Tensor, sigmoid: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raw density and colours: sigmoid * 1.002 - 0.001, or what comes out for latent
        features."""
        raw = self.out(F.softplus(self.hidden(features)))
        colour = raw[..., 1:]
        return raw[..., 0], colour.sigmoid() * 1.002 - 0.001 if sigmoid else colour


@dataclass(frozen=True, kw_only=True)
class TriplaneConfig:
    """A triplane that is optimised for one asset."""

    resolution: int = 64
    features: int = 16
    hidden: int = 32
    levels: int = 3
    axes: Axes = "proper"
    activation: Literal["exp", "softplus"] = "softplus"
    density_scale: float = 12.0
    blob_strength: float = 3.0
    blob_width: float = 0.4
    start: float = -4.0
    """Raw density of the empty field, before the blob."""
    sigmoid: bool = False
    replicate: bool = False
    """See `sample_planes`."""


class TriplaneField(Field):
    """`planes` (1, 3, F, R, R) and a small decoder over [-1, 1]^3.

    Args:
        config: sizes and activations.
        channels: C of the features.
        seed: of the first weights.
    """

    def __init__(self, config: TriplaneConfig, channels: int, seed: int = 0) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        generator = torch.Generator().manual_seed(seed)
        planes = 0.1 * torch.randn(
            1, 3, config.features, config.resolution, config.resolution, generator=generator
        )
        self.planes = nn.Parameter(planes)
        self.decoder = PlaneDecoder(config.features, channels, config.hidden)
        with torch.no_grad():
            for layer in (self.decoder.hidden, self.decoder.out):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Density (N,) and features (N, C)."""
        config = self.config
        values = sample_planes(
            self.planes, points[None], config.levels, config.axes, config.replicate
        )[0]
        raw, colour = self.decoder(values, config.sigmoid)
        raw = raw + config.start + density_blob(points, config.blob_strength, config.blob_width)
        return activate_density(raw, config.activation, config.density_scale), colour
