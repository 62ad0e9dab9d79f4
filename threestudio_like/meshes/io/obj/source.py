"""The file that an asset was read from: its text, its libraries, its pictures, and which of its
lines every mesh is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ...features import Feature
from ...mesh import Asset, Mesh
from .blocks import read_blocks
from .library_lines import SUBJECTS
from .statements import Statements

_READ = frozenset({"o", "g", "s", "l", "p", "usemtl", "mtllib"})
_CURVES = frozenset(
    {"vp", "cstype", "deg", "bmat", "step", "curv", "curv2", "surf", "parm", "trim", "hole"}
    | {"scrv", "sp", "end", "con", "ctech", "stech"}
)
_DESCRIBED = frozenset(key for keys in SUBJECTS.values() for key in keys) | {"ka"}
"""Statements of MTL that a `Material` describes. An ambient colour says nothing where light comes
from all around."""
_IDLE: dict[str, tuple[tuple[str, ...], ...]] = {
    "ni": tuple((v,) for v in ("1", "1.0", "1.000000", "1.45", "1.450000", "1.5", "1.500000")),
    "tf": tuple((value,) * 3 for value in ("1", "1.0", "1.000000")),
}
"""Values of some that programs write without being asked."""


@dataclass
class Library:
    """An MTL file that was read. name: as the OBJ names it; data: its bytes."""

    name: str
    data: bytes


@dataclass
class Piece:
    """The part of the file that one mesh was made of.

    mesh: as it was read. corners (V, 3) int32: of every vertex the lines' numbers of vertex,
    texture coordinate and normal, -1 for none. lines (F,) int64: the line that every triangle comes
    from. material: the name in the file, "" for none. laid_out: its texture coordinates are not the
    file's, because its map is scaled or moved.
    """

    mesh: Mesh
    corners: np.ndarray
    lines: np.ndarray
    material: str
    laid_out: bool = False


@dataclass
class ObjSource:
    """An OBJ file as it was read.

    libraries: by the line that names them, those that were found. pictures: by the name in the
    libraries, the file's own name and its bytes. offset: what was subtracted from the vertices.
    """

    statements: Statements
    libraries: dict[int, list[Library]] = field(default_factory=dict)
    pictures: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    pieces: dict[str, Piece] = field(default_factory=dict)
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    polygons: int = 0
    groups: tuple[str, ...] = ()
    kind: str = "obj"

    def features(self) -> list[Feature]:
        """Smoothing groups, polygons, groups, lines and points, curves and surfaces, and the
        statements of which nothing is read."""
        keys: dict[str, dict[str, None]] = {}
        for row in self.statements.others:
            keys.setdefault(row.key, {})[row.rest] = None
        smooth = tuple(k for k in keys.get("s", {}) if k not in ("off", "0", ""))
        others = tuple(sorted(keys.keys() - _READ - _CURVES))
        stated = tuple(dict.fromkeys(self._unread()))
        return [
            Feature(kind, names)
            for kind, names, there in (
                ("smoothing groups", smooth, bool(smooth)),
                ("other statements", others, bool(others)),
                ("material statements", stated, bool(stated)),
                ("polygons", (), self.polygons > 0),
                ("groups", self.groups, bool(self.groups)),
                ("lines and points", (), bool(keys.keys() & {"l", "p"})),
                (
                    "curves and surfaces",
                    (),
                    bool(keys.keys() & _CURVES),
                ),
            )
            if there
        ]

    def _unread(self) -> Iterator[str]:
        """The statements, of materials that are used, that say what no `Material` describes."""
        used = {piece.material for piece in self.pieces.values()}
        for library in {id(row): row for rows in self.libraries.values() for row in rows}.values():
            for block in read_blocks(library.data)[1]:
                for line in block.lines[1:] if block.name in used else ():
                    words = tuple(line.words[:3])
                    if (
                        line.key
                        and line.key not in _DESCRIBED
                        and words not in _IDLE.get(line.key, ())
                    ):
                        yield line.key

    def as_read(self) -> dict[str, Mesh]:
        """The meshes that the file has, by name."""
        return {name: piece.mesh for name, piece in self.pieces.items()}

    def unkept(self, asset: Asset) -> list[Feature]:
        """What is lost of the parts that have to be written anew, and what no OBJ can hold."""
        from .patch import unkept

        return unkept(self, asset)
