"""Colours of files that do not say whether they count to 1 or to 255."""

from __future__ import annotations

import numpy as np

_ROUNDING = 1.001
_BRIGHTEST = 16.0
"""Largest value of a colour from 0 to 1 that shines; above it are only colours that count to
255."""


def unit_colours(values: np.ndarray, notes: list[str], *, whole_to_255: bool = False) -> np.ndarray:
    """Colours (N, 3 or 4) float32 in [0, 1] of values that mostly count to 1.

    Colours above 1 count to 255 where all are whole numbers or one is far above 1. Others are
    brighter than a display and are cut off. The opacity counts for itself.

    Args:
        values: (N, 3 or 4), red, green, blue, opacity.
        notes: gets what is guessed.
        whole_to_255: whether whole numbers count to 255 by the format, so that it is no guess.
    """
    out = np.array(values, np.float64)
    for channels in (slice(0, 3), slice(3, 4)):
        some = out[:, channels]
        known = some[np.isfinite(some)]
        top = float(known.max(initial=0))
        if top <= _ROUNDING:
            continue
        whole = bool((known == np.floor(known)).all())
        what = "opacities" if channels.start == 3 else "colours"
        if whole or top > _BRIGHTEST:
            some /= 255
            if not (whole and whole_to_255):
                notes.append(f"{what} up to {top:g} are taken as 0 to 255")
        else:
            notes.append(f"{what} up to {top:g} are taken as 0 to 1, and cut off above")
    return out.clip(0, 1).astype(np.float32)
