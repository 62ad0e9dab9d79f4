"""Volume, centre of mass and moments of inertia of a mesh, by the divergence theorem: exact for a
closed surface. An open one has no inside; its convex hull takes its place, and that is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..equal_rows import equal_rows
from ..mesh import Mesh, join
from ..surface.winding import edges_of
from .hull import convex_hull

PINHOLES = 1e-4
"""Share of the area that is missing in a surface that counts as closed."""


@dataclass(frozen=True)
class MassProperties:
    """Of a body of density one, in its own units.

    volume; centre (3,) of mass; inertia (3, 3) about the centre; closed: whether the surface is;
    told: what a user should hear of it, one line, empty where there is nothing.
    """

    volume: float
    centre: np.ndarray
    inertia: np.ndarray
    closed: bool
    told: str = ""

    def scaled(self, scale: float) -> MassProperties:
        """The same for a body that is `scale` times as large."""
        return MassProperties(
            self.volume * scale**3,
            self.centre * scale,
            self.inertia * scale**5,
            closed=self.closed,
            told=self.told,
        )

    def rotated(self, rotation: np.ndarray) -> MassProperties:
        """The same for a body that is turned by a matrix (3, 3)."""
        return MassProperties(
            self.volume,
            rotation @ self.centre,
            rotation @ self.inertia @ rotation.T,
            closed=self.closed,
            told=self.told,
        )


def welded_places(mesh: Mesh) -> np.ndarray:
    """The place (V,) int64 of every vertex: equal where positions agree in six digits of the mesh's
    size, so that a seam whose two sides were rounded differently is none."""
    low = mesh.vertices.min(0)
    size = max(float(np.ptp(mesh.vertices, axis=0).max()), 1e-30)
    return equal_rows(np.round((mesh.vertices.astype(np.float64) - low) / size, 6))[1]


def welded(mesh: Mesh) -> Mesh:
    """The geometry of a mesh by its places; faces without area by them are left out."""
    places = welded_places(mesh)
    points = np.zeros((int(places.max()) + 1, 3), np.float32)
    points[places] = mesh.vertices
    faces = places[mesh.faces]
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(1)]
    return Mesh(points, faces.astype(np.int32))


def is_closed(mesh: Mesh) -> bool:
    """Whether the surface is closed as far as the divergence theorem asks: every edge is passed as
    often in one direction as in the other, but for pinholes, which together span less than
    `PINHOLES` of its area (by the isoperimetric inequality at most the square of the length of
    their borders over 4 pi). Several closed parts that overlap are closed."""
    places = welded_places(mesh)
    faces = places[mesh.faces]
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(1)]
    if not len(faces):
        return False
    edges = edges_of(faces)
    excess = np.abs(np.bincount(edges.half, weights=np.where(edges.along, 1, -1)))
    points = np.zeros((int(places.max()) + 1, 3))
    points[places] = mesh.vertices
    length = np.linalg.norm(points[edges.ends[:, 0]] - points[edges.ends[:, 1]], axis=1)
    border = float((excess * length).sum())
    return border**2 / (4 * np.pi) <= PINHOLES * mesh.area


def mass_properties(meshes: list[Mesh]) -> MassProperties:
    """The mass properties of an object of one or several meshes.

    A closed surface whose faces point inwards is turned, and told. Where parts overlap, their
    common volume counts for each of them.
    """
    mesh = join(meshes)
    told = ""
    if is_closed(mesh):
        volume, centre, inertia = _integrals(mesh.vertices, mesh.faces)
        if volume < 0:
            volume, inertia, told = (
                -volume,
                -inertia,
                "its faces point inwards: taken the other way",
            )
        if _possible(volume, inertia, mesh.vertices):
            return MassProperties(volume, centre, inertia, closed=True, told=told)
        told = "its closed surface has no volume that a body could have"
    else:
        told = "its surface is open"
    hull, thickened = convex_hull(mesh.vertices)
    volume, centre, inertia = _integrals(hull.vertices, hull.faces)
    told += ": volume and centre of mass are those of its convex hull"
    if thickened:
        told += ", which is flat and was given a thickness of one hundredth of its size"
    return MassProperties(volume, centre, inertia, closed=False, told=told)


def _integrals(vertices: np.ndarray, faces: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Signed volume, centre of mass and inertia about it: sums over the tetrahedra of a point and
    every face (Tonon 2004)."""
    points = vertices.astype(np.float64)
    middle = points.mean(0)
    corners = (points - middle)[faces]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    six = np.einsum("ij,ij->i", a, np.cross(b, c))
    volume = float(six.sum()) / 6
    total = a + b + c
    if abs(volume) < 1e-300:
        return 0.0, middle, np.zeros((3, 3))
    centre = (six[:, None] * total).sum(0) / (24 * volume)
    square = np.einsum("f,fki,fkj->ij", six, corners, corners)
    square += np.einsum("f,fi,fj->ij", six, total, total)
    spread = square / 120 - volume * np.outer(centre, centre)
    return volume, middle + centre, np.trace(spread) * np.eye(3) - spread


def _possible(volume: float, inertia: np.ndarray, vertices: np.ndarray) -> bool:
    """Whether a body can have these: a volume that shows, positive moments, none larger than the
    other two together."""
    size = float(np.ptp(vertices, axis=0).max())
    moments = np.linalg.eigvalsh(inertia)
    return bool(
        volume > 1e-7 * size**3 and moments[0] > 0 and moments[2] <= moments[:2].sum() * (1 + 1e-9)
    )
