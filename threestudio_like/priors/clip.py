"""The contract of an image-text prior, and its transformers adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError

from ..engine.errors import ModelError


class ImageTextPrior(ABC):
    """Images and texts in one space, compared by cosine."""

    @abstractmethod
    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, H, W, 3) in [0, 1] -> unit vectors (B, D). Differentiable."""

    def raw_images(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, H, W, 3) in [0, 1] -> vectors (B, D) as the model makes them, before they are normalised; the unit vectors where a model
        has no others. Differentiable."""
        return self.embed_images(images)

    @abstractmethod
    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        """Texts -> unit vectors (B, D)."""


class ClipPrior(ImageTextPrior):
    """A transformers CLIP folder (model, tokenizer, preprocessor_config.json), any size.

    Args:
        folder: holds config.json, model.safetensors and tokenizer files.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise ModelError(
                "there is no CLIP model",
                str(folder),
                "Reinstall the package, or: threestudio-like train toybox --only clip",
            )
        from transformers import CLIPModel, CLIPTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            self.model: Any = (
                CLIPModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
                .eval()
                .requires_grad_(False)
            )
            self.tokenizer: Any = CLIPTokenizer.from_pretrained(folder)
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(
                f"the CLIP model cannot be loaded ({str(error).splitlines()[0][:120]})",
                str(folder),
                "Download it again",
            ) from None
        import json

        path = folder / "preprocessor_config.json"
        facts = json.loads(path.read_text()) if path.is_file() else {}
        self._mean = torch.tensor(facts.get("image_mean", [0.48145466, 0.4578275, 0.40821073]))
        self._std = torch.tensor(facts.get("image_std", [0.26862954, 0.26130258, 0.27577711]))
        self._size = int(self.model.config.vision_config.image_size)

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """Resized, normalised and embedded: unit vectors (B, D)."""
        return F.normalize(self.raw_images(images), dim=-1)

    def raw_images(self, images: torch.Tensor) -> torch.Tensor:
        """Resized and embedded (B, D), not normalised."""
        x = ((images - self._mean) / self._std).permute(0, 3, 1, 2)
        if x.shape[-1] != self._size:
            x = F.interpolate(
                x, (self._size, self._size), mode="bilinear", align_corners=False, antialias=x.shape[-1] > self._size
            )
        return self.model.get_image_features(pixel_values=x).pooler_output

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        """Unit vectors (B, D)."""
        length = self.model.config.text_config.max_position_embeddings
        ids = self.tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        return F.normalize(self.model.get_text_features(input_ids=ids).pooler_output, dim=-1)


def clip_folder() -> Path:
    """The folder of the embedded CLIP inside the package."""
    return Path(__file__).resolve().parent.parent / "toybox" / "weights" / "clip"
