"""A field with a multi-resolution grid and a small perceptron: the representation of
Latent-NeRF."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ..engine.schema.bounds import Number, Positive, Size
from ..engine.stage import ParameterGroup
from ..kernels import HashGridSpec, field_mlp, hashgrid
from .field import Field, activate_density, density_blob
from .representation import Rates, rate_of


@dataclass(frozen=True, kw_only=True)
class HashGridConfig:
    """Sizes of the field. The defaults are those of METHODS 1.2 unless a comment says otherwise."""

    levels: Number = 16
    log2_size: int = 19
    base: Size = 16
    finest: Size = 2048
    tiled: bool = True
    hidden: Size = 64
    layers: Number = 3
    activation: Literal["exp", "softplus"] = "exp"
    density_scale: Positive = 1.0
    blob_strength: float = 5.0
    blob_width: Positive = 0.2
    sigmoid: bool = False
    """Apply a sigmoid to the features, for RGB fields."""


class HashGridField(Field):
    """Grid features, which a perceptron maps to density and C features; there is no view
    dependence.

    Args:
        config: sizes and activations.
        channels: C.
        seed: seed of the initial weights.
    """

    def __init__(self, config: HashGridConfig, channels: int, seed: int = 0) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        self.spec = HashGridSpec(
            config.levels, config.log2_size, config.base, finest=config.finest, tiled=config.tiled
        )
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(
            (torch.rand(self.spec.entries, 2, generator=generator) * 2 - 1) * 1e-4
        )
        sizes = [2 * config.levels, *[config.hidden] * (config.layers - 1), 1 + channels]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inside, outside in itertools.pairwise(sizes):
            bound = inside**-0.5
            self.weights.append(
                nn.Parameter((torch.rand(outside, inside, generator=generator) * 2 - 1) * bound)
            )
            self.biases.append(
                nn.Parameter((torch.rand(outside, generator=generator) * 2 - 1) * bound)
            )

    def raw(self, points: torch.Tensor) -> torch.Tensor:
        """Outputs h (1 + C, N) of the perceptron at points (N, 3), before blob and activation."""
        features = hashgrid((points + 1) * 0.5, self.table, self.spec)
        return field_mlp(features, list(self.weights), list(self.biases))

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Density (N,) and features (N, C)."""
        out = self.raw(points)
        biased = out[0] + density_blob(points, self.config.blob_strength, self.config.blob_width)
        density = activate_density(biased, self.config.activation, self.config.density_scale)
        features = out[1:].t()
        return density, features.sigmoid() if self.config.sigmoid else features

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """The parameters of the table and of the perceptron."""
        return [
            ParameterGroup("table", [self.table], rate_of(rates, "table")),
            ParameterGroup("mlp", self.mlp_parameters(), rate_of(rates, "mlp")),
        ]

    def mlp_parameters(self) -> list[nn.Parameter]:
        """Weights and biases, which need a lower learning rate than the table."""
        return [*self.weights, *self.biases]
