"""STL: triangles without connectivity or colours."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ...engine.errors import InputError
from ..mesh import Asset, Mesh
from .formats import Format
from .limits import LARGEST_COUNT, too_many
from .merge import joined
from .trimeshes import meshes_of, trimesh_of

_REPAIR = "Save it again in a mesh editor"


def read_stl(path: Path, textures: bool = True) -> Asset:
    """Read an STL file, binary or text. Raises InputError."""
    import trimesh

    data = path.read_bytes()
    _check(data, str(path))
    loaded = trimesh.load(io.BytesIO(data), file_type="stl", process=False)
    meshes: dict[str, Mesh] = {}
    for name, _, mesh in meshes_of(loaded, path):
        # STL stores every corner separately, so the mesh is welded again.
        places, inverse = np.unique(mesh.vertices, axis=0, return_inverse=True)
        meshes[name] = Mesh(places, inverse.reshape(-1)[mesh.faces].astype(np.int32))
    return Asset(meshes)


def _check(data: bytes, where: str) -> None:
    """Compare an STL's number of faces with the size of the file. Raises InputError."""
    if data[:5].lower() != b"solid" or b"\0" in data[:512]:
        if len(data) < 84:
            raise InputError("is an STL that ends too early", where, _REPAIR)
        count = int.from_bytes(data[80:84], "little")
        if count > LARGEST_COUNT:
            raise too_many(count, "faces", where)
        if 84 + 50 * count > len(data):
            raise InputError("is an STL that ends too early", where, _REPAIR)
    elif data.count(b"endfacet") > LARGEST_COUNT:
        raise too_many(data.count(b"endfacet"), "faces", where)


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
