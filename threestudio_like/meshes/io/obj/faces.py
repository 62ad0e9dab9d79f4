"""The faces of an OBJ file: corners as numbers, polygons as triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....engine.errors import InputError
from ...surface.polygons import triangulate
from ..limits import LARGEST_COUNT, too_many
from .statements import CHUNK, FACE, TABLES, Statements

_TO_SPACES = bytes.maketrans(b"f/!", b"   ")
_BLANKS = bytes.maketrans(b"\t\r", b"  ")
_FIELDS = {b"": (0,), b"/": (0, 1), b"//": (0, 1, 2), b"!": (0, 2)}
"""What is left of a corner without its digits, "!" for "//" in the middle -> the fields it has."""


@dataclass
class Triangles:
    """corners (F, 3, 3) int32: of every corner the vertex, texture coordinate and normal, -1 for
    none, counted from 0; lines (F,) int64: the line that each comes from, ascending; polygons: how
    many faces have more than three corners; degenerate: how many lines have fewer, which are no
    faces."""

    corners: np.ndarray
    lines: np.ndarray
    polygons: int = 0
    degenerate: int = 0


def read_triangles(out: Statements) -> Triangles:
    """All faces of a file. Raises InputError."""
    lines = out.lines_of(FACE)
    blocks: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    total = degenerate = 0
    for at in range(0, len(lines), CHUNK):
        for some, corners in _chunk(out, lines[at : at + CHUNK]):
            size = corners.shape[1]
            if size < 3:
                degenerate += len(some)
                continue
            blocks.setdefault(size, []).append((some, _resolved(out, some, corners)))
            total += len(some) * (size - 2)
            if total > LARGEST_COUNT:
                raise too_many(total, "faces", out.where)
    if not blocks:
        none = np.zeros((0, 3, 3), np.int32)
        return Triangles(none, np.zeros(0, np.int64), degenerate=degenerate)
    points = out.tables[0][:, :3]
    tables, numbers, polygons = [], [], 0
    for size, parts in blocks.items():
        some = np.concatenate([p[0] for p in parts])
        corners = np.concatenate([p[1] for p in parts])
        if size > 3:
            order = divided(points, corners[..., 0])
            corners = np.take_along_axis(corners[:, None], order[..., None], 2).reshape(-1, 3, 3)
        tables.append(corners)
        numbers.append(np.repeat(some, size - 2))
        polygons += len(some) if size > 3 else 0
    whole, line = np.concatenate(tables), np.concatenate(numbers)
    if (line[1:] < line[:-1]).any():
        order = np.argsort(line, kind="stable")
        whole, line = whole[order], line[order]
    return Triangles(whole, line, polygons, degenerate)


def _chunk(out: Statements, lines: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lines and their corners (n, size, 3) as they are written, 0 for none, by equal size."""
    text = out.chunk(lines).translate(_BLANKS)
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    text = text.replace(b" \n", b"\n").replace(b"\n ", b"\n").lstrip(b" ")
    # Each corner has one space before it; they are counted before they are taken apart.
    least = text.count(b" ") - 2 * len(lines)
    if least > LARGEST_COUNT:
        raise too_many(least, "faces", out.where)
    text = text.replace(b"//", b"!")
    shape = text.translate(None, b"-0123456789")
    one = shape[: shape.index(b"\n") + 1]
    if shape == one * len(lines):
        groups = {one[:-1]: np.arange(len(lines))}
        rows: list[bytes] = []
    else:
        rows = text.split(b"\n")
        names: dict[bytes, list[int]] = {}
        for k, name in enumerate(shape.split(b"\n")[: len(lines)]):
            names.setdefault(name, []).append(k)
        groups = {name: np.array(k) for name, k in names.items()}
    parts = []
    for name, chosen in groups.items():
        own = text if not rows else b"\n".join([rows[k] for k in chosen.tolist()])
        corners = _of_one_shape(name, own, len(chosen))
        if corners is None:
            parts += [(lines[k : k + 1], _by_word(out, int(lines[k]))) for k in chosen.tolist()]
        else:
            parts.append((lines[chosen], corners))
    return parts


