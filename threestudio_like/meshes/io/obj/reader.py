"""Wavefront OBJ: objects and materials by name, polygons, smoothing groups, vertex colours.

The package has its own reader because trimesh joins objects with the same material and loses their
names.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ....engine.errors import InputError
from ...mesh import Asset, Material, Mesh, copied, unique_name
from ..far import near_origin
from .faces import Triangles, read_triangles
from .materials import Painted, Shelf, in_bytes, read_libraries
from .rows import distinct, numbered
from .smoothing import OFF, UNSAID, corner_normals
from .source import ObjSource, Piece
from .statements import Statements, read_statements

_NO_MATERIAL = ("None", "(null)")
"""Names that Blender writes for none."""
_MOST_PARTS = 20_000
"""Largest number of meshes of a file."""


def read_obj(path: Path, textures: bool = True) -> Asset:
    """Read an OBJ file. Raises InputError."""
    statements = read_statements(path)
    triangles = read_triangles(statements)
    asset = Asset({})
    named = [row for row in statements.others if row.key == "mtllib" and row.rest]
    shelf = read_libraries(path, named, textures, notes=asset.notes)
    points, asset.offset = _points(statements, triangles)
    colours = _colours(statements, asset.notes)
    part_of, parts = _names_of(statements, triangles, "o")
    group_of, groups = _names_of(statements, triangles, "g")
    grouped: tuple[str, ...] = ()
    if not any(row.key == "o" for row in statements.others):
        part_of, parts = group_of, groups
    else:
        grouped = tuple(name for name in dict.fromkeys(groups) if name)
    material_of, materials = _materials(statements, triangles, shelf, asset.notes)
    if triangles.degenerate:
        count = triangles.degenerate
        some = "1 face has" if count == 1 else f"{count:,} faces have"
        asset.notes.append(f"{some} fewer than three corners: left out")
    smoothing = _smoothing(statements, triangles)
    source = ObjSource(
        statements,
        shelf.libraries,
        shelf.pictures,
        offset=asset.offset,
        polygons=triangles.polygons,
        groups=grouped,
    )
    build = _Builder(
        statements,
        points,
        colours,
        smoothing=smoothing,
        triangles=triangles,
        shelf=shelf,
        notes=asset.notes,
    )
    first, number = distinct(np.stack([part_of, material_of], 1))
    if len(first) > _MOST_PARTS:
        raise InputError(
            f"has {len(first):,} parts, at most {_MOST_PARTS:,} are read",
            str(path),
            "Join parts in a mesh editor first",
        )
    order = np.argsort(number, kind="stable") if len(first) > 1 else np.arange(len(number))
    bounds = np.searchsorted(number[order], np.arange(len(first) + 1))
    for k, row in enumerate(first.tolist()):
        part, name = parts[part_of[row]], materials[material_of[row]]
        key = part or name or path.stem
        key = unique_name(key if key not in asset.meshes else f"{key}:{name}", asset.meshes)
        piece = build.piece(order[bounds[k] : bounds[k + 1]], part, name)
        asset.meshes[key], source.pieces[key] = piece.mesh, piece
    # Meshes may be changed in place; what was read stays to compare them with.
    for key, mesh in copied(asset.meshes).items():
        source.pieces[key] = replace(source.pieces[key], mesh=mesh)
    if textures:
        # Without its pictures the file could not be written again.
        asset.source = source
    return asset


def _points(statements: Statements, triangles: Triangles) -> tuple[np.ndarray, np.ndarray]:
    """Positions near the origin, and the offset of those that faces use."""
    whole = statements.tables[0][:, :3]
    used = np.zeros(len(whole), bool)
    used[triangles.corners[..., 0].reshape(-1)] = True
    _, offset = near_origin(whole[used])
    with np.errstate(over="ignore"):
        return (whole - offset).astype(np.float32), offset


def _colours(statements: Statements, notes: list[str]) -> np.ndarray | None:
    """Colours (V, 3 or 4) float32 behind the positions, nan where there are none; None where no
    vertex has one."""
    table = statements.tables[0]
    if table.shape[1] < 6 or not np.isfinite(table[:, 5]).any():
        return None
    colours = table[:, 3:7]
    if in_bytes(colours[np.isfinite(colours)]):
        notes.append("vertex colours are given from 0 to 255: scaled to 0 to 1")
        colours = colours / 255
    return colours.clip(0, 1).astype(np.float32)


def _names_of(
    statements: Statements, triangles: Triangles, key: str
) -> tuple[np.ndarray, list[str]]:
    """For every triangle the number of the name that the last statement `key` before it says, and
    the names; the first is "" for none."""
    rows = [row for row in statements.others if row.key == key]
    names = {"": 0}
    numbers = np.array([0, *(names.setdefault(row.rest, len(names)) for row in rows)], np.int64)
    at = np.searchsorted(np.array([row.line for row in rows], np.int64), triangles.lines)
    return numbers[at], list(names)


def _materials(
    statements: Statements, triangles: Triangles, shelf: Shelf, notes: list[str]
) -> tuple[np.ndarray, list[str]]:
    """For every triangle the number of its material, and the materials' names as libraries have
    them. Names that no library has are noted."""
    number, names = _names_of(statements, triangles, "usemtl")
    # Libraries fold the white space of a name as well.
    said = [" ".join(name.split()) for name in names]
    known = [shelf.name_of(name) for name in said]
    used = [k for k in np.unique(number).tolist() if said[k]]
    for k in used:
        if known[k] != said[k]:
            notes.append(f'material "{said[k][:40]}" is "{known[k][:40]}" in the library: taken')
    absent = dict.fromkeys(known[k] for k in used if known[k] not in shelf.painted)
    shown = [f'"{name[:40]}"' for name in absent if name not in _NO_MATERIAL]
    if shown and shelf.whole:
        where = "no library" if shelf.libraries else "a library, and the file names none"
        one = len(shown) == 1
        some = ", ".join(shown[:4]) + ", …" * (len(shown) > 4)
        said_of = f"material {some} is" if one else f"materials {some} are"
        notes.append(f"{said_of} {'' if shelf.libraries else 'not '}in {where}: plain white")
    # Two spellings may mean one material.
    own = {name: k for k, name in enumerate(dict.fromkeys(known))}
    return np.array([own[name] for name in known], np.int64)[number], list(own)


def _smoothing(statements: Statements, triangles: Triangles) -> np.ndarray:
    """The smoothing (F,) of every triangle, as in `smoothing`."""
    rows = [row for row in statements.others if row.key == "s"]
    groups: dict[str, int] = {"off": OFF, "0": OFF}
    said = [UNSAID]
    for row in rows:
        said.append(groups.setdefault(row.rest.lower() or "off", len(groups)))
    at = np.searchsorted(np.array([row.line for row in rows], np.int64), triangles.lines)
    return np.array(said, np.int64)[at]


class _Builder:
    """Makes meshes of the tables of a file."""

    def __init__(
        self,
        statements: Statements,
        points: np.ndarray,
        colours: np.ndarray | None,
        smoothing: np.ndarray,
        triangles: Triangles,
        shelf: Shelf,
        notes: list[str],
    ) -> None:
        self.points, self.colours, self.smoothing = points, colours, smoothing
        self.triangles, self.shelf, self.notes = triangles, shelf, notes
        self.uv = statements.tables[1]
        normals = statements.tables[2]
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        with np.errstate(all="ignore"):
            self.normals = (normals / length).astype(np.float32)
        # Those without a direction are worked out again.
        self.good = np.isfinite(self.normals).all(1)

    def piece(self, chosen: np.ndarray, part: str, name: str) -> Piece:
        """The mesh of some triangles."""
        corners = self.triangles.corners
        if len(chosen) != len(corners):
            corners = corners[chosen]
        rows = corners.reshape(-1, 3)
        third, table = rows[:, 2], self.normals
        given = third >= 0
        given[given] = self.good[third[given]]
        if not given.all():
            number, made = corner_normals(
                self.points,
                corners[..., 0],
                self.smoothing[chosen],
                polygons=self.triangles.lines[chosen],
            )
            # Those of the file stay for the corners that have one.
            used, place = np.unique(third[given], return_inverse=True)
            table = np.concatenate([made, self.normals[used]])
            third = number.reshape(-1).astype(np.int64)
            third[given] = len(made) + place.reshape(-1)
        first, inverse = _vertices(rows, third)
        own = rows[first]
        mesh = Mesh(
            self.points[own[:, 0]],
            inverse.reshape(-1, 3).astype(np.int32),
            normals=table[third[first]],
            part=part,
        )
        painted = self.shelf.painted.get(name)
        mesh.uv = self._coordinates(own[:, 1], painted)
        if self.colours is not None:
            mesh.colours = _own_colours(self.colours[own[:, 0]])
            if mesh.colours is not None and not np.isfinite(self.colours[own[:, 0], :3]).all():
                of = f' of "{(part or name)[:40]}"' if part or name else ""
                self.notes.append(f"some vertices{of} have no colour: white")
        if name:
            mesh.material = painted.material if painted else Material(name)
            mesh.texture = painted.texture if painted else None
        if mesh.texture is not None and mesh.uv is None:
            self.notes.append(f'"{(part or name)[:40]}" has a texture and no texture coordinates')
        laid_out = painted is not None and painted.laid_out and mesh.uv is not None
        return Piece(mesh, own, self.triangles.lines[chosen], material=name, laid_out=laid_out)

    def _coordinates(self, rows: np.ndarray, painted: Painted | None) -> np.ndarray | None:
        if not (rows >= 0).any():
            return None
        # Some corners may have none; they get the origin of the atlas.
        uv = np.where(rows[:, None] >= 0, self.uv[rows.clip(0)], 0.0)
        if painted is not None and painted.laid_out:
            uv = uv * painted.scale + painted.shift
        with np.errstate(over="ignore"):
            return uv.astype(np.float32)


def _own_colours(colours: np.ndarray) -> np.ndarray | None:
    """The colours of a mesh's vertices, white where one has none; None where all are white."""
    if colours.shape[1] == 4 and not np.isfinite(colours[:, 3]).any():
        colours = colours[:, :3]
    colours = np.where(np.isfinite(colours), colours, np.float32(1))
    return None if (colours == 1).all() else np.ascontiguousarray(colours)


def _vertices(rows: np.ndarray, third: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of corners, one for each vertex of the mesh in the order of their first occurrence, and for
    every corner the number of its vertex."""
    key, alone = rows[:, 0].astype(np.int64), True
    for column in (rows[:, 1], third):
        if not len(column) or (column == column[0]).all() or (column == rows[:, 0]).all():
            # It tells no corners apart that the vertex does not.
            continue
        high, alone = int(column.max()) + 2, False
        if int(key.max()) + 1 >= 2**62 // high:
            key = np.unique(key, return_inverse=True)[1].reshape(-1)
        key = key * high + column + 1
    if alone:
        used, inverse = numbered(key)
        first = np.zeros(len(used), np.int64)
        first[inverse[::-1]] = np.arange(len(key))[::-1]
    else:
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)]
