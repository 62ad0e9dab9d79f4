"""The contract of a guidance: what tells a representation how to change."""

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
    """What a guidance sees beside the rendering.

    Attributes:
        cameras: of the B renderings.
        fraction: of the stage's schedule, in [0, 1].
        random: the random numbers of the step.
        background: grey level in [0, 1] behind the rendering, where it is one grey.
    """

    cameras: Cameras
    fraction: float
    random: RandomStream
    background: float | None = None


class GuidanceOutput(NamedTuple):
    """`loss`, a scalar that is not weighted yet; `figures` for whoever looks, scalars on the loss's
    device, so that no step waits for them."""

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
        """The loss of the B renderings. Of a part of a step's views, the mean over the parts must
        be the loss of the whole."""

    def modules(self) -> dict[str, nn.Module]:
        """What it trains or remembers itself: saved in checkpoints and put on the stage's
        device."""
        return {}

    def parameter_groups(self) -> list[ParameterGroup]:
        """What the stage's optimiser moves besides the representation, for instance a LoRA."""
        return []

    @property
    def wants_all_views(self) -> bool:
        """Whether the views of a step cannot be worked on in parts."""
        return False

    def recover(self, verdict: str) -> str:
        """Turn one knob after the watchdog's verdict ("nan", "fog", "box"); what was done in words,
        empty where nothing can be."""
        return ""

    def shrink(self) -> str:
        """Do less at once from now on, with the same result; what was done in words, empty where
        nothing can be."""
        return ""
