"""Qwen-Image (Wu et al. 2025): a language model's states of the prompt in a dialogue, latents of a
video autoencoder packed two by two."""

from __future__ import annotations

from typing import Any

import torch

from ..diffusion import GuidanceStyle
from ..text.embeddings import EmbeddingStore
from ..text.packed import Text, TextLayout
from .base import DiffusersPrior
from .flux import packed, unpacked
from .text import LibraryText, TextSide


class QwenText(LibraryText):
    """The last states of Qwen2.5-VL, after those of the dialogue's beginning."""

    pipeline = "QwenImagePipeline"
    classes = ("Qwen2_5_VLForConditionalGeneration",)
    layout = TextLayout(masked=True)
    usual_length = 1024

    def make(self, prompts: list[str]) -> Text:
        """See `FamilyText.make`."""
        states, mask = self.library().encode_prompt(
            prompt=list(prompts), device=self.device, max_sequence_length=self.length
        )
        return Text(states, mask=mask)


class QwenImagePrior(DiffusersPrior):
    """Qwen-Image's adapter."""

    kind = "QwenImageTransformer2DModel"
    patch = 2

    def channels(self) -> int:
        """See `DiffusersPrior.channels`."""
        return int(self.denoiser.config.in_channels) // 4

    def size(self) -> int:
        """See `DiffusersPrior.size`."""
        return self.config.image_size // self.downscale_of_latents or self.usual_size

    def style(self) -> GuidanceStyle:
        """See `DiffusersPrior.style`."""
        return "embedded" if self.denoiser.config.guidance_embeds else "cfg"

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        return QwenText(
            *(self.folder, self.text_dtype, self.device, self.config.keep_text, embeddings),
            self.config.text_length,
        )

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """See `DiffusersPrior.denoise`."""
        rows, columns = x.shape[-2], x.shape[-1]
        guidance = None
        if network.config.guidance_embeds:
            guidance = torch.full((len(x),), self.embedded_guidance or 1.0, device=x.device)
        out = network(
            hidden_states=packed(x),
            timestep=time.to(x) / 1000,
            guidance=guidance,
            encoder_hidden_states_mask=text.mask,
            encoder_hidden_states=text.states,
            img_shapes=[[(1, rows // 2, columns // 2)]] * len(x),
            return_dict=False,
        )[0]
        return unpacked(out, rows, columns)
