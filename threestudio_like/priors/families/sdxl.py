"""Stable Diffusion XL (Podell et al. 2023), its turbo and lightning models and others of its
layout: two CLIPs, pooled text, and the size of the picture."""

from __future__ import annotations

from typing import Any

import torch

from ...engine.errors import ModelError
from ..diffusion import Working
from ..stable_diffusion import StableDiffusionPrior
from ..text.embeddings import EmbeddingStore
from ..text.packed import Text
from .base import DiffusersPrior
from .text import ClipPair, TextSide

SIZES = 6
"""Numbers of size and crop that SDXL is told."""


class StableDiffusionXLPrior(StableDiffusionPrior):
    """SDXL's adapter."""

    extra_channels = (0,)

    def check(self) -> None:
        """See `DiffusersPrior.check`."""
        super().check()
        width = self.unet_facts.addition_time_embed_dim or 0
        told = self.unet_facts.projection_class_embeddings_input_dim or 0
        lone = not (self.folder / "text_encoder").is_dir()
        if lone and (self.folder / "text_encoder_2").is_dir():
            raise ModelError(
                "is SDXL's refiner, which only finishes pictures that another model began",
                str(self.folder),
                "Take the base model",
            )
        self._pooled = told - SIZES * width
        if not width or self._pooled <= 0:
            raise ModelError(
                f"its UNet is told {told} numbers of pooled text and sizes, which are not SDXL's",
                str(self.folder),
            )

    def _camera_numbers(self) -> tuple[str, ...]:
        """SDXL's projection is of its sizes, and no camera."""
        if self.unet_facts.class_embed_type is not None:
            return super()._camera_numbers()
        return ()

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        said = bool(self.index.get("force_zeros_for_empty_prompt", True))
        chosen = self.config.zero_empty
        return ClipPair(
            *(self.folder, self.text_dtype, self.device, self.config.keep_text, embeddings),
            zeros=said if chosen is None else chosen,
            pooled=self._pooled,
            skip=self.config.clip_skip,
        )

    def add_concept(self, tokens: dict[str, torch.Tensor]) -> None:
        """See `ClipPair.add_concepts`."""
        if not isinstance(self.text, ClipPair):
            super().add_concept(tokens)
            return
        self.text.add_concepts(tokens)

    def added(self, x: torch.Tensor, text: Text) -> dict[str, Any]:
        """Pooled text, and original size, crop and target size: the picture as a whole."""
        edge = float(x.shape[-1] * self.downscale_of_latents)
        sizes = torch.tensor([edge, edge, 0.0, 0.0, edge, edge]).to(x).expand(len(x), -1)
        return {
            **super().added(x, text),
            "added_cond_kwargs": {"text_embeds": text.pooled, "time_ids": sizes},
        }

    def _choose_call(self) -> None:
        """Recordings take tensors alone, and SDXL's sizes are in a dictionary."""
        if self.config.compile:
            super()._choose_call()

    def rehearse(
        self, latent: int, entries: int, images: int, gradient: bool, offload: bool
    ) -> Working:
        """See `DiffusionPrior.rehearse`."""
        return DiffusersPrior.rehearse(self, latent, entries, images, gradient, offload)
