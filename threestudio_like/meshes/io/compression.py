"""Decoding of the two ways in which a glTF compresses its geometry, by libraries that are extras
(`pip install '.[compression]'` in the checkout). What a stream says of its size is compared with
the limits before it is decoded."""

from __future__ import annotations

import numpy as np

from ...engine.errors import InputError
from ..extras import needed
from .images import LARGEST_FILE
from .limits import LARGEST_COUNT, too_many

_REPAIR = "Export it again, or without compression"
_DEEPEST = 8
"""Deepest nesting of a stream's metadata."""


def decode_draco(
    data: bytes, attributes: dict[str, int], where: str
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Decode a Draco stream (KHR_draco_mesh_compression).

    Args:
        attributes: the stream's unique id of every attribute that is wanted, by any name.
        where: the file, for messages.

    Returns:
        faces (F, 3) uint32, None for a cloud of points; the attributes (V, C) by name, in the type
        in which the stream holds them.

    Raises: InputError: the extra is missing, or the stream is damaged, too large, or without a
        wanted attribute.
    """
    for count, what in zip(_draco_counts(data, where), ("faces", "vertices")):
        if count > LARGEST_COUNT:
            raise too_many(count, what, where)
    library = needed("DracoPy", "compression", where)
    try:
        found = library.decode(data)
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(
            f"holds a Draco stream that cannot be decoded ({type(error).__name__})", where, _REPAIR
        ) from None
    by_id = {row["unique_id"]: np.asarray(row["data"]) for row in found.attributes}
    out: dict[str, np.ndarray] = {}
    for name, number in attributes.items():
        values = by_id.get(number)
        if values is None:
            raise InputError(
                f'holds a Draco stream without the attribute "{name[:40]}"', where, _REPAIR
            )
        out[name] = values.reshape(len(values), -1)
    vertices = {len(values) for values in out.values()}
    if len(vertices) > 1:
        raise InputError("holds a Draco stream of unequal attributes", where, _REPAIR)
    faces = getattr(found, "faces", None)
    if faces is None:
        return None, out
    faces = np.asarray(faces).reshape(-1, 3)
    if out and len(faces) and (faces.min() < 0 or faces.max() >= min(vertices)):
        raise InputError("holds a Draco stream whose faces leave its vertices", where, _REPAIR)
    return faces.astype(np.uint32), out


class _Stream:
    """The bytes of a Draco stream, read one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def number(self) -> int:
        """An unsigned number of seven bits a byte."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise IndexError

    def whole(self) -> int:
        """A number of four bytes."""
        self.at += 4
        if self.at > len(self.data):
            raise IndexError
        return int.from_bytes(self.data[self.at - 4 : self.at], "little")

    def skip_metadata(self, depth: int = 0) -> None:
        """Go beyond what a program wrote about the mesh."""
        if depth > _DEEPEST:
            raise IndexError
        for _ in range(self.number()):
            self.at += 1 + self.data[self.at]
            self.at += self.number()
        for _ in range(self.number()):
            self.at += 1 + self.data[self.at]
            self.skip_metadata(depth + 1)


def _draco_counts(data: bytes, where: str) -> tuple[int, int]:
    """The numbers of faces and of vertices that the head of a Draco stream announces."""
    try:
        if data[:5] != b"DRACO":
            raise IndexError
        version = (data[5], data[6])
        kind, method = data[7], data[8]
        stream = _Stream(data, 11)
        if version >= (1, 3) and int.from_bytes(data[9:11], "little") & 0x8000:
            for _ in range(stream.number()):
                stream.number()
                stream.skip_metadata()
            stream.skip_metadata()
        read = stream.number if version >= (2, 2) else stream.whole
        if kind == 0:
            return 0, stream.whole()
        if method == 0:
            return read(), read()
        # Edgebreaker begins with how it went over the faces.
        stream.at += 1
        vertices, faces = read(), read()
        return faces, vertices
    except IndexError:
        raise InputError("holds what is no Draco stream", where, _REPAIR) from None


def decode_meshopt(
    data: bytes, count: int, stride: int, mode: str, filter: str, where: str
) -> bytes:
    """Decode a buffer view of EXT_meshopt_compression.

    Args:
        count, stride: number of elements and bytes of one.
        mode: "ATTRIBUTES", "TRIANGLES" or "INDICES".
        filter: "NONE" (or ""), "OCTAHEDRAL", "QUATERNION" or "EXPONENTIAL".
        where: the file, for messages.

    Returns: count * stride bytes.

    Raises: InputError: the extra is missing, or the data is damaged or too large.
    """
    vertices = mode == "ATTRIBUTES"
    allowed = 0 < stride <= 256 and stride % 4 == 0 if vertices else stride in (2, 4)
    if mode not in ("ATTRIBUTES", "TRIANGLES", "INDICES") or not allowed or count < 0:
        raise InputError("holds compressed data of a kind that is not known", where, _REPAIR)
    if filter not in ("", "NONE") and (
        stride not in {"OCTAHEDRAL": (4, 8), "QUATERNION": (8,)}.get(filter, (stride,))
        or filter not in _FILTERS
        or not vertices
    ):
        raise InputError(f'holds data with the filter "{filter[:20]}"', where, _REPAIR)
    if mode == "TRIANGLES" and count % 3:
        raise InputError("holds compressed triangles with too few corners", where, _REPAIR)
    if count > 3 * LARGEST_COUNT or count * stride > LARGEST_FILE:
        most = min(3 * LARGEST_COUNT, LARGEST_FILE // stride)
        raise too_many(count, "compressed elements", where, most=most)
    if count == 0:
        return b""
    library = needed("meshoptimizer", "compression", where)
    try:
        if vertices:
            decoded = library.decode_vertex_buffer(count, stride, data, np.dtype((np.void, stride)))
        else:
            name = "decode_index_buffer" if mode == "TRIANGLES" else "decode_index_sequence"
            decoded = getattr(library, name)(count, stride, data)
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(
            f"holds compressed data that cannot be decoded ({type(error).__name__})", where, _REPAIR
        ) from None
    raw = decoded.tobytes()[: count * stride]
    return raw if filter in ("", "NONE") else _FILTERS[filter](raw, stride)


def _rounded(values: np.ndarray, largest: int, kind: str) -> np.ndarray:
    """Values in [-1, 1] as whole numbers up to `largest`, halves away from zero."""
    scaled = np.nan_to_num(values.clip(-1, 1)) * largest
    return np.trunc(scaled + np.copysign(0.5, scaled)).astype(kind)


def _octahedral(raw: bytes, stride: int) -> bytes:
    """Unit vectors from the two coordinates of an unfolded octahedron; the fourth value stays."""
    kind, largest = ("<i1", 127) if stride == 4 else ("<i2", 32767)
    rows = np.frombuffer(raw, kind).reshape(-1, 4)
    one = np.maximum(np.abs(rows[:, 2].astype(np.float64)), 1)
    x, y = rows[:, 0] / one, rows[:, 1] / one
    z = 1 - np.abs(x) - np.abs(y)
    fold = np.maximum(-z, 0)
    x, y = x - np.where(x >= 0, fold, -fold), y - np.where(y >= 0, fold, -fold)
    vector = np.stack([x, y, z], 1)
    vector /= np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-30)
    out = rows.copy()
    out[:, :3] = _rounded(vector, largest, kind)
    return out.tobytes()


def _quaternion(raw: bytes, stride: int) -> bytes:
    """Rotations from three components; the fourth, which is the largest, follows from them."""
    rows = np.frombuffer(raw, "<i2").reshape(-1, 4)
    scale = (rows[:, 3].astype(np.int64) | 3) * np.sqrt(2.0)
    small = rows[:, :3] / scale[:, None]
    largest = np.sqrt(np.maximum(0, 1 - np.square(small).sum(1)))
    which = (rows[:, 3] & 3).astype(np.int64)
    out = np.empty_like(rows)
    every = np.arange(len(rows))
    for k in range(3):
        out[every, (which + k + 1) % 4] = _rounded(small[:, k], 32767, "<i2")
    out[every, which] = _rounded(largest, 32767, "<i2")
    return out.tobytes()


def _exponential(raw: bytes, stride: int) -> bytes:
    """Floats from a shared form: eight bits of exponent, twenty-four of mantissa."""
    rows = np.frombuffer(raw, "<i4")
    with np.errstate(over="ignore"):
        return np.ldexp((rows << 8) >> 8, rows >> 24).astype("<f4").tobytes()


_FILTERS = {"OCTAHEDRAL": _octahedral, "QUATERNION": _quaternion, "EXPONENTIAL": _exponential}
