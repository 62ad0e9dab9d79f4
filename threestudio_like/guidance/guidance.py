"""The contract of a guidance, which tells a representation how to change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from ..engine.random import RandomStream
from ..engine.stage import ParameterGroup
from ..renderers.cameras import Cameras
from ..renderers.rendering import Rendering


@dataclass
class GuidanceInputs:
    """The inputs of a guidance besides the rendering.

    Attributes:
        cameras: the cameras of the B renderings.
        fraction: position in the stage's schedule, in [0, 1].
        random: the random numbers of the step.
        background: grey level in [0, 1] behind the rendering, or None if the background is not a
            uniform grey.
        control: pictures (B, H, W, 3) of the views' geometry by kind, for priors that are
            controlled by them.
    """

    cameras: Cameras
    fraction: float
    random: RandomStream
    background: float | None = None
    control: dict[str, torch.Tensor] | None = None


class GuidanceOutput(NamedTuple):
    """The result of a guidance.

    `loss` is a scalar without its weight. `figures` are scalars for display, on the device of the
    loss, so that no step waits for them.
    """

    loss: torch.Tensor
    figures: dict[str, torch.Tensor]


class Guidance(ABC):
    """Called with a rendering and its inputs, it returns a loss that is differentiable in the
    rendering. All other methods have answers that suit a guidance without a state.

    Example:
        >>> class Darkness(Guidance):
        ...     def __call__(self, rendering, inputs):
        ...         return GuidanceOutput(rendering.features.mean(), {})
    """

    @abstractmethod
    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """The loss of the B renderings. For microbatches of a step, the mean of their losses must
        be the loss of the whole step."""

    def modules(self) -> dict[str, nn.Module]:
        """Modules that it trains, or whose state it keeps. They are saved in checkpoints and moved
        to the stage's device."""
        return {}

    def parameter_groups(self) -> list[ParameterGroup]:
        """Parameters that the stage's optimiser changes besides those of the representation, for
        instance a LoRA."""
        return []

    @property
    def wants_all_views(self) -> bool:
        """Whether the views of a step cannot be divided into microbatches."""
        return False

    def recover(self, verdict: str) -> str:
        """Change one setting after a verdict of the watchdog ("nan", "fog", "box").

        Returns a description of the change, or an empty text if nothing can be changed.
        """
        return ""

    def shrink(self) -> str:
        """Use less memory from now on, with the same result.

        Returns a description of the change, or an empty text if nothing can be changed.
        """
        return ""
