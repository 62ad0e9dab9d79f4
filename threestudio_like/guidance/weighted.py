"""Guidances with their weights, as the stages take them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..engine.errors import ConfigError
from ..engine.schedule import Schedule
from ..engine.stage import ParameterGroup, Step
from ..renderers.cameras import Cameras
from ..renderers.rendering import Rendering
from .guidance import Guidance, GuidanceInputs


@dataclass(frozen=True)
class WeightedGuidance:
    """A guidance that counts in a stage: the name of its term, and the schedule of its weight."""

    name: str
    guidance: Guidance
    weight: Schedule


class GuidanceFigures:
    """The figures that guidances gave in the last step, for the events."""

    def __init__(self) -> None:
        self._values: dict[str, torch.Tensor] = {}

    def keep(self, name: str, figures: dict[str, torch.Tensor]) -> None:
        """Keep the figures of a guidance, by "<its name>.<figure>"."""
        for figure, value in figures.items():
            self._values[f"{name}.{figure}"] = value.detach()

    def __call__(self) -> dict[str, float]:
        """All of them; only here the device is waited for."""
        return {name: float(value) for name, value in self._values.items()}


def guidance_terms(
    weighted: Iterable[WeightedGuidance],
    rendering: Rendering,
    inputs: GuidanceInputs,
    *,
    figures: GuidanceFigures | None = None,
) -> dict[str, torch.Tensor]:
    """The weighted losses of a step, by name; a guidance whose weight is 0 now is not asked. Its
    figures are kept in `figures`."""
    terms: dict[str, torch.Tensor] = {}
    for one in weighted:
        weight = one.weight(inputs.fraction)
        if weight != 0:
            output = one.guidance(rendering, inputs)
            terms[one.name] = weight * output.loss
            if figures is not None:
                figures.keep(one.name, output.figures)
    return terms


def guidance_modules(weighted: Iterable[WeightedGuidance]) -> dict[str, nn.Module]:
    """What the guidances train or remember themselves, for the checkpoint."""
    return {
        f"{one.name}.{name}": module
        for one in weighted
        for name, module in one.guidance.modules().items()
    }


def guidance_groups(weighted: Iterable[WeightedGuidance]) -> list[ParameterGroup]:
    """What the guidances let the optimiser move."""
    return [group for one in weighted for group in one.guidance.parameter_groups()]


def recover_guidances(weighted: Iterable[WeightedGuidance], verdict: str) -> str:
    """Let every guidance turn a knob; what was done in words."""
    done = [one.guidance.recover(verdict) for one in weighted]
    return " and ".join(filter(None, done)) or "went on as before"


def shrink_guidances(weighted: Iterable[WeightedGuidance]) -> str:
    """Let every guidance do less at once; what was done in words."""
    return " and ".join(filter(None, (one.guidance.shrink() for one in weighted)))


def not_shared(stages: Sequence[str], guidances: Sequence[str]) -> ConfigError:
    """Of guidances, by their dotted names, that want all views of a step at once, where these are
    divided."""
    apart = " ".join(f"--{name}.joint-views False" for name in guidances)
    return ConfigError(
        "views that are denoised together cannot be shared",
        f"{'stages' if len(stages) > 1 else 'stage'} {', '.join(stages)}",
        f"Leave --ranks and --accumulate out, or add {apart}",
    )


def own_views(
    cameras: Cameras, step: Step, weighted: Iterable[WeightedGuidance], option: str = ""
) -> Cameras:
    """The cameras of this part of a step.

    Args:
        option: the name of the stage's configuration, where it is not the stage's.

    Raises:
        ConfigError: they cannot be shared.
    """
    whole = [one.name for one in weighted if one.guidance.wants_all_views]
    if step.microbatches > 1 and whole:
        own = f"{option or step.stage}.guidance" if "distil" in whole else f"guidance.{whole[0]}"
        raise not_shared([step.stage], [own])
    return cameras[step.microbatch_views(len(cameras))]
