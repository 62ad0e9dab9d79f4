"""A dense voxel field: density and features at grid points, with trilinear interpolation. It is the
fastest field on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, distance_transform_edt
from torch import nn

from ..engine.schema.bounds import Positive, Size, Weight
from ..engine.stage import ParameterGroup
from ..kernels import grid_variation, trilinear
from .field import Field, activate_density, density_blob
from .representation import Rates, Representation, rate_of


@dataclass(frozen=True, kw_only=True)
class VoxelGridConfig:
    """A grid of size^3 points over [-1, 1]^3."""

    size: Size = 48
    activation: Literal["exp", "softplus"] = "softplus"
    density_scale: Positive = 12.0
    blob_strength: float = 3.0
    blob_width: Positive = 0.4
    start: float = -4.0
    """Initial raw density, without the blob."""
    smooth: Weight = 0.0
    """Standard deviation, in cells, of the Gaussian that the raw density is read through; it limits
    how sharply surfaces can bend."""
    sigmoid: bool = False
    """Apply a sigmoid to the features, for RGB fields."""


def blur_matrix(size: int, deviation: float) -> torch.Tensor:
    """The (size, size) matrix of a Gaussian blur along one axis of a grid. Its rows sum to one, so
    that borders are not darkened."""
    line = torch.arange(size, dtype=torch.float32)
    matrix = torch.exp(-0.5 * ((line[:, None] - line) / deviation) ** 2)
    matrix[(line[:, None] - line).abs() > 3 * deviation] = 0.0
    return matrix / matrix.sum(1, keepdim=True)


class VoxelField(Field):
    """A grid (G, G, G, 1 + C) with axes z, y, x: raw density, whose initial value includes the
    blob, and features.

    Args:
        config: size and activations.
        channels: C.
        features: initial features (C,); zero by default.
    """

    resamples: ClassVar[bool] = True
    blur: torch.Tensor

    def __init__(
        self, config: VoxelGridConfig, channels: int, features: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        grid = torch.zeros(config.size, config.size, config.size, 1 + channels)
        points = self.grid_points().view(-1, 3)
        blob = density_blob(points, config.blob_strength, config.blob_width)
        grid[..., 0] = config.start + blob.view(config.size, config.size, config.size)
        if features is not None:
            grid[..., 1:] = features
        self.grid = nn.Parameter(grid)
        if config.smooth > 0:
            self.register_buffer("blur", blur_matrix(config.size, config.smooth), persistent=False)

    def grid_points(self) -> torch.Tensor:
        """Positions of the grid points, (G, G, G, 3)."""
        line = torch.linspace(-1, 1, self.config.size)
        z, y, x = torch.meshgrid(line, line, line, indexing="ij")
        return torch.stack([x, y, z], -1)

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Density (N,) and features (N, C)."""
        raw = trilinear(points, self.smoothed())
        density = activate_density(raw[:, 0], self.config.activation, self.config.density_scale)
        features = raw[:, 1:]
        return density, features.sigmoid() if self.config.sigmoid else features

    def smoothed(self) -> torch.Tensor:
        """The grid with its raw density blurred by `smooth` cells, which is what is rendered."""
        if self.config.smooth <= 0:
            return self.grid
        # One matrix product for each axis: borders need no padding, and the cost is about that of a
        # convolution.
        blur, size = self.blur, self.config.size
        density = (blur @ self.grid[..., 0].reshape(size, -1)).view(size, size, size)
        density = blur @ density @ blur.t()
        return torch.cat([density[..., None], self.grid[..., 1:]], -1)

    def variation(self, density: float, features: float) -> torch.Tensor:
        """Weighted total variation of raw density and of features: the mean squared difference of
        neighbours, summed over the axes."""
        return grid_variation(self.grid, density, features)

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """The grid."""
        return [ParameterGroup("voxels", [self.grid], rate_of(rates, "voxels"))]

    def regularisation(self, weights: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """Total variation, of `density_variation` and `feature_variation`."""
        density, features = (
            weights.get("density_variation", 0.0),
            weights.get("feature_variation", 0.0),
        )
        if density <= 0 and features <= 0:
            return {}
        return {"variation": self.variation(density, features)}

    @torch.no_grad()
    def load_resampled(self, other: Representation, close: float = 0.0) -> None:
        """Take over the density (through the inverse activation) and the features of another field
        with as many channels.

        Args:
            close: gaps narrower than twice this distance (in scene units) and hollows are filled
                with matter of the nearest colour, because optimisation removes excess matter far
                more easily than it adds missing matter.
        """
        density, features = (
            v.to(self.device) for v in sample_grid(other, self.grid_points().view(-1, 3))
        )
        size = self.config.size
        if close > 0:
            density, features = close_gaps(
                density.view(size, size, size), features.view(size, size, size, -1), close
            )
        if self.config.activation == "exp":
            raw = density.clamp_min(1e-4).log()
        else:
            scaled = (density / self.config.density_scale).clamp(1e-4, 30)
            raw = scaled + torch.log(-torch.expm1(-scaled))
        self.grid[..., 0] = raw.view(size, size, size)
        if self.config.sigmoid:
            features = features.clamp(0.01, 0.99).logit()
        self.grid[..., 1:] = features.view(size, size, size, -1)


def close_gaps(
    density: torch.Tensor,
    features: torch.Tensor,
    close: float,
    surface: float = 4.0,
    filling: float = 8.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Morphological closing of a volume.

    Args:
        density: (G, G, G) over [-1, 1]^3.
        features: (G, G, G, C).
        close: radius in scene units.
        surface: density per scene unit above which a cell counts as matter.
        filling: smallest density of the filled cells.
    """
    reach = max(1, round(close * (density.shape[0] - 1) / 2))
    inside = (density > surface).numpy()
    if not inside.any():
        return density, features
    outer = distance_transform_edt(~np.pad(inside, reach + 1)) <= reach
    closed = binary_fill_holes(distance_transform_edt(outer) > reach)[
        (slice(reach + 1, -reach - 1),) * 3
    ]
    added = torch.from_numpy(closed & ~inside)
    nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    density, features = density.clone(), features.clone()
    density[added] = density[added].clamp_min(filling)
    features[added] = features[
        tuple(torch.from_numpy(nearest[axis])[added].long() for axis in range(3))
    ]
    return density, features


@torch.no_grad()
def sample_grid(
    field: Representation, points: torch.Tensor, chunk: int = 1 << 17
) -> tuple[torch.Tensor, torch.Tensor]:
    """Density (N,) and features (N, C) of a field at many points, in chunks.

    The result is on the device of the points, wherever the field is.
    """
    pieces = [field(piece.to(field.device)) for piece in points.split(chunk)]
    density, features = (torch.cat([p[i] for p in pieces]) for i in (0, 1))
    return density.to(points.device), features.to(points.device)


@torch.no_grad()
def density_volume(field: Field, size: int) -> torch.Tensor:
    """Density (size, size, size) at a grid of points over [-1, 1]^3, with axes z, y, x."""
    line = torch.linspace(-1, 1, size)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return sample_grid(field, torch.stack([x, y, z], -1).view(-1, 3))[0].view(size, size, size)
