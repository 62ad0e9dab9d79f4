"""The contract of an image-text prior, and its adapters: transformers and open_clip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError

from ..engine.errors import ModelError
from ..engine.places import user_path
from ..engine.turns import alone, working
from ..kernels.devices import follow
from .model_files import read_json
from .pretrained import AGAIN, picture_range, read_network
from .registry import CLIP_MODELS, EMBEDDED, embedded_folder, find_model

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
OPEN_CLIP = "open_clip:"
"""Prefix of the names of open_clip's models."""


class ImageTextPrior(ABC):
    """Embeds images and texts in one space, in which they are compared by cosine.

    scale: what the model was trained to multiply cosines by before a softmax over texts; CLIP's own
        training ends at 100.
    """

    scale: float = 100.0

    @abstractmethod
    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (B, H, W, 3) in [0, 1] to unit vectors (B, D). Differentiable."""

    def raw_images(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (B, H, W, 3) in [0, 1] to the model's vectors (B, D) before normalisation.

        Models without such vectors return the unit vectors. Differentiable.
        """
        return self.embed_images(images)

    @abstractmethod
    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        """Map B texts to unit vectors (B, D)."""


def _trained_scale(model: Any) -> float:
    """exp(logit_scale) of a model; the contract's own where it has none."""
    learnt = getattr(model, "logit_scale", None)
    return ImageTextPrior.scale if learnt is None else float(learnt.exp())


class ClipPrior(ImageTextPrior):
    """A CLIP model from a transformers folder (model, tokenizer, preprocessor_config.json), of any
    size.

    Args:
        folder: contains config.json, model.safetensors and the tokenizer's files.
    """

    @alone()
    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise ModelError(
                "there is no CLIP model",
                str(folder),
                "Reinstall the package, or: threestudio-like train toybox --only clip",
            )
        kind = read_json(folder / "config.json").get("model_type")
        if kind != "clip":
            raise ModelError(
                f'is a "{kind}", no CLIP model', str(folder), "Give a CLIP of transformers"
            )
        from transformers import CLIPModel, CLIPTokenizer

        self.model: Any = read_network(CLIPModel, folder, "the CLIP model")
        try:
            self.tokenizer: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            raise ModelError(
                f"the CLIP model's tokenizer cannot be loaded ({first})", str(folder), AGAIN
            ) from None
        self._mean, self._std = picture_range(folder, CLIP_MEAN, CLIP_STD)
        self._size = int(self.model.config.vision_config.image_size)
        self.scale = _trained_scale(self.model)

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """Unit vectors (B, D) of images, after resizing and normalising them."""
        return F.normalize(self.raw_images(images), dim=-1)

    def raw_images(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, D) of images, not normalised."""
        # The model goes where the pictures are.
        follow(self.model, images)
        x = ((images - self._mean.to(images)) / self._std.to(images)).permute(0, 3, 1, 2)
        if x.shape[-1] != self._size:
            x = F.interpolate(
                x,
                (self._size, self._size),
                mode="bilinear",
                align_corners=False,
                antialias=x.shape[-1] > self._size,
            )
        return self.model.get_image_features(pixel_values=x).pooler_output

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        """Unit vectors (B, D) of texts."""
        length = self.model.config.text_config.max_position_embeddings
        ids = self.tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        return F.normalize(
            self.model.get_text_features(input_ids=ids.to(self.model.device)).pooler_output, dim=-1
        )


class OpenClipPrior(ImageTextPrior):
    """A model of open_clip (from the extra "clip"): "ViT-B-32/laion2b_s34b_b79k", or a folder with
    open_clip_config.json.

    Args:
        name: architecture/weights, or a folder.

    Raises:
        ModelError: the model is missing or cannot be loaded.
    """

    @alone()
    def __init__(self, name: str) -> None:
        try:
            import open_clip
        except ImportError as error:
            raise ModelError(
                f"needs open_clip ({error})",
                f"{OPEN_CLIP}{name}",
                "In the checkout: pip install '.[clip]'",
            ) from None
        folder = user_path(name)
        architecture, _, weights = (
            (f"local-dir:{folder}", "", "") if folder.is_dir() else name.partition("/")
        )
        try:
            self.model: Any = open_clip.create_model(architecture, pretrained=weights or None)
            self.tokenizer: Any = open_clip.get_tokenizer(architecture)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise ModelError(
                f"the open_clip model cannot be loaded ({reason})",
                f"{OPEN_CLIP}{name}",
                "Give architecture/weights as open_clip names them, or a folder",
            ) from None
        self.model.eval().requires_grad_(False)
        facts = open_clip.get_model_preprocess_cfg(self.model)
        self._mean, self._std = torch.tensor(facts["mean"]), torch.tensor(facts["std"])
        size = facts["size"]
        self._size = (size, size) if isinstance(size, int) else tuple(size[-2:])
        self.scale = _trained_scale(self.model)

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """See `ImageTextPrior.embed_images`."""
        return F.normalize(self.raw_images(images), dim=-1)

    def raw_images(self, images: torch.Tensor) -> torch.Tensor:
        """See `ImageTextPrior.raw_images`."""
        # The model goes where the pictures are.
        follow(self.model, images)
        x = ((images - self._mean.to(images)) / self._std.to(images)).permute(0, 3, 1, 2)
        if tuple(x.shape[-2:]) != self._size:
            smaller = x.shape[-1] > self._size[-1]
            x = F.interpolate(
                x, self._size, mode="bilinear", align_corners=False, antialias=smaller
            )
        return self.model.encode_image(x)

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        """See `ImageTextPrior.embed_texts`."""
        there = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        return F.normalize(self.model.encode_text(self.tokenizer(texts).to(there)), dim=-1)


@working()
def load_clip(name: str = EMBEDDED) -> ImageTextPrior:
    """Load an image-text model: "toybox", a transformers folder, a logical name ("clip-vit-b-16"),
    a hub id, or "open_clip:ViT-B-32/openai".

    Raises ModelError.
    """
    if name == EMBEDDED:
        return ClipPrior(embedded_folder("clip"))
    if name.startswith(OPEN_CLIP):
        return OpenClipPrior(name.removeprefix(OPEN_CLIP))
    return ClipPrior(_folder(name))


def check_clip(name: str) -> None:
    """Raise ModelError where there is no image-text model of a name; none is loaded."""
    if name != EMBEDDED and not name.startswith(OPEN_CLIP):
        _folder(name)


def _folder(name: str) -> Path:
    return find_model(name, CLIP_MODELS, "--clip", file="config.json")
