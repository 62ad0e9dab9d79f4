"""Normals of glTF primitives in the world."""

from __future__ import annotations

import numpy as np

from ...surface.normals import face_normals


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
