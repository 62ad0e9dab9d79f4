"""The background behind objects, where it is a smooth gradient: what is seen through an object, and
what is a part of it that has a colour of the background elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_opening

TIMES, LEAST = 4.0, 3 / 255
"""What differs in the mean from the background behind it by this many times the background's own
roughness, and by at least so much, is not the background: rounding and compression leave less of a
flat colour."""
SMOOTH = 0.012
"""Roughness up to which a colour that is the one expected tells that the background is seen."""
SHADOW = 0.1
"""By how much a shadow may darken the channels differently."""
FEWEST = 64
"""Pixels that a gradient is fitted to."""


@dataclass(frozen=True)
class SmoothBackground:
    """expected (H, W, 3): the background's colours, continued behind the objects; rough (3,): the
    deviation of what is seen of it from that."""

    expected: np.ndarray
    rough: np.ndarray

    @staticmethod
    def of(picture: np.ndarray, seen: np.ndarray) -> SmoothBackground | None:
        """A quadratic gradient through what is seen (H, W) bool of the background of a picture (H,
        W, 3) in [0, 1]; None where that is too little."""
        if seen.sum() < FEWEST:
            return None
        terms = _terms(picture.shape[:2])
        known, here = terms[seen], picture[seen].astype(np.float64)
        weights, *_ = np.linalg.lstsq(known, here, rcond=None)
        for _ in range(2):
            # Shadows and other things that lie on it are no part of the gradient.
            off = np.abs(here - known @ weights).max(1)
            near = off <= max(2.5 * float(np.median(off)), 1 / 255)
            if near.sum() < FEWEST:
                return None
            weights, *_ = np.linalg.lstsq(known[near], here[near], rcond=None)
        rough = np.sqrt(np.square(here - known @ weights).mean(0))
        return SmoothBackground(terms @ weights, rough)

    def differs(self, picture: np.ndarray, piece: np.ndarray) -> bool:
        """Whether a piece (H, W) bool, without mixed pixels, shows something else: a light panel
        before a light wall. Before clutter nothing can be told, and the answer is no."""
        if not piece.any():
            return False
        apart = np.abs((picture[piece] - self.expected[piece]).mean(0))
        return bool((apart > np.maximum(TIMES * self.rough, LEAST)).any())

    def seen_in(self, picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """What of a mask (H, W) bool shows just the background that is expected there; nothing
        before clutter."""
        if float(self.rough.max()) > SMOOTH:
            return np.zeros_like(mask)
        off = np.abs(picture - self.expected)
        return mask & binary_opening(mask & (off < np.maximum(3 * self.rough, LEAST)).all(-1))


def before_gradient(picture: np.ndarray, found: np.ndarray) -> np.ndarray:
    """What of that which stands out, `found` (H, W) bool, from the border of a picture (H, W, 3) in
    [0, 1] is no shadow, where the border is one smooth gradient, as of a studio's backdrop; nothing
    where it is not."""
    rim = np.ones(found.shape, bool)
    wide = max(2, round(0.06 * min(rim.shape)))
    rim[wide:-wide, wide:-wide] = False
    behind = SmoothBackground.of(picture, rim)
    if behind is None or float(behind.rough.max()) > SMOOTH:
        return np.zeros_like(found)
    share = picture / np.maximum(behind.expected, 1e-3)
    shadow = (share.max(-1) < 1) & (np.ptp(share, axis=-1) < SHADOW)
    return found & ~shadow


def _terms(shape: tuple[int, int]) -> np.ndarray:
    """Constant, linear and quadratic terms of every pixel's place (H, W, 6)."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return np.stack([np.ones(shape), x, y, x * x, x * y, y * y], -1)
