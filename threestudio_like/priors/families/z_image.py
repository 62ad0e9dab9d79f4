"""Z-Image (Alibaba 2025): text and picture in one stream of tokens, whose time runs from noise to
picture and whose velocity therefore has the other sign."""

from __future__ import annotations

from typing import Any

import torch

from ..text.embeddings import EmbeddingStore
from ..text.packed import Text, TextLayout
from .base import DiffusersPrior
from .text import LibraryText, TextSide


class ZImageText(LibraryText):
    """The states of the last layer but one of Qwen3, in a dialogue."""

    pipeline = "ZImagePipeline"
    classes = ("Qwen3ForCausalLM", "Qwen3Model")
    layout = TextLayout(masked=True)
    usual_length = 512

    def make(self, prompts: list[str]) -> Text:
        """See `FamilyText.make`."""
        rows, _ = self.library().encode_prompt(
            prompt=list(prompts),
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.length,
        )
        return self.padded(rows)


class ZImagePrior(DiffusersPrior):
    """Z-Image's adapter."""

    kind = "ZImageTransformer2DModel"
    patch = 2

    def channels(self) -> int:
        """See `DiffusersPrior.channels`."""
        return int(self.denoiser.config.in_channels)

    def size(self) -> int:
        """See `DiffusersPrior.size`."""
        return self.config.image_size // self.downscale_of_latents or self.usual_size

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        return ZImageText(
            *(self.folder, self.text_dtype, self.device, self.config.keep_text, embeddings),
            self.config.text_length,
        )

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """See `DiffusersPrior.denoise`."""
        rows = list(text.states)
        if text.mask is not None:
            rows = [row[mask > 0] for row, mask in zip(rows, text.mask)]
        frames = list(x.unsqueeze(2).unbind(0))
        out = network(frames, (1000 - time) / 1000, rows, return_dict=False)[0]
        return -torch.stack(list(out)).squeeze(2)
