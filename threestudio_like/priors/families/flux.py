"""FLUX.1 (Black Forest Labs 2024): T5's tokens and CLIP's pooled text, latents packed two by two,
and in the "dev" model an embedding of the guidance instead of a second prediction."""

from __future__ import annotations

from typing import Any

import torch

from ..diffusion import GuidanceStyle
from ..text.embeddings import EmbeddingStore
from ..text.packed import Text
from .base import DiffusersPrior
from .text import PooledClipAndT5, TextSide


def packed(x: torch.Tensor) -> torch.Tensor:
    """Latents (B, C, h, w) as tokens (B, h/2 * w/2, 4C)."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(b, (h // 2) * (w // 2), 4 * c)


def unpacked(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The inverse of `packed`, for latents of a height and width."""
    b, _, c = tokens.shape
    x = tokens.reshape(b, height // 2, width // 2, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(b, c // 4, height, width)


class FluxPrior(DiffusersPrior):
    """FLUX.1's adapter."""

    kind = "FluxTransformer2DModel"
    patch = 2
    usual_guidance = 3.5

    def channels(self) -> int:
        """See `DiffusersPrior.channels`: four packed ones make the transformer's."""
        return int(self.denoiser.config.in_channels) // 4

    def size(self) -> int:
        """See `DiffusersPrior.size`."""
        return self.config.image_size // self.downscale_of_latents or self.usual_size

    def style(self) -> GuidanceStyle:
        """FLUX was distilled in both published forms: with the guidance as an embedding, or without
        guidance in a few steps."""
        return "embedded" if self.denoiser.config.guidance_embeds else "none"

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        return PooledClipAndT5(
            *(self.folder, self.text_dtype, self.device, self.config.keep_text, embeddings),
            self.config.text_length,
            pooled=self.denoiser.config.pooled_projection_dim,
        )

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """See `DiffusersPrior.denoise`."""
        rows, columns = x.shape[-2] // 2, x.shape[-1] // 2
        places = torch.zeros(rows, columns, 3, device=x.device, dtype=x.dtype)
        places[..., 1] = torch.arange(rows, device=x.device)[:, None]
        places[..., 2] = torch.arange(columns, device=x.device)[None]
        guidance = None
        if network.config.guidance_embeds:
            guidance = torch.full((len(x),), self.embedded_guidance, device=x.device)
        out = network(
            hidden_states=packed(x),
            timestep=time.to(x) / 1000,
            guidance=guidance,
            pooled_projections=text.pooled,
            encoder_hidden_states=text.states,
            txt_ids=text.states.new_zeros(text.states.shape[1], 3),
            img_ids=places.reshape(-1, 3),
            return_dict=False,
        )[0]
        return unpacked(out, x.shape[-2], x.shape[-1])
