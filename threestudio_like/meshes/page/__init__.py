"""An asset as one HTML page that needs nothing else: turned with the mouse or the fingers, in a
browser or a notebook."""

from __future__ import annotations

import html
import json
from pathlib import Path

from ..mesh import Asset
from .data import extent, viewer_data

HEAD = """<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="icon" href="data:,">"""
"""What every page begins with: a phone uses its own width, and no icon is asked for."""

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0;background:#f5f4f1;color:#23211e}
main{max-width:1080px;margin:0 auto;padding:28px}
h1{font-size:26px;margin:0 0 2px;overflow-wrap:anywhere}h2{font-size:17px;margin:30px 0 8px}
img,canvas{max-width:100%;border-radius:8px;background:#f5f5f3}
canvas{display:block;width:100%;touch-action:none;cursor:grab;box-sizing:border-box;
border:1px solid #dddad4}canvas:focus-visible{outline:2px solid #b4432f}
.muted+canvas{margin-top:8px}
.bar{display:flex;flex-wrap:wrap;gap:4px 16px;align-items:center;padding:6px 2px}
.bar button{font:inherit;padding:1px 10px;border-radius:6px;border:1px solid #cfcbc4;
background:#fff}.bar .muted{font-size:13px}
.problem{padding:24px;border:1px solid #dddad4;border-radius:8px;background:#fff}
table{border-collapse:collapse}
td{padding:2px 18px 2px 0;vertical-align:top;overflow-wrap:anywhere}
td:first-child{color:#77726a}summary{cursor:pointer}
pre{background:#fff;border:1px solid #e2dfd9;border-radius:8px;
padding:12px;overflow:auto;font-size:12.5px}.muted{color:#77726a}
svg{background:#fff;border:1px solid #e2dfd9;border-radius:8px;margin-right:8px;max-width:100%}
@media(max-width:600px){main{padding:12px}h1{font-size:20px}}
"""


def mesh_page(title: str, asset: Asset) -> bytes:
    """One page on which an asset is turned."""
    faces = sum(len(m.faces) for m in asset.meshes.values())
    wide = " × ".join(f"{v:.4g}" for v in extent(asset))
    parts = f", {len(asset.meshes):,} parts" if len(asset.meshes) > 1 else ""
    return f"""<!doctype html><html lang="en"><head>{HEAD}
<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>
<h1>{html.escape(title)}</h1><div class="muted">{faces:,} triangles{parts}, {wide}</div>
{turnable(asset, "max(260px, calc(100vh - 190px))")}</main></body></html>""".encode()


def turnable(asset: Asset, height: str = "420px") -> str:
    """The viewer and the asset that it shows. The height is a CSS length."""
    script = (Path(__file__).parent / "viewer.js").read_text(encoding="utf-8")
    return f"""<canvas id="view" tabindex="0" style="height:{height}"
aria-label="the asset, to be turned with the mouse, the fingers or the arrow keys"></canvas>
<div class="bar"><label><input type="checkbox" id="clay"> clay</label>
<label><input type="checkbox" id="wires"> wires</label><button id="reset">Reset</button>
<span class="muted">Drag turns, two fingers or the wheel zoom, two fingers or Shift move,
a double click resets.</span></div>
<script type="application/json" id="mesh">{json.dumps(viewer_data(asset))}</script>
<script>{script}</script>"""


def frame(asset: Asset, title: str = "asset", height: int = 460) -> str:
    """The page within a frame, for a cell of a notebook."""
    page = html.escape(mesh_page(title, asset).decode(), quote=True)
    return f'<iframe srcdoc="{page}" width="100%" height="{height}" style="border:0"></iframe>'
