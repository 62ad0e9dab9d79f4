"""3D Gaussians as a viewer draws them."""

from __future__ import annotations

import numpy as np

from ..io.splats.splats import Splats

ZEROTH = 0.28209479177387814
"""The spherical harmonic of order 0."""
MOST = 400_000
"""Gaussians that a page shows: of more, those that hide most."""


def splat_arrays(splats: Splats, *, framed: bool = True) -> tuple[dict[str, np.ndarray], int]:
    """What a viewer is given, and how many Gaussians are left out.

    positions (N, 3) float32, where `framed` about the middle and in units of the radius;
    covariances (N, 6) float32, the upper triangle; colours (N, 4) uint8, of all sides together, the
    last the opacity.
    """
    opacity = 1 / (1 + np.exp(-splats.logits.astype(np.float64)))
    scales = np.exp(splats.log_scales.astype(np.float64))
    shown = np.arange(len(splats))
    if len(shown) > MOST:
        size = opacity * np.sort(scales, axis=1)[:, 1:].prod(1)
        shown = np.sort(np.argsort(-size, kind="stable")[:MOST])
    places = splats.positions.astype(np.float64)
    low, high = np.quantile(places, 0.01, axis=0), np.quantile(places, 0.99, axis=0)
    middle = (low + high) / 2
    radius = max(float(np.linalg.norm(high - low)) / 2, 1e-9)
    if not framed:
        middle, radius = np.zeros(3), 1.0
    axes = _rotations(splats.rotations[shown]) * scales[shown, None] / radius
    full = axes @ axes.transpose(0, 2, 1)
    six = full[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    colour = np.concatenate([0.5 + ZEROTH * splats.colours, opacity[:, None]], 1)[shown]
    arrays = {
        "positions": ((places[shown] - middle) / radius).astype("<f4"),
        "covariances": six.astype("<f4"),
        "colours": np.rint(colour.clip(0, 1) * 255).astype(np.uint8),
    }
    return arrays, len(splats) - len(shown)


def _rotations(quaternions: np.ndarray) -> np.ndarray:
    """Matrices (N, 3, 3) of quaternions (N, 4), w first."""
    own = quaternions.astype(np.float64)
    w, x, y, z = (own / np.linalg.norm(own, axis=1, keepdims=True)).T
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return np.stack(rows, -1).reshape(-1, 3, 3)
