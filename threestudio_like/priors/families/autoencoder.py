"""The autoencoders of diffusers' families behind one pair of functions: pictures to scaled latents
and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from .records import AutoencoderRecord

KINDS = (
    *("AutoencoderKL", "AutoencoderTiny", "AutoencoderDC"),
    *("AutoencoderKLQwenImage", "AutoencoderKLFlux2"),
)
"""Classes that are understood."""


class Latents(ABC):
    """Between pictures (B, 3, H, W) in [-1, 1] and the latents (B, C, h, w) that a denoiser works
    on."""

    @abstractmethod
    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures to latents; differentiable."""

    @abstractmethod
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents to pictures; differentiable."""


class Pixels(Latents):
    """A denoiser of pixels needs no autoencoder."""

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """The pictures themselves."""
        return pictures

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The pictures themselves."""
        return latents


class Scaled(Latents):
    """latents = (z - shift) * factor, with numbers for all channels or one for each.

    Args:
        network: an autoencoder of diffusers.
        facts: of its configuration.
        factor, shift: instead of the configuration's, where not None.
        sample: whether the posterior is sampled instead of taking its mean.
    """

    def __init__(
        self,
        network: Any,
        facts: AutoencoderRecord,
        factor: float | None = None,
        shift: float | None = None,
        sample: bool = False,
    ) -> None:
        self.network, self.sample = network, sample
        scale = factor
        if scale is None:
            # The library's own default, where a configuration names none.
            scale = facts.scaling_factor or float(network.config.get("scaling_factor") or 1.0)
        offset = (facts.shift_factor or 0.0) if shift is None else shift
        mean, spread = facts.latents_mean, facts.latents_std
        if factor is not None or shift is not None or mean is None or spread is None:
            self.factor, self.shift = torch.tensor(float(scale)), torch.tensor(float(offset))
            return
        # Playground and Qwen-Image normalise every channel; Playground's factor is the standard
        # deviation wanted.
        self.factor = (float(scale) / torch.tensor(spread)).view(-1, 1, 1)
        self.shift = torch.tensor(mean).view(-1, 1, 1)

    def posterior(self, encoded: Any) -> torch.Tensor:
        """The latents of an encoder's answer."""
        if hasattr(encoded, "latent_dist"):
            dist = encoded.latent_dist
            return dist.sample() if self.sample else dist.mode()
        return encoded.latent if hasattr(encoded, "latent") else encoded.latents

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """See `Latents.encode`."""
        return self.scaled(self.posterior(self.network.encode(pictures)))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Latents.decode`."""
        return self.network.decode(self.raw(latents)).sample

    def scaled(self, raw: torch.Tensor) -> torch.Tensor:
        """The autoencoder's own latents as the denoiser wants them."""
        return (raw - self.shift.to(raw)) * self.factor.to(raw)

    def raw(self, latents: torch.Tensor) -> torch.Tensor:
        """The denoiser's latents as the autoencoder wants them."""
        return latents / self.factor.to(latents) + self.shift.to(latents)


class OneFrame(Scaled):
    """An autoencoder of videos, for single frames (Qwen-Image)."""

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """See `Latents.encode`."""
        return self.scaled(self.posterior(self.network.encode(pictures[:, :, None]))[:, :, 0])

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Latents.decode`."""
        return self.network.decode(self.raw(latents)[:, :, None]).sample[:, :, 0]


def patchified(x: torch.Tensor) -> torch.Tensor:
    """(B, C, 2h, 2w) as (B, 4C, h, w): each channel's two by two neighbours become channels."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(b, 4 * c, h // 2, w // 2)


def unpatchified(x: torch.Tensor) -> torch.Tensor:
    """The inverse of `patchified`."""
    b, c, h, w = x.shape
    x = x.reshape(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(b, c // 4, 2 * h, 2 * w)


class Patchified(Scaled):
    """FLUX.2's: two by two latents are one of four times the channels, normalised by the running
    moments in the autoencoder."""

    def _moments(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        norm = self.network.bn
        spread = (norm.running_var + self.network.config.batch_norm_eps).sqrt()
        mean, spread = (m.to(like).view(1, -1, 1, 1) for m in (norm.running_mean, spread))
        return mean, spread

    def scaled(self, raw: torch.Tensor) -> torch.Tensor:
        """See `Scaled.scaled`."""
        wide = patchified(raw)
        mean, spread = self._moments(wide)
        return (wide - mean) / spread

    def raw(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Scaled.raw`."""
        mean, spread = self._moments(latents)
        return unpatchified(latents * spread + mean)


def latents_of_kind(kind: str) -> type[Scaled]:
    """What speaks to a class of autoencoder."""
    return {"AutoencoderKLQwenImage": OneFrame, "AutoencoderKLFlux2": Patchified}.get(kind, Scaled)
