"""OFF: the Object File Format of Geomview, as text, with colours, normals and texture coordinates
of vertices and colours of faces."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...engine.errors import InputError
from ..mesh import Asset, Mesh
from .far import near_origin
from .formats import Format
from .limits import LARGEST_COUNT, too_many
from .sources.corners import assembled
from .sources.numbers import numbers_of

_REPAIR = "Save it again in a mesh editor"


def read_off(path: Path, textures: bool = True) -> Asset:
    """Read an OFF file. Raises InputError."""
    where = str(path)
    data = re.sub(rb"#[^\r\n]*", b"", path.read_bytes())
    for end in (b"\n", b"\r"):
        # Vertices, faces and as many lines of nothing.
        if data.count(end) > 4 * LARGEST_COUNT:
            raise too_many(data.count(end), "lines", where, most=4 * LARGEST_COUNT)
    lines = [line for line in re.split(rb"[\r\n]+", data) if line.strip()]
    kind, lines, vertex_count, face_count = _head(lines, where)
    if vertex_count + face_count > len(lines):
        raise InputError("is an OFF that ends too early", where, _REPAIR)
    if not vertex_count or not face_count:
        return Asset({})
    rows = numbers_of(b"\n".join(lines[:vertex_count]), where)
    if len(rows) % vertex_count or len(rows) < 3 * vertex_count:
        raise InputError("has vertices of unequal length", where, _REPAIR)
    mesh, offset = _vertices(rows.reshape(vertex_count, -1), kind, where)
    listed = lines[vertex_count : vertex_count + face_count]
    corners, sizes, colours, notes = _faces(listed, where)
    if mesh.colours is not None and colours is not None:
        colours, notes = None, ["the face colours are left out beside those of the vertices"]
    mesh, _ = assembled(mesh, corners, sizes, where=where, colours=colours)
    polygons = bool((sizes > 3).any())
    return Asset({path.stem: mesh}, offset=offset, notes=notes, polygons=polygons)


def _head(lines: list[bytes], where: str) -> tuple[str, list[bytes], int, int]:
    """The letters before "OFF", the lines behind the counts, and the counts."""
    first = lines[0].split() if lines else []
    word = first[0].decode("latin-1").upper() if first else ""
    kind = ""
    if re.fullmatch(r"(ST)?C?N?4?OFF", word):
        kind, first = word[:-3], first[1:]
        if not first:
            lines = lines[1:]
            first = lines[0].split() if lines else []
    if b"BINARY" in first or "4" in kind:
        raise InputError("is an OFF of a kind that is not read", where, "Save it as text, in 3D")
    if len(first) < 2 or not all(re.fullmatch(rb"\d{1,12}", word) for word in first[:2]):
        raise InputError("is not an OFF file", where, _REPAIR)
    for count, what in zip(map(int, first[:2]), ("vertices", "faces")):
        if count > LARGEST_COUNT:
            raise too_many(count, what, where)
    return kind, lines[1:], int(first[0]), int(first[1])


def _vertices(rows: np.ndarray, kind: str, where: str) -> tuple[Mesh, np.ndarray]:
    """The vertices of rows: position, then normal, colour and coordinates where the kind has
    them."""
    width, at = rows.shape[1], 3
    normals = uv = colours = None
    with np.errstate(over="ignore", invalid="ignore"):
        if "N" in kind:
            normals, at = rows[:, 3:6].astype(np.float32), 6
        if kind.startswith("ST"):
            uv, width = rows[:, -2:].astype(np.float32), width - 2
        if width < at:
            raise InputError("is an OFF with too few numbers a vertex", where, _REPAIR)
        if "C" in kind:
            colours = _colour(rows[:, at:width])
    points, offset = near_origin(rows[:, :3])
    faces = np.zeros((0, 3), np.int32)
    return Mesh(points, faces, uv=uv, colours=colours, normals=normals), offset


def _colour(values: np.ndarray) -> np.ndarray | None:
    """Colours of three or four numbers, up to 1 or up to 255."""
    if values.shape[1] not in (3, 4) or not values.size:
        return None
    largest = 255.0 if np.nanmax(values, initial=0) > 1 else 1.0
    return (values / largest).clip(0, 1).astype(np.float32)


def _faces(
    lines: list[bytes], where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, list[str]]:
    """Corners, sizes, the colours of corners, if every face has one, and what is left out."""
    numbers = numbers_of(b"\n".join(lines), where)
    widths = np.array([len(line.split()) for line in lines])
    starts = np.cumsum(widths) - widths
    told = numbers[starts]
    if not ((told >= 0) & (told < widths) & (told == np.floor(told))).all():
        raise InputError("has a face with fewer corners than it says", where, _REPAIR)
    sizes = told.astype(np.int64)
    begin = np.cumsum(sizes) - sizes
    slots = np.repeat(starts + 1 - begin, sizes) + np.arange(int(sizes.sum()))
    corners = numbers[slots]
    if not (np.abs(corners) < 2**40).all() or (corners != np.floor(corners)).any():
        raise InputError("a face names a vertex by what is no number", where, _REPAIR)
    behind = widths - sizes - 1
    colours = None
    if len(behind) and behind.min() == behind.max() and behind[0] in (3, 4):
        columns = (starts + sizes + 1)[:, None] + np.arange(behind[0])
        colours = _colour(numbers[columns])
        colours = None if colours is None else np.repeat(colours, sizes, 0)
    notes = []
    if colours is None and (behind > 0).any():
        notes.append(
            "colours of faces by their number in a colour map are left out"
            if (behind <= 1).all()
            else "the face colours are left out: not every face has three or four numbers"
        )
    return corners.astype(np.int64), sizes, colours, notes


OFF = Format(
    name="off",
    summary="positions, faces and colours as text (read only)",
    suffixes=(".off",),
    read=read_off,
)
