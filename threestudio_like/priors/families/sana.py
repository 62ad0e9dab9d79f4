"""Sana (Xie et al. 2024): a linear diffusion transformer on an autoencoder of 32 pixels a latent,
told the prompt by Gemma 2."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from ...engine.errors import ModelError
from ..text.embeddings import EmbeddingStore
from ..text.packed import Text, TextLayout
from .base import DiffusersPrior
from .text import LibraryText, TextSide


class GemmaText(LibraryText):
    """The last states of Gemma 2. The library's instruction is put before every prompt but the
    empty one."""

    pipeline = "SanaPipeline"
    classes = ("Gemma2Model", "Gemma2ForCausalLM")
    layout = TextLayout(masked=True)
    usual_length = 300

    def make(self, prompts: list[str]) -> Text:
        """See `FamilyText.make`."""
        library = self.library()
        usual = inspect.signature(library.__call__).parameters["complex_human_instruction"].default
        rows = []
        for prompt in prompts:
            states, mask, _, _ = library.encode_prompt(
                prompt,
                do_classifier_free_guidance=False,
                device=self.device,
                max_sequence_length=self.length,
                complex_human_instruction=usual if prompt else None,
            )
            rows.append((states[0], mask[0]))
        states, masks = (torch.stack(list(part)) for part in zip(*rows))
        return Text(states, mask=masks)


class SanaPrior(DiffusersPrior):
    """Sana's adapter."""

    kind = "SanaTransformer2DModel"

    def channels(self) -> int:
        """See `DiffusersPrior.channels`."""
        return int(self.denoiser.config.in_channels)

    def size(self) -> int:
        """See `DiffusersPrior.size`."""
        wanted = self.config.image_size // self.downscale_of_latents
        return wanted or int(self.denoiser.config.sample_size)

    def check(self) -> None:
        """See `DiffusersPrior.check`."""
        if self.scheduler._class_name == "SCMScheduler":
            raise ModelError(
                "is a Sana Sprint, whose trigonometric flow is not read",
                str(self.folder),
                "Take a Sana of 20 steps",
            )

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        return GemmaText(
            *(self.folder, self.text_dtype, self.device, self.config.keep_text, embeddings),
            self.config.text_length,
        )

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """See `DiffusersPrior.denoise`."""
        out = network(
            x,
            encoder_hidden_states=text.states,
            encoder_attention_mask=text.mask,
            timestep=time * network.config.timestep_scale,
            return_dict=False,
        )[0]
        return out[:, : x.shape[1]]
