"""Measures of what eyes see in pictures of a predicted and of the true mesh in one frame, through
the same cameras: normals, pinholes, colours at borders, saturation and sharpness.

None is differentiable. Every function takes two `Seen` of equal shape.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .seen import Seen, common

BORDER = 0.12
"""Difference of display colours (largest channel) between neighbouring pixels of the truth from
which it is a border of materials."""


def normal_error(predicted: Seen, truth: Seen) -> float:
    """Mean angle in degrees between the seen geometric normals over the common silhouette.

    0 for the same surface; two unrelated surfaces that face the camera have about 45; 90, the
    largest value, also where nothing is in common.
    """
    both = common(predicted, truth)
    if not both.any():
        return 90.0
    a, b = predicted.normal[both].astype(np.float64), truth.normal[both].astype(np.float64)
    # Twice the arc tangent keeps small angles exact, where an arc cosine loses half of the digits.
    angle = 2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    return float(np.degrees(angle).clip(0, 90).mean())


def pinholes(predicted: Seen, truth: Seen, largest: float = 2e-3) -> float:
    """Mean number per view of small closed holes in the predicted silhouette where the truth is
    covered.

    Args:
        largest: area of the largest hole that counts as a pinhole, as a share of the silhouette of
            the truth. A larger one is a wrong shape, which the silhouette's IoU tells.

    Returns:
        0 for none, without an upper bound.
    """
    common(predicted, truth)
    count = 0
    for mask, wanted in zip(predicted.mask, truth.mask):
        # A path of background may pass between pixels that touch by their corners only.
        pieces, number = ndimage.label(~mask, np.ones((3, 3)))
        if number < 2:
            continue
        rim = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
        area = np.bincount(pieces.ravel(), minlength=number + 1)
        covered = np.bincount(pieces.ravel(), wanted.ravel().astype(float), number + 1)
        hole = (area <= max(1.0, largest * wanted.sum())) & (covered > 0.5 * area)
        hole[0] = False
        hole[np.unique(rim)] = False
        count += int(hole.sum())
    return count / len(predicted.mask)


def inside_seen(predicted: Seen) -> float:
    """Share of the predicted silhouette where the back of a face is seen: through holes of the
    surface, or of faces wound the wrong way. 0 for a closed surface, 1 for one turned inside
    out."""
    return float(predicted.away.sum() / max(1, int(predicted.mask.sum())))


def _steps(colour: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Largest difference (S, S) of a pixel's colour to its neighbours right and below, within a
    mask."""
    out = np.zeros(inside.shape, np.float32)
    for axis in (0, 1):
        change = np.abs(np.diff(colour, axis=axis)).max(-1)
        valid = np.logical_and(*(np.delete(inside, k, axis) for k in (0, -1)))
        change = change * valid
        before = [(0, 1) if k == axis else (0, 0) for k in range(2)]
        np.maximum(out, np.pad(change, before), out=out)
    return out


def colour_bleed(predicted: Seen, truth: Seen, band: float = 1 / 64) -> tuple[float, float]:
    """Colour error along the borders of materials, beyond that of the surface inside of them.

    Args:
        band: half the width of the band around the true borders, as a share of the picture.

    Returns:
        (bleed, inside). inside: mean absolute difference of display RGB, in [0, 1], at pixels of
        the common silhouette at least two bands from every true border. bleed: the same mean
        within a band of a border, minus inside: 0 where borders are as right as the rest, about
        half of the contrast where one colour ends half a band late; nan without borders, or where
        nothing is inside.
    """
    both = common(predicted, truth)
    reach = band * truth.size
    near, far = [], []
    for mask, colour, wanted, inside in zip(both, predicted.colour, truth.colour, truth.mask):
        border = _steps(wanted, inside) > BORDER
        if border.any():
            distance = ndimage.distance_transform_edt(~border)
        else:
            distance = np.full(mask.shape, np.inf)
        error = np.abs(colour - wanted).mean(-1)
        near.append(error[mask & (distance <= reach)])
        far.append(error[mask & (distance > 2 * reach)])
    at, rest = np.concatenate(near), np.concatenate(far)
    inside_error = float(rest.mean()) if len(rest) else float("nan")
    return (float(at.mean()) - inside_error if len(at) else float("nan")), inside_error


def saturation_error(predicted: Seen, truth: Seen) -> float:
    """Mean chroma (largest minus smallest channel of display RGB) of the prediction minus that of
    the truth, over the common silhouette: in [-1, 1], 0 for the same, negative for washed out
    colours; nan where nothing is in common."""
    both = common(predicted, truth)
    if not both.any():
        return float("nan")
    chroma = [np.ptp(seen.colour[both], axis=-1).mean() for seen in (predicted, truth)]
    return float(chroma[0] - chroma[1])


def _energy(colour: np.ndarray, inside: np.ndarray) -> float:
    """Sum of squared differences between neighbours of the mean of the channels, within a mask."""
    grey = colour.mean(-1)
    total = 0.0
    for axis in (0, 1):
        valid = np.logical_and(*(np.delete(inside, k, axis) for k in (0, -1)))
        total += float(np.square(np.diff(grey, axis=axis))[valid].sum())
    return total


def sharpness(predicted: Seen, truth: Seen, margin: int = 3) -> float:
    """Gradient energy of the predicted colours relative to that of the true ones, inside of the
    common silhouette.

    Args:
        margin: pixels that are left out along the silhouette.

    Returns:
        1 for as sharp as the truth, 0 for flat colours, below 1 for blurred ones, above 1 for
        noise; nan where the truth is flat itself. A step that is blurred over n pixels keeps 1 / n
        of its energy.
    """
    both = common(predicted, truth)
    one = two = 0.0
    for mask, colour, wanted in zip(both, predicted.colour, truth.colour):
        inside = ndimage.binary_erosion(mask, iterations=margin) if margin else mask
        one += _energy(colour, inside)
        two += _energy(wanted, inside)
    return one / two if two > 1e-6 * both.sum() else float("nan")
