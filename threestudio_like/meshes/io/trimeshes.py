"""Conversion between this package's meshes and trimesh's, which reads and writes the simple
formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import InputError
from ..mesh import Mesh


def trimesh_of(mesh: Mesh) -> Any:
    """A `trimesh.Trimesh` with normals and vertex colours."""
    import trimesh

    out = trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_normals=mesh.normals, process=False, validate=False
    )
    if mesh.colours is not None:
        opaque = ((0, 0), (0, 4 - mesh.colours.shape[1]))
        rgba = np.pad(np.rint(mesh.colours * 255), opaque, constant_values=255).astype(np.uint8)
        out.visual = trimesh.visual.ColorVisuals(out, vertex_colors=rgba)
    return out


def meshes_of(loaded: Any, path: Path) -> Iterator[tuple[str, Any, Mesh]]:
    """The pieces with faces of what trimesh loaded from `path`: name, trimesh's mesh, and this
    package's mesh.

    Raises InputError if a face refers to a vertex that does not exist.
    """
    import trimesh

    pieces = (
        [loaded]
        if isinstance(loaded, trimesh.Trimesh)
        else list(getattr(loaded, "geometry", {}).values())
    )
    count = 0
    for piece in pieces:
        if not isinstance(piece, trimesh.Trimesh) or not len(piece.faces):
            continue
        faces = np.asarray(piece.faces)
        if faces.min() < 0 or faces.max() >= len(piece.vertices):
            raise InputError(
                f"a face names vertex {int(faces.max())}, of {len(piece.vertices)}",
                str(path),
                "Repair the mesh first",
            )
        mesh = Mesh(np.asarray(piece.vertices, np.float32), np.ascontiguousarray(faces, np.int32))
        yield path.stem if not count else f"{path.stem}.{count}", piece, mesh
        count += 1
