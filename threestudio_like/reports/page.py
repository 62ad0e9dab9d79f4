"""report.html: one file that opens anywhere, with no address in it: pictures, the mesh to turn,
loss curves, figures, configuration."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.output import write_file
from ..meshes.mesh import Asset
from ..meshes.page import HEAD, STYLE, mesh_page, turnable
from .pictures import picture_address


def _curves(events: list[dict[str, Any]]) -> str:
    """One small SVG a loss term, over all stages, on a logarithmic axis."""
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
    out = []
    for name, points in series.items():
        if len(points) < 2:
            continue
        x, y = np.array([p[0] for p in points], float), np.log10([p[1] for p in points])
        x = (x - x.min()) / max(float(np.ptp(x)), 1e-9) * 220 + 10
        y = 84 - (y - y.min()) / max(float(np.ptp(y)), 1e-9) * 60
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y))
        out.append(
            f'<svg width="240" height="100"><text x="10" y="16" font-size="11">{html.escape(name)} '
            f'{points[0][1]:.3g} → {points[-1][1]:.3g}</text><polyline points="{line}" fill="none" '
            f'stroke="#b4432f" stroke-width="1.5"/></svg>'
        )
    return "\n".join(out)


def write_report(
    path: Path,
    title: str,
    asset: Asset,
    sheet: np.ndarray,
    figures: dict[str, Any],
    events: list[dict[str, Any]],
    configuration: str,
    pictures: dict[str, np.ndarray] | None = None,
) -> None:
    """Write the page.

    Args:
        sheet: contact sheet (H, W, 3) uint8. figures: name -> value, in order. events: of
            events.jsonl. configuration: run.yaml's text.
        pictures: more pictures (H, W, 3) uint8 by their titles.
    """
    rows = "".join(
        f"<tr><td>{html.escape(str(k))}</td><td>{html.escape(_shown(v))}</td></tr>"
        for k, v in figures.items()
    )
    stages = "".join(
        f"<tr><td>{html.escape(e['stage'])}</td>"
        f"<td>{e['seconds']:.1f} s, {e['step']} steps</td></tr>"
        for e in events
        if e["event"] == "stage-end"
    )
    more = "".join(
        f'<h2>{html.escape(name)}</h2><img alt="{html.escape(name)}" src="{picture_address(p)}">'
        for name, p in (pictures or {}).items()
    )
    text = f"""<!doctype html><html lang="en"><head>{HEAD}
<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>
<h1>{html.escape(title)}</h1><div class="muted">made by threestudio_like</div>
<h2>Turn it</h2>{turnable(asset)}
<h2>Eight views</h2><img alt="eight views, textured and clay" src="{picture_address(sheet)}">
{more}
<h2>Figures</h2><table>{rows}</table><h2>Time</h2><table>{stages}</table>
<h2>Losses</h2>{_curves(events)}
<h2>Configuration</h2>
<details><summary>run.yaml</summary><pre>{html.escape(configuration)}</pre></details>
</main></body></html>"""
    write_file(path, text.encode("utf-8"))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.4g}"
    return str(value)


__all__ = ["mesh_page", "write_report"]
