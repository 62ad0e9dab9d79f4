"""A rigid body as contacts see it: points on its surface, a tree of its triangles, its mass; and
where it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ...kernels.distance import SurfaceTree, nearest, surface_tree, winding_number
from ..mesh import Mesh, join
from ..points import sample_surface
from ..surface.normals import face_normals
from ..surface.winding import edges_of
from ..transform import Transform, quaternion
from .hull import convex_hull
from .mass import MassProperties, is_closed, mass_properties, welded

POINTS = 1200
"""Points of every kind: on faces, at corners, along edges."""
TOUCHING = 1e-4
"""Distance, as a share of a body's size, below which rounding gives the direction, not geometry."""
SHARP = 0.94
"""Cosine of the angle between two faces whose edge is sharp."""


@dataclass
class Pose:
    """Where a body is: scale, rotation (3, 3), translation (3,) float64."""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    @staticmethod
    def of(transform: Transform) -> Pose:
        """The pose of a transform."""
        return Pose(transform.scale, transform.linear, np.array(transform.translation, np.float64))

    def transform(self) -> Transform:
        """The same as a transform."""
        return Transform(self.scale, quaternion(self.rotation), self.translation.copy())

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) float64 in the world."""
        return self.scale * points @ self.rotation.T + self.translation

    def undo(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) float64 of the world in the body's frame."""
        return (points - self.translation) @ self.rotation / self.scale

    def moved(self, centre: np.ndarray, shift: np.ndarray, turn: np.ndarray) -> Pose:
        """Turned about a point (3,) by a rotation vector (3,), then shifted by (3,)."""
        about = rotation_by(turn)
        return Pose(
            self.scale,
            about @ self.rotation,
            centre + shift + about @ (self.translation - centre),
        )


def rotation_by(vector: np.ndarray) -> np.ndarray:
    """The rotation matrix (3, 3) of a rotation vector (3,)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vector).as_matrix()


@dataclass
class Solid:
    """A body in its own frame.

    corners (H, 3): the vertices of its convex hull, which alone can touch a plane. points (P, 3) on
    its surface: corners, points along sharp edges and on faces; outwards (P, 3): the directions
    that lead out of it there. size: the largest extent. inside:
    whether it has an inside that others can be in; an open sheet has none.
    """

    name: str
    corners: np.ndarray
    points: np.ndarray
    outwards: np.ndarray
    tree: SurfaceTree
    normals: np.ndarray
    mass: MassProperties
    size: float
    inside: bool

    @staticmethod
    def of(name: str, meshes: list[Mesh]) -> Solid:
        """A solid of the meshes of an object."""
        mesh = welded(join(meshes))
        if is_closed(mesh) and mesh.volume < 0:
            mesh = Mesh(mesh.vertices, mesh.faces[:, ::-1].copy())
        hull, flat = convex_hull(mesh.vertices)
        if flat:
            hull = mesh
        corners = hull.vertices.astype(np.float64)
        drawn = sample_surface(mesh, POINTS, 0)
        rows = [
            *(_some(corners, _at_vertices(hull)), _along_edges(mesh)),
            _some(mesh.vertices.astype(np.float64), _at_vertices(mesh)),
            (drawn.points, drawn.normals),
        ]
        raw = face_normals(mesh.vertices.astype(np.float64), mesh.faces)
        normals = _unit(raw)
        mass = mass_properties(meshes)
        return Solid(
            name,
            corners,
            np.concatenate([points for points, _ in rows]),
            np.concatenate([outwards for _, outwards in rows]),
            surface_tree(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)),
            normals=normals,
            mass=mass,
            size=float(np.ptp(mesh.vertices, axis=0).max()),
            inside=is_closed(mesh),
        )

    def named(self, name: str) -> Solid:
        """The same under another name: an instance."""
        return replace(self, name=name)

    def distances(self, points: np.ndarray, behind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of points (N, 3) in its frame: distances (N,) to its surface, negative inside, and the
        directions (N, 3) in which they grow.

        Args:
            behind: (N, 3) points a little behind those, within the body that they are of. Where a
                point touches, the direction is that from the surface to what is behind it: at an
                edge the nearest face does not say which side is meant.
        """
        queries = torch.from_numpy(np.ascontiguousarray(points, np.float32))
        away, face, on = (t.numpy() for t in nearest(self.tree, queries))
        distance = away.astype(np.float64)
        off = points - on
        normal = off / np.maximum(distance, 1e-300)[:, None]
        if self.inside:
            within = winding_number(self.tree, queries).abs().numpy() > 0.5
            distance[within] *= -1
            normal[within] *= -1
        touching = np.flatnonzero(np.abs(distance) < TOUCHING * self.size)
        if len(touching):
            normal[touching] = self._from_behind(behind[touching], face[touching])
        return distance, normal

    def _from_behind(self, behind: np.ndarray, face: np.ndarray) -> np.ndarray:
        """Directions (K, 3) to points behind those that touch; what is within the body has the
        direction of the face that it touches."""
        queries = torch.from_numpy(np.ascontiguousarray(behind, np.float32))
        away, _, on = (t.numpy() for t in nearest(self.tree, queries))
        out = _unit(behind - on)
        unsure = away < TOUCHING * self.size
        if self.inside:
            unsure |= winding_number(self.tree, queries).abs().numpy() > 0.5
        out[unsure] = self.normals[face[unsure]]
        return out


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300)


def _some(points: np.ndarray, outwards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` of points (N, 3) and their directions, always the same."""
    if len(points) <= POINTS:
        return points, outwards
    rng = np.random.Generator(np.random.Philox(key=1))
    kept = np.sort(rng.permutation(len(points))[:POINTS])
    return points[kept], outwards[kept]


def _at_vertices(mesh: Mesh) -> np.ndarray:
    """The mean direction (V, 3) of the faces at every vertex, each as much as any other."""
    normals = _unit(face_normals(mesh.vertices.astype(np.float64), mesh.faces))
    total = np.zeros((len(mesh.vertices), 3))
    np.add.at(total, mesh.faces.reshape(-1), np.repeat(normals, 3, axis=0))
    return _unit(total)


def _along_edges(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) along sharp edges and borders, where edges of two bodies may cross, and the
    directions between their faces."""
    edges = edges_of(mesh.faces)
    raw = face_normals(mesh.vertices.astype(np.float64), mesh.faces)
    normals = _unit(raw)
    total = np.zeros((len(edges.ends), 3))
    np.add.at(total, edges.half, np.repeat(normals, 3, axis=0))
    # Two unit normals at an angle whose cosine is c have a sum of squared length 2 + 2 c.
    sharp = (edges.faces != 2) | ((total**2).sum(1) < 2 + 2 * SHARP)
    ends = mesh.vertices[edges.ends[sharp]].astype(np.float64)
    if not len(ends):
        return np.zeros((0, 3)), np.zeros((0, 3))
    length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    count = np.maximum(1, np.round(POINTS * length / max(length.sum(), 1e-300))).astype(int)
    edge = np.repeat(np.arange(len(ends)), count)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    share = ((step + 0.5) / count[edge])[:, None]
    points = ends[edge, 0] * (1 - share) + ends[edge, 1] * share
    return _some(points, _unit(total[sharp])[edge])
