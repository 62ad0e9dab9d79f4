"""Writes GLB files anew: one node for each part, one primitive for each mesh, and embedded
textures."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from ...material import Material
from ...mesh import Asset, Mesh, Node
from ..images import to_linear
from .accessors import Accessors
from .buffers import Buffers
from .looks import Looks
from .variants import add_variants


class Writer:
    """The document and the bytes of a file that is being written."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {"nodes": [], "meshes": [], "accessors": []}
        self.buffers = Buffers.empty(self.document)
        self._begin(Accessors(self.document, self.buffers), Looks(self.document, self.buffers))

    @classmethod
    def onto(cls, document: dict[str, Any], accessors: Accessors, looks: Looks) -> Writer:
        """A writer that adds to a document which is being patched."""
        out = cls.__new__(cls)
        out.document = document
        out._begin(accessors, looks)
        return out

    def _begin(self, accessors: Accessors, looks: Looks) -> None:
        self.accessors, self.looks = accessors, looks
        self.primitives: dict[str, list[dict[str, Any]]] = {}
        self._materials: dict[tuple[int, int], int] = {}

    def material(self, mesh: Mesh) -> int | None:
        texture = mesh.texture if mesh.uv is not None else None
        if mesh.material is None and texture is None:
            return None
        mark = (id(mesh.material), id(texture))
        if mark not in self._materials:
            row = self.looks.material(mesh.material or Material("surface"), texture)
            if mesh.uv is None:
                # Maps have no place on a surface without texture coordinates.
                row = {k: v for k, v in row.items() if not k.endswith("Texture")}
                row["pbrMetallicRoughness"].pop("metallicRoughnessTexture", None)
            self._materials[mark] = self.looks.append("materials", row)
        return self._materials[mark]

    def primitive(self, name: str, mesh: Mesh) -> dict[str, Any]:
        put = self.accessors.put
        attributes = {"POSITION": put(mesh.vertices.astype(np.float32), bounds=True)}
        if mesh.normals is not None:
            attributes["NORMAL"] = put(unit_normals(mesh))
        if mesh.uv is not None:
            # In double precision, so that v is unchanged after both flips of a round trip.
            flipped = (mesh.uv.astype(np.float64) * [1, -1] + [0, 1]).astype(np.float32)
            attributes["TEXCOORD_0"] = put(flipped)
        if mesh.colours is not None:
            attributes["COLOR_0"] = put(colour_rows(mesh.colours))
        faces = put(mesh.faces.reshape(-1, 1).astype(np.uint32), indices=True)
        row: dict[str, Any] = {"attributes": attributes, "indices": faces, "mode": 4}
        material = self.material(mesh)
        if material is not None:
            row["material"] = material
        self.primitives.setdefault(name, []).append(row)
        return row

    def parts(self, meshes: dict[str, Mesh]) -> list[int]:
        """Add a node for each part of some meshes; the nodes' numbers."""
        parts: dict[str, dict[str, Mesh]] = {}
        for key, mesh in meshes.items():
            parts.setdefault(mesh.part or key, {})[key] = mesh
        nodes = []
        for name, own in parts.items():
            rows = [self.primitive(key, m) for key, m in own.items()]
            number = self.looks.append("meshes", {"name": name, "primitives": rows})
            nodes.append(self.looks.append("nodes", {"name": name, "mesh": number}))
        return nodes


def colour_rows(colours: np.ndarray) -> np.ndarray:
    """Vertex colours (V, 3 or 4) as glTF has them: linear float32."""
    linear = to_linear(colours[:, :3].astype(np.float64).clip(0, 1))
    return np.concatenate([linear, colours[:, 3:].astype(np.float64).clip(0, 1)], 1).astype(
        np.float32
    )


def unit_normals(mesh: Mesh) -> np.ndarray:
    """The normals of a mesh, those that are not of unit length made so; what has no direction, at
    vertices that no face with an area uses, points up."""
    assert mesh.normals is not None
    normals = mesh.normals.astype(np.float64)
    length = np.linalg.norm(normals, axis=1)
    wrong = np.abs(length - 1) > 1e-3
    if not wrong.any():
        return mesh.normals.astype(np.float32)
    lost = wrong & ~(length > 1e-12)
    normals[wrong & ~lost] /= length[wrong & ~lost, None]
    if lost.any():
        # The smooth normals of the surface where it has any.
        smooth = mesh.with_normals().normals
        assert smooth is not None
        normals[lost] = smooth[lost]
        empty = lost & ~(np.linalg.norm(normals, axis=1) > 0.5)
        normals[empty] = [0.0, 1.0, 0.0]
    return normals.astype(np.float32)


def gltf_document(asset: Asset) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary chunk of an asset that is written anew.

    It has one node for each part (or object of a scene), one primitive for each mesh, textures in
    their own encoding or as PNG, and the provenance in the extras.
    """
    writer = Writer()
    if asset.nodes:
        _write_nodes(writer, asset.nodes)
    else:
        writer.parts(asset.meshes)
    roots = list(range(len(writer.document["nodes"])))
    if asset.offset.any():
        place = {"name": "origin", "translation": asset.offset.tolist(), "children": roots}
        roots = [writer.looks.append("nodes", place)]
    add_variants(
        writer.document,
        asset.variants,
        asset.meshes,
        primitives=writer.primitives,
        looks=writer.looks,
    )
    binary = writer.buffers.packed()
    head = {
        "asset": {
            "version": "2.0",
            "generator": "threestudio_like",
            "extras": {"provenance": asset.provenance},
        },
        "scene": 0,
        "scenes": [{"nodes": roots}],
    }
    document = {**head, **{k: v for k, v in writer.document.items() if v}}
    return document, binary


def glb_bytes(document: dict[str, Any], binary: bytes) -> bytes:
    """A GLB of a JSON document and its binary chunk."""
    text = json.dumps(document, separators=(",", ":"), default=str, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary = binary + b"\0" * (-len(binary) % 4)
    chunks = [struct.pack("<II", len(text), 0x4E4F534A), text]
    if binary:
        chunks += [struct.pack("<II", len(binary), 0x004E4942), binary]
    length = 12 + sum(len(c) for c in chunks)
    return b"".join([struct.pack("<4sII", b"glTF", 2, length), *chunks])


def _write_nodes(writer: Writer, nodes: dict[str, Node]) -> None:
    """Write a scene with one node for each object, with its scale, rotation and translation.
    Instances share a mesh."""
    written: dict[int, int] = {}
    for name, node in nodes.items():
        if id(node.meshes) not in written:
            primitives = [writer.primitive(name, m) for m in node.meshes.values()]
            written[id(node.meshes)] = writer.looks.append(
                "meshes", {"name": name, "primitives": primitives}
            )
        place = node.transform
        writer.looks.append(
            "nodes",
            {
                "name": name,
                "mesh": written[id(node.meshes)],
                "scale": [float(place.scale)] * 3,
                "rotation": [float(v) for v in place.rotation],
                "translation": [float(v) for v in place.translation],
            },
        )
