"""Foreground segmentation: the contract of a segmenter, and a classical one that needs no
weights."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.ndimage import binary_fill_holes, binary_opening, label, zoom


class Segmenter(ABC):
    """Maps pictures to masks of the foreground."""

    name: str
    """What it is, for notes: "by <name>"."""

    @abstractmethod
    def mask(self, picture: np.ndarray) -> np.ndarray:
        """The share of foreground (H, W) float32 in [0, 1] of every pixel of a picture (H, W, 3) in
        [0, 1]."""

    def found(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        """As `mask`, and how far it is to be trusted, [0, 1]; nan where the segmenter does not
        say."""
        return self.mask(picture), math.nan

    def inside(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The object in a box (4,) x0, y0, x1, y1 in pixels, as `mask` gives it: the foreground of
        the part of the picture about the box, and nothing beyond it."""
        rows, columns, room = box_room(picture.shape[:2], box)
        out = np.zeros(picture.shape[:2], np.float32)
        out[rows, columns] = self.mask(picture[rows, columns])
        return np.where(room, out, 0).astype(np.float32)


def box_room(
    shape: tuple[int, int], box: np.ndarray, margin: float = 0.15
) -> tuple[slice, slice, np.ndarray]:
    """Rows and columns of the part of a picture about a box, a share of its size wider, and the box
    itself as a mask (H, W) bool."""
    x0, y0, x1, y1 = (float(v) for v in box)
    wide, tall = margin * (x1 - x0), margin * (y1 - y0)
    rows = slice(max(0, round(y0 - tall)), min(shape[0], round(y1 + tall)))
    columns = slice(max(0, round(x0 - wide)), min(shape[1], round(x1 + wide)))
    room = np.zeros(shape, bool)
    room[max(0, round(y0)) : round(y1), max(0, round(x0)) : round(x1)] = True
    return rows, columns, room


class BorderSegmenter(Segmenter):
    """Takes as the object what the colours of the picture's border do not explain.

    The colours of a strip along the border are clustered. Pixels far from every cluster (in
    Mahalanobis distance over colour and local contrast) are certainly object, and pixels as near as
    the border itself are certainly background. A random walk that avoids edges (Grady 2006) decides
    about all others.

    Args:
        size: longer edge in pixels at which the picture is examined.
        groups: number of clusters of background colours.
        share: of the largest piece's pixels, which another one has to have to be of the object.
    """

    name = "the colours of the border"

    def __init__(self, size: int = 144, groups: int = 6, share: float = 0.1) -> None:
        self.size, self.groups, self.share = size, groups, share

    def mask(self, picture: np.ndarray) -> np.ndarray:
        """See `Segmenter.mask`. If nothing differs from the border, the whole picture is the
        object."""
        from skimage.color import rgb2lab
        from skimage.segmentation import random_walker
        from skimage.transform import resize

        height, width = picture.shape[:2]
        share = min(1.0, self.size / max(height, width))
        shape = (max(8, round(height * share)), max(8, round(width * share)))
        small = resize(picture.astype(np.float32), shape, order=1, anti_aliasing=share < 1)
        lab = rgb2lab(small.clip(0, 1)).astype(np.float64)
        distance, limit = self._from_border(lab)
        strip = self._strip(shape)
        sure = distance > 4 * limit
        sure = binary_opening(sure & ~strip)
        sure = largest(sure, self.share)
        if sure.mean() < 0.004:
            sure = largest(binary_opening((distance > 1.8 * limit) & ~strip), self.share)
        if sure.mean() < 0.004:
            return np.ones((height, width), np.float32)
        seeds = np.zeros(shape, np.int32)
        seeds[(distance < limit) | strip] = 1
        seeds[sure] = 2
        if not (seeds == 0).any():
            foreground = (seeds == 2).astype(np.float64)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                foreground = random_walker(
                    small,
                    seeds,
                    beta=200,
                    mode="cg_j",
                    tol=1e-2,
                    channel_axis=-1,
                    return_full_prob=True,
                )[1]
        solid = largest(foreground > 0.5, self.share)
        # Specks of background colour inside the object belong to it, because real holes are larger.
        filled = binary_fill_holes(solid)
        if filled.sum() > 2.5 * solid.sum():
            # Lines that enclose background colour are a drawing, whose inside belongs to the
            # object.
            solid = filled
        holes, count = label(filled & ~solid)
        for hole in range(1, count + 1):
            if (holes == hole).sum() < 0.004 * solid.sum():
                solid |= holes == hole
        foreground = np.where(
            solid, np.maximum(foreground, 0.5 + 1e-3), np.minimum(foreground, 0.5 - 1e-3)
        )
        if shape != (height, width):
            foreground = zoom(foreground, (height / shape[0], width / shape[1]), order=1)[
                :height, :width
            ]
        # A soft edge about a pixel wide, at the size at which the picture was examined.
        return ((foreground - 0.5) * 3 + 0.5).clip(0, 1).astype(np.float32)

    @staticmethod
    def _strip(shape: tuple[int, int]) -> np.ndarray:
        edge = max(1, round(0.03 * min(shape)))
        strip = np.ones(shape, bool)
        strip[edge:-edge, edge:-edge] = False
        return strip

    def _from_border(self, lab: np.ndarray) -> tuple[np.ndarray, float]:
        """Squared Mahalanobis distance (H, W) of every pixel to the nearest cluster of border
        colours, and the same for the border itself."""
        strip = self._strip(lab.shape[:2])
        border = lab[strip]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if float(np.ptp(border, axis=0).max()) < 1e-6:
                # The border has a single colour, so there is one cluster, and k-means cannot find a
                # second.
                border = border + np.random.default_rng(0).normal(0, 1e-3, border.shape)
            centres, of = kmeans2(border, self.groups, minit="++", seed=np.random.default_rng(0))
        best = np.full(lab.shape[:2], np.inf)
        for number in range(self.groups):
            members = border[of == number]
            # A cluster of few pixels is a part of the object that the frame cuts, and not a colour
            # of the background.
            if len(members) < 0.04 * len(border):
                continue
            spread = np.cov(members.T) + np.diag([9.0, 6.0, 6.0])
            off = lab - centres[number]
            best = np.minimum(best, np.einsum("hwi,ij,hwj->hw", off, np.linalg.inv(spread), off))
        return best, max(float(np.quantile(best[strip], 0.9)), 2.0)


def largest(mask: np.ndarray, share: float = 0.1) -> np.ndarray:
    """The connected components of a mask that have at least `share` of the pixels of the
    largest."""
    pieces, count = label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.reshape(-1))
    sizes[0] = 0
    return np.isin(pieces, np.flatnonzero(sizes >= share * sizes.max()))
