"""COFF (Geomview's Object File Format with colours at the vertices) as a plug-in: a mesh format in
one file. Run:

    threestudio-like export outputs/latest --to coff --plugins examples/plug_ins/export_format.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from threestudio_like.engine.errors import InputError
from threestudio_like.meshes.io.formats import register
from threestudio_like.meshes.io.merge import joined
from threestudio_like.meshes.mesh import Asset, Mesh


def read_coff(path: Path, textures: bool = True) -> Asset:
    """Read an OFF or COFF file; faces of more than three corners become fans. Raises InputError."""
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    words = [line.split() for line in lines if line]
    if not words or words[0][0] not in ("OFF", "COFF"):
        raise InputError("is not an OFF file", str(path), "Give a file that begins with OFF")
    try:
        vertices, faces = int(words[1][0]), int(words[1][1])
        rows = np.array(words[2 : 2 + vertices], np.float64)
        corners = [[int(c) for c in row[1 : 1 + int(row[0])]] for row in words[2 + vertices :]]
    except (ValueError, IndexError):
        raise InputError("is an OFF file that ends too early", str(path), "Save it again") from None
    if len(rows) != vertices or len(corners) != faces:
        raise InputError("is an OFF file that ends too early", str(path), "Save it again")
    fans = [(c[0], c[k], c[k + 1]) for c in corners for k in range(1, len(c) - 1)]
    if not fans or min(map(min, fans)) < 0 or max(map(max, fans)) >= vertices:
        raise InputError("names a vertex that is not there", str(path), "Save it again")
    colours = None
    if words[0][0] == "COFF" and rows.shape[1] >= 6:
        colours = (rows[:, 3:6] / (255 if rows[:, 3:6].max() > 1 else 1)).astype(np.float32)
    mesh = Mesh(rows[:, :3].astype(np.float32), np.array(fans, np.int32), colours=colours)
    return Asset({path.stem: mesh})


@register(
    "coff",
    summary="Object File Format, colours at the vertices",
    read=read_coff,
    keeps={"vertex colours"},
    psnr=24.0,
)
def COFF(asset: Asset, name: str) -> dict[str, bytes]:
    """A COFF text of all meshes as one."""
    mesh = joined(asset)
    colours = np.full((len(mesh.vertices), 3), 0.7) if mesh.colours is None else mesh.colours
    shown = np.rint(np.clip(colours[:, :3], 0, 1) * 255).astype(int)
    lines = ["COFF", f"{len(mesh.vertices)} {len(mesh.faces)} 0"]
    lines += [
        f"{x:.9g} {y:.9g} {z:.9g} {r} {g} {b} 255"
        for (x, y, z), (r, g, b) in zip(mesh.vertices.tolist(), shown.tolist())
    ]
    lines += [f"3 {a} {b} {c}" for a, b, c in mesh.faces.tolist()]
    return {name: ("\n".join(lines) + "\n").encode()}
