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

from ....engine.errors import InputError
from ....engine.text import line_name
from ...material import EncodedImage
from ..beside import find_beside
from ..images import decode
from ..limits import LARGEST_COUNT, too_many

COMPONENTS = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
DRACO = "KHR_draco_mesh_compression"
TRIANGLES = (4, 5, 6)
"""The modes of primitives that are surfaces: triangles, strips and fans."""
_UNDERSTOOD = {
    "KHR_texture_transform",
    "KHR_mesh_quantization",
    "KHR_lights_punctual",
    "KHR_texture_basisu",
    "KHR_animation_pointer",
    "KHR_node_visibility",
    "KHR_xmp_json_ld",
    "EXT_texture_webp",
    "EXT_mesh_gpu_instancing",
    "EXT_lights_image_based",
    DRACO,
    *MESHOPT,
}
"""Required extensions under which a file can be read. Those of materials (KHR_materials_…) change
no shape and are kept whatever they are."""
_REPAIR = "Export the mesh again from a mesh editor"


class GltfDocument:
    """One file that is being read. Every method raises InputError if the file is not valid.

    document: the JSON. notes: what had to be left out, one line each. mended: by their accessors,
    the numbers that were not valid, as they are read instead.

    Args:
        path: .glb or .gltf.
        textures: whether pictures are read.
    """

    def __init__(self, path: Path, textures: bool) -> None:
        self.path, self.where, self.textures = path, str(path), textures
        self.notes: list[str] = []
        self.mended: dict[int, np.ndarray] = {}
        self._buffers: dict[int, bytes | None] = {}
        self._images: dict[int, EncodedImage | None] = {}
        self._views: dict[int, bytes] = {}
        self._primitives: dict[int, list[dict[str, Any]]] = {}
        data = path.read_bytes()
        self.binary = b""
        text = data
        if data[:4] == b"glTF":
            text = self._chunks(data)
        try:
            self.document: dict[str, Any] = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise self.bad(f"its JSON cannot be read ({type(error).__name__})") from None
        if not isinstance(self.document, dict) or not isinstance(self.document.get("asset"), dict):
            raise self.bad("is not a glTF file")
        if not str(self.document["asset"].get("version", "")).startswith("2"):
            raise self.bad(
                f"is glTF version {str(self.document['asset'].get('version'))[:10]}, not 2"
            )
        required = self.document.get("extensionsRequired", [])
        names = [str(e)[:60] for e in required] if isinstance(required, list) else []
        strange = [
            line_name(e)
            for e in names
            if e not in _UNDERSTOOD and not e.startswith("KHR_materials_")
        ]
        if strange:
            raise InputError(
                f"cannot be shown without {', '.join(strange)}, which is not read here",
                self.where,
                "Export it without that extension",
            )

    def bad(self, what: str) -> InputError:
        """The error for a file that is not valid."""
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

    def rows(self, table: str) -> list[Any]:
        """A table of the document, empty if it is not there."""
        rows = self.document.get(table, [])
        if not isinstance(rows, list):
            raise self.bad(f'"{table}" is not a list')
        return rows

    def entry(self, table: str, index: Any) -> dict[str, Any]:
        """Row `index` of a table of the document."""
        rows = self.rows(table)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(rows):
            raise self.bad(f"names {table} {str(index)[:20]}, which is not there")
        if not isinstance(rows[index], dict):
            raise self.bad(f"{table} {index} is not an object")
        row: dict[str, Any] = rows[index]
        return row

    def primitives(self, mesh: int) -> list[dict[str, Any]]:
        """The primitives of a mesh."""
        rows = self.entry("meshes", mesh).get("primitives", [])
        # A mesh of thousands is asked for each of them.
        if self._primitives.get(mesh) is not rows:
            if not isinstance(rows, list) or not all(map(_has_attributes, rows)):
                raise self.bad(f"mesh {mesh} has no primitives that can be read")
            self._primitives[mesh] = rows
        return rows

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
        found = find_beside(self.path.parent, text, self.where)
        if found.path is None:
            raise InputError(
                f'the file "{line_name(text)[:60]}" {found.note}',
                self.where,
                "Put it beside the mesh",
            )
        if found.note:
            note = f'the file "{line_name(text)[:60]}" {found.note}'
            self.notes += [note] if note not in self.notes else []
        return found.path.read_bytes()

    def buffer(self, number: int) -> bytes | None:
        """The bytes of a buffer; None for one that only says where uncompressed data would lie."""
        if number not in self._buffers:
            row = self.entry("buffers", number)
            spoken = row.get("extensions", {})
            fallback = isinstance(spoken, dict) and any(
                isinstance(spoken.get(e), dict) and spoken[e].get("fallback") for e in MESHOPT
            )
            data = self.uri(row["uri"]) if "uri" in row else self.binary
            if "uri" not in row and fallback:
                self._buffers[number] = None
                return None
            if len(data) < self.number(row, "byteLength"):
                raise self.bad(f"buffer {number} is shorter than it says")
            self._buffers[number] = data
        return self._buffers[number]

    def view(self, index: Any) -> tuple[bytes, int, int, int]:
        """Buffer, first byte, length and stride of a buffer view; what is compressed is opened."""
        row = self.entry("bufferViews", index)
        stride = self.number(row, "byteStride", 0)
        if index in self._views:
            return self._views[index], 0, len(self._views[index]), stride
        packed = meshopt_of(row)
        if packed is not None:
            self._views[index] = self._open_meshopt(packed)
            return self._views[index], 0, len(self._views[index]), stride
        number = self.number(row, "buffer")
        data = self.buffer(number)
        if data is None:
            raise self.bad(f"buffer {number} holds no bytes")
        begin, length = self.number(row, "byteOffset", 0), self.number(row, "byteLength")
        if begin + length > len(data):
            raise self.bad(f"buffer view {index} ends outside its buffer")
        return data, begin, length, stride

    def _open_meshopt(self, row: dict[str, Any]) -> bytes:
        from ..compression import decode_meshopt

        data = self.buffer(self.number(row, "buffer"))
        begin, length = self.number(row, "byteOffset", 0), self.number(row, "byteLength")
        count, stride = self.number(row, "count"), self.number(row, "byteStride")
        if data is None or begin + length > len(data):
            raise self.bad("compressed data end outside their buffer")
        if count > 3 * LARGEST_COUNT:
            raise too_many(count, "rows in one table", self.where, most=3 * LARGEST_COUNT)
        if not 0 < stride <= 256:
            raise self.bad(f"compressed data have rows of {stride} bytes")
        mode, filtering = str(row.get("mode")), str(row.get("filter", "NONE"))
        return decode_meshopt(
            data[begin : begin + length],
            count,
            stride,
            mode=mode,
            filter=filtering,
            where=self.where,
        )

    def _array(
        self, view: Any, offset: int, kind: Any, width: int, count: int, shape: str = ""
    ) -> np.ndarray:
        """Numbers (count, width) of a buffer view; shape: the type of the accessor, of which small
        matrices have gaps behind their columns."""
        data, begin, length, stride = self.view(view)
        item, rows = np.dtype(kind).itemsize, round(width**0.5)
        column = column_width(shape, item)
        inner: tuple[tuple[int, int], ...] = ((width, item),)
        if column > rows:
            inner = ((rows, column * item), (rows, item))
        # Behind the last column there need be no gap.
        size = item + sum((n - 1) * step for n, step in inner)
        stride = stride or max(size, column * rows * item)
        if count == 0:
            return np.zeros((0, width), kind)
        if stride < size or offset + stride * (count - 1) + size > length:
            raise self.bad(f"an accessor reads outside buffer view {view}")
        whole, strides = (count, *(n for n, _ in inner)), (stride, *(step for _, step in inner))
        table = np.ndarray(
            whole, np.dtype(kind).newbyteorder("<"), data, begin + offset, strides
        ).astype(kind)
        return table.reshape(count, width)

    def raw(
        self, index: Any, widths: tuple[int, ...] = (), limit: int = 3 * LARGEST_COUNT
    ) -> np.ndarray:
        """The stored numbers (count, width) of an accessor, in their own type."""
        row = self.entry("accessors", index)
        kind, width = COMPONENTS.get(row.get("componentType", 0)), WIDTHS.get(str(row.get("type")))
        if kind is None or width is None or (widths and width not in widths):
            raise self.bad(
                f"accessor {index} has the type {str(row.get('type'))[:10]} of "
                f"{str(row.get('componentType'))[:10]}"
            )
        if index in self.mended:
            return self.mended[index].copy()
        count = self.number(row, "count")
        if count > limit:
            raise too_many(count, "rows in one table", self.where, most=limit)
        offset = self.number(row, "byteOffset", 0)
        if "bufferView" in row:
            values = self._array(
                row["bufferView"], offset, kind, width=width, count=count, shape=row["type"]
            )
        else:
            values = np.zeros((count, width), kind)
        if isinstance(row.get("sparse"), dict):
            self._sparse(index, row["sparse"], values, row["type"])
        return values

    def _sparse(self, index: Any, sparse: dict[str, Any], values: np.ndarray, shape: str) -> None:
        amount = self.number(sparse, "count")
        places, changes = sparse.get("indices"), sparse.get("values")
        if not isinstance(places, dict) or not isinstance(changes, dict) or amount > len(values):
            raise self.bad(f"accessor {index} is sparse and incomplete")
        kind = COMPONENTS.get(places.get("componentType", 0), np.uint32)
        offset = self.number(places, "byteOffset", 0)
        at = self._array(places.get("bufferView"), offset, kind, width=1, count=amount)[:, 0]
        if len(at) and not 0 <= int(at.min()) <= int(at.max()) < len(values):
            raise self.bad(f"accessor {index} changes a row that it has not")
        offset = self.number(changes, "byteOffset", 0)
        values[at] = self._array(
            changes.get("bufferView"),
            offset,
            values.dtype,
            width=values.shape[1],
            count=amount,
            shape=shape,
        )

    def normalized(self, index: int) -> bool:
        """Whether the numbers of an accessor are integers that stand for [0, 1] or [-1, 1]."""
        row = self.entry("accessors", index)
        return (
            bool(row.get("normalized"))
            and index not in self.mended
            and (row.get("componentType") != 5126)
        )

    def accessor(
        self, index: Any, widths: tuple[int, ...], limit: int = 3 * LARGEST_COUNT
    ) -> np.ndarray:
        """Numbers (count, width); normalised integers are converted to floats."""
        values = self.raw(index, widths, limit)
        if self.normalized(index):
            return (values.astype(np.float32) / np.iinfo(values.dtype).max).clip(-1, 1)
        return values

    def image_bytes(self, number: int) -> bytes:
        """The bytes of a picture, encoded as they are."""
        row = self.entry("images", number)
        if "uri" in row:
            return self.uri(row["uri"])
        whole, begin, length, _ = self.view(row.get("bufferView"))
        return whole[begin : begin + length]

    def image(self, number: int) -> EncodedImage | None:
        """A picture, decoded; None, and a note, where it is missing or cannot be read."""
        if number not in self._images:
            row = self.entry("images", number)
            self._images[number] = None
            if "uri" not in row and "bufferView" not in row:
                return None  # That it has no data is told of the whole file.
            name = line_name(str(row.get("name") or row.get("uri") or f"image {number}")[:60])
            try:
                data = self.image_bytes(number)
                pixels = decode(data, self.where)
                self._images[number] = EncodedImage(pixels, data, mime_of(data), name=name)
            except InputError as error:
                self.notes.append(f'the picture "{name}" is left out: {error.what}')
        return self._images[number]

    def texture_image(self, texture: dict[str, Any]) -> int | None:
        """The number of the picture of a row of `textures`."""
        extensions = texture.get("extensions", {})
        if isinstance(extensions, dict):
            for name in ("EXT_texture_webp", "KHR_texture_basisu", "EXT_texture_avif"):
                row = extensions.get(name)
                if (
                    isinstance(row, dict)
                    and "source" in row
                    and (name == "EXT_texture_webp" or "source" not in texture)
                ):
                    return self.number(row, "source")
        return self.number(texture, "source") if "source" in texture else None


def _has_attributes(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("attributes"), dict)


def column_width(shape: str, size: int) -> int:
    """How many numbers of `size` bytes a column of a matrix takes, which all begin at multiples of
    four bytes; 0 where the type of an accessor is no matrix."""
    rows = {"MAT2": 2, "MAT3": 3, "MAT4": 4}.get(shape, 0)
    return (rows * size + 3) // 4 * 4 // size


def meshopt_of(row: dict[str, Any]) -> dict[str, Any] | None:
    """Where the compressed bytes of a buffer view lie, or None if it is not compressed."""
    extensions = row.get("extensions", {})
    if not isinstance(extensions, dict):
        return None
    return next((extensions[e] for e in MESHOPT if isinstance(extensions.get(e), dict)), None)


def mime_of(data: bytes) -> str:
    """The media type of an encoded picture, by its first bytes."""
    for start, kind in (
        (b"\x89PNG", "image/png"),
        (b"\xff\xd8", "image/jpeg"),
        (b"\xabKTX 20", "image/ktx2"),
    ):
        if data.startswith(start):
            return kind
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else "image/x-unknown"


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")
