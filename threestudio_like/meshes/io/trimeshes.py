"""Conversion of this package's meshes to those of trimesh, which writes STL."""

from __future__ import annotations

from typing import Any

from ..mesh import Mesh


def trimesh_of(mesh: Mesh) -> Any:
    """A `trimesh.Trimesh` with the normals of a mesh."""
    import trimesh

    return trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_normals=mesh.normals, process=False, validate=False
    )
