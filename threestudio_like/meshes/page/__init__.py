"""An asset as one HTML page that needs nothing else: turned with the mouse or the fingers, in a
browser or a notebook."""

from __future__ import annotations

import html
import json
from pathlib import Path

from ..mesh import Asset
from .data import extent, viewer_data
from .library import packed_three

POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
"""What a browser lets such a page do: nothing but show what is in it."""
HEAD = """<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="icon" href="data:,">"""
"""What every page begins with: a phone uses its own width, and no icon is asked for."""
SEALED = f'{HEAD}\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
"""The beginning of a page that asks for nothing from anywhere."""

STYLE = """
:root{color-scheme:light}
body{font:15px/1.55 system-ui,sans-serif;margin:0;background:#f5f4f1;color:#23211e}
main{max-width:1080px;margin:0 auto;padding:28px}
h1{font-size:26px;line-height:1.25;margin:0 0 2px;overflow-wrap:anywhere}
h2{font-size:18px;margin:34px 0 8px}a{color:#8f3120}
img{max-width:100%;border-radius:8px;background:#f5f5f3}
.muted{color:#67625b}
.stage{position:relative;margin-top:10px}
canvas{display:block;width:100%;touch-action:none;cursor:grab;box-sizing:border-box;
border:1px solid #dddad4;border-radius:8px;background:#e6e4df}
canvas:active{cursor:grabbing}
.stage:not([data-whole]) canvas{touch-action:pan-y}
:focus-visible{outline:2px solid #b4432f;outline-offset:1px}
.divider{position:absolute;top:1px;bottom:1px;left:var(--at,50%);width:2px;margin-left:-1px;
background:#fff;box-shadow:0 0 3px #0007;pointer-events:none}
.tag{position:absolute;top:10px;padding:1px 9px;border-radius:999px;background:#23211ed0;
color:#fff;font-size:12.5px;pointer-events:none}.tag.left{left:10px}.tag.right{right:10px}
.bar{display:flex;flex-wrap:wrap;gap:8px 18px;align-items:center;padding:9px 2px}
.bar label{white-space:nowrap}.bar .muted{font-size:13px}
.bar input{accent-color:#b4432f}.bar input[type=range]{vertical-align:middle;width:110px}
.bar .long{flex:1 1 100%;display:flex;gap:10px;align-items:center}
.bar .long input{flex:1;min-width:0}
.choice{display:inline-flex;border:1px solid #a9a49b;border-radius:7px;overflow:hidden;
background:#fff;margin:0;padding:0}
.choice label{display:block;position:relative}.choice label+label{border-left:1px solid #d9d5ce}
.choice input{position:absolute;opacity:0;inset:0;margin:0;cursor:pointer}
.choice span{display:block;padding:2px 12px}
.choice input:checked+span{background:#23211e;color:#fff}
.choice input:disabled+span{color:#8f8a82}
.choice input:focus-visible+span{outline:2px solid #b4432f;outline-offset:-3px}
button{font:inherit;padding:2px 12px;border-radius:7px;border:1px solid #a9a49b;background:#fff;
cursor:pointer}
.problem{padding:24px;border:1px solid #dddad4;border-radius:8px;background:#fff}
table{border-collapse:collapse}
td,th{padding:3px 18px 3px 0;vertical-align:top;text-align:left;overflow-wrap:anywhere}
td:first-child{color:#67625b}summary{cursor:pointer;padding:3px 0}
pre{background:#fff;border:1px solid #e2dfd9;border-radius:8px;
padding:12px;overflow:auto;font-size:12.5px}
svg{background:#fff;border:1px solid #e2dfd9;border-radius:8px;margin-right:8px;max-width:100%}
@media(max-width:600px){main{padding:14px}h1{font-size:21px}.choice span{padding:2px 9px}}
@media print{body{background:#fff}main{max-width:none;padding:0}.bar{display:none}
canvas{border:0}h2{break-after:avoid}img,canvas,svg,table{break-inside:avoid}}
"""


def mesh_page(title: str, asset: Asset) -> bytes:
    """One page on which an asset is turned."""
    faces = sum(len(m.faces) for m in asset.meshes.values())
    wide = " × ".join(f"{v:.4g}" for v in extent(asset))
    parts = f", {len(asset.meshes):,} parts" if len(asset.meshes) > 1 else ""
    return f"""<!doctype html><html lang="en"><head>{SEALED}
<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>
<h1>{html.escape(title)}</h1><div class="muted">{faces:,} triangles{parts}, {wide}</div>
{turnable(asset, "max(260px, calc(100vh - 190px))", whole=True)}</main></body></html>""".encode()


def turnable(
    asset: Asset, height: str = "420px", *, whole: bool = False, before: Asset | None = None
) -> str:
    """The viewer and the asset that it shows.

    Args:
        height: a CSS length.
        whole: whether the page is there for the viewer alone, so that the wheel and the fingers
            belong to it; otherwise they scroll the page until the picture is clicked.
        before: what the asset was made of, in the same frame, to be compared behind a divider.
    """
    script = (Path(__file__).parent / "viewer.js").read_text(encoding="utf-8")
    data = json.dumps(viewer_data(asset, before)).replace("<", "\\u003c")
    divider = slider = ""
    if before is not None:
        divider = """<div class="divider"></div><span class="tag left">before</span>
<span class="tag right">after</span>"""
        slider = """<label class="long">Before <input type="range" id="split" min="0" max="100"
value="50" aria-label="How much of the picture shows the asset as it was before"> After</label>"""
    wheel = "The wheel zooms" if whole else "Click it, and the wheel zooms"
    return f"""<div class="stage"{' data-whole="1"' if whole else ""}>
<canvas id="view" tabindex="0" style="height:{height}" role="img"
aria-label="the asset, to be turned with the mouse, the fingers or the arrow keys"></canvas>
{divider}</div>
<div class="bar">{slider}{_looks()}
<label><input type="checkbox" id="wires"> Wireframe</label>
<label>Light <input type="range" id="sun" min="-180" max="180" value="0"
aria-label="Direction of the light, degrees"></label><button id="reset">Reset</button>
<span class="muted">Drag turns, two fingers zoom and move. {wheel}; Shift moves, a double click
resets.</span></div>
<script type="application/json" id="mesh">{data}</script>
<script type="text/plain" id="three">{packed_three()}</script>
<script>{script}</script>"""


def _looks() -> str:
    """The choice of how the asset is shown."""
    looks = [("lit", "Lit"), ("flat", "Colours"), ("clay", "Clay"), ("uv", "UV")]
    rows = "".join(
        f'<label><input type="radio" name="look" id="look-{key}"'
        f"{' checked' if key == 'lit' else ''}><span>{word}</span></label>"
        for key, word in looks
    )
    return f'<span class="choice" role="radiogroup" aria-label="What is shown">{rows}</span>'


def frame(asset: Asset, title: str = "asset", height: int = 460) -> str:
    """The page within a frame, for a cell of a notebook."""
    page = html.escape(mesh_page(title, asset).decode(), quote=True)
    return f'<iframe srcdoc="{page}" width="100%" height="{height}" style="border:0"></iframe>'
