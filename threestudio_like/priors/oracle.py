"""Oracle priors: diffusion priors whose score is known in closed form, so that a loss can be
compared with its exact value."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..renderers.cameras import Cameras
from .diffusion import Condition, DiffusionPrior, PriorFacts
from .noise_schedule import NoiseSchedule, PredictionType


class OraclePrior(DiffusionPrior):
    """Base of the oracles: identity autoencoder, prompts as one-hot embeddings, and the optimal
    denoiser `clean`.

    Args:
        channels, size: latent shape (C, size, size); an image is its own latent.
        prompts: the texts that can be selected, by index; "" is index 0.
        prediction_type: the form in which predictions are given.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        prompts: tuple[str, ...] = ("",),
        prediction_type: PredictionType = "epsilon",
    ) -> None:
        self.facts = PriorFacts(
            "oracle", prediction_type, channels, latent_size=size, image_size=size
        )
        self.schedule = NoiseSchedule.scaled_linear()
        self.prompts = prompts

    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        """One-hot rows (B, 1, P). A prompt that starts with a known one selects it, and any other
        selects "" (index 0)."""
        rows = torch.zeros(len(prompts), 1, len(self.prompts))
        for row, prompt in enumerate(prompts):
            hits = [i for i, known in enumerate(self.prompts) if known and prompt.startswith(known)]
            rows[row, 0, hits[-1] if hits else 0] = 1
        return rows

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """The identity: (B, H, W, C) to (B, C, H, W)."""
        return images.permute(0, 3, 1, 2)

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """The identity: (B, C, H, W) to (B, H, W, C)."""
        return latents.permute(0, 2, 3, 1)

    def clean(self, noisy: torch.Tensor, abar: torch.Tensor, condition: Condition) -> torch.Tensor:
        """E[z | z_t], the optimal denoiser."""
        raise TypeError(f"{type(self).__name__} does not define its denoiser")

    def predict(self, latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The optimal denoiser, in this prior's prediction type."""
        abar = self.schedule.abar(t, latents)
        clean = self.clean(latents, abar, condition)
        epsilon = (latents - abar.sqrt() * clean) / (1 - abar).sqrt()
        return self.schedule.from_epsilon(epsilon, latents, t, kind=self.facts.prediction_type)


class PointMass(OraclePrior):
    """All data is one latent mu (C, h, w): eps* = (z_t - sqrt(abar) mu) / sqrt(1 - abar) (METHODS
    5.1)."""

    def __init__(self, mu: torch.Tensor, prediction_type: PredictionType = "epsilon") -> None:
        super().__init__(mu.shape[0], mu.shape[-1], prediction_type=prediction_type)
        self.mu = mu

    def clean(self, noisy: torch.Tensor, abar: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The posterior mean, which is always mu."""
        return self.mu.expand_as(noisy)


class Gaussian(OraclePrior):
    """Data ~ N(mu, std^2 I)."""

    def __init__(
        self, mu: torch.Tensor, std: float, prediction_type: PredictionType = "epsilon"
    ) -> None:
        super().__init__(mu.shape[0], mu.shape[-1], prediction_type=prediction_type)
        self.mu, self.variance = mu, std * std

    def clean(self, noisy: torch.Tensor, abar: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The posterior mean mu + sqrt(abar) s^2 / (abar s^2 + 1 - abar) (z_t - sqrt(abar) mu)."""
        gain = abar.sqrt() * self.variance / (abar * self.variance + 1 - abar)
        return self.mu + gain * (noisy - abar.sqrt() * self.mu)


class Mixture(OraclePrior):
    """Data is one of K Gaussians of common deviation. A prompt selects its own mode, and "" leaves
    all K equally likely."""

    def __init__(
        self,
        modes: dict[str, torch.Tensor],
        std: float,
        prediction_type: PredictionType = "epsilon",
    ) -> None:
        first = next(iter(modes.values()))
        super().__init__(first.shape[0], first.shape[-1], ("", *modes), prediction_type)
        self.means, self.variance = torch.stack(list(modes.values())), std * std

    def clean(self, noisy: torch.Tensor, abar: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The posterior mean over the modes that the text allows."""
        chosen = condition.text[:, 0]
        prior = torch.where(chosen[:, :1] > 0, torch.ones_like(chosen[:, 1:]), chosen[:, 1:]).to(
            noisy
        )
        spread = abar * self.variance + 1 - abar
        means = self.means.to(noisy)
        offset = noisy[:, None] - abar.sqrt()[:, None] * means[None]
        logits = -0.5 * offset.square().sum((2, 3, 4)) / spread[:, 0, 0, 0][:, None] + prior.log()
        posterior = logits.softmax(1)
        gain = abar.sqrt() * self.variance / spread
        each = means[None] + gain[:, None] * offset
        return (posterior[:, :, None, None, None] * each).sum(1)


class ViewsOf(OraclePrior):
    """The data set is the views of one known object: the clean picture of every camera is what
    `draw` renders.

    Args:
        draw: maps Cameras to pictures (B, H, W, C) in the latent space.
    """

    def __init__(
        self,
        draw: Callable[[Cameras], torch.Tensor],
        channels: int,
        size: int,
        prediction_type: PredictionType = "epsilon",
    ) -> None:
        super().__init__(channels, size, prediction_type=prediction_type)
        self.draw = draw

    def clean(self, noisy: torch.Tensor, abar: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The object as seen from the cameras of the condition."""
        if condition.cameras is None:
            raise ValueError("ViewsOf needs the cameras in its condition")
        pictures = self.draw(
            condition.cameras.resized(self.facts.image_size, self.facts.image_size)
        ).permute(0, 3, 1, 2)
        if pictures.shape[-1] != noisy.shape[-1]:
            pictures = F.interpolate(pictures, noisy.shape[-2:], mode="area")
        return pictures.to(noisy)
