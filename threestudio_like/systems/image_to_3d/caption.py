"""What a picture shows, in words: guessed by the contrastive model that the embedded world trained,
which knows that world alone, or by a captioner that the user names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...engine.errors import ModelError
from ...engine.turns import alone
from ...priors.framing import cut
from ...priors.networks.contrastive import BACKGROUND, Contrastive
from ...priors.pretrained import picture_edge, picture_range, read_network
from ...priors.registry import embedded_folder, find_model
from ...toybox.editions import edition_of
from .fit import calibration
from .photo import Photo

LONGEST = 24
"""Tokens of a caption."""


@dataclass(frozen=True)
class Caption:
    """A guessed caption; likeness: the cosine of its embedding and the picture's; sure: whether
    that is as high as where it is right; maybe: whether the embedded world may know the thing."""

    text: str
    likeness: float
    sure: bool
    maybe: bool = True

    def line(self) -> str:
        """One line for the user."""
        if self.sure:
            return f'Guessed: the picture shows "{self.text}". Say --prompt if it does not.'
        return (
            f'Nothing that the embedded world knows is sure (nearest: "{self.text}", cosine '
            f"{self.likeness:.2f}). Say --prompt."
        )


@torch.no_grad()
def guess_caption(photo: Photo, folder: Path | None = None) -> Caption:
    """The toybox caption that CISP's twin (in `folder`; the embedded one by default) holds nearest
    to the picture."""
    from ...priors.text.tokens import tokenizer_of

    sure = calibration().sure_word
    folder = folder or embedded_folder("cisp") / "clip"
    twin = Contrastive.load(folder)
    captions = edition_of(folder).captions()
    ids = tokenizer_of(folder)(
        captions,
        padding="max_length",
        max_length=twin.config.text.tokens,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    image = torch.nn.functional.normalize(
        twin.embed(photo.framed(twin.config.image.size, BACKGROUND)), dim=-1
    )
    text = torch.nn.functional.normalize(twin.embed_other(ids), dim=-1)
    likeness = (image @ text.t())[0]
    best = int(likeness.argmax())
    value = float(likeness[best])
    return Caption(captions[best], value, value >= sure, value >= calibration().maybe_word)


@lru_cache(maxsize=1)
def load_captioner(name: str) -> tuple[Any, Any, int, tuple[torch.Tensor, torch.Tensor]]:
    """A captioner of transformers (BLIP and its like), its tokenizer, the edge of the pictures that
    it wants, and what is taken from them and divides them: a folder or a hub id. Raises
    ModelError."""
    folder = find_model(name, {}, "--captioner", file="config.json")
    remedy = "Give a folder of a transformers captioner such as BLIP, or say --prompt"
    with alone():
        from transformers import AutoModelForImageTextToText, AutoTokenizer

    model: Any = read_network(AutoModelForImageTextToText, folder, "the captioner", remedy)
    try:
        with alone():
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ModelError(
            f"the captioner cannot be loaded ({reason})", str(folder), remedy
        ) from None
    half = (0.5, 0.5, 0.5)
    return model, tokenizer, picture_edge(folder), picture_range(folder, half, half)


@torch.no_grad()
def describe_picture(name: str, photo: Photo) -> str:
    """What a captioner says of the object of a picture, before white. Raises ModelError."""
    model, tokenizer, edge, ranges = load_captioner(name)
    x = torch.from_numpy(np.ascontiguousarray(photo.pixels)).permute(2, 0, 1)[None]
    rgba = cut(torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], 1), [photo.similarity], edge)
    shown = rgba[:, :3] + 1 - rgba[:, 3:]
    mean, deviation = (v.view(1, 3, 1, 1) for v in ranges)
    try:
        ids = model.generate(
            pixel_values=(shown - mean) / deviation, max_new_tokens=LONGEST, do_sample=False
        )
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ModelError(
            f"makes no caption of a picture alone ({reason})",
            f"--captioner {name}",
            "Give a captioner such as BLIP, or say --prompt",
        ) from None
    return str(tokenizer.decode(ids[0], skip_special_tokens=True)).strip()
