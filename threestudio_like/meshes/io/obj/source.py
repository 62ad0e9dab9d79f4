"""The file that an asset was read from: its text, its libraries, its pictures, and which of its
lines every mesh is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...features import Feature
from ...mesh import Asset, Mesh
from .statements import Statements


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
        """Smoothing groups, polygons, groups, lines and points, curves and surfaces."""
        keys: dict[str, dict[str, None]] = {}
        for row in self.statements.others:
            keys.setdefault(row.key, {})[row.rest] = None
        smooth = tuple(k for k in keys.get("s", {}) if k not in ("off", "0", ""))
        return [
            Feature(kind, names)
            for kind, names, there in (
                ("smoothing groups", smooth, bool(smooth)),
                ("polygons", (), self.polygons > 0),
                ("groups", self.groups, bool(self.groups)),
                ("lines and points", (), bool(keys.keys() & {"l", "p"})),
                (
                    "curves and surfaces",
                    (),
                    bool(keys.keys() & {"curv", "curv2", "surf", "cstype"}),
                ),
            )
            if there
        ]

    def unkept(self, asset: Asset) -> list[Feature]:
        """What is lost of the parts that have to be written anew, and what no OBJ can hold."""
        from .patch import unkept

        return unkept(self, asset)
