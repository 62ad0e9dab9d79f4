"""glTF 2.0 as formats: GLB in one file, .gltf with its binary beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...features import EVERYTHING
from ...mesh import Asset
from ..formats import Format
from .patch import patch
from .read import read_gltf
from .source import GltfSource
from .write import glb_bytes, gltf_document


def document_of(asset: Asset) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary chunk of an asset: a patch of the glTF file that it came from, or
    written anew."""
    if isinstance(asset.source, GltfSource):
        patched = patch(asset, asset.source)
        return patched.document, patched.binary
    return gltf_document(asset)


def write_glb(asset: Asset, name: str) -> dict[str, bytes]:
    """Write one GLB that contains everything."""
    return {name: glb_bytes(*document_of(asset))}


def write_gltf(asset: Asset, name: str) -> dict[str, bytes]:
    """Write the JSON, and one binary file beside it that holds geometry and pictures."""
    document, binary = document_of(asset)
    beside = f"{Path(name).stem}.bin"
    if document.get("buffers"):
        document["buffers"][0]["uri"] = beside
    text = json.dumps(document, indent=1, default=str, allow_nan=False)
    return {name: text.encode() + b"\n", beside: binary}


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
    summary="glTF as text, with a binary file beside it",
    suffixes=(".gltf",),
    read=read_gltf,
    write=write_gltf,
    keeps=EVERYTHING,
    patches="gltf",
)
