"""The row of STL in the table of formats, and its writer."""

from __future__ import annotations

from ...mesh import Asset, Mesh
from ..formats import Format
from ..merge import joined
from ..trimeshes import trimesh_of
from .reading import read_stl


def write_stl(asset: Asset, name: str) -> dict[str, bytes]:
    """A binary STL of all meshes as one, without colours."""
    import trimesh

    mesh = joined(asset)
    plain = trimesh_of(Mesh(mesh.vertices, mesh.faces, normals=mesh.normals))
    return {name: trimesh.exchange.stl.export_stl(plain)}


STL = Format(
    name="stl",
    summary="triangles alone, for printers",
    suffixes=(".stl",),
    read=read_stl,
    write=write_stl,
)
