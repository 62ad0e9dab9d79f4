"""Compares two glTF files value by value, without regard to where in their bytes things lie. It
shares no code with the reader or the patch, so that it can check them."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

_SIZES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_TABLES = ("images", "textures", "samplers", "materials", "nodes", "meshes")
_PACKED = ("EXT_meshopt_compression", "KHR_meshopt_compression")


def differences(before: Path | bytes, after: Path | bytes) -> list[str]:
    """JSON pointers ("/materials/0/name") to everything in which a file differs from another, those
    of rows that were added included; accessors and pictures are compared by their bytes.

    Accessors are compared where they are used, and buffers and their views not themselves: where
    bytes lie says nothing.
    """
    old, new = _canonical(before), _canonical(after)
    out: list[str] = []
    _walk(old, new, "", out=out)
    return out


def unexpected(found: list[str], meant: list[str], old: dict[str, int]) -> list[str]:
    """Those differences that are neither below a pointer of `meant` nor in a row that was added.

    Args:
        old: the number of rows of each table before.
    """
    return [
        pointer
        for pointer in found
        if not any(pointer == m or pointer.startswith(m + "/") for m in meant)
        and not _added(pointer, old)
    ]


def row_counts(path: Path | bytes) -> dict[str, int]:
    """The number of rows of each table of a file."""
    document, _ = _open(path)
    return {key: len(rows) for key, rows in document.items() if isinstance(rows, list)}


def _added(pointer: str, old: dict[str, int]) -> bool:
    words = pointer.split("/")
    if len(words) == 2:
        return words[1] in _TABLES and words[1] not in old
    return words[2].isdigit() and int(words[2]) >= old.get(words[1], 0)


def _open(source: Path | bytes) -> tuple[dict[str, Any], list[bytes]]:
    data = source if isinstance(source, bytes) else source.read_bytes()
    folder = Path() if isinstance(source, bytes) else source.parent
    binary = b""
    text = data
    if data[:4] == b"glTF":
        size = struct.unpack("<I", data[12:16])[0]
        text, binary = data[20 : 20 + size], data[28 + size :]
    document: dict[str, Any] = json.loads(text)
    buffers = []
    for row in document.get("buffers", []):
        buffers.append(_read_uri(row["uri"], folder) if "uri" in row else binary)
    document["__folder"] = str(folder)
    return document, buffers


def _read_uri(uri: str, folder: Path) -> bytes:
    if uri.startswith("data:"):
        return base64.b64decode(uri.partition(",")[2])
    from urllib.parse import unquote

    path = folder / unquote(uri)
    return path.read_bytes() if path.is_file() else b"missing"


def _spans(component: int, kind: str) -> list[tuple[int, int]]:
    """Where the bytes of one element are, without the gaps: every column of a matrix begins at a
    multiple of four bytes."""
    width = _SIZES[component] * _WIDTHS[kind]
    columns = int(kind[3:]) if kind.startswith("MAT") else 1
    long = width // columns
    if long % 4 == 0:
        return [(0, width)]
    step = 4 * -(-long // 4) if columns > 1 else long
    return [(k * step, k * step + long) for k in range(columns)]


def _canonical(source: Path | bytes) -> dict[str, Any]:
    """A document whose accessors and pictures hold digests of their bytes."""
    document, buffers = _open(source)
    folder = Path(document.pop("__folder"))
    views = document.pop("bufferViews", [])
    document.pop("buffers", None)

    def view_bytes(number: int) -> tuple[bytes, int]:
        row = views[number]
        packed = next(
            (row["extensions"][e] for e in _PACKED if e in row.get("extensions", {})), None
        )
        place = packed or row
        begin = place.get("byteOffset", 0)
        data = buffers[place["buffer"]][begin : begin + place["byteLength"]]
        return data, 0 if packed else row.get("byteStride", 0)

    for row in document.get("accessors", []):
        spans = _spans(row["componentType"], row["type"])
        size = max(4 * -(-end // 4) if len(spans) > 1 else end for _, end in spans)
        digest = hashlib.sha256()
        if "bufferView" in row:
            data, stride = view_bytes(row.pop("bufferView"))
            offset = row.pop("byteOffset", 0)
            packed = len(data) < offset + size * row["count"]
            if packed or (stride in (0, size) and len(spans) == 1):
                digest.update(data if packed else data[offset : offset + size * row["count"]])
            else:
                for k in range(row["count"]):
                    first = offset + k * (stride or size)
                    for begin, end in spans:
                        digest.update(data[first + begin : first + end])
        if "sparse" in row:
            for part in ("indices", "values"):
                data, _ = view_bytes(row["sparse"][part].pop("bufferView"))
                digest.update(data[row["sparse"][part].pop("byteOffset", 0) :])
        row["bytes"] = digest.hexdigest()
    for row in document.get("images", []):
        if "bufferView" in row:
            data, _ = view_bytes(row.pop("bufferView"))
        else:
            data = _read_uri(row.pop("uri"), folder)
        row.pop("mimeType", None)
        row["bytes"] = hashlib.sha256(data).hexdigest()
    _resolve(document, document.pop("accessors", []), view_bytes)
    return document


def _resolve(document: dict[str, Any], accessors: list[Any], view_bytes: Any) -> None:
    """Put accessors where they are used, in place of their numbers."""
    for mesh in document.get("meshes", []):
        for primitive in mesh.get("primitives", []):
            draco = primitive.get("extensions", {}).get("KHR_draco_mesh_compression")
            if draco is not None:
                draco["bytes"] = hashlib.sha256(view_bytes(draco.pop("bufferView"))[0]).hexdigest()
            for table in (primitive.get("attributes", {}), *primitive.get("targets", [])):
                for key, index in table.items():
                    table[key] = accessors[index]
            if "indices" in primitive:
                primitive["indices"] = accessors[primitive["indices"]]
    for skin in document.get("skins", []):
        if "inverseBindMatrices" in skin:
            skin["inverseBindMatrices"] = accessors[skin["inverseBindMatrices"]]
    for animation in document.get("animations", []):
        for sampler in animation.get("samplers", []):
            for key in ("input", "output"):
                sampler[key] = accessors[sampler[key]]
    for node in document.get("nodes", []):
        copies = node.get("extensions", {}).get("EXT_mesh_gpu_instancing", {})
        for key, index in copies.get("attributes", {}).items():
            copies["attributes"][key] = accessors[index]


def _walk(old: Any, new: Any, pointer: str, out: list[str]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            here = f"{pointer}/{key}"
            if key in old and key in new:
                _walk(old[key], new[key], here, out=out)
            else:
                out.append(here)
    elif isinstance(old, list) and isinstance(new, list):
        for k in range(max(len(old), len(new))):
            if k < len(old) and k < len(new):
                _walk(old[k], new[k], f"{pointer}/{k}", out=out)
            else:
                out.append(f"{pointer}/{k}")
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        out.append(pointer)
