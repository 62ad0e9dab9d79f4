"""The picture that is reconstructed: read, turned upright, freed of its background, framed; every
step can be undone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ...engine.errors import InputError
from ...meshes.io.photographs import read_photograph
from ...priors.framing import FILL, Similarity, boxes, cut, similarities
from ...priors.segmentation.segmenter import Segmenter
from ..cut_out.cut import Marks, cut_out, own_alpha, seen_colours

SMALLEST = 16
"""Pixels of an edge below which nothing can be told from a picture."""
LARGEST_EDGE = 1024
"""Pixels to which larger pictures are scaled down before anything looks at them."""


@dataclass
class Photo:
    """A picture without its background.

    pixels (H, W, 4) float32 in [0, 1], colours not multiplied by alpha; original (H, W, 3) float32;
    notes say what was done to it; told: a line for everything that the user should hear of; sure:
    False where its outline was found, and is not to be believed.
    """

    pixels: np.ndarray
    original: np.ndarray
    similarity: Similarity
    notes: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    sure: bool = True

    def frame(self, fill: float) -> Similarity:
        """The cut in which the object fills this share of the frame."""
        return Similarity(self.similarity.x, self.similarity.y, self.similarity.side * FILL / fill)

    def framed(self, size: int, level: float, fill: float = FILL) -> torch.Tensor:
        """The object recentred to fill a share of the frame, grey of `level` behind it: (1, size,
        size, 3) in [0, 1]."""
        rgba = self._cut(self.frame(fill), size)
        return (rgba[:, :3] + (1 - rgba[:, 3:]) * level).permute(0, 2, 3, 1).clamp(0, 1)

    def mask(self, size: int, similarity: Similarity | None = None) -> torch.Tensor:
        """The object's share of every pixel of the frame (size, size)."""
        return self._cut(similarity or self.similarity, size)[0, 3]

    def colours(self, size: int, similarity: Similarity) -> tuple[torch.Tensor, torch.Tensor]:
        """Colours (1, size, size, 3), spread a little beyond the mask, and the mask (1, size,
        size), of another cut."""
        rgba = self._cut(similarity, size)
        alpha = rgba[:, 3:]
        return (rgba[:, :3] / alpha.clamp_min(1e-3)).permute(0, 2, 3, 1).clamp(0, 1), alpha[:, 0]

    def _cut(self, similarity: Similarity, size: int) -> torch.Tensor:
        x = torch.from_numpy(self.pixels).permute(2, 0, 1)[None]
        return cut(torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], 1), [similarity], size)


@dataclass
class InputPicture:
    """A picture as it was read: pixels (H, W, 3 or 4) float32 in [0, 1], upright, at most
    LARGEST_EDGE an edge; a note of its size and of what was done to it; shape: height and width of
    its file; told: a line for everything that the user should hear of."""

    pixels: np.ndarray
    note: str
    shape: tuple[int, int]
    told: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Its pixels by the file's, along an edge."""
        return max(self.pixels.shape[:2]) / max(self.shape)


def read_pixels(path: Path) -> InputPicture:
    """Read a picture.

    Raises:
        InputError: missing, too large, unreadable, too small, or too long a strip.
    """
    read = read_photograph(path, LARGEST_EDGE)
    height, width = read.height, read.width
    if min(height, width) < SMALLEST:
        raise InputError(
            f"has {width} x {height} pixels, at least {SMALLEST} an edge are needed",
            str(path),
            "Give a larger picture",
        )
    if max(height, width) > 6 * min(height, width):
        raise InputError(
            f"is {width} x {height} pixels: too long a strip", str(path), "Crop it to the object"
        )
    pixels = read.pixels.astype(np.float32) / 255
    note = f"{width} x {height}"
    if max(height, width) > LARGEST_EDGE:
        from skimage.transform import resize

        share = LARGEST_EDGE / max(height, width)
        shape = (round(height * share), round(width * share))
        if pixels.shape[2] == 4:
            # Colours under what is clear must not bleed into what is seen.
            pixels[..., :3] *= pixels[..., 3:]
        pixels = resize(pixels, shape, order=1, anti_aliasing=True).astype(np.float32)
        if pixels.shape[2] == 4:
            pixels[..., :3] = (pixels[..., :3] / np.maximum(pixels[..., 3:], 1e-4)).clip(0, 1)
        note += f", scaled to {shape[1]} x {shape[0]}"
    return InputPicture(pixels, "; ".join([note, *read.notes]), (height, width), told=read.told)


def read_photo(path: Path, segmenter: Segmenter | None = None, marks: Marks | None = None) -> Photo:
    """Read a picture of one object.

    Args:
        segmenter: used where the picture has no alpha of its own; the embedded one by default.
        marks: what the user says of where the object is.

    Raises:
        InputError: see `read_pixels`; or it is empty. ConfigError, ModelError: see `cut_out`.
    """
    read = read_pixels(path)
    photo = photo_of(
        read.pixels,
        str(path),
        {"size": read.note},
        segmenter=segmenter,
        marks=marks,
        shape=read.shape,
    )
    photo.told[:0] = read.told
    return photo


def photo_of(
    pixels: np.ndarray,
    where: str,
    notes: dict[str, str],
    segmenter: Segmenter | None = None,
    marks: Marks | None = None,
    shape: tuple[int, int] | None = None,
) -> Photo:
    """A picture (H, W, 3 or 4) in [0, 1], whose file has `shape`, without its background. Raises
    InputError, naming `where`, when it shows nothing; and as `cut_out`."""
    found = cut_out(pixels, where, marks, file_shape=shape, segmenter=segmenter)
    alpha = found.alpha.astype(np.float32)
    notes["background"] = found.how
    original = seen_colours(pixels) if own_alpha(pixels) is not None else pixels[..., :3]
    whole = np.concatenate([pixels[..., :3], alpha[..., None]], -1)
    return Photo(
        whole,
        original,
        similarities(boxes(torch.from_numpy(alpha[None]), 0.5), FILL)[0],
        notes=notes,
        told=found.told,
        sure=found.sure,
    )
