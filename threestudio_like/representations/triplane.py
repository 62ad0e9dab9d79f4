"""Three feature planes (EG3D, Chan et al. 2022), read at one or at several resolutions (G3DR,
METHODS 3.3, 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ..engine.errors import ConfigError
from ..engine.schema.bounds import Number, Positive, Size
from ..kernels import triplane
from .field import Field, activate_density, density_blob

AXES: dict[str, tuple[tuple[int, int], ...]] = {
    "proper": ((0, 1), (0, 2), (1, 2)),
    "eg3d": ((0, 1), (0, 2), (2, 0)),
}
"""The two coordinates that each plane is indexed by. EG3D's released matrices never use (y, z), an
error that later code inherited."""

Axes = Literal["proper", "eg3d"]


def pyramid(planes: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """The planes (N, C, R, R) and `levels` - 1 copies, each of half the resolution, by antialiased
    bilinear downsampling."""
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

    Every level of the pyramid is read bilinearly (zero outside, as published), the levels are
    summed, and the planes are averaged. More levels add no parameters.

    Args:
        levels: 1 reads only the planes; G3DR uses 3.
        axes: see `AXES`; a plane's first coordinate runs along its columns, the second along its
            rows.
        replicate: whether points beyond the centres of the coarsest level's outermost texels read
            the value of the border, instead of fading to zero.
    """
    if replicate:
        reach = 1 - 2 ** (levels - 1) / planes.shape[-1]
        points = points.clamp(-reach, reach)
    flat = planes.reshape(-1, *planes.shape[2:])
    # Channels last, so that the features of a texel are contiguous.
    maps = [
        level.unflatten(0, planes.shape[:2]).permute(0, 1, 3, 4, 2).contiguous()
        for level in pyramid(flat, levels)
    ]
    return triplane(points, maps, AXES[axes])


class EqualLinear(nn.Module):
    """A linear layer with weights from N(0, 1) that are scaled by 1 / sqrt(fan-in) when used
    (StyleGAN's equalised learning rate)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside))
        self.bias = nn.Parameter(torch.zeros(outside))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., inside) to (..., outside)."""
        return F.linear(x, self.weight * self.weight.shape[1] ** -0.5, self.bias)


class PlaneDecoder(nn.Module):
    """Maps features (..., C) to raw density (...,) and colours (..., channels) by two equalised
    layers with a softplus between them.

    There is no view dependence.
    """

    def __init__(self, features: int, channels: int = 3, hidden: int = 64) -> None:
        super().__init__()
        self.hidden, self.out = EqualLinear(features, hidden), EqualLinear(hidden, 1 + channels)

    def forward(
        self, features: torch.Tensor, sigmoid: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Raw density, and colours as sigmoid * 1.002 - 0.001, or without the sigmoid for latent
        features."""
        raw = self.out(F.softplus(self.hidden(features)))
        colour = raw[..., 1:]
        return raw[..., 0], colour.sigmoid() * 1.002 - 0.001 if sigmoid else colour


@dataclass(frozen=True, kw_only=True)
class TriplaneConfig:
    """A triplane that is optimised for one asset."""

    resolution: Size = 64
    features: Size = 16
    hidden: Size = 32
    levels: Number = 3
    axes: Axes = "proper"
    activation: Literal["exp", "softplus"] = "softplus"
    density_scale: Positive = 12.0
    blob_strength: float = 3.0
    blob_width: Positive = 0.4
    start: float = -4.0
    """Initial raw density, without the blob."""
    sigmoid: bool = False
    replicate: bool = False
    """See `sample_planes`."""

    def check(self, place: str) -> None:
        """Raise ConfigError where the coarsest level would have no texel; `place` is the
        configuration's dotted name."""
        if self.resolution >> (self.levels - 1) == 0:
            raise ConfigError(
                f"planes of {self.resolution} texels cannot be halved {self.levels - 1} times",
                f"{place}.levels",
                f"Take at most {self.resolution.bit_length()} levels",
            )


class TriplaneField(Field):
    """Feature planes (1, 3, F, R, R) and a small decoder over [-1, 1]^3.

    Args:
        config: sizes and activations.
        channels: C of the features.
        seed: seed of the initial weights.

    Raises:
        ConfigError: the coarsest level would have no texel.
    """

    def __init__(self, config: TriplaneConfig, channels: int, seed: int = 0) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        config.check("triplane")
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
            self.planes, points[None], config.levels, axes=config.axes, replicate=config.replicate
        )[0]
        raw, colour = self.decoder(values, config.sigmoid)
        raw = raw + config.start + density_blob(points, config.blob_strength, config.blob_width)
        return activate_density(raw, config.activation, config.density_scale), colour
