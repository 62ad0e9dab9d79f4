"""Accessors of a glTF document that is being patched: counted, replaced in place where nothing else
uses them, added elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from .buffers import Buffers
from .document import DRACO, column_width, meshopt_of
from .scene import INSTANCING

_CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


class Accessors:
    """The accessors of one document. written: those that got other numbers.

    Args:
        document: the JSON, which is changed. buffers: its bytes.
    """

    def __init__(self, document: dict[str, Any], buffers: Buffers) -> None:
        self.document, self.buffers = document, buffers
        self.written: set[int] = set()
        self._uses = Counter(accessors_used(document))
        self._views = Counter(views_used(document))

    def put(
        self,
        values: np.ndarray,
        *,
        old: int | None = None,
        normalized: bool = False,
        indices: bool = False,
        bounds: bool = False,
        shape: str = "",
    ) -> int:
        """Values (N, W) as an accessor; returns its number.

        Args:
            shape: the type of the accessor, where their width does not say it (matrices).
            old: the accessor whose place they take, if only one thing uses that.
            normalized: integers stand for [0, 1] or [-1, 1]. indices: of faces. bounds: with the
                lowest and highest values, which positions need.
        """
        row: dict[str, Any] = {
            "bufferView": -1,
            "componentType": _CODES[_kind(values)],
            "count": len(values),
            "type": shape or _TYPES[values.shape[1]],
        }
        if normalized:
            row["normalized"] = True
        if bounds:
            row["min"], row["max"] = values.min(0).tolist(), values.max(0).tolist()
        data, stride = _laid_out(values, shape, not indices)
        rows = self.document.setdefault("accessors", [])
        if old is not None and self._uses[old] == 1:
            before = rows[old]
            if "name" in before:
                row["name"] = before["name"]
            row["bufferView"] = self._view_for(
                before, data, stride, target=34963 if indices else 34962
            )
            rows[old] = row
            self.written.add(old)
            return old
        if old is not None:
            self._uses[old] -= 1
        row["bufferView"] = self.buffers.add(data, 34963 if indices else 34962, stride)
        rows.append(row)
        self._uses[len(rows) - 1] = 1
        return len(rows) - 1

    def plain(self, values: np.ndarray, bounds: bool = False) -> int:
        """Values (N, W) that are no vertices' as a new accessor; returns its number.

        Args:
            bounds: with the lowest and highest values, which the times of animations need.
        """
        row: dict[str, Any] = {
            "bufferView": self.buffers.add(_rows(values, False)[0]),
            "componentType": _CODES[_kind(values)],
            "count": len(values),
            "type": _TYPES[values.shape[1]],
        }
        if values.dtype.kind != "f":
            row["normalized"] = True
        if bounds:
            row["min"], row["max"] = values.min(0).tolist(), values.max(0).tolist()
        rows = self.document.setdefault("accessors", [])
        rows.append(row)
        self._uses[len(rows) - 1] = 1
        return len(rows) - 1

    def rewrite(self, index: int, values: np.ndarray, role: str = "vertex") -> None:
        """Give an accessor other values (N, W), wherever it is used.

        Args:
            role: "vertex", "index", or another, whose rows are not padded.
        """
        row = self.document["accessors"][index]
        data, stride = _laid_out(values, row["type"], role == "vertex")
        target = {"vertex": 34962, "index": 34963}.get(role)
        row["bufferView"] = self._view_for(row, data, stride, target=target)
        row["componentType"], row["count"] = _CODES[_kind(values)], len(values)
        for key in ("byteOffset", "sparse", *(["normalized"] if values.dtype.kind == "f" else [])):
            row.pop(key, None)

    def share(self, primitive: dict[str, Any]) -> None:
        """Count a copy of a primitive's row, which names the same accessors."""
        self._uses.update(_of_primitive(primitive))

    def _view_for(
        self, before: dict[str, Any], data: bytes, stride: int, target: int | None
    ) -> int:
        """The accessor's own buffer view with other bytes, or a new one where it shares it."""
        view = before.get("bufferView")
        views = self.document.get("bufferViews", [])
        if view is None or "sparse" in before or self._views[view] != 1 or meshopt_of(views[view]):
            return self.buffers.add(data, target, stride)
        self.buffers.replace(view, data)
        views[view].pop("byteStride", None)
        if stride:
            views[view]["byteStride"] = stride
        views[view].pop("target", None)
        if target is not None:
            views[view]["target"] = target
        number: int = view
        return number

    def own_view(self, view: int) -> bool:
        """Whether one thing alone uses a buffer view, so that it may be given other bytes."""
        row = self.document["bufferViews"][view]
        return self._views[view] == 1 and meshopt_of(row) is None


def _kind(values: np.ndarray) -> str:
    return values.dtype.newbyteorder("=").str[1:]


def _laid_out(values: np.ndarray, shape: str, aligned: bool) -> tuple[bytes, int]:
    """The bytes of a table as of an accessor of the type `shape`, and the stride where one has to
    be said: small matrices have gaps behind their columns."""
    column, size = column_width(shape, values.dtype.itemsize), round(values.shape[1] ** 0.5)
    if column <= size:
        return _rows(values, aligned)
    out = np.zeros((len(values), size, column), values.dtype)
    out[..., :size] = values.reshape(-1, size, size)
    return _rows(out.reshape(len(values), -1), False)[0], size * column * out.itemsize


def _rows(values: np.ndarray, aligned: bool) -> tuple[bytes, int]:
    """The bytes of a table, and the stride where rows are padded to multiples of four bytes, as
    vertex attributes must be."""
    table = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    size = table.dtype.itemsize * table.shape[1]
    if not aligned or size % 4 == 0:
        return table.tobytes(), 0
    stride = (size + 3) // 4 * 4
    padded = np.zeros((len(table), stride), np.uint8)
    padded[:, :size] = table.view(np.uint8).reshape(len(table), size)
    return padded.tobytes(), stride


def _of_primitive(primitive: dict[str, Any]) -> Iterator[int]:
    yield from primitive.get("attributes", {}).values()
    if "indices" in primitive:
        yield primitive["indices"]
    for target in primitive.get("targets", []):
        yield from target.values()


def accessors_used(document: dict[str, Any]) -> Iterator[int]:
    """The accessors of a document, as often as something names them."""
    for mesh in document.get("meshes", []):
        for primitive in mesh.get("primitives", []):
            yield from _of_primitive(primitive)
    for skin in document.get("skins", []):
        if "inverseBindMatrices" in skin:
            yield skin["inverseBindMatrices"]
    for animation in document.get("animations", []):
        for sampler in animation.get("samplers", []):
            yield from (sampler[k] for k in ("input", "output") if k in sampler)
    for node in document.get("nodes", []):
        copies = node.get("extensions", {}).get(INSTANCING, {})
        yield from copies.get("attributes", {}).values()


def views_used(document: dict[str, Any]) -> Iterator[int]:
    """The buffer views of a document, as often as something names them."""
    yield from (row["bufferView"] for row in naming_views(document))


def naming_views(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a document that name a buffer view."""
    for row in document.get("accessors", []):
        if "bufferView" in row:
            yield row
        for part in ("indices", "values"):
            if "bufferView" in row.get("sparse", {}).get(part, {}):
                yield row["sparse"][part]
    for image in document.get("images", []):
        if "bufferView" in image:
            yield image
    for mesh in document.get("meshes", []):
        for primitive in mesh.get("primitives", []):
            packed = primitive.get("extensions", {}).get(DRACO, {})
            if "bufferView" in packed:
                yield packed
