"""The prior of runs whose method asks none."""

from __future__ import annotations

from typing import NoReturn

import torch

from ..engine.errors import ModelError
from .diffusion import Condition, DiffusionPrior, PriorFacts
from .noise_schedule import NoiseSchedule


class AbsentPrior(DiffusionPrior):
    """Knows no cameras, no words and no pictures; whatever it is asked raises ModelError."""

    def __init__(self) -> None:
        self.facts = PriorFacts("none", "epsilon", 4, latent_size=8, image_size=64)
        self.schedule = NoiseSchedule.scaled_linear()

    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        """Raises ModelError."""
        self._refuse()

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Raises ModelError."""
        self._refuse()

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Raises ModelError."""
        self._refuse()

    def predict(self, latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Raises ModelError."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ModelError(
            "asks a diffusion prior, and says that it wants none",
            "the method",
            "Let its `wants_prior` be true",
        )
