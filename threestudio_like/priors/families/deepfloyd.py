"""DeepFloyd IF's first stage (2023): a UNet of 64 pixels without an autoencoder, told
T5's tokens."""

from __future__ import annotations

import torch

from ...engine.errors import ModelError
from ..diffusion import Working
from ..networks.attention import ViewAttention
from ..stable_diffusion import StableDiffusionPrior
from ..text.embeddings import EmbeddingStore
from .base import DiffusersPrior
from .text import MaskedT5, TextSide


class DeepFloydPrior(StableDiffusionPrior):
    """IF's adapter: latents are pictures in [-1, 1]. The variance that it predicts beside the noise
    is left out."""

    pixels = True
    likes = False
    half = torch.float16
    extra_channels = (0,)

    def check(self) -> None:
        """See `DiffusersPrior.check`."""
        super().check()
        if self.unet_facts.in_channels != 3 or self.unet_facts.class_embed_type is not None:
            raise ModelError(
                "is a stage of DeepFloyd IF that enlarges pictures",
                str(self.folder),
                "Take the first stage, of 64 pixels",
            )

    def _check_channels(self) -> None:
        self._ray_maps = False

    def _camera_numbers(self) -> tuple[str, ...]:
        return ()

    def _install(self) -> ViewAttention | None:
        """IF's attention has projections of the text beside its own, which the library computes."""
        return None

    def channels(self) -> int:
        """Red, green and blue."""
        return 3

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        return MaskedT5(
            *(self.folder, self.text_dtype, self.device, self.config.keep_text, embeddings),
            self.config.text_length or 77,
            masked=False,
        )

    def rehearse(
        self, latent: int, entries: int, images: int, gradient: bool, offload: bool
    ) -> Working:
        """See `DiffusionPrior.rehearse`."""
        return DiffusersPrior.rehearse(self, latent, entries, images, gradient, offload)
