"""The contract of a representation, which is all that a stage needs to optimise it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ..engine.schema.bounds import ScheduleText
from ..engine.stage import ParameterGroup, Step


@dataclass(frozen=True, kw_only=True)
class LearningRates:
    """Schedules of learning rates. Voxel fields use `voxels`, hash grids `table` and `mlp`, all
    others `table`."""

    voxels: ScheduleText = "0.1->0.02"
    table: ScheduleText = "1e-2"
    mlp: ScheduleText = "1e-3"
    background: ScheduleText = "1e-3"


Rates = Mapping[str, str | float]
"""Schedules of learning rates by name: ``vars(LearningRates())``."""


def rate_of(rates: Rates | None, name: str, default: str = "1e-2") -> str | float:
    """The schedule of a name, or `LearningRates`' default, or `default` where it has none."""
    return (rates or {}).get(name, getattr(LearningRates(), name, default))


class Representation(nn.Module):
    """What is optimised. All methods have defaults that suit a plain module, so that a new kind
    overrides only those in which it differs."""

    channels: int
    """Number C of its features: 4 in the latent space of a Stable Diffusion prior, 3 in RGB."""
    resamples: ClassVar[bool] = False
    """Whether `load_resampled` can take over the state of another kind."""
    drawn_by: ClassVar[str] = "volume"
    """The renderer that draws it, by its name in `renderers.drawing.RENDERERS`."""

    @property
    def device(self) -> torch.device:
        """The device of the representation, on which points have to be too."""
        return next((p.device for p in self.parameters()), torch.get_default_device())

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """The parameters that the optimiser changes, with schedules of learning rates.

        They are also parameter groups of torch: ``torch.optim.Adam(field.parameter_groups())``.
        """
        return [ParameterGroup("field", list(self.parameters()), rate_of(rates, "table"))]

    def regularisation(self, weights: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """Weighted regularisation terms of this kind by name; none by default.

        `weights` are keyed by the names of `stages.regularisers.Regularisation`; those that the
        kind does not know are ignored.
        """
        return {}

    def at(self, fraction: float) -> None:
        """Follow the run: called before every step with its fraction in [0, 1]. What changes with
        it must be among the buffers that are saved."""
        return None

    def before_step(self, step: Step) -> Mapping[nn.Parameter, torch.Tensor]:
        """Called once before every step, whatever its parts; by default `at`.

        Returns:
            For parameters whose rows were moved, the former row of every row, -1 for new ones: the
            optimiser's moments follow.
        """
        self.at(step.fraction)
        return {}

    def after_step(self, step: Step) -> None:
        """Called after every step of the optimiser; gradients are still there."""
        return None

    def load_resampled(self, other: Representation, close: float = 0.0) -> None:
        """Take over the state of another representation with as many channels, if `resamples` is
        set.

        Args:
            close: gaps narrower than twice this distance (in scene units) are filled.
        """
        raise TypeError(f"{type(self).__name__} cannot take over another representation")

    def shrink(self) -> str:
        """Use less memory from now on, with the same result.

        Returns a description of the change, or an empty text if nothing can be changed.
        """
        return ""
