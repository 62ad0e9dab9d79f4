"""The picture that is reconstructed: read, turned upright, freed of its background, framed; every
step can be undone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ...engine.errors import InputError
from ...meshes.io.images import LARGEST_FILE, decode
from ...priors.framing import FILL, Similarity, boxes, cut, similarities
from ...priors.segmentation.segmenter import BorderSegmenter, Segmenter

SMALLEST = 16
LARGEST_EDGE = 1024
"""Pixels to which larger pictures are scaled down before anything looks at them."""


@dataclass
class Photo:
    """A picture without its background.

    pixels (H, W, 4) float32 in [0, 1], colours not multiplied by alpha; original (H, W, 3) float32;
    notes say what was done to it.
    """

    pixels: np.ndarray
    original: np.ndarray
    similarity: Similarity
    notes: dict[str, str] = field(default_factory=dict)

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


def read_pixels(path: Path) -> tuple[np.ndarray, str, float]:
    """A picture upright, (H, W, 3 or 4) float32 in [0, 1], at most LARGEST_EDGE an edge; a note of
    its size; its pixels by the file's.

    Raises:
        InputError: missing, too large, unreadable, too small, or too long a strip.
    """
    if path.is_dir():
        raise InputError("is a folder", str(path), "Give the path of a picture")
    if not path.is_file():
        raise InputError("there is no such file", str(path), "Give the path of a picture")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(
            f"is larger than {LARGEST_FILE >> 20} MiB", str(path), "Scale the picture down"
        )
    raw = decode(path.read_bytes(), str(path), upright=True)
    height, width = raw.shape[:2]
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
    pixels = raw.astype(np.float32) / 255
    if max(height, width) <= LARGEST_EDGE:
        return pixels, f"{width} x {height}", 1.0
    from skimage.transform import resize

    share = LARGEST_EDGE / max(height, width)
    shape = (round(height * share), round(width * share))
    pixels = resize(pixels, shape, order=1, anti_aliasing=True).astype(np.float32)
    return pixels, f"{width} x {height}, scaled to {pixels.shape[1]} x {pixels.shape[0]}", share


def read_photo(path: Path, segmenter: Segmenter | None = None) -> Photo:
    """Read a picture of one object.

    Args:
        segmenter: used where the picture has no alpha of its own; the classical one by default.

    Raises:
        InputError: see `read_pixels`; or it is empty.
    """
    pixels, size, _ = read_pixels(path)
    return photo_of(pixels, str(path), {"size": size}, segmenter=segmenter)


def photo_of(
    pixels: np.ndarray, where: str, notes: dict[str, str], segmenter: Segmenter | None = None
) -> Photo:
    """A picture (H, W, 3 or 4) in [0, 1] without its background. Raises InputError, naming `where`,
    when it shows nothing."""
    original = pixels[..., :3]
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    if alpha is not None and float((alpha < 0.5).mean()) > 0.005:
        if not (alpha > 0.5).any():
            raise InputError(
                "shows nothing: every pixel is transparent", where, "Give a picture of an object"
            )
        notes["background"] = "by the picture's alpha"
        original = original * alpha[..., None] + (1 - alpha[..., None])
    else:
        alpha = (segmenter or BorderSegmenter()).mask(original)
        notes["background"] = (
            f"by the {type(segmenter).__name__}" if segmenter else "by the colours of the border"
        )
        if alpha.min() > 0.5:
            notes["background"] += (
                "; nothing stood out, so the whole picture is taken for the object"
            )
    whole = np.concatenate([pixels[..., :3], alpha[..., None]], -1)
    return Photo(
        whole,
        original,
        similarities(boxes(torch.from_numpy(alpha[None]), 0.5), FILL)[0],
        notes=notes,
    )
