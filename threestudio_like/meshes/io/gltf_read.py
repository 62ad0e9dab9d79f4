"""Reads glTF 2.0 and GLB: scene graph, several meshes and materials, embedded or separate textures,
and vertex colours.

The package has its own reader because a file from an unknown source has to be checked before it is
used: every offset against its buffer, every reference against its table, the node graph for cycles,
every path against leaving the folder, and the total number of faces before a vertex is copied.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import InputError
from ..mesh import Asset, Material, Mesh, Node, unique_name
from ..transform import Transform, rotation_matrix
from .images import decode, neighbour, to_display
from .limits import LARGEST_COUNT, too_many

_TYPES = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_UNDERSTOOD = {
    "KHR_texture_transform",
    "KHR_materials_unlit",
    "KHR_mesh_quantization",
    "KHR_materials_specular",
    "KHR_materials_ior",
    "KHR_materials_emissive_strength",
    "KHR_lights_punctual",
}
_REPAIR = "Export the mesh again from a mesh editor"


class _Reader:
    """One file that is being read. Every method raises InputError if the file is not valid."""

    def __init__(self, path: Path, textures: bool) -> None:
        self.path, self.where, self.textures = path, str(path), textures
        self.buffers: dict[int, bytes] = {}
        self.images: dict[int, np.ndarray | None] = {}
        self.materials: dict[int, tuple[Material, np.ndarray | None, int, dict]] = {}
        data = path.read_bytes()
        self.binary = b""
        text = data
        if data[:4] == b"glTF":
            text = self._chunks(data)
        try:
            self.document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.bad(f"its JSON cannot be read ({type(error).__name__})") from None
        if not isinstance(self.document, dict) or not isinstance(self.document.get("asset"), dict):
            raise self.bad("is not a glTF file")
        if not str(self.document["asset"].get("version", "")).startswith("2"):
            raise self.bad(
                f"is glTF version {str(self.document['asset'].get('version'))[:10]}, not 2"
            )
        required = self.document.get("extensionsRequired", [])
        strange = (
            [str(e)[:40] for e in required if e not in _UNDERSTOOD]
            if isinstance(required, list)
            else []
        )
        if strange:
            raise InputError(
                f"needs {', '.join(strange)}, which is not read here",
                self.where,
                "Export it without compression",
            )

    def bad(self, what: str) -> InputError:
        return InputError(what, self.where, _REPAIR)

    def _chunks(self, data: bytes) -> bytes:
        if len(data) < 20:
            raise self.bad("is a GLB that ends too early")
        version, length, size, kind = struct.unpack("<4xIIII", data[:20])
        if version != 2:
            raise self.bad(f"is GLB version {version}, not 2")
        if length > len(data) or kind != 0x4E4F534A or 20 + size > len(data):
            raise self.bad("is a GLB that ends too early")
        at = 20 + size
        if at + 8 <= len(data):
            amount, kind = struct.unpack("<II", data[at : at + 8])
            if kind == 0x004E4942:
                if at + 8 + amount > len(data):
                    raise self.bad("is a GLB that ends too early")
                self.binary = data[at + 8 : at + 8 + amount]
        return data[20 : 20 + size]

    def entry(self, table: str, index: Any) -> dict[str, Any]:
        """Row `index` of a table of the document."""
        rows = self.document.get(table, [])
        if (
            not isinstance(rows, list)
            or not isinstance(index, int)
            or isinstance(index, bool)
            or not 0 <= index < len(rows)
        ):
            raise self.bad(f"names {table} {str(index)[:20]}, which is not there")
        if not isinstance(rows[index], dict):
            raise self.bad(f"{table} {index} is not an object")
        return rows[index]

    def number(self, row: dict[str, Any], key: str, default: int | None = None) -> int:
        """A whole number that is not negative."""
        value = row.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.bad(f'"{key}" is {str(value)[:20]}, not a whole number')
        return value

    def uri(self, text: Any) -> bytes:
        """The bytes of a data address or of a file beside the mesh."""
        if not isinstance(text, str):
            raise self.bad("an address is not text")
        if text.startswith("data:"):
            head, _, body = text.partition(",")
            if not head.endswith(";base64"):
                raise self.bad("holds a data address that is not base64")
            try:
                return base64.b64decode(body, validate=True)
            except (binascii.Error, ValueError):
                raise self.bad("holds a data address that is damaged") from None
        return neighbour(self.path.parent, text, self.where).read_bytes()

    def view(self, index: Any) -> tuple[bytes, int, int, int]:
        """Buffer, first byte, length and stride of a buffer view."""
        row = self.entry("bufferViews", index)
        number = self.number(row, "buffer")
        if number not in self.buffers:
            buffer = self.entry("buffers", number)
            data = self.uri(buffer["uri"]) if "uri" in buffer else self.binary
            if len(data) < self.number(buffer, "byteLength"):
                raise self.bad(f"buffer {number} is shorter than it says")
            self.buffers[number] = data
        begin, length = self.number(row, "byteOffset", 0), self.number(row, "byteLength")
        if begin + length > len(self.buffers[number]):
            raise self.bad(f"buffer view {index} ends outside its buffer")
        return self.buffers[number], begin, length, self.number(row, "byteStride", 0)

    def _array(self, view: Any, offset: int, kind: Any, width: int, count: int) -> np.ndarray:
        """Numbers (count, width) of a buffer view."""
        data, begin, length, stride = self.view(view)
        size = np.dtype(kind).itemsize * width
        stride = stride or size
        if count == 0:
            return np.zeros((0, width), kind)
        if stride < size or offset + stride * (count - 1) + size > length:
            raise self.bad(f"an accessor reads outside buffer view {view}")
        shape, strides = (count, width), (stride, np.dtype(kind).itemsize)
        return np.ndarray(
            shape, np.dtype(kind).newbyteorder("<"), data, begin + offset, strides
        ).astype(kind)

    def accessor(
        self, index: Any, widths: tuple[int, ...], limit: int = 3 * LARGEST_COUNT
    ) -> np.ndarray:
        """Numbers (count, width); normalised integers are converted to floats."""
        row = self.entry("accessors", index)
        kind, width = _TYPES.get(row.get("componentType", 0)), _WIDTHS.get(str(row.get("type")))
        if kind is None or width not in widths:
            raise self.bad(
                f"accessor {index} has the type {str(row.get('type'))[:10]} of "
                f"{str(row.get('componentType'))[:10]}"
            )
        count = self.number(row, "count")
        if count > limit:
            raise too_many(count, "numbers in one table", self.where)
        offset = self.number(row, "byteOffset", 0)
        if "bufferView" in row:
            values = self._array(row["bufferView"], offset, kind, width, count)
        else:
            values = np.zeros((count, width), kind)
        if isinstance(row.get("sparse"), dict):
            sparse = row["sparse"]
            amount = self.number(sparse, "count")
            places, changes = sparse.get("indices"), sparse.get("values")
            if not isinstance(places, dict) or not isinstance(changes, dict) or amount > count:
                raise self.bad(f"accessor {index} is sparse and incomplete")
            where_kind = _TYPES.get(places.get("componentType", 0), np.uint32)
            at = self._array(
                places.get("bufferView"),
                self.number(places, "byteOffset", 0),
                where_kind,
                1,
                amount,
            )[:, 0]
            if len(at) and int(at.max()) >= count:
                raise self.bad(f"accessor {index} changes a row that it has not")
            values[at] = self._array(
                changes.get("bufferView"),
                self.number(changes, "byteOffset", 0),
                kind,
                width,
                amount,
            )
        if row.get("normalized") and values.dtype.kind in "iu":
            return (values.astype(np.float32) / np.iinfo(values.dtype).max).clip(-1, 1)
        return values

    def image(self, texture: Any) -> tuple[np.ndarray | None, int, dict]:
        """Pixels, number of the texture-coordinate set, and transform of a texture reference."""
        if not isinstance(texture, dict) or not self.textures:
            return None, 0, {}
        number = self.number(self.entry("textures", texture.get("index")), "source", 0)
        if number not in self.images:
            row = self.entry("images", number)
            if "uri" in row:
                data = self.uri(row["uri"])
            else:
                whole, begin, length, _ = self.view(row.get("bufferView"))
                data = whole[begin : begin + length]
            self.images[number] = decode(data, self.where)
        extensions = texture.get("extensions", {})
        transform = (
            extensions.get("KHR_texture_transform", {}) if isinstance(extensions, dict) else {}
        )
        chosen = self.number(texture, "texCoord", 0)
        return self.images[number], chosen, transform if isinstance(transform, dict) else {}

    def material(self, index: Any) -> tuple[Material, np.ndarray | None, int, dict]:
        """Material, base-colour pixels, number of the texture-coordinate set, and its transform."""
        if index in self.materials:
            return self.materials[index]
        row = self.entry("materials", index)
        pbr = row.get("pbrMetallicRoughness", {})
        pbr = pbr if isinstance(pbr, dict) else {}
        factor = pbr.get("baseColorFactor", [1, 1, 1, 1])
        try:
            linear = [min(1.0, max(0.0, float(x))) for x in factor]
            rough, metal = (
                float(pbr.get("roughnessFactor", 1.0)),
                float(pbr.get("metallicFactor", 1.0)),
            )
            if len(linear) != 4:
                raise ValueError
        except (TypeError, ValueError):
            raise self.bad(f"material {index} has numbers that cannot be read") from None
        r, g, b = to_display(np.array(linear[:3])).tolist()
        texture, chosen, transform = self.image(pbr.get("baseColorTexture"))
        surface, _, _ = self.image(pbr.get("metallicRoughnessTexture"))
        material = Material(
            str(row.get("name", f"material{index}"))[:120],
            (r, g, b, linear[3]),
            min(1.0, max(0.0, rough)),
            min(1.0, max(0.0, metal)),
            None if surface is None else np.ascontiguousarray(surface[..., :3]),
            str(row.get("alphaMode", "OPAQUE"))[:8],
            bool(row.get("doubleSided", False)),
        )
        self.materials[index] = (material, texture, chosen, transform)
        return self.materials[index]

    def nodes(self) -> list[tuple[str, int, np.ndarray]]:
        """All nodes with a mesh: name, mesh index, and transform to the world (4, 4)."""
        rows = self.document.get("nodes", [])
        if not isinstance(rows, list):
            raise self.bad('"nodes" is not a list')
        scenes = self.document.get("scenes", [])
        if scenes:
            roots = self.entry("scenes", self.document.get("scene", 0)).get("nodes", [])
        else:
            children = {
                c
                for r in rows
                if isinstance(r, dict)
                for c in r.get("children", [])
                if isinstance(c, int)
            }
            roots = [i for i in range(len(rows)) if i not in children]
        if not isinstance(roots, list):
            raise self.bad("a scene's nodes are not a list")
        found: list[tuple[str, int, np.ndarray]] = []
        seen: set[int] = set()
        stack: list[tuple[Any, np.ndarray]] = [(r, np.eye(4)) for r in reversed(roots)]
        while stack:
            index, above = stack.pop()
            row = self.entry("nodes", index)
            if index in seen:
                raise self.bad(f"node {index} hangs from two places, or from itself")
            seen.add(index)
            here = above @ self._transform(row, index)
            if "mesh" in row:
                found.append((str(row.get("name", ""))[:120], self.number(row, "mesh"), here))
            below = row.get("children", [])
            if not isinstance(below, list):
                raise self.bad(f"the children of node {index} are not a list")
            stack += [(c, here) for c in reversed(below)]
        return found

    def _transform(self, row: dict[str, Any], index: int) -> np.ndarray:
        try:
            if "matrix" in row:
                matrix = np.array(row["matrix"], np.float64).reshape(4, 4).T
            else:
                matrix = np.eye(4)
                turn = np.array([float(v) for v in row.get("rotation", [0, 0, 0, 1])])
                if turn.shape != (4,) or not turn.any():
                    raise ValueError
                matrix[:3, :3] = rotation_matrix(turn)
                matrix[:3, :3] *= np.array(row.get("scale", [1, 1, 1]), np.float64).reshape(1, 3)
                matrix[:3, 3] = np.array(row.get("translation", [0, 0, 0]), np.float64).reshape(3)
        except (TypeError, ValueError, OverflowError):
            raise self.bad(f"the transform of node {index} cannot be read") from None
        if not np.isfinite(matrix).all():
            raise self.bad(f"the transform of node {index} holds numbers that are not finite")
        return matrix

    def primitives(self, mesh: int) -> list[dict[str, Any]]:
        rows = self.entry("meshes", mesh).get("primitives", [])
        if not isinstance(rows, list) or not all(
            isinstance(r, dict) and isinstance(r.get("attributes"), dict) for r in rows
        ):
            raise self.bad(f"mesh {mesh} has no primitives that can be read")
        return rows

    def faces_of(self, primitive: dict[str, Any]) -> int:
        """The number of triangles of a primitive, before any of them is read."""
        index = primitive.get("indices", primitive["attributes"].get("POSITION"))
        count = self.number(self.entry("accessors", index), "count") if index is not None else 0
        return count // 3 if primitive.get("mode", 4) == 4 else max(0, count - 2)

    def build(self, primitive: dict[str, Any], matrix: np.ndarray, part: str) -> Mesh | None:
        """One primitive as a mesh in the world; None for points and lines."""
        mode, attributes = primitive.get("mode", 4), primitive["attributes"]
        if mode not in (4, 5, 6) or "POSITION" not in attributes:
            return None
        points = self.accessor(attributes["POSITION"], (3,), LARGEST_COUNT).astype(np.float64)
        if "indices" in primitive:
            index = self.accessor(primitive["indices"], (1,))[:, 0].astype(np.int64)
        else:
            index = np.arange(len(points))
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(points):
            raise self.bad(f"a face names vertex {int(index.max())}, of {len(points)}")
        if mode == 4:
            faces = index[: len(index) // 3 * 3].reshape(-1, 3)
        elif mode == 5:
            n = np.arange(max(0, len(index) - 2))
            faces = (
                np.stack([index[n + n % 2], index[n + 1 - n % 2], index[n + 2]], 1)
                if len(n)
                else np.zeros((0, 3), np.int64)
            )
        else:
            n = np.arange(1, max(1, len(index) - 1))
            faces = (
                np.stack([np.full(len(n), index[0]), index[n], index[n + 1]], 1)
                if len(n)
                else np.zeros((0, 3), np.int64)
            )
        if not len(faces):
            return None
        mesh = Mesh(np.zeros(0), faces.astype(np.int32), part=part)
        linear = matrix[:3, :3]
        mesh.vertices = (
            points if (matrix == np.eye(4)).all() else points @ linear.T + matrix[:3, 3]
        ).astype(np.float32)
        if np.linalg.det(linear) < 0:
            mesh.faces = np.ascontiguousarray(mesh.faces[:, ::-1])
        chosen = 0
        transform: dict[str, Any] = {}
        if "material" in primitive:
            mesh.material, mesh.texture, chosen, transform = self.material(primitive["material"])
        # A texture-coordinate set that the material does not use is still the user's atlas.
        name = f"TEXCOORD_{chosen}" if f"TEXCOORD_{chosen}" in attributes else "TEXCOORD_0"
        if name in attributes:
            uv = self._of(attributes[name], (2,), len(points))
            mesh.uv = self._moved(uv.astype(np.float64), transform) * [1, -1] + [0, 1]
            mesh.uv = mesh.uv.astype(np.float32)
        if "NORMAL" in attributes:
            normals = self._of(attributes["NORMAL"], (3,), len(points)).astype(np.float64)
            if (linear != np.eye(3)).any():
                normals = normals @ np.linalg.pinv(linear)
                normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
            mesh.normals = normals.astype(np.float32)
        if "COLOR_0" in attributes:
            colours = self._of(attributes["COLOR_0"], (3, 4), len(points))[:, :3].astype(np.float64)
            mesh.colours = to_display(colours.clip(0, 1)).astype(np.float32)
        return mesh

    def _of(self, index: Any, widths: tuple[int, ...], count: int) -> np.ndarray:
        values = self.accessor(index, widths)
        if len(values) != count:
            raise self.bad(f"a mesh has {count} positions and {len(values)} of another attribute")
        return values

    def _moved(self, uv: np.ndarray, transform: dict) -> np.ndarray:
        if not transform:
            return uv
        try:
            scale = np.array(transform.get("scale", [1, 1]), np.float64).reshape(2)
            offset = np.array(transform.get("offset", [0, 0]), np.float64).reshape(2)
            turn = float(transform.get("rotation", 0))
        except (TypeError, ValueError):
            raise self.bad("a texture transform cannot be read") from None
        c, s = np.cos(turn), np.sin(turn)
        return uv * scale @ np.array([[c, -s], [s, c]]) + offset


def read_gltf(path: Path, textures: bool = True) -> Asset:
    """Read a .glb or .gltf file. Raises InputError.

    Node transforms are applied and the names of nodes are kept; nodes with a transform are also
    returned as `Asset.nodes`.
    """
    reader = _Reader(path, textures)
    asset = Asset({})
    nodes = reader.nodes()
    total = sum(reader.faces_of(p) for _, mesh, _ in nodes for p in reader.primitives(mesh))
    if total > LARGEST_COUNT:
        raise too_many(total, "faces", reader.where)
    scene = len(nodes) > 0 and any((matrix != np.eye(4)).any() for _, _, matrix in nodes)
    own: dict[int, dict[str, Mesh]] = {}
    for name, number, matrix in nodes:
        primitives = reader.primitives(number)
        # A node without a name takes the name of its mesh, or of the file.
        part = name or str(reader.entry("meshes", number).get("name", ""))[:120] or path.stem
        several = sum(p.get("mode", 4) in (4, 5, 6) for p in primitives) > 1
        part = unique_name(part, {m.part or k for k, m in asset.meshes.items()})
        for primitive in primitives:
            mesh = reader.build(primitive, matrix, part if several else "")
            if mesh is None:
                continue
            named = several and mesh.material is not None and part in asset.meshes
            label = f"{part}:{mesh.material.name}" if named and mesh.material is not None else part
            asset.meshes[unique_name(label, asset.meshes)] = mesh
        place = Transform.of(matrix) if scene else None
        if place is None:
            scene = False  # A scale and a rotation do not describe it.
            continue
        if number not in own:
            made = [reader.build(p, np.eye(4), "") for p in primitives]
            own[number] = {str(n): m for n, m in enumerate(made) if m is not None}
        if own[number]:
            asset.nodes[part] = Node(own[number], place)
    if not scene:
        asset.nodes = {}
    extras = reader.document["asset"].get("extras", {})
    provenance = extras.get("provenance") if isinstance(extras, dict) else None
    asset.provenance = provenance if isinstance(provenance, dict) else {}
    return asset
