"""The contract of a diffusion prior. A new model is one adapter: the methods below, and nothing
else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from ..engine.errors import ModelError
from ..renderers.cameras import Cameras
from .noise_schedule import NoiseSchedule, PredictionType


@dataclass
class CameraProtocol:
    """What a camera-conditioned prior was trained on: distance in scene units, angles in degrees,
    grey background levels."""

    distance: float = 3.0
    fov_y: float = 40.0
    elevation: tuple[float, float] = (-10.0, 45.0)
    background: tuple[float, float] = (0.25, 1.0)


@dataclass
class Condition:
    """What a prediction is conditioned on.

    text (B, T, D) embeddings; cameras of the B views; background: grey level in [0, 1], one for all
    or (B,); views: how many consecutive entries show the same object and are denoised together;
    emphasis (B, T): factors of the words' attention (see `attention.emphasised`). A prior ignores
    what it was not trained for, but for emphasis, which one that cannot do refuses.
    """

    text: torch.Tensor
    cameras: Cameras | None = None
    background: float | torch.Tensor | None = None
    views: int = 1
    emphasis: torch.Tensor | None = None

    def part(self, some: slice) -> Condition:
        """That of consecutive entries."""
        level = self.background
        level = level[some] if isinstance(level, torch.Tensor) and level.ndim else level
        return Condition(
            self.text[some],
            None if self.cameras is None else self.cameras[some],
            level,
            self.views,
            None if self.emphasis is None else self.emphasis[some],
        )


@dataclass
class PriorFacts:
    """What a prior says of itself."""

    name: str
    prediction_type: PredictionType
    channels: int
    latent_size: int
    image_size: int
    vocabulary: tuple[str, ...] | None = None
    """The only words it knows, or None for an open vocabulary."""
    camera: CameraProtocol | None = None
    light: tuple[tuple[float, ...], ...] | None = None
    """The one light of all its pictures, if there is one: the (4, 4) matrix of
    `renderers.EnvironmentLight`."""
    joint_views: int = 1
    """Views that it can denoise together."""
    licence: str = "unknown"
    territory: str = "unknown"


class DiffusionPrior(ABC):
    """A text-conditional denoiser in the space of its latents (or of images, with an identity
    autoencoder).

    Latents are scaled: the adapter multiplies by the model's own factor after encoding and divides
        before decoding.
    """

    facts: PriorFacts
    schedule: NoiseSchedule
    device: torch.device = torch.device("cpu")

    @property
    def accelerated(self) -> bool:
        """Whether it runs elsewhere than on the CPU, where memory is another matter."""
        return self.device.type != "cpu"

    def shrink(self) -> str:
        """Do less at once, after the device ran out of memory; what was done in words, empty where
        nothing can be."""
        return ""

    @abstractmethod
    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        """Embeddings (B, T, D) of B prompts; "" is the unconditional one."""

    @abstractmethod
    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, H, W, 3) in [0, 1] -> latents (B, C, h, w). Differentiable."""

    @abstractmethod
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, h, w) -> images (B, H, W, 3) in [0, 1]. Differentiable."""

    @abstractmethod
    def predict(self, latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The model's raw prediction (B, C, h, w) for noisy latents at integer time steps t (B,).
        Not differentiable."""

    def epsilon(self, latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The predicted noise (B, C, h, w)."""
        return self.schedule.to_epsilon(
            self.predict(latents, t, condition), latents, t, self.facts.prediction_type
        )

    def word_columns(self, prompt: str, words: str) -> list[int]:
        """The places in `encode_text`'s T of a word, or of several in a row, wherever they stand in
        the prompt.

        Raises:
            ConfigError: the prompt does not say them. ModelError: this prior has no words.
        """
        raise ModelError(
            "its text has no words that could be weighted", self.facts.name, "Use a diffusers model"
        )

    @property
    def downscale(self) -> int:
        """Pixels per latent along an edge."""
        return self.facts.image_size // self.facts.latent_size


PLAIN_CAMERAS = CameraProtocol(1.8, 55.0)
"""How assets of priors without a camera protocol are shown: the evaluation ring of METHODS 1.4."""
