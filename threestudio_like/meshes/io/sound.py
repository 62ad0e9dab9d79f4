"""Whether a mesh that is to be written is one: its arrays fit each other and hold numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...engine.errors import ExportError
from ..mesh import Asset, Mesh

_REMEDY = "Make its arrays fit each other, see threestudio_like.Mesh"


def check_sound(asset: Asset, path: Path) -> None:
    """Raise ExportError where a mesh of an asset could not be read back from any file: arrays of
    other lengths or kinds than its vertices ask for, faces of other vertices than it has, numbers
    that are none; and where none of its meshes has a face."""
    seen: set[int] = set()
    for meshes in (asset.meshes, *(node.meshes for node in asset.nodes.values())):
        for name, mesh in meshes.items():
            if id(mesh) in seen:
                continue
            seen.add(id(mesh))
            fault = _fault(mesh)
            if fault:
                raise ExportError(f'the part "{name[:40]}" {fault}', str(path), _REMEDY)
    if asset.meshes and not any(len(mesh.faces) for mesh in asset.meshes.values()):
        raise ExportError("no part has a face", str(path), "Give one a surface")


def _fault(mesh: Mesh) -> str:
    """What is wrong with a mesh; empty where nothing is."""
    count = len(mesh.vertices)
    rows = {
        "vertices": (mesh.vertices, count, (3,), "fiu"),
        "faces": (mesh.faces, len(mesh.faces), (3,), "iu"),
        "normals": (mesh.normals, count, (3,), "f"),
        "texture coordinates": (mesh.uv, count, (2,), "f"),
        "vertex colours": (mesh.colours, count, (3, 4), "f"),
    }
    for what, (array, length, widths, kinds) in rows.items():
        if array is None:
            continue
        shape, kind = np.shape(array), np.asarray(array).dtype
        if len(shape) != 2 or shape[0] != length or shape[1] not in widths:
            wanted = f"({length}, {' or '.join(map(str, widths))})"
            return f"has {what} of the shape {shape}, and {wanted} is wanted"
        if kind.kind not in kinds:
            means = "whole numbers" if kinds == "iu" else "floats, colours from 0 to 1"
            return f"has {what} of {kind}, and {means} are wanted"
    if not len(mesh.faces):
        return ""
    low, high = int(mesh.faces.min()), int(mesh.faces.max())
    if low < 0 or high >= count:
        return f"has a face of vertex {low if low < 0 else high}, of {count}"
    used = mesh.named()
    for what in ("vertices", "texture coordinates", "normals"):
        array = rows[what][0]
        if array is not None and not np.isfinite(array[used]).all():
            return f"has {what} that are not numbers"
    texture = mesh.texture
    if texture is not None and not _is_picture(texture):
        return (
            f"has a texture of the shape {np.shape(texture)} of {np.asarray(texture).dtype}, and "
            "(H, W, 3 or 4) of uint8 is wanted"
        )
    return ""


def _is_picture(texture: np.ndarray) -> bool:
    shape = np.shape(texture)
    return len(shape) == 3 and min(shape) > 0 and shape[2] in (3, 4) and texture.dtype == np.uint8
