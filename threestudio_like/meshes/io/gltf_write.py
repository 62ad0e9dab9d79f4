"""Writes GLB files with one node for each part, one primitive for each mesh, and embedded PNG
textures."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from ..mesh import Asset, Material, Mesh
from .images import encode_png, to_linear


class _Writer:
    """The document and the binary chunk of a GLB that is being written."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {
            k: [] for k in ("nodes", "meshes", "accessors", "bufferViews")
        }
        self.binary = bytearray()
        self.shared: dict[Any, int] = {}

    def append(self, table: str, row: dict[str, Any]) -> int:
        rows = self.document.setdefault(table, [])
        rows.append(row)
        return len(rows) - 1

    def view(self, data: bytes, target: int | None = None) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        row: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        if target is not None:
            row["target"] = target
        self.binary += data
        return self.append("bufferViews", row)

    def accessor(self, values: np.ndarray, kind: str, bounds: bool = False) -> int:
        component = 5125 if values.dtype == np.uint32 else 5126
        row: dict[str, Any] = {
            "bufferView": self.view(values.tobytes(), 34963 if component == 5125 else 34962),
            "componentType": component,
            "count": len(values),
            "type": kind,
        }
        if bounds:
            row["min"], row["max"] = values.min(0).tolist(), values.max(0).tolist()
        return self.append("accessors", row)

    def texture(self, pixels: np.ndarray) -> int:
        if ("texture", id(pixels)) not in self.shared:
            if "samplers" not in self.document:
                self.append(
                    "samplers",
                    {"magFilter": 9729, "minFilter": 9987, "wrapS": 10497, "wrapT": 10497},
                )
            image = self.append(
                "images", {"bufferView": self.view(encode_png(pixels)), "mimeType": "image/png"}
            )
            self.shared["texture", id(pixels)] = self.append(
                "textures", {"sampler": 0, "source": image}
            )
        return self.shared["texture", id(pixels)]

    def material(self, mesh: Mesh) -> int | None:
        material = mesh.material
        if material is None and mesh.texture is None:
            return None
        mark = ("material", id(material), id(mesh.texture))
        if mark in self.shared:
            return self.shared[mark]
        material = material or Material("surface")
        linear = [*to_linear(np.array(material.colour[:3])).tolist(), material.colour[3]]
        pbr: dict[str, Any] = {
            "baseColorFactor": linear,
            "metallicFactor": material.metallic,
            "roughnessFactor": material.roughness,
        }
        if mesh.texture is not None:
            pbr["baseColorTexture"] = {"index": self.texture(mesh.texture)}
        if material.metallic_roughness is not None:
            pbr["metallicRoughnessTexture"] = {"index": self.texture(material.metallic_roughness)}
        row: dict[str, Any] = {
            "name": material.name,
            "pbrMetallicRoughness": pbr,
            "doubleSided": material.double_sided,
        }
        if material.alpha_mode != "OPAQUE":
            row["alphaMode"] = material.alpha_mode
        self.shared[mark] = self.append("materials", row)
        return self.shared[mark]

    def primitive(self, mesh: Mesh) -> dict[str, Any]:
        attributes = {
            "POSITION": self.accessor(np.ascontiguousarray(mesh.vertices, "<f4"), "VEC3", True)
        }
        if mesh.normals is not None:
            attributes["NORMAL"] = self.accessor(np.ascontiguousarray(mesh.normals, "<f4"), "VEC3")
        if mesh.uv is not None:
            # In double precision, so that v is unchanged after both flips of a round trip.
            flipped = (mesh.uv.astype(np.float64) * [1, -1] + [0, 1]).astype("<f4")
            attributes["TEXCOORD_0"] = self.accessor(flipped, "VEC2")
        if mesh.colours is not None and mesh.texture is None:
            linear = to_linear(mesh.colours.astype(np.float64).clip(0, 1)).astype("<f4")
            attributes["COLOR_0"] = self.accessor(linear, "VEC3")
        faces = self.accessor(np.ascontiguousarray(mesh.faces.reshape(-1), "<u4"), "SCALAR")
        row: dict[str, Any] = {"attributes": attributes, "indices": faces, "mode": 4}
        material = self.material(mesh)
        if material is not None:
            row["material"] = material
        return row


def glb_bytes(asset: Asset) -> bytes:
    """The bytes of a GLB of an asset.

    It has one node for each part (or object of a scene), one primitive for each mesh, textures as
    PNG, and the provenance in the extras.
    """
    writer = _Writer()
    if asset.nodes:
        _write_nodes(writer, asset)
    else:
        parts: dict[str, list[Mesh]] = {}
        for key, mesh in asset.meshes.items():
            parts.setdefault(mesh.part or key, []).append(mesh)
        for name, meshes in parts.items():
            number = writer.append(
                "meshes", {"name": name, "primitives": [writer.primitive(m) for m in meshes]}
            )
            writer.append("nodes", {"name": name, "mesh": number})
    document = {
        "asset": {
            "version": "2.0",
            "generator": "threestudio_like",
            "extras": {"provenance": asset.provenance},
        },
        "scene": 0,
        "scenes": [{"nodes": list(range(len(writer.document["nodes"])))}],
        **{k: v for k, v in writer.document.items() if v},
        "buffers": [{"byteLength": len(writer.binary)}],
    }
    text = json.dumps(document, separators=(",", ":"), sort_keys=True, default=str).encode()
    text += b" " * (-len(text) % 4)
    binary = bytes(writer.binary) + b"\0" * (-len(writer.binary) % 4)
    length = 12 + 8 + len(text) + 8 + len(binary)
    return b"".join(
        [
            struct.pack("<4sII", b"glTF", 2, length),
            struct.pack("<II", len(text), 0x4E4F534A),
            text,
            struct.pack("<II", len(binary), 0x004E4942),
            binary,
        ]
    )


def _write_nodes(writer: _Writer, asset: Asset) -> None:
    """Write a scene with one node for each object, with its scale, rotation and translation.
    Instances share a mesh."""
    written: dict[int, int] = {}
    for name, node in asset.nodes.items():
        if id(node.meshes) not in written:
            primitives = [writer.primitive(m) for m in node.meshes.values()]
            written[id(node.meshes)] = writer.append(
                "meshes", {"name": name, "primitives": primitives}
            )
        place = node.transform
        writer.append(
            "nodes",
            {
                "name": name,
                "mesh": written[id(node.meshes)],
                "scale": [float(place.scale)] * 3,
                "rotation": [float(v) for v in place.rotation],
                "translation": [float(v) for v in place.translation],
            },
        )
