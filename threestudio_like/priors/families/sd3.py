"""Stable Diffusion 3 and 3.5 (Esser et al. 2024): joint attention over text and picture, flow
matching with a constant shift."""

from __future__ import annotations

from typing import Any

import torch

from ..text.embeddings import EmbeddingStore
from ..text.packed import Text
from .base import DiffusersPrior
from .text import ClipAndT5, TextSide


class StableDiffusion3Prior(DiffusersPrior):
    """SD3's adapter: two CLIPs, T5 where the folder has it, and pooled text."""

    kind = "SD3Transformer2DModel"
    patch = 2

    def channels(self) -> int:
        """See `DiffusersPrior.channels`."""
        return int(self.denoiser.config.in_channels)

    def size(self) -> int:
        """See `DiffusersPrior.size`."""
        wanted = self.config.image_size // self.downscale_of_latents
        return wanted or int(self.denoiser.config.sample_size or self.usual_size)

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        config: Any = self.denoiser.config
        return ClipAndT5(
            *(self.folder, self.text_dtype, self.device, self.config.keep_text, embeddings),
            self.config.text_length,
            width=config.joint_attention_dim,
            pooled=config.pooled_projection_dim,
            skip=self.config.clip_skip,
        )

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """See `DiffusersPrior.denoise`."""
        return network(
            hidden_states=x,
            timestep=time,
            encoder_hidden_states=text.states,
            pooled_projections=text.pooled,
            return_dict=False,
        )[0]
