"""Loss terms over the steps of a run, as small drawings."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

MOST_POINTS = 240
"""Points of a curve: more are not seen at its size."""


def curves(events: Sequence[dict[str, Any]]) -> str:
    """One small SVG a loss term, over all stages, on a logarithmic axis; "" where none was
    recorded."""
    series: dict[str, list[tuple[int, float]]] = {}
    offset, stage, last = 0, None, 0
    for event in events:
        if event["event"] != "step":
            continue
        if event["stage"] != stage:
            offset, stage = (offset + last if stage is not None else 0), event["stage"]
        last = event["step"]
        for name, value in {**event["terms"], **event.get("figures", {})}.items():
            if value is not None and value > 0 and np.isfinite(value):
                series.setdefault(f"{stage}: {name}", []).append((offset + event["step"], value))
    return "\n".join(_curve(name, points) for name, points in series.items() if len(points) > 1)


def _curve(name: str, points: list[tuple[int, float]]) -> str:
    shown = points[:: max(1, len(points) // MOST_POINTS)]
    x, y = np.array([p[0] for p in shown], float), np.log10([p[1] for p in shown])
    x = (x - x.min()) / max(float(np.ptp(x)), 1e-9) * 220 + 10
    y = 84 - (y - y.min()) / max(float(np.ptp(y)), 1e-9) * 60
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y))
    said = html.escape(name)
    return (
        f'<svg width="240" height="100" role="img" aria-label="{said}"><text x="10" y="16" '
        f'font-size="11">{said} {points[0][1]:.3g} → {points[-1][1]:.3g}</text>'
        f'<polyline points="{line}" fill="none" stroke="#b4432f" stroke-width="1.5"/></svg>'
    )
