"""Meshes as one welded surface whose edges are told apart, as edge collapses take it."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..equal_rows import equal_rows
from ..mesh import Mesh

PINHOLE = 4e-4
"""Holes smaller than this share of the whole are closed."""


class JointSurface:
    """Meshes as one welded surface, as `collapse` takes it.

    points (V, 3) float64; faces (F, 3) int32, of which no two have the same vertices; flags (F, 3)
    uint8; weight (F,) int32, how many given faces each stands for; representative (F,): one of
    these; given (N, 3): the places of all faces that were given; owner (N,): the mesh of each of
    those; first: the number of each mesh's first one.
    """

    def __init__(
        self, points: np.ndarray, given: np.ndarray, owner: np.ndarray, first: np.ndarray
    ) -> None:
        self.points, self.given, self.owner, self.first = points, given, owner, first
        # A face of two corners at one place has no area and is left out; faces over the same
        # corners, as of thin things that are seen from both sides, go together.
        real = (given != np.roll(given, -1, 1)).all(1)
        self._numbers = np.flatnonzero(real)
        kept = given[self._numbers]
        row, self._same = equal_rows(np.sort(kept, 1))
        self.representative = self._numbers[row]
        self.faces = np.ascontiguousarray(given[self.representative], np.int32)
        self.weight = np.bincount(self._same, minlength=len(row)).astype(np.int32)
        mine = self.faces[self._same]
        self._turn = (mine[:, None, :] == kept[:, :, None]).argmax(2)
        self.flags = np.zeros(self.faces.shape, np.uint8)

    @classmethod
    def of(cls, meshes: list[Mesh]) -> JointSurface:
        """The surface of meshes, with the kinds of its edges."""
        vertices = np.concatenate([m.vertices for m in meshes])
        offset = np.cumsum([0, *(len(m.vertices) for m in meshes)])
        corners = np.concatenate([m.faces.astype(np.int64) + o for m, o in zip(meshes, offset)])
        first = np.cumsum([0, *(len(m.faces) for m in meshes)])
        owner = np.repeat(np.arange(len(meshes)), np.diff(first))
        row, place = equal_rows(vertices)
        points = vertices[row].astype(np.float64)
        place = _without_pinholes(points, place[corners])[place]
        surface = cls(points, place[corners], owner, first)
        surface._mark_edges(_looks(meshes, place)[corners[surface.representative]])
        return surface

    def _mark_edges(self, look: np.ndarray) -> None:
        """Say of every edge what it is; look (F, 3) is equal where corners at one place look
        alike."""
        from .quadrics import FIRM, SEAM

        start, end = self.faces.reshape(-1), np.roll(self.faces, -1, 1).reshape(-1)
        looks = np.stack([look.reshape(-1), np.roll(look, -1, 1).reshape(-1)], 1)
        turned = start > end
        looks[turned] = looks[turned][:, ::-1]
        ends = np.stack([np.minimum(start, end), np.maximum(start, end)], 1)
        row, edge = equal_rows(ends.astype(np.int64))
        owner = np.repeat(self.owner[self.representative], 3)
        firm = (np.bincount(edge, minlength=len(row)) != 2)[edge] | _differs(owner, edge, row)
        seam = _differs(looks[:, 0], edge, row) | _differs(looks[:, 1], edge, row)
        self.flags = (firm * FIRM + (seam & ~firm) * SEAM).astype(np.uint8).reshape(-1, 3)

    def born(self, faces: np.ndarray, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The given faces (N,) that are left, and the vertices (N, 3) that they have in `faces`."""
        left = alive[self._same]
        corners = np.take_along_axis(faces[self._same[left]], self._turn[left], 1)
        return self._numbers[left], corners


def _looks(meshes: list[Mesh], place: np.ndarray) -> np.ndarray:
    """A number (V,) of every vertex that is equal for vertices at one place with the same texture
    coordinates and colours."""
    columns = [place[:, None].astype(np.float64)]
    for name, width in (("uv", 2), ("colours", 4)):
        rows = [getattr(m, name) for m in meshes]
        if any(r is not None for r in rows):
            table = np.zeros((len(place), width))
            begin = 0
            for mesh, r in zip(meshes, rows):
                if r is not None:
                    table[begin : begin + len(r), : r.shape[1]] = r
                begin += len(mesh.vertices)
            columns.append(table)
    return equal_rows(np.concatenate(columns, 1))[1]


def _differs(values: np.ndarray, edge: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Whether the values (N,) of an edge's faces are not all the same, for each of them (N,)."""
    other = np.zeros(len(row), bool)
    np.logical_or.at(other, edge, values != values[row][edge])
    return other[edge]


def _without_pinholes(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The place (P,) that every place becomes, so that the pinholes that are left where a surface
    was turned about an axis are closed.

    Args:
        points: (P, 3). faces: (F, 3), places.
    """
    out = np.arange(len(points))
    size = float(np.linalg.norm(np.ptp(points, axis=0))) if len(points) else 0.0
    ends = np.sort(np.stack([faces, np.roll(faces, -1, 1)], 2).reshape(-1, 2), 1)
    first, edge = equal_rows(ends)
    ends = ends[first[np.bincount(edge, minlength=len(first)) == 1]]
    short = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1) < PINHOLE / 4 * size
    ends = ends[short & (ends[:, 0] != ends[:, 1])]
    if not len(ends):
        return out
    graph = coo_matrix((np.ones(len(ends)), ends.T), shape=(len(points),) * 2)
    label = connected_components(graph, directed=False)[1]
    touched = np.unique(ends)
    low, high = np.full((label.max() + 1, 3), np.inf), np.full((label.max() + 1, 3), -np.inf)
    np.minimum.at(low, label[touched], points[touched])
    np.maximum.at(high, label[touched], points[touched])
    # A long border of very short edges is none.
    small = np.linalg.norm(high - low, axis=1) < PINHOLE * size
    touched = touched[small[label[touched]]]
    labels, one = np.unique(label[touched], return_index=True)
    out[touched] = touched[one][np.searchsorted(labels, label[touched])]
    return out
