"""How view-conditioned models read a picture: the processor that their folder describes, and CLIP's
vision tower."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ....engine.errors import ModelError
from ...model_files import read_json
from ..parts import AGAIN, load_text_part

VISION = ("CLIPVisionModelWithProjection", "CLIPVisionModel")
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def _edge(value: Any, path: Path) -> int:
    """The edge that a size in a processor's file means for a square picture."""
    if isinstance(value, dict):
        value = value.get("shortest_edge", value.get("height"))
    if not isinstance(value, int) or not 1 <= value <= 4096:
        raise ModelError(f'its size "{value}" is no edge in pixels', str(path), AGAIN)
    return value


@dataclass(frozen=True)
class PictureProcessor:
    """CLIP's preprocessing of a square picture: bicubic resizing, the middle cut out, and values
    less a mean over a deviation; through whole bytes, as the published code does it."""

    size: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def read(folder: Path, part: str) -> PictureProcessor:
        """From preprocessor_config.json in a part of a model folder. Raises ModelError."""
        path = folder / part / "preprocessor_config.json"
        if not path.is_file():
            raise ModelError(
                f'has no "{part}", which says how a picture is read',
                str(folder),
                "Download the model again, whole",
            )
        values = read_json(path)
        size = _edge(values.get("size", 224), path)
        cut = values.get("do_center_crop", True)
        crop = _edge(values.get("crop_size", size), path) if cut else size
        mean, std = values.get("image_mean", CLIP_MEAN), values.get("image_std", CLIP_STD)
        for numbers in (mean, std):
            if not isinstance(numbers, list | tuple) or len(numbers) != 3:
                raise ModelError("its mean or deviation has not three numbers", str(path), AGAIN)
        return PictureProcessor(size, crop, tuple(mean), tuple(std))

    def __call__(self, picture: torch.Tensor) -> torch.Tensor:
        """A picture (S, S, 3) in [0, 1] as (1, 3, crop, crop)."""
        pixels = as_bytes(picture).resize((self.size, self.size), Image.Resampling.BICUBIC)
        left = (self.size - self.crop) // 2
        pixels = pixels.crop((left, left, left + self.crop, left + self.crop))
        values = torch.from_numpy(np.asarray(pixels).astype(np.float32) / 255)
        values = (values - torch.tensor(self.mean)) / torch.tensor(self.std)
        return values.permute(2, 0, 1)[None]


def as_bytes(picture: torch.Tensor) -> Image.Image:
    """A picture (S, S, 3) in [0, 1] as whole bytes."""
    return Image.fromarray((picture.clamp(0, 1) * 255).round().byte().cpu().numpy())


def at_edge(picture: torch.Tensor, size: int) -> torch.Tensor:
    """A picture (S, S, 3) as (1, size, size, 3), resized by averaging."""
    x = picture.permute(2, 0, 1)[None]
    if x.shape[-1] != size:
        x = torch.nn.functional.interpolate(
            x, (size, size), mode="bilinear", align_corners=False, antialias=True
        )
    return x.permute(0, 2, 3, 1)


@torch.no_grad()
def vision_of(
    folder: Path, part: str, pixels: torch.Tensor, device: torch.device, dtype: torch.dtype
) -> Any:
    """What CLIP's vision tower in a part of a model folder says of processed pixels (1, 3, s, s),
    with its hidden states. The tower is loaded for it, and not kept.

    Raises:
        ModelError: it is missing, damaged, or another network.
    """
    tower = load_text_part(folder, part, dtype, VISION).to(device)
    return tower(pixels.to(device, dtype), output_hidden_states=True)
