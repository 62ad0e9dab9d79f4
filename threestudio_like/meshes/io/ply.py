"""PLY: positions, faces, normals and vertex colours."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import InputError
from ..mesh import Asset, Mesh
from .formats import Format
from .limits import LARGEST_COUNT, too_many
from .merge import joined
from .trimeshes import meshes_of, trimesh_of

_REPAIR = "Save it again in a mesh editor"


def read_ply(path: Path, textures: bool = True) -> Asset:
    """Read a PLY file with faces. Raises InputError."""
    import trimesh

    data = path.read_bytes()
    check_ply(data, str(path))
    loaded = trimesh.load(io.BytesIO(data), file_type="ply", process=False)
    meshes: dict[str, Mesh] = {}
    for name, piece, mesh in meshes_of(loaded, path):
        if getattr(piece.visual, "kind", None) == "vertex":
            visual: Any = piece.visual
            mesh.colours = np.asarray(visual.vertex_colors[:, :3], np.float32) / 255
        meshes[name] = mesh
    return Asset(meshes)


def write_ply(asset: Asset, name: str) -> dict[str, bytes]:
    """A binary PLY of all meshes as one."""
    import trimesh

    return {name: trimesh.exchange.ply.export_ply(trimesh_of(joined(asset)))}


def check_ply(data: bytes, where: str) -> None:
    """Compare a PLY's header with the size of the file. Raises InputError."""
    head, found, _body = data[: 1 << 16].partition(b"end_header")
    if not data.startswith(b"ply") or not found:
        raise InputError("is not a PLY file", where, "Save it again in a mesh editor")
    room = len(data) - len(head)
    for name, text in re.findall(rb"element\s+(\S+)\s+(\S+)", head):
        count = int(text) if re.fullmatch(rb"\d{1,12}", text) else -1
        if count < 0:
            raise InputError(
                f"its header counts {text[:20]!r} of {name[:20]!r}",
                where,
                "Save it again in a mesh editor",
            )
        if count > LARGEST_COUNT:
            raise too_many(count, name.decode("utf-8", "replace")[:20], where)
        if count > room:
            raise InputError(
                "is a PLY that ends too early", where, "Save it again in a mesh editor"
            )


PLY = Format(
    name="ply",
    summary="positions, faces and vertex colours in one binary file",
    suffixes=(".ply",),
    read=read_ply,
    write=write_ply,
    keeps=frozenset({"vertex colours", "vertex alpha"}),
    psnr=20.0,
)
