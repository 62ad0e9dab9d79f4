"""What of a mesh differs from the file that it was read from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...mesh import Asset, Mesh
from ...surface.normals import differing, outward, unit
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
    shaded: np.ndarray

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
    lines = np.full(len(mesh.faces), -1)
    if origin is not None:
        origin = np.asarray(origin, np.int64)
        lines = _lines(piece, origin[mesh.faces])
    if origin is None or not (lines >= 0).any():
        # Where nothing is left of its faces, its numbers of vertices mean nothing either.
        return Change(
            name,
            mesh if mesh.normals is not None else mesh.with_normals(),
            piece,
            origin=None,
            lines=lines,
            moved=nothing,
            coloured=nothing,
            coordinates=True,
            shaded=nothing,
        )
    moved = _moved(source, asset, mesh, old=old, origin=origin)
    coloured = nothing
    if not (mesh.colours is old.colours or _copied(mesh.colours, old.colours, origin)):
        coloured = ~nothing
    coordinates = not (mesh.uv is old.uv or _copied(mesh.uv, old.uv, origin))
    mesh, shaded = _shaded(asset, mesh, piece, origin=origin, moved=bool(moved.any()))
    return Change(
        name,
        mesh,
        piece,
        origin=origin,
        lines=lines,
        moved=moved,
        coloured=coloured,
        coordinates=coordinates,
        shaded=shaded,
    )


def _shaded(
    asset: Asset, mesh: Mesh, piece: Piece, origin: np.ndarray, moved: bool
) -> tuple[Mesh, np.ndarray]:
    """A mesh with the normals that it is to have, and the vertices (V,) bool at which the file says
    others."""
    stated, old = piece.corners[origin, 2] >= 0, piece.mesh
    assert old.normals is not None
    linear = asset.motion[:3, :3]
    before = unit(old.normals[origin] @ linear.T).astype(np.float32)
    if mesh.normals is None:
        if not stated.any():
            return mesh, stated
        if moved or np.array_equal(origin[mesh.faces], old.faces):
            mesh = mesh.with_normals()
        else:
            mesh = replace(mesh, normals=before)
            sign = np.where(_turned_over(mesh, old, origin), -1, 1).astype(np.float32)
            mesh = replace(mesh, normals=before * sign[:, None])
    assert mesh.normals is not None
    differs = differing(mesh.normals, before)
    if not stated.any() and differs.any():
        # A file without normals has those of its faces, which turn over and move with them.
        turned = _turned_over(replace(mesh, normals=before), old, origin)
        differs[turned] = differing(mesh.normals[turned], -before[turned])
        if moved:
            differs &= _unlike(
                mesh, replace(old, vertices=old.vertices[origin]), old.normals[origin]
            )
    if moved and stated.any() and not stated.all():
        # Of corners without normals a reader would make others, now that they are elsewhere.
        differs |= ~stated
    return mesh, differs


def _unlike(mesh: Mesh, old: Mesh, normals: np.ndarray) -> np.ndarray:
    """Vertices (V,) bool whose normals do not stand to the faces about them as `normals` (V, 3)
    stand to those faces on the vertices of another mesh."""
    assert mesh.normals is not None

    def stand(points: np.ndarray, own: np.ndarray) -> np.ndarray:
        corner = points.astype(np.float64)[mesh.faces]
        one, two = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
        axes = [unit(v)[:, None] for v in (one, two, np.cross(one, two))]
        given = unit(own.astype(np.float64))[mesh.faces]
        return np.stack([(given * axis).sum(2) for axis in axes], 2)

    gap = np.abs(stand(mesh.vertices, mesh.normals) - stand(old.vertices, normals)).max(2)
    out = np.zeros(len(mesh.vertices), bool)
    # The direction of an edge is known as well as its ends.
    out[mesh.faces[gap > 1e-4]] = True
    return out


def _turned_over(mesh: Mesh, old: Mesh, origin: np.ndarray) -> np.ndarray:
    """Vertices (V,) bool with the normals of the file whose faces have been turned away from
    them."""
    assert mesh.normals is not None
    assert old.normals is not None
    there = outward(old.normals, old.vertices, old.faces)[origin] > 0
    away: np.ndarray = outward(mesh.normals, mesh.vertices, mesh.faces) < 0
    return there & away


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
