"""report.html: a self-contained file without any address in it, with pictures, an interactive mesh,
loss curves, figures and the configuration."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.output import write_file
from ..meshes.atlas import flat_texture
from ..meshes.mesh import Asset
from .pictures import picture_address

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0;background:#f5f4f1;color:#23211e}
main{max-width:1080px;margin:0 auto;padding:28px}
h1{font-size:26px;margin:0 0 2px}h2{font-size:17px;margin:30px 0 8px}img,canvas{max-width:100%;
border-radius:8px;background:#f5f5f3}
canvas{width:100%;height:420px;touch-action:none;cursor:grab;border:1px solid #dddad4}
table{border-collapse:collapse}
td{padding:2px 18px 2px 0;vertical-align:top}td:first-child{color:#77726a}pre{background:#fff;
border:1px solid #e2dfd9;border-radius:8px;
padding:12px;overflow:auto;font-size:12.5px}.muted{color:#77726a}svg{background:#fff;
border:1px solid #e2dfd9;border-radius:8px;margin-right:8px}
"""


def _bytes(values: np.ndarray, kind: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()


def _curves(events: list[dict[str, Any]]) -> str:
    """One small SVG for each loss term, over all stages, with a logarithmic axis."""
    series: dict[str, list[tuple[int, float]]] = {}
    offset, stage, last = 0, None, 0
    for event in events:
        if event["event"] != "step":
            continue
        if event["stage"] != stage:
            offset, stage = (offset + last if stage is not None else 0), event["stage"]
        last = event["step"]
        for name, value in event["terms"].items():
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
            f'{points[0][1]:.3g} → {points[-1][1]:.3g}</text><polyline points="{line}" '
            f'fill="none" stroke="#b4432f" stroke-width="1.5"/></svg>'
        )
    return "\n".join(out)


def _mesh_data(asset: Asset) -> dict[str, str]:
    mesh = flat_texture(asset)
    assert mesh.normals is not None
    assert mesh.uv is not None
    assert mesh.texture is not None
    return {
        "vertices": _bytes(mesh.vertices, np.float32),
        "normals": _bytes(mesh.normals, np.float32),
        "uv": _bytes(mesh.uv, np.float32),
        "faces": _bytes(mesh.faces, np.uint32),
        "texture": picture_address(mesh.texture),
    }


def mesh_page(title: str, asset: Asset) -> bytes:
    """A page on which an asset can be rotated with the mouse."""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>{html.escape(title)}</title><style>{_STYLE}canvas{{height:80vh}}</style></head><body><main>
<h1>{html.escape(title)}</h1>{_turnable(asset, 760)}</main></body></html>""".encode()


def _turnable(asset: Asset, height: int = 420) -> str:
    """The viewer and the mesh that it shows."""
    script = (Path(__file__).parent / "viewer.js").read_text(encoding="utf-8")
    return f"""<canvas id="view" width="1080" height="{height}"></canvas>
<label><input type="checkbox" id="clay"> clay</label>
<script type="application/json" id="mesh">{json.dumps(_mesh_data(asset))}</script>
<script>{script}</script>"""


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
        sheet: contact sheet (H, W, 3) uint8.
        figures: values by name, in order.
        events: the events of events.jsonl.
        configuration: the text of run.yaml.
        pictures: more pictures (H, W, 3) uint8 by their titles.
    """
    rows = "".join(
        f"<tr><td>{html.escape(str(k))}</td><td>{html.escape(_shown(v))}</td></tr>"
        for k, v in figures.items()
    )
    stages = "".join(
        f"<tr><td>{html.escape(e['stage'])}</td><td>{e['seconds']:.1f} s, {e['step']} "
        "steps</td></tr>"
        for e in events
        if e["event"] == "stage-end"
    )
    more = "".join(
        f'<h2>{html.escape(name)}</h2><img alt="{html.escape(name)}" src="{picture_address(p)}">'
        for name, p in (pictures or {}).items()
    )
    text = f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>
<h1>{html.escape(title)}</h1><div class="muted">made by threestudio_like</div>
<h2>Turn it</h2>{_turnable(asset)}
<h2>Eight views</h2><img alt="eight views, textured and clay" src="{picture_address(sheet)}">
{more}
<h2>Figures</h2><table>{rows}</table><h2>Time</h2><table>{stages}</table>
<h2>Losses</h2>{_curves(events)}
<h2>Configuration</h2><pre>{html.escape(configuration)}</pre>
</main></body></html>"""
    write_file(path, text.encode("utf-8"))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.4g}"
    return str(value)
