"""A signed distance on a grid, turned into density by the distribution function of Laplace (VolSDF,
Yariv et al. 2021), as a plug-in: a representation in one file. Run:

    threestudio-like generate "a red chair" --plugins examples/plug_ins/representation_sdf.py \\
        --representation.kind sdf --representation.sdf.radius 0.6
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from threestudio_like.engine.stage import ParameterGroup
from threestudio_like.kernels import trilinear
from threestudio_like.representations import Field, Rates, Representation, rate_of, sample_grid
from threestudio_like.representations.registry import FieldRequest, representation


@dataclass(frozen=True, kw_only=True)
class SdfConfig:
    """What the command line reaches as --representation.sdf.…"""

    size: int = 32
    """Grid points along an edge of [-1, 1]^3."""
    radius: float = 0.5
    """Of the ball that it begins as."""
    beta: float = 0.08
    """Width of the surface: the density is Psi(-d / beta) / beta. It is learned."""
    eikonal: float = 0.02
    """Weight of the mean of (|grad d| - 1)^2 over the grid."""


@representation("sdf", "a signed distance on a grid (Yariv et al. 2021)", config=SdfConfig)
class SdfField(Field):
    """`grid` (G, G, G, 1 + C), axes z, y, x: signed distance in scene units, negative inside, and
    features; trilinear between."""

    resamples: ClassVar[bool] = True

    def __init__(self, config: SdfConfig, request: FieldRequest) -> None:
        super().__init__()
        self.config, self.channels, self.display = config, request.channels, request.display
        grid = torch.zeros(config.size, config.size, config.size, 1 + request.channels)
        grid[..., 0] = self.points().norm(dim=-1) - config.radius
        if request.features is not None:
            grid[..., 1:] = request.features
        self.grid = nn.Parameter(grid)
        self.log_beta = nn.Parameter(torch.tensor(config.beta).log())

    def points(self) -> torch.Tensor:
        """Positions of the grid points (G, G, G, 3)."""
        line = torch.linspace(-1, 1, self.config.size)
        z, y, x = torch.meshgrid(line, line, line, indexing="ij")
        return torch.stack([x, y, z], -1)

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Density (N,) and features (N, C)."""
        raw = trilinear(points, self.grid)
        features = raw[:, 1:].sigmoid() if self.display else raw[:, 1:]
        return self.opacity_of(raw[:, 0]), features

    def opacity_of(self, distance: torch.Tensor) -> torch.Tensor:
        """Psi(-d / beta) / beta of signed distances, differentiable in both."""
        beta = self.log_beta.exp().clamp_min(0.01)
        half = 0.5 * (-distance.abs() / beta).exp()
        return torch.where(distance > 0, half, 1 - half) / beta

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """Grid and width of the surface."""
        return [
            ParameterGroup("sdf", [self.grid], rate_of(rates, "voxels")),
            ParameterGroup("beta", [self.log_beta], rate_of(rates, "mlp")),
        ]

    def regularisation(self, weights: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """The eikonal term, by central differences; smooth features where the stage wants them."""
        distance, cell = self.grid[..., 0], 4.0 / (self.config.size - 1)
        inner = slice(1, -1)
        slopes = torch.stack(
            [
                (distance[2:, inner, inner] - distance[:-2, inner, inner]) / cell,
                (distance[inner, 2:, inner] - distance[inner, :-2, inner]) / cell,
                (distance[inner, inner, 2:] - distance[inner, inner, :-2]) / cell,
            ]
        )
        length = slopes.square().sum(0).add(1e-12).sqrt()
        terms = {"eikonal": self.config.eikonal * (length - 1).square().mean()}
        smooth = weights.get("feature_variation", 0.0)
        if smooth > 0:
            features = self.grid[..., 1:]
            steps = (features.diff(dim=axis).square().mean() for axis in range(3))
            terms["variation"] = smooth * sum(steps, torch.zeros(()))
        return terms

    @torch.no_grad()
    def load_resampled(self, other: Representation, close: float = 0.0) -> None:
        """Take another field's density, through the inverse of Psi, and its features."""
        size, beta = self.config.size, float(self.log_beta.exp())
        density, features = sample_grid(other, self.points().view(-1, 3))
        share = (density * beta).clamp(1e-3, 1 - 1e-3)
        distance = torch.where(
            share < 0.5, -(2 * share).log() * beta, (2 * (1 - share)).log() * beta
        )
        self.grid[..., 0] = distance.view(size, size, size)
        shown = features.clamp(0.01, 0.99).logit() if self.display else features
        self.grid[..., 1:] = shown.view(size, size, size, -1)
