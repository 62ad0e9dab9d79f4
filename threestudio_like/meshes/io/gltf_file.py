"""A glTF file as it lies on the disk: its JSON, buffers, accessors and pictures. Every reference is
checked before it is followed."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import InputError
from .images import decode, neighbour
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


class GltfFile:
    """One file that is being read. Every method raises InputError if the file is not valid.

    Args:
        path: .glb or .gltf.
        textures: whether pictures are read.
    """

    def __init__(self, path: Path, textures: bool) -> None:
        self.path, self.where, self.textures = path, str(path), textures
        self.buffers: dict[int, bytes] = {}
        self.images: dict[int, np.ndarray | None] = {}
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
