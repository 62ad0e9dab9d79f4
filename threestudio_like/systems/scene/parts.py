"""Things of a picture as masks: which pixels are whose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    binary_fill_holes,
    binary_opening,
    label,
)

from ...priors.segmentation.automatic import bounds
from ...priors.segmentation.behind import SmoothBackground
from ...priors.segmentation.segmenter import largest

SMALLER, WITHIN = 2, 0.7
"""How many times an object is larger than another that lies within it, and the share of that one's
mask from which it lies within; measured on other toybox scenes than the tables'."""

HANGS, ALONE = 0.2, 4
"""Share of a piece's outline by which it hangs on an object that it belongs to, and how many times
as much as on all others."""
LEAST_PIECE = 12
"""Pixels from which a piece is one."""


@dataclass
class Part:
    """An object of the picture: the phrase that means it ("" if none does), its visible mask (H, W)
    float32 in [0, 1], the box (4,) of its whole extent as far as it can be told, the sureness of
    its phrase (its cosine, less the mean over all crops), and the likeness of both (the cosine
    itself; 1 where nobody has asked)."""

    phrase: str
    mask: np.ndarray
    box: np.ndarray
    sureness: float = 0.0
    likeness: float = 1.0

    @property
    def visible(self) -> np.ndarray:
        """The box (4,) of what is visible."""
        return mask_box(self.mask)


def mask_box(mask: np.ndarray) -> np.ndarray:
    """The box (4,) x0, y0, x1, y1 of a mask above one half; the whole picture where it is empty."""
    solid = mask > 0.5
    return (
        bounds(solid).astype(np.float64)
        if solid.any()
        else np.array([0.0, 0.0, mask.shape[1], mask.shape[0]])
    )


def copies(parts: list[Part]) -> list[Part]:
    """Parts with masks of their own."""
    return [replace(p, mask=p.mask.copy()) for p in parts]


def fill_holes(parts: list[Part], foreground: np.ndarray, picture: np.ndarray) -> list[Part]:
    """What lies all around within one object, stands out from the background and belongs to no
    other is a part of it: a panel of another colour, not what is seen through a chair. Before a
    smooth background a panel is also told by the colour that lies behind it, and what of a mask is
    just that colour is left out.

    Args:
        foreground: (H, W) bool. picture: (H, W, 3) in [0, 1].
    """
    taken = np.any([p.mask > 0.5 for p in parts], 0)
    whole = np.any([binary_fill_holes(p.mask > 0.5) for p in parts], 0)
    behind = SmoothBackground.of(picture, ~binary_dilation(whole | foreground, iterations=2))
    for part in parts:
        solid = part.mask > 0.5
        pieces, count = label(binary_fill_holes(solid) & ~taken)
        for k in range(1, count + 1):
            piece = pieces == k
            inner = binary_erosion(piece, iterations=2)
            panel = behind is not None and behind.differs(picture, inner)
            if foreground[piece].mean() > 0.5 or panel:
                part.mask = np.where(piece, np.float32(1), part.mask).astype(np.float32)
        if behind is not None:
            seen = behind.seen_in(picture, part.mask > 0.5)
            part.mask = np.where(seen, np.float32(0), part.mask).astype(np.float32)
    return parts


def adopt(parts: list[Part], foreground: np.ndarray) -> list[Part]:
    """What stands out, was given to nothing and hangs on one object alone is a part of it: the grey
    arms of a blue robot, whose body the segmenter was surer of. Pieces as large as half of the
    object are left, and those that hang on it by less than `HANGS` of their outline.

    Args:
        foreground: (H, W) bool.
    """
    taken = np.any([p.mask > 0.5 for p in parts], 0)
    pieces, count = label(binary_opening(foreground & ~taken))
    solid = [p.mask > 0.5 for p in parts]
    wide = [binary_dilation(s, iterations=2) for s in solid]
    for k in range(1, count + 1):
        piece = pieces == k
        rim = piece & ~binary_erosion(piece)
        touch = [int((rim & w).sum()) for w in wide]
        best = int(np.argmax(touch))
        small = LEAST_PIECE < piece.sum() < 0.5 * solid[best].sum()
        if (
            small
            and touch[best] >= HANGS * rim.sum()
            and touch[best] >= ALONE * (sum(touch) - touch[best])
        ):
            parts[best].mask = np.where(piece, np.float32(1), parts[best].mask).astype(np.float32)
    return parts


def apart(parts: list[Part], speck: float = 0.08) -> list[Part]:
    """Every pixel belongs to at most one object: to a small one within a large one, as a ball under
    a table is within what a box about the table shows; else to the one that is surest of it, of
    equals to the smaller. Pieces of less than `speck` of an object's largest one are dropped: rims
    that neighbours have left of it."""
    stack = np.stack([p.mask for p in parts])
    claims = stack > 0.5
    area = claims.sum((1, 2))
    rank = stack - 1e-6 * area[:, None, None]
    for small, large in permutations(range(len(parts)), 2):
        both = claims[small] & claims[large]
        if area[small] * SMALLER <= area[large] and both.sum() >= WITHIN * max(area[small], 1):
            rank[large][both] = np.minimum(rank[large][both], rank[small][both] - 1e-3)
    owner = rank.argmax(0)
    for number, part in enumerate(parts):
        mask = np.where(owner == number, part.mask, 0).astype(np.float32)
        part.mask = np.where(largest(mask > 0.5, speck) | (mask <= 0.5), mask, 0).astype(np.float32)
    return parts


def in_reach(parts: list[Part], foreground: np.ndarray) -> list[Part]:
    """What of a thing's mask hangs together with its largest piece through nothing that stands out
    is no part of it: a frame on the wall beside a green bottle. What another thing cuts in two is
    whole.

    Args:
        foreground: (H, W) bool.
    """
    solid = [p.mask > 0.5 for p in parts]
    seen = binary_dilation(foreground | np.any(solid, 0))
    connected, _ = label(seen)
    for part, own in zip(parts, solid, strict=True):
        if not own.any():
            continue
        main = connected[largest(own, 1.0)]
        mine = np.bincount(main).argmax()
        part.mask = np.where(own & (connected != mine), 0, part.mask).astype(np.float32)
    return parts
