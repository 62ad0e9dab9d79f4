"""An asset as one HTML page that needs nothing else: turned with the mouse, in a browser or a
notebook."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .atlas import flat_texture
from .mesh import Asset

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:0;background:#f5f4f1;color:#23211e}
main{max-width:1080px;margin:0 auto;padding:28px}
h1{font-size:26px;margin:0 0 2px}h2{font-size:17px;margin:30px 0 8px}
img,canvas{max-width:100%;border-radius:8px;background:#f5f5f3}
canvas{width:100%;height:420px;touch-action:none;cursor:grab;
border:1px solid #dddad4}table{border-collapse:collapse}
td{padding:2px 18px 2px 0;vertical-align:top}td:first-child{color:#77726a}
pre{background:#fff;border:1px solid #e2dfd9;border-radius:8px;
padding:12px;overflow:auto;font-size:12.5px}.muted{color:#77726a}
svg{background:#fff;border:1px solid #e2dfd9;border-radius:8px;margin-right:8px}
"""


def _bytes(values: np.ndarray, kind: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()


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
        "texture": _png(mesh.texture),
    }


def mesh_page(title: str, asset: Asset) -> bytes:
    """One page on which an asset is turned with the mouse."""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>{html.escape(title)}</title><style>{STYLE}canvas{{height:80vh}}</style></head><body><main>
<h1>{html.escape(title)}</h1>{turnable(asset, 760)}</main></body></html>""".encode()


def turnable(asset: Asset, height: int = 420) -> str:
    """The viewer and the mesh that it shows."""
    script = (Path(__file__).parent / "viewer.js").read_text(encoding="utf-8")
    return f"""<canvas id="view" width="1080" height="{height}"></canvas>
<label><input type="checkbox" id="clay"> clay</label>
<script type="application/json" id="mesh">{json.dumps(_mesh_data(asset))}</script>
<script>{script}</script>"""


def frame(asset: Asset, title: str = "asset", height: int = 460) -> str:
    """The page within a frame, for a cell of a notebook."""
    page = html.escape(mesh_page(title, asset).decode(), quote=True)
    return f'<iframe srcdoc="{page}" width="100%" height="{height}" style="border:0"></iframe>'


def _png(picture: np.ndarray) -> str:
    """A picture (H, W, 3 or 4) uint8 as the address of its own bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
