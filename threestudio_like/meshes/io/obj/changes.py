"""What of a mesh differs from the file that it was read from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...mesh import Asset, Mesh
from .source import ObjSource, Piece


@dataclass
class Change:
    """A mesh beside the piece of the file that it was read from.

    origin (V,): the vertex of the piece that each of its vertices copies, None where its geometry
    is another. lines (F,): the line that each of its triangles comes from, -1 for none. moved,
    coloured (V,) bool: vertices with another position or colour. coordinates: whether texture
    coordinates differ.
    """

    name: str
    mesh: Mesh
    piece: Piece
    origin: np.ndarray | None
    lines: np.ndarray
    moved: np.ndarray
    coloured: np.ndarray
    coordinates: bool

    @property
    def corners(self) -> np.ndarray:
        """The lines' numbers (V, 3) of every vertex."""
        assert self.origin is not None
        return self.piece.corners[self.origin]

    @property
    def complete(self) -> np.ndarray:
        """The lines all of whose triangles are there and nothing else."""
        own, counts = np.unique(self.piece.lines, return_counts=True)
        now, found = np.unique(self.lines[self.lines >= 0], return_counts=True)
        there = np.zeros(len(own), np.int64)
        there[np.searchsorted(own, now)] = found
        return own[there == counts]


def same(one: np.ndarray | None, two: np.ndarray | None) -> bool:
    """Whether two arrays, or their absence, are equal."""
    if one is two:
        return True
    return one is not None and two is not None and bool(np.array_equal(one, two))


def changes(source: ObjSource, asset: Asset) -> list[Change]:
    """The meshes of an asset that were read from a file, each with what differs."""
    return [
        _change(source, asset, name, mesh=mesh, piece=source.pieces[name])
        for name, mesh in asset.meshes.items()
        if name in source.pieces
    ]


def _change(source: ObjSource, asset: Asset, name: str, mesh: Mesh, piece: Piece) -> Change:
    old, origin = piece.mesh, mesh.origin
    if origin is None and len(mesh.vertices) == len(old.vertices):
        origin = np.arange(len(old.vertices))
    if origin is not None and (
        len(origin) != len(mesh.vertices)
        or (len(origin) and (origin.min() < 0 or origin.max() >= len(old.vertices)))
    ):
        origin = None
    nothing = np.zeros(len(mesh.vertices), bool)
    if origin is None:
        return Change(
            name,
            mesh,
            piece,
            origin=None,
            lines=np.full(len(mesh.faces), -1),
            moved=nothing,
            coloured=nothing,
            coordinates=True,
        )
    origin = np.asarray(origin, np.int64)
    lines = _lines(piece, origin[mesh.faces])
    if not (lines >= 0).any():
        # Nothing is left of its faces, so its numbers of vertices mean nothing either.
        return Change(
            name,
            mesh,
            piece,
            origin=None,
            lines=lines,
            moved=nothing,
            coloured=nothing,
            coordinates=True,
        )
    moved = _moved(source, asset, mesh, old=old, origin=origin)
    coloured = nothing
    if not (mesh.colours is old.colours or _copied(mesh.colours, old.colours, origin)):
        coloured = ~nothing
    coordinates = not (mesh.uv is old.uv or _copied(mesh.uv, old.uv, origin))
    return Change(
        name,
        mesh,
        piece,
        origin=origin,
        lines=lines,
        moved=moved,
        coloured=coloured,
        coordinates=coordinates,
    )


def _copied(new: np.ndarray | None, old: np.ndarray | None, origin: np.ndarray) -> bool:
    if new is None or old is None:
        return new is old
    return bool(np.array_equal(new, old[origin]))


def _moved(
    source: ObjSource, asset: Asset, mesh: Mesh, old: Mesh, origin: np.ndarray
) -> np.ndarray:
    """Vertices (V,) that are not where the file has them, seen from the asset's world."""
    if mesh.vertices is old.vertices:
        return np.zeros(len(origin), bool)
    wanted = old.vertices[origin].astype(np.float64)
    if not ((asset.motion == np.eye(4)).all() and (asset.offset == source.offset).all()):
        linear, shift = asset.motion[:3, :3], asset.motion[:3, 3]
        wanted = (wanted + source.offset) @ linear.T + shift - asset.offset
    # A turn there and back moves a position by its last digit.
    size = np.abs(wanted).max(initial=1e-30)
    return (np.abs(mesh.vertices - wanted) > 1e-6 * size).any(1)


def _lines(piece: Piece, faces: np.ndarray) -> np.ndarray:
    """The line that each triangle (F, 3) of vertices of the piece comes from."""
    if np.array_equal(faces, piece.mesh.faces):
        return piece.lines
    count = len(piece.mesh.vertices)

    def key(rows: np.ndarray) -> list[tuple[int, int]]:
        rows = rows.astype(np.int64)
        # Each triangle begins with its lowest number, so that turned ones are equal.
        start = rows.argmin(1)[:, None]
        a, b, c = (np.take_along_axis(rows, (start + k) % 3, 1)[:, 0] for k in range(3))
        return list(zip((a * count + b).tolist(), c.tolist()))

    # A triangle may occur in several lines; each of them stands for one.
    known: dict[tuple[int, int], list[int]] = {}
    for mark, line in zip(key(piece.mesh.faces)[::-1], piece.lines[::-1].tolist()):
        known.setdefault(mark, []).append(line)
    left = (known.get(mark) for mark in key(faces))
    return np.array([lines.pop() if lines else -1 for lines in left], np.int64)
