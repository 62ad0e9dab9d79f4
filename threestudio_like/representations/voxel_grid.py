"""A dense voxel field: density and features at grid points, trilinear in between. The fastest field on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ..kernels import grid_variation, trilinear
from .field import Field, activate_density, density_blob


@dataclass
class VoxelGridConfig:
    """A grid of size^3 points over [-1, 1]^3."""

    size: int = 48
    activation: Literal["exp", "softplus"] = "softplus"
    density_scale: float = 12.0
    blob_strength: float = 3.0
    blob_width: float = 0.4
    start: float = -4.0
    """Raw density of the empty grid, before the blob."""
    sigmoid: bool = False
    """Sigmoid on the features, for RGB fields."""


class VoxelField(Field):
    """`grid` (G, G, G, 1 + C), axes z, y, x: raw density (the blob is in its initial value) and features.

    Args:
        config: size and activations.
        channels: C.
        features: initial features (C,), default zero.
    """

    def __init__(self, config: VoxelGridConfig, channels: int, features: torch.Tensor | None = None) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        grid = torch.zeros(config.size, config.size, config.size, 1 + channels)
        points = self.grid_points().view(-1, 3)
        blob = density_blob(points, config.blob_strength, config.blob_width)
        grid[..., 0] = config.start + blob.view(config.size, config.size, config.size)
        if features is not None:
            grid[..., 1:] = features
        self.grid = nn.Parameter(grid)

    def grid_points(self) -> torch.Tensor:
        """Positions of the grid points, (G, G, G, 3)."""
        line = torch.linspace(-1, 1, self.config.size)
        z, y, x = torch.meshgrid(line, line, line, indexing="ij")
        return torch.stack([x, y, z], -1)

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Density (N,) and features (N, C)."""
        raw = trilinear(points, self.grid)
        density = activate_density(raw[:, 0], self.config.activation, self.config.density_scale)
        features = raw[:, 1:]
        return density, features.sigmoid() if self.config.sigmoid else features

    def variation(self, density: float, features: float) -> torch.Tensor:
        """Weighted total variation of raw density and of features: mean squared difference of neighbours, summed over the axes."""
        return grid_variation(self.grid, density, features)

    @torch.no_grad()
    def load_resampled(self, other: Field) -> None:
        """Take density (through the inverse activation) and features from another field of as many channels."""
        density, features = sample_grid(other, self.grid_points().view(-1, 3))
        size = self.config.size
        if self.config.activation == "exp":
            raw = density.clamp_min(1e-4).log()
        else:
            scaled = (density / self.config.density_scale).clamp(1e-4, 30)
            raw = scaled + torch.log(-torch.expm1(-scaled))
        self.grid[..., 0] = raw.view(size, size, size)
        if self.config.sigmoid:
            features = features.clamp(0.01, 0.99).logit()
        self.grid[..., 1:] = features.view(size, size, size, -1)


@torch.no_grad()
def sample_grid(field: Field, points: torch.Tensor, chunk: int = 1 << 17) -> tuple[torch.Tensor, torch.Tensor]:
    """Density (N,) and features (N, C) of a field at many points, chunk by chunk."""
    pieces = [field(piece) for piece in points.split(chunk)]
    return torch.cat([p[0] for p in pieces]), torch.cat([p[1] for p in pieces])


@torch.no_grad()
def density_volume(field: Field, size: int) -> torch.Tensor:
    """Density at a grid of size^3 points over [-1, 1]^3: (size, size, size), axes z, y, x."""
    line = torch.linspace(-1, 1, size)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return sample_grid(field, torch.stack([x, y, z], -1).view(-1, 3))[0].view(size, size, size)
