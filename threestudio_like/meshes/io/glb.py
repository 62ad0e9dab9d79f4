"""glTF 2.0: GLB, which is read and written, and .gltf with its files, which is read."""

from __future__ import annotations

from ..features import EVERYTHING
from ..mesh import Asset
from .formats import Format
from .gltf_read import read_gltf
from .gltf_write import glb_bytes


def write_glb(asset: Asset, name: str) -> dict[str, bytes]:
    """Write one GLB that contains everything."""
    return {name: glb_bytes(asset)}


GLB = Format(
    name="glb",
    summary="glTF in one file: materials, textures, objects of a scene",
    suffixes=(".glb",),
    read=read_gltf,
    write=write_glb,
    keeps=EVERYTHING,
    patches="gltf",
)
GLTF = Format(
    name="gltf",
    summary="glTF with its files beside it (read only)",
    suffixes=(".gltf",),
    read=read_gltf,
    keeps=EVERYTHING,
    patches="gltf",
)
