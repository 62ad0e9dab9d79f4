"""Normals of glTF primitives in the world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...mesh import Mesh
from ...surface.normals import differing, face_normals, outward
from .source import has_origin, read_vertex, same_corners


def mirrors(linear: np.ndarray) -> bool:
    """Whether a matrix (3, 3), or most of those of the vertices (V, 3, 3), turns faces over."""
    return bool((np.linalg.det(linear) < 0).mean() > 0.5)


def turned_normals(normals: np.ndarray, linear: np.ndarray, mirrored: bool) -> np.ndarray:
    """Normals under the cofactors of a matrix, or of one for each vertex: they stay normal to the
    surface, whose faces are turned over where the matrix mirrors."""
    if linear.ndim == 2 and (linear == np.eye(3)).all():
        return normals
    a, b, c = linear[..., 0], linear[..., 1], linear[..., 2]
    cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], -1)
    turned = (
        normals @ cofactors.T if linear.ndim == 2 else np.einsum("vij,vj->vi", cofactors, normals)
    )
    return -turned if mirrored else turned


def unit_normals(normals: np.ndarray, world: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Normals of unit length, float32; where the file has none, those of the faces."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    lost = ~(length[:, 0] > 1e-12)
    if lost.any():
        total = np.zeros_like(world)
        raw = face_normals(world, faces)
        for corner in range(3):
            np.add.at(total, faces[:, corner], raw)
        normals = np.where(lost[:, None], total, normals)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        lost = ~(length[:, 0] > 1e-30)
        normals = np.where(lost[:, None], [0.0, 1.0, 0.0], normals)
        length[lost] = 1.0
    if np.abs(length - 1).max(initial=0) < 5e-7:
        return normals.astype(np.float32)
    return (normals / length).astype(np.float32)


def normals_differ(mesh: Mesh, before: Mesh, motion: np.ndarray) -> bool:
    """Whether the normals of a mesh are others than its file says, where its vertices are those of
    the file or copies of them.

    Args:
        before: the mesh as it was read. motion: (4, 4) from the world of the file to the mesh's.
    """
    if before.normals is None or not np.isfinite(before.normals).all():
        return False
    flat = before.origin is not None
    if mesh.normals is None:
        # They are to be made anew: a file without normals stays flat, whatever its faces are.
        if flat:
            return False
        return same_corners(mesh, before) or bool(_turned_over(mesh, before, motion).any())
    linear = motion[:3, :3]
    if same_corners(mesh, before) and not differing(mesh.normals, before.normals, linear).any():
        return False
    if flat:
        # Of the file all corners of a face have its own normal, which no vertex has to say.
        raw = np.repeat(face_normals(mesh.vertices.astype(np.float64), mesh.faces), 3, 0)
        there = np.einsum("ij,ij->i", raw, raw) > 0
        given = mesh.normals[mesh.faces.reshape(-1)]
        return bool(differing(given[there], raw[there]).any())
    if same_corners(mesh, before):
        return True
    return bool(differing(mesh.normals, _as_read(mesh, before), linear).any())


def own_normals(mesh: Mesh, before: Mesh, motion: np.ndarray, moved: bool) -> Mesh:
    """A mesh with the normals that are written: its own; where it has none those of the file, which
    turn over with the faces about them, or smooth ones where vertices were moved."""
    if mesh.normals is not None:
        return mesh
    if moved or before.normals is None or not has_origin(mesh) or same_corners(mesh, before):
        return mesh.with_normals()
    sign = np.where(_turned_over(mesh, before, motion), -1, 1)
    return replace(mesh, normals=_as_read(mesh, before) @ motion[:3, :3].T * sign[:, None])


def unmorphed(normals: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The unit normals (V, 3) that have the directions `normals` once `change` (V, 3) is added;
    where none has, the nearest."""
    # |s n - d| = 1 for the length s that the sum of both has.
    along = np.einsum("vi,vi->v", normals, change)
    left = along * along - np.einsum("vi,vi->v", change, change) + 1
    length = along + np.sqrt(np.maximum(left, 0))
    base: np.ndarray = np.maximum(length, 0)[:, None] * normals - change
    return base


def _as_read(mesh: Mesh, before: Mesh) -> np.ndarray:
    """The normals that were read of the vertices of which those of a mesh are copies."""
    assert before.normals is not None
    if not has_origin(mesh):
        return before.normals
    assert mesh.origin is not None
    return before.normals[read_vertex(before, mesh.origin)]


def _turned_over(mesh: Mesh, before: Mesh, motion: np.ndarray) -> np.ndarray:
    """Vertices (V,) bool of a mesh without normals, copies of the file's, whose faces have been
    turned away from the normals that the file has there."""
    if before.normals is None or not has_origin(mesh):
        return np.zeros(len(mesh.vertices), bool)
    assert mesh.origin is not None
    old = outward(before.normals, before.vertices, before.faces)
    given = _as_read(mesh, before) @ motion[:3, :3].T
    turned: np.ndarray = outward(given, mesh.vertices, mesh.faces) < 0
    return turned & (old[read_vertex(before, mesh.origin)] > 0)
