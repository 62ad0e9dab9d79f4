"""A page on which 3D Gaussians are turned, with all that it needs in it."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..io.splats.splats import Splats

ZEROTH = 0.28209479177387814
"""The spherical harmonic of order 0."""
MOST = 400_000
"""Gaussians that a page shows: of more, those that hide most."""


def splat_data(splats: Splats) -> tuple[dict[str, Any], int]:
    """What the viewer is given, arrays in base64, and how many Gaussians are left out.

    positions (N, 3) float32 about the middle, in units of the radius; covariances (N, 6) float32;
    colours (N, 4) uint8, of all sides together, the last the opacity.
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
    axes = _rotations(splats.rotations[shown]) * scales[shown, None] / radius
    full = axes @ axes.transpose(0, 2, 1)
    six = full[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    colour = np.concatenate([0.5 + ZEROTH * splats.colours, opacity[:, None]], 1)[shown]
    arrays = {
        "positions": ((places[shown] - middle) / radius).astype("<f4"),
        "covariances": six.astype("<f4"),
        "colours": np.rint(colour.clip(0, 1) * 255).astype(np.uint8),
    }
    packed = {name: base64.b64encode(a.tobytes()).decode() for name, a in arrays.items()}
    return packed, len(splats) - len(shown)


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


def splat_page(title: str, splats: Splats) -> bytes:
    """One page on which Gaussians are turned."""
    from . import HEAD, STYLE

    data, left_out = splat_data(splats)
    script = (Path(__file__).parent / "splats.js").read_text(encoding="utf-8")
    less = f", {left_out:,} of the smallest left out" if left_out else ""
    name = html.escape(title)
    return f"""<!doctype html><html lang="en"><head>{HEAD}
<title>{name}</title><style>{STYLE}</style></head><body><main>
<h1>{name}</h1><div class="muted">{len(splats):,} Gaussians{less}</div>
<canvas id="view" tabindex="0" style="height:max(260px, calc(100vh - 190px))"
aria-label="Gaussians, to be turned with the mouse or the arrow keys"></canvas>
<div class="bar"><button id="reset">Reset</button><span class="muted">Drag turns, the wheel zooms,
a double click resets. Colours are those of all sides together.</span></div>
<script type="application/json" id="cloud">{json.dumps(data)}</script>
<script>{script}</script></main></body></html>""".encode()
