"""A field with a multi-resolution grid and a small perceptron: the representation of
Latent-NeRF."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import nn

from ..engine.schedule import Schedule
from ..engine.schema.bounds import Bounds, Number, Positive, ScheduleText, Size
from ..engine.stage import ParameterGroup
from ..kernels import HashGridSpec, field_mlp, hashgrid
from .field import Field, activate_density, density_blob, linear_blob
from .representation import Rates, rate_of


@dataclass(frozen=True, kw_only=True)
class HashGridConfig:
    """Sizes of the field. The defaults are those of METHODS 1.2 unless a comment says otherwise."""

    levels: Number = 16
    log2_size: Annotated[int, Bounds(low=0, high=28)] = 19
    base: Size = 16
    finest: Size = 2048
    tiled: bool = True
    hidden: Size = 64
    layers: Number = 3
    separate: bool = False
    """Two perceptrons of these sizes, one for density and one for features (threestudio)."""
    bias: bool = True
    """Whether their layers add a bias."""
    open_levels: ScheduleText = "0"
    """Schedule of how many levels are used, coarse ones first ("8->16 @ 20..60%"); all others read
    as zero. "0": all of them, always."""
    activation: Literal["exp", "softplus"] = "exp"
    density_scale: Positive = 1.0
    density_bias: Literal["blob_dreamfusion", "blob_magic3d", "none"] = "blob_dreamfusion"
    """What is added to the raw density, to begin with an object in the middle: a Gaussian, or
    Magic3D's cone strength (1 - |x| / width)."""
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

    opened: torch.Tensor

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
        # Biases that are not learnt are zeros that nothing saves.
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self.feature_weights, self.feature_biases = nn.ParameterList(), nn.ParameterList()
        outputs = [1, channels] if config.separate else [1 + channels]
        for out, weights, biases in zip(
            outputs, (self.weights, self.feature_weights), (self.biases, self.feature_biases)
        ):
            sizes = [2 * config.levels, *[config.hidden] * (config.layers - 1), out]
            for inside, outside in itertools.pairwise(sizes):
                bound = inside**-0.5
                drawn = torch.rand(outside, inside, generator=generator) * 2 - 1
                weights.append(nn.Parameter(drawn * bound))
                if config.bias:
                    drawn = torch.rand(outside, generator=generator) * 2 - 1
                    biases.append(nn.Parameter(drawn * bound))
        self._opening = Schedule.parse(config.open_levels, "hash.open_levels")
        if max(self._opening.values()) > 0:
            self.register_buffer("opened", torch.tensor(0))
            self.at(0.0)

    def at(self, fraction: float) -> None:
        """Open the levels that are used from this fraction of the run on."""
        if max(self._opening.values()) > 0:
            # A whole number may fall a rounding short of itself.
            levels = math.floor(self._opening(fraction) + 1e-6)
            self.opened.fill_(min(max(levels, 1), self.config.levels))

    def raw(self, points: torch.Tensor) -> torch.Tensor:
        """Outputs h (1 + C, N) of the perceptron at points (N, 3), before blob and activation."""
        features = hashgrid((points + 1) * 0.5, self.table, self.spec)
        if max(self._opening.values()) > 0:
            rows = torch.arange(2 * self.config.levels, device=features.device)
            features = features * (rows < 2 * self.opened).to(features)[:, None]
        out = self._perceptron(features, self.weights, self.biases)
        if not self.config.separate:
            return out
        return torch.cat(
            [out, self._perceptron(features, self.feature_weights, self.feature_biases)]
        )

    def _perceptron(
        self, features: torch.Tensor, weights: nn.ParameterList, biases: nn.ParameterList
    ) -> torch.Tensor:
        added = list(biases) or [torch.zeros(len(w), device=w.device) for w in weights]
        return field_mlp(features, list(weights), added)

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Density (N,) and features (N, C)."""
        out = self.raw(points)
        biased = out[0] + self._blob(points)
        density = activate_density(biased, self.config.activation, self.config.density_scale)
        features = out[1:].t()
        return density, features.sigmoid() if self.config.sigmoid else features

    def _blob(self, points: torch.Tensor) -> torch.Tensor | float:
        config = self.config
        if config.density_bias == "none":
            return 0.0
        blob = linear_blob if config.density_bias == "blob_magic3d" else density_blob
        return blob(points, config.blob_strength, config.blob_width)

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """The parameters of the table and of the perceptron."""
        return [
            ParameterGroup("table", [self.table], rate_of(rates, "table")),
            ParameterGroup("mlp", self.mlp_parameters(), rate_of(rates, "mlp")),
        ]

    def mlp_parameters(self) -> list[nn.Parameter]:
        """Weights and biases, which need a lower learning rate than the table."""
        return [*self.weights, *self.biases, *self.feature_weights, *self.feature_biases]
