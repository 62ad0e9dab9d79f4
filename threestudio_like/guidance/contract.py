"""What a guidance sees besides the rendering, and the contract it fulfils."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from ..engine.random import RandomStream
from ..renderers.cameras import Cameras
from ..renderers.rendering import Rendering


@dataclass
class View:
    """cameras of the rendering; fraction of the run in [0, 1]; random numbers of the step; grey
    level of the background."""

    cameras: Cameras
    fraction: float
    random: RandomStream
    background: float | None = None


class Guidance(Protocol):
    """``loss(rendering, view) -> (scalar, figures)``; the scalar is not weighted yet."""

    def loss(
        self, rendering: Rendering, view: View
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss, and figures for whoever looks: numbers on the loss's device, so that no step
        waits for them."""
