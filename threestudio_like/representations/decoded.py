"""A latent field in RGB: a linear layer is applied to every sample (METHODS 1.9)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ..engine.stage import ParameterGroup, Step
from .field import Field
from .representation import Rates, rate_of


class DecodedField(Field):
    """The density of a latent field, with features = latents @ W + offset as display RGB.

    Compositing and mapping commute, because the map is affine and the background passes through it
    too.

    Args:
        latent: a field of C channels, which keeps all of them.
        matrix: W (C, 3), trainable.
        offset: (3,), fixed.
    """

    offset: torch.Tensor

    def __init__(self, latent: Field, matrix: torch.Tensor, offset: torch.Tensor) -> None:
        super().__init__()
        self.latent, self.channels = latent, 3
        self.matrix = nn.Parameter(matrix.clone())
        self.register_buffer("offset", offset.clone())

    def to_rgb(self, latents: torch.Tensor) -> torch.Tensor:
        """Map latents (..., C) to RGB (..., 3), not clamped."""
        return latents @ self.matrix + self.offset

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Density (N,) and RGB (N, 3)."""
        density, latents = self.latent(points)
        return density, self.to_rgb(latents)

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """The layer, and those of the latent field."""
        layer = ParameterGroup("decoder", [self.matrix], rate_of(rates, "mlp"))
        return [layer, *self.latent.parameter_groups(rates)]

    def density(self, points: torch.Tensor) -> torch.Tensor:
        """Density (N,)."""
        return self.latent.density(points)

    def at(self, fraction: float) -> None:
        """See `Representation.at`."""
        self.latent.at(fraction)

    def before_step(self, step: Step) -> Mapping[nn.Parameter, torch.Tensor]:
        """See `Representation.before_step`."""
        return self.latent.before_step(step)

    def after_step(self, step: Step) -> None:
        """See `Representation.after_step`."""
        self.latent.after_step(step)

    def shrink(self) -> str:
        """Reduce the memory of the latent field."""
        return self.latent.shrink()