def _of_one_shape(name: bytes, text: bytes, count: int) -> np.ndarray | None:
    words = name.split(b" ")
    if words[0] != b"f" or any(word not in _FIELDS for word in words[1:]):
        return None
    fields = [_FIELDS[word] for word in words[1:]]
    width = sum(len(f) for f in fields)
    numbers = text.translate(_TO_SPACES).split()
    # Every number has one separator before it, so this many in all are this many in each line.
    if width == 0 or len(numbers) != width * count:
        return None
    try:
        values = np.array(numbers, np.int64).reshape(count, width)
    except (ValueError, OverflowError):
        return None
    # A number of 0 is wrong, and must not be taken for none.
    if not values.all() or np.abs(values).max() > 2**31 - 1:
        return None
    corners = np.zeros((count, len(fields), 3), np.int64)
    at = 0
    for k, own in enumerate(fields):
        for column in own:
            corners[:, k, column] = values[:, at]
            at += 1
    return corners


def _by_word(out: Statements, line: int) -> np.ndarray:
    """The corners (1, size, 3) of one line, which may be written in any way; 0 for none."""
    corners = []
    for word in out.words(line)[1:]:
        shown = word[:20].decode("utf-8", "replace")
        corner = [0, 0, 0]
        for k, text in enumerate(word.split(b"/")[:3]):
            if not text:
                continue
            try:
                corner[k] = int(text)
            except ValueError:
                raise InputError(
                    f'a face has the corner "{shown}"', out.where, "Correct the line"
                ) from None
            if corner[k] == 0 or abs(corner[k]) > 2**31 - 1:
                raise _outside(out, k, corner[k])
        if corner[0] == 0:
            raise InputError(f'a face has the corner "{shown}"', out.where, "Correct the line")
        corners.append(corner)
    return np.array(corners, np.int64).reshape(1, -1, 3)


def _outside(out: Statements, column: int, index: int) -> InputError:
    return InputError(
        f"a face names {TABLES[column]} {index}, of {len(out.tables[column])}",
        out.where,
        "Save the mesh again in a mesh editor",
    )


def _resolved(out: Statements, lines: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Corners counted from 0, -1 for none. Negative ones count back from the line that they are
    in."""
    for column in range(3):
        values = corners[..., column]
        back = values < 0
        if back.any():
            so_far = np.searchsorted(out.table_lines[column], lines)
            counted = values + so_far[:, None] + 1
            wrong = back & (counted < 1)
            if wrong.any():
                raise _outside(out, column, int(values[wrong][0]))
            values = np.where(back, counted, values)
        wrong = values > len(out.tables[column])
        if wrong.any():
            raise _outside(out, column, int(corners[..., column][wrong][0]))
        corners[..., column] = values - 1
    return corners.astype(np.int32)


def divided(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The triangles (n, size - 2, 3) of polygons (n, size) of vertex numbers, by corner."""
    count, size = faces.shape
    fan = np.stack([np.zeros(size - 2, np.int64), np.arange(1, size - 1), np.arange(2, size)], 1)
    order = np.broadcast_to(fan, (count, size - 2, 3)).copy()
    with np.errstate(all="ignore"):
        place = points[faces]
        place = place - place.mean(1, keepdims=True)
        normal = np.cross(place, np.roll(place, -1, 1)).sum(1)
        side = np.roll(place, -1, 1) - place
        # The turn at every corner, positive where it is convex.
        turn = (np.cross(np.roll(side, 1, 1), side) * normal[:, None]).sum(2)
        largest = np.abs(turn).max(1, keepdims=True)
        bent = (turn < -1e-9 * largest).any(1)
        if size == 4:
            # The other diagonal is right where corner 1 or 3 is the one that points inwards.
            other = bent & (turn[:, [1, 3]].min(1) < turn[:, [0, 2]].min(1))
            order[other] = [[1, 2, 3], [1, 3, 0]]
            return order
        if size > 4:
            unit = normal / np.linalg.norm(normal, axis=1, keepdims=True)
            sine = (np.cross(np.roll(side, 1, 1), side) * unit[:, None]).sum(2)
            round_ = np.arctan2(sine, (np.roll(side, 1, 1) * side).sum(2)).sum(1)
            bent |= ~(np.abs(round_ - 2 * np.pi) < 1e-3)
    for k in np.flatnonzero(bent & np.isfinite(place).all((1, 2))).tolist():
        order[k] = triangulate(points[faces[k]])
    return order
