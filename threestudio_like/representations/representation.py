"""The contract of a representation: what a stage needs of whatever it optimises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ..engine.stage import ParameterGroup


@dataclass(frozen=True, kw_only=True)
class LearningRates:
    """Schedules of learning rates. Voxel fields use `voxels`, hash grids `table` and `mlp`, all
    others `table`."""

    voxels: str = "0.1->0.02"
    table: str = "1e-2"
    mlp: str = "1e-3"
    background: str = "1e-3"


Rates = Mapping[str, str | float]
"""Schedules of learning rates by name: ``vars(LearningRates())``."""


def rate_of(rates: Rates | None, name: str, default: str = "1e-2") -> str | float:
    """The schedule of a name, or `LearningRates`' default, or `default` where it has none."""
    return (rates or {}).get(name, getattr(LearningRates(), name, default))


class Representation(nn.Module):
    """What is optimised. All methods have answers that suit a plain module: a new kind says only
    what is special about it."""

    channels: int
    """C of its features: 4 in the latent space of a Stable-Diffusion prior, 3 in RGB."""
    resamples: ClassVar[bool] = False
    """Whether `load_resampled` takes over the state of another kind."""

    @property
    def device(self) -> torch.device:
        """Where it is; points have to be there too."""
        return next((p.device for p in self.parameters()), torch.get_default_device())

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """What the optimiser moves. The groups are torch's own too:
        ``torch.optim.Adam(field.parameter_groups())``.

        Args:
            rates: schedules of learning rates by name, of which a kind takes those that it knows;
                what is not there has `LearningRates`' defaults.
        """
        return [ParameterGroup("field", list(self.parameters()), rate_of(rates, "table"))]

    def regularisation(self, weights: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """The weighted terms by name that only this kind can tell, of the weights (by the names of
        `stages.regularisers.Regularisation`) those that it knows; none by default."""
        return {}

    def load_resampled(self, other: Representation, close: float = 0.0) -> None:
        """Take over the state of another representation of as many channels, where `resamples`.

        Args:
            close: gaps narrower than twice this distance (scene units) are filled.
        """
        raise TypeError(f"{type(self).__name__} cannot take over another representation")

    def shrink(self) -> str:
        """Do less at once from now on, with the same result; what was done in words, empty where
        nothing can be."""
        return ""
