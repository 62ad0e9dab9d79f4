"""The bytes of a glTF file that is being patched: views are replaced or added, and what nothing
points at any more is cut out."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np

from .document import GltfDocument, meshopt_of


class Buffers:
    """All buffers of a file as one, which stands in a GLB's binary chunk.

    Args:
        file: the file that was read.
        document: a copy of its JSON, whose buffer views are changed here.
    """

    def __init__(self, file: GltfDocument, document: dict[str, Any]) -> None:
        self.document = document
        self.data = bytearray()
        self._replaced: dict[int, bytes] = {}
        self._dropped: list[tuple[int, int]] = []
        rows = document.setdefault("buffers", [])
        place: dict[int, tuple[int, int]] = {}
        kept: list[dict[str, Any]] = [{"byteLength": 0}]
        for number, row in enumerate(rows):
            data = file.buffer(number)
            if data is None:
                place[number] = (len(kept), 0)
                kept.append(row)
                continue
            self.data += b"\0" * (-len(self.data) % 16)
            place[number] = (0, len(self.data))
            self.data += data[: file.number(row, "byteLength")]
        if len(rows) == 1 and len(kept) == 1:
            kept[0] = {k: v for k, v in rows[0].items() if k != "uri"}
        document["buffers"] = kept
        for view in document.get("bufferViews", []):
            for row in (view, meshopt_of(view)):
                if row is not None:
                    new, offset = place[row["buffer"]]
                    row["buffer"] = new
                    if offset:
                        row["byteOffset"] = row.get("byteOffset", 0) + offset

    @staticmethod
    def empty(document: dict[str, Any]) -> Buffers:
        """The bytes of a file that is written anew."""
        made = Buffers.__new__(Buffers)
        made.document, made.data = document, bytearray()
        made._replaced, made._dropped = {}, []
        document["buffers"] = [{"byteLength": 0}]
        document["bufferViews"] = []
        return made

    def add(self, data: bytes, target: int | None = None, stride: int = 0) -> int:
        """A new buffer view; returns its number."""
        self.data += b"\0" * (-len(self.data) % 4)
        row: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        if stride:
            row["byteStride"] = stride
        if target is not None:
            row["target"] = target
        self.data += data
        views = self.document.setdefault("bufferViews", [])
        views.append(row)
        return len(views) - 1

    def replace(self, view: int, data: bytes) -> None:
        """Give a buffer view other bytes, when the file is put together."""
        self._replaced[view] = data

    def bytes_of(self, view: int) -> bytes | None:
        """The bytes of a buffer view as they will be written; None for one that is compressed."""
        if view in self._replaced:
            return self._replaced[view]
        row = self.document["bufferViews"][view]
        if meshopt_of(row) is not None or row["buffer"] != 0:
            return None
        begin = row.get("byteOffset", 0)
        return bytes(self.data[begin : begin + row["byteLength"]])

    def length_of(self, view: int) -> int:
        """The number of bytes of a buffer view as they will be written."""
        replaced = self._replaced.get(view)
        length: int = self.document["bufferViews"][view]["byteLength"]
        return length if replaced is None else len(replaced)

    def drop(self, numbers: set[int]) -> dict[int, int]:
        """Take buffer views, which nothing names, out of the document with their bytes; returns the
        new numbers of those that took their places."""
        views = self.document.get("bufferViews", [])
        for number in numbers:
            for row in filter(None, (views[number], meshopt_of(views[number]))):
                if row["buffer"] == 0:
                    begin = row.get("byteOffset", 0)
                    self._dropped.append((begin, begin + row["byteLength"]))
            self._replaced.pop(number, None)
        moved = close_gaps(views, numbers)
        self._replaced = {moved.get(n, n): data for n, data in self._replaced.items()}
        return moved

    def packed(self) -> bytes:
        """The binary chunk. Bytes that only replaced or dropped views pointed at are cut out;
        offsets in the document follow."""
        views = self.document.get("bufferViews", [])
        live: list[tuple[int, int]] = []
        dead = list(self._dropped)
        for number, view in enumerate(views):
            packed = meshopt_of(view)
            for row in (view, packed) if packed is not None else (view,):
                if row["buffer"] == 0:
                    begin = row.get("byteOffset", 0)
                    span = (begin, begin + row["byteLength"])
                    (dead if number in self._replaced else live).append(span)
        cuts = _cuts(dead, live)
        starts = np.array([c[0] for c in cuts], np.int64)
        removed = np.concatenate([[0], np.cumsum([b - a for a, b in cuts])]).astype(np.int64)
        data = bytearray()
        at = 0
        for begin, end in cuts:
            data += self.data[at:begin]
            at = end
        data += self.data[at:]
        for number, view in enumerate(views):
            packed = meshopt_of(view)
            for row in (view, packed) if packed is not None else (view,):
                if row["buffer"] == 0 and number not in self._replaced:
                    begin = row.get("byteOffset", 0)
                    shift = int(removed[np.searchsorted(starts, begin, side="right")])
                    if shift:
                        row["byteOffset"] = begin - shift
        for number, new in self._replaced.items():
            data += b"\0" * (-len(data) % 4)
            views[number]["byteOffset"], views[number]["byteLength"] = len(data), len(new)
            data += new
        if self.document["buffers"]:
            self.document["buffers"][0]["byteLength"] = len(data)
        return bytes(data)


def close_gaps(rows: list[Any], gone: set[int]) -> dict[int, int]:
    """Take rows out of a table in place, the last ones moving into the gaps, so that few get
    another number; returns the new numbers of those."""
    moved: dict[int, int] = {}
    count = len(rows) - len(gone)
    gaps = sorted(n for n in gone if n < count)
    last = [n for n in range(count, len(rows)) if n not in gone]
    for gap, number in zip(gaps, last):
        rows[gap], moved[number] = rows[number], gap
    del rows[count:]
    return moved


def _cuts(dead: list[tuple[int, int]], live: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans of `dead` that no span of `live` touches, each shortened to multiples of 16 so that
    everything behind keeps its alignment."""
    cuts = []
    blocked: list[tuple[int, int]] = []
    for a, b in sorted(live):
        if blocked and a <= blocked[-1][1]:
            a, b = blocked[-1][0], max(b, blocked.pop()[1])
        blocked.append((a, b))
    ends = [b for _, b in blocked]
    for begin, end in sorted(dead):
        at = begin
        for k in range(bisect_right(ends, begin), len(blocked)):
            a, b = blocked[k]
            if a >= end:
                break
            if a > at:
                cuts.append((at, a))
            at = max(at, b)
        if at < end:
            cuts.append((at, end))
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(cuts):
        begin = max(begin, merged[-1][1]) if merged else begin
        size = (end - begin) // 16 * 16
        if size > 0:
            merged.append((begin, begin + size))
    return merged
