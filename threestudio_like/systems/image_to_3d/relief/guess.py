"""What is known or estimated of a picture's depth before a relief is solved: the front, how sure it
is, the thickness, and from how far above the picture was taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ....priors.depth import FRAME_HALF_WIDTH, load_depth
from ....priors.framing import FILL
from ..backs import calmed, core_of, frame_sides
from ..known import WIDE, Known
from ..maps import DepthMap, framed_map
from ..photo import Photo
from .surface import spread

EDGE, GREY = 64, 0.8
"""Pixels and background of the picture that an estimator is shown."""


@dataclass(frozen=True)
class DepthGuess:
    """What is said of a picture's depth; None where nobody says any.

    Attributes:
        depth: (S, S) about the object's middle, in units of the frame's half width. sure: (S, S),
            its weight. thickness: (S, S), in the same units. elevation: of the camera, radians.
        known: whether the depth was given, and not estimated.
    """

    depth: np.ndarray | None = None
    sure: np.ndarray | None = None
    thickness: np.ndarray | None = None
    elevation: float | None = None
    known: bool = False


def guess_depth(
    photo: Photo, inside: np.ndarray, known: Known, name: str = "toybox", trust: float = 0.5
) -> DepthGuess:
    """What is known or estimated of a picture's depth.

    Args:
        inside: (S, S) bool, the outline in the photo's frame.
        name: the estimator where the user names none: the embedded one, a name, a folder, or
            "none". trust: weight of what it says by that of a known depth.

    Raises:
        ModelError: the estimator is missing or damaged.
    """
    size, frame = inside.shape[0], photo.similarity
    if isinstance(known.depth, DepthMap):
        values, there = framed_map(known.depth.values, photo, frame, size)
        there = there & inside
        if not there.any():
            return DepthGuess()
        filled = spread(values, there).numpy().astype(np.float64)
        middle = float(np.median(filled[inside]))
        if known.depth.distances:
            # Seen at WIDE from the camera's distance: one unit of the file in those of the scene.
            distance, _ = known.camera(photo)
            depth = filled * (distance / middle) / WIDE
        else:
            low, high = np.quantile(filled[inside], [0.02, 0.98])
            depth = FILL * (2 * ((filled - low) / max(high - low, 1e-9)).clip(0, 1) - 1)
        middle = float(np.median(depth[inside]))
        return DepthGuess(depth - middle, there.astype(float), known=True)
    if known.depth and known.depth != name:
        name, trust = known.depth, 1.0
    if name == "none":
        return DepthGuess()
    mask = photo.mask(EDGE)
    core = core_of(mask.numpy() > 0.5)
    if not core.any():
        return DepthGuess()
    sides = calmed(frame_sides(photo.framed(EDGE, GREY), mask, load_depth(name)), mask)
    depth = (_enlarged(sides.front.numpy(), size) - 1) / FRAME_HALF_WIDTH
    thickness = None
    if sides.back is not None:
        thickness = _enlarged((sides.back - sides.front).numpy(), size) / FRAME_HALF_WIDTH
    return DepthGuess(
        depth - float(np.median(depth[inside])),
        trust * _enlarged(core.astype(np.float32), size),
        thickness,
        sides.elevation,
    )


def _enlarged(values: np.ndarray, size: int) -> np.ndarray:
    tensor = torch.from_numpy(values.astype(np.float32))[None, None]
    return F.interpolate(tensor, (size, size), mode="bilinear", align_corners=False)[0, 0].numpy()
