"""PixArt-α and PixArt-Σ (Chen et al. 2023, 2024): a diffusion transformer with cross-attention to
T5's tokens."""

from __future__ import annotations

from typing import Any

import torch

from ..text.embeddings import EmbeddingStore
from ..text.packed import Text
from .base import DiffusersPrior
from .text import MaskedT5, TextSide


class PixArtPrior(DiffusersPrior):
    """PixArt's adapter. Its denoiser predicts a variance beside the noise, which is left out."""

    kind = "PixArtTransformer2DModel"
    also = ("Transformer2DModel",)
    patch = 2

    def channels(self) -> int:
        """See `DiffusersPrior.channels`."""
        return int(self.denoiser.config.in_channels)

    def size(self) -> int:
        """See `DiffusersPrior.size`."""
        wanted = self.config.image_size // self.downscale_of_latents
        return wanted or int(self.denoiser.config.sample_size)

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`. PixArt-α reads 120 tokens, PixArt-Σ 300."""
        alpha = str(self.index.get("_class_name", "")) == "PixArtAlphaPipeline"
        return MaskedT5(
            *(self.folder, self.text_dtype, self.device, self.config.keep_text, embeddings),
            self.config.text_length or (120 if alpha else 300),
        )

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """See `DiffusersPrior.denoise`."""
        added: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
        if network.config.use_additional_conditions:
            edge = float(x.shape[-1] * self.downscale_of_latents)
            added["resolution"] = x.new_full((len(x), 2), edge)
            added["aspect_ratio"] = x.new_ones(len(x), 1)
        out = network(
            x,
            encoder_hidden_states=text.states,
            encoder_attention_mask=text.mask,
            timestep=time,
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return out[:, : x.shape[1]]
