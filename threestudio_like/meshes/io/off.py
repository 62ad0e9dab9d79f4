"""OFF: the Object File Format of Geomview, as text, with colours, normals and texture coordinates
of vertices and colours of faces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...engine.errors import InputError
from ..mesh import Asset, Mesh
from .far import near_origin
from .formats import Format
from .limits import LARGEST_COUNT, too_many
from .ply.walk import suited, walk_numbers
from .sources.colours import unit_colours
from .sources.corners import assembled
from .sources.numbers import numbers_of
from .sources.text import without_mark

_REPAIR = "Save it again in a mesh editor"


class _Body(NamedTuple):
    """The numbers behind the head of a file, row by row or, where they do not stand in rows, one
    behind the other. vertices (V, W) float64; faces: all numbers of the faces; starts (F,) int64:
    where each begins in them; widths (F,) int64: how many it has, with those of its colour; left:
    how many numbers lie behind the last."""

    vertices: np.ndarray
    faces: np.ndarray
    starts: np.ndarray
    widths: np.ndarray
    left: int


def read_off(path: Path, textures: bool = True) -> Asset:
    """Read an OFF file. Raises InputError."""
    where = str(path)
    data = re.sub(rb"#[^\r\n]*", b"", without_mark(path.read_bytes()))
    for end in (b"\n", b"\r"):
        # Vertices, faces and as many lines of nothing.
        if data.count(end) > 4 * LARGEST_COUNT:
            raise too_many(data.count(end), "lines", where, most=4 * LARGEST_COUNT)
    lines = [line for line in re.split(rb"[\r\n]+", data) if line.strip()]
    kind, lines, vertex_count, face_count = _head(lines, where)
    if not vertex_count or not face_count:
        return Asset({})
    body = _in_rows(lines, vertex_count, face_count, where)
    if isinstance(body, InputError):
        stream = _in_one(lines, kind, vertex_count, face_count=face_count, where=where)
        if stream is None:
            raise body
        body = stream
    notes: list[str] = []
    mesh, offset = _vertices(body.vertices, kind, where, notes)
    corners, sizes, colours = _faces(body, where, notes)
    if mesh.colours is not None and colours is not None:
        colours = None
        notes.append("the face colours are left out beside those of the vertices")
    if body.left:
        notes.append(
            f"there are more rows than its header counts: {body.left:,} numbers are left out"
        )
    mesh, _ = assembled(mesh, corners, sizes, where=where, colours=colours)
    polygons = bool((sizes > 3).any())
    return Asset({path.stem: mesh}, offset=offset, notes=notes, polygons=polygons)


def _head(lines: list[bytes], where: str) -> tuple[str, list[bytes], int, int]:
    """The letters before "OFF", the lines behind the counts, and the counts."""
    words = lines[0].split() if lines else []
    word = words[0].decode("latin-1").upper() if words else ""
    kind, at = "", 0
    if re.fullmatch(r"(ST)?C?N?4?OFF", word):
        kind, words = word[:-3], words[1:]
    if b"BINARY" in words or "4" in kind:
        raise InputError("is an OFF of a kind that is not read", where, "Save it as text, in 3D")
    # The counts of vertices, faces and edges; the last is missing in some files, at a line's end.
    while len(words) < 2 and at + 1 < len(lines):
        at += 1
        words += lines[at].split()
        if len(words) == 2 and len(lines[at].split()) == 1 and at + 1 < len(lines):
            at += 1
            words += lines[at].split()
    if len(words) < 2 or not all(re.fullmatch(rb"\d{1,12}", word) for word in words[:2]):
        raise InputError("is not an OFF file", where, _REPAIR)
    for count, what in zip(map(int, words[:2]), ("vertices", "faces")):
        if count > LARGEST_COUNT:
            raise too_many(count, what, where)
    rest = [b" ".join(words[3:])] if len(words) > 3 else []
    return kind, rest + lines[at + 1 :], int(words[0]), int(words[1])


def _in_rows(
    lines: list[bytes], vertex_count: int, face_count: int, where: str
) -> _Body | InputError:
    """The numbers of a file with one vertex or face a line; the error where it is none."""
    if vertex_count + face_count > len(lines):
        return InputError("is an OFF that ends too early", where, _REPAIR)
    rows = numbers_of(b"\n".join(lines[:vertex_count]), where)
    widths = np.array([len(line.split()) for line in lines])
    width = int(widths[0])
    if width < 3 or (widths[:vertex_count] != width).any():
        return InputError("has vertices of unequal length", where, _REPAIR)
    end = vertex_count + face_count
    faces = numbers_of(b"\n".join(lines[vertex_count:end]), where)
    mine = widths[vertex_count:end]
    starts = np.cumsum(mine) - mine
    told = faces[starts]
    if not ((told >= 0) & (told < mine) & (told == np.floor(told))).all():
        return InputError("has a face with fewer corners than it says", where, _REPAIR)
    left = int(widths[end:].sum())
    return _Body(rows.reshape(-1, width), faces, starts=starts, widths=mine, left=left)


def _in_one(
    lines: list[bytes], kind: str, vertex_count: int, *, face_count: int, where: str
) -> _Body | None:
    """The numbers of a file whose vertices and faces end anywhere in a line, which then have as
    many numbers as its kind says, and faces no colours; None where this does not come out even."""
    numbers = numbers_of(b"\n".join(lines), where)
    least = 3 + 3 * ("N" in kind) + 2 * kind.startswith("ST")
    walk = suited(walk_numbers, len(numbers))
    for width in (least + 4, least + 3) if "C" in kind else (least,):
        faces = numbers[width * vertex_count :]
        if face_count > len(faces):
            continue
        starts, sizes, end = walk(faces, face_count, np.array([True]))
        told = faces[starts[:, 0] - 1]
        if end == len(faces) and (told == np.floor(told)).all():
            vertices = numbers[: width * vertex_count].reshape(vertex_count, width)
            starts, sizes = starts[:, 0] - 1, sizes[:, 0]
            return _Body(vertices, faces, starts=starts, widths=sizes + 1, left=0)
    return None


def _vertices(rows: np.ndarray, kind: str, where: str, notes: list[str]) -> tuple[Mesh, np.ndarray]:
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
        more = rows[:, at:width]
        if more.shape[1] in (3, 4) and ("C" in kind or _hues(more)):
            if "C" not in kind:
                notes.append(f"{width - at} numbers behind every vertex are taken as its colour")
            colours = unit_colours(more, notes, whole_to_255=True)
        elif width > at:
            notes.append(f"numbers behind every vertex that are left out: {width - at}")
    points, offset = near_origin(rows[:, :3])
    faces = np.zeros((0, 3), np.int32)
    return Mesh(points, faces, uv=uv, colours=colours, normals=normals), offset


def _hues(values: np.ndarray) -> bool:
    """Whether numbers (V, 3 or 4) that no header names are colours: whole ones up to 255, or such
    up to 1 that are no normals."""
    if not ((values >= 0) & (values <= 255)).all() or not values.any():
        return False
    if (values == np.floor(values)).all() and values.max() > 1:
        return True
    unit = values.shape[1] == 3 and (np.abs(np.linalg.norm(values, axis=1) - 1) < 0.01).all()
    return bool(values.max() <= 1) and not unit


def _faces(
    body: _Body, where: str, notes: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Corners, sizes, and the colours of corners, if every face has one."""
    numbers, starts = body.faces, body.starts
    sizes = numbers[starts].astype(np.int64)
    begin = np.cumsum(sizes) - sizes
    slots = np.repeat(starts + 1 - begin, sizes) + np.arange(int(sizes.sum()))
    corners = numbers[slots]
    if not (np.abs(corners) < 2**40).all() or (corners != np.floor(corners)).any():
        raise InputError("a face names a vertex by what is no number", where, _REPAIR)
    behind = body.widths - sizes - 1
    if body.left and not (np.isin(behind, (0, 1, 3, 4)) & (sizes >= 3)).all():
        # With too small a count of vertices, some would be read as faces.
        raise InputError("has other rows than its header counts", where, _REPAIR)
    colours = None
    if behind.min() == behind.max() and behind[0] in (3, 4):
        columns = (starts + sizes + 1)[:, None] + np.arange(behind[0])
        colours = np.repeat(unit_colours(numbers[columns], notes, whole_to_255=True), sizes, 0)
    elif (behind > 0).any():
        notes.append(
            "colours of faces by their number in a colour map are left out"
            if (behind <= 1).all()
            else "the face colours are left out: not every face has three or four numbers"
        )
    return corners.astype(np.int64), sizes, colours


OFF = Format(
    name="off",
    summary="positions, faces and colours as text (read only)",
    suffixes=(".off",),
    read=read_off,
)
