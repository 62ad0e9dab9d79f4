"""Normals of triangle meshes."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted normals (F, 3) of vertices (V, 3) and faces (F, 3), whose length is twice the
    area of the face."""
    corner = vertices[faces]
    return np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals (V, 3) float32 of vertices (V, 3) and faces (F, 3); zero for
    unused vertices."""
    raw = face_normals(vertices.astype(np.float64), faces)
    total = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(total, faces[:, corner], raw)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    # The areas of a mesh in metres of what has millimetres are tiny too.
    size = float(np.ptp(vertices, axis=0).max()) if len(vertices) else 1.0
    least = 1e-12 * min(1.0, size * size) if size > 0 else 1e-12
    return (total / np.maximum(length, least)).astype(np.float32)


def differing(
    normals: np.ndarray, before: np.ndarray, linear: np.ndarray | None = None
) -> np.ndarray:
    """Normals (V, 3) whose directions are others than those before, beyond rounding: (V,) bool.

    Args:
        linear: (3, 3), a turn and a scale by which those before have been moved since.
    """
    if normals is before and linear is None:
        return np.zeros(len(normals), bool)
    expected = before.astype(np.float64)
    if linear is not None:
        expected = expected @ linear.T
    gap = unit(normals.astype(np.float64)) - unit(expected)
    # A turn there and back moves a unit vector by its last digits.
    return ~(np.abs(gap).max(1, initial=0) <= 2e-6)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (V, 3) of length one; those without a direction stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)


def outward(normals: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """How far normals (V, 3) point to the front of the faces (F, 3) about them: (V,) float64, less
    than zero where they point to the back."""
    around = vertex_normals(vertices, faces).astype(np.float64)
    return np.einsum("vi,vi->v", around, normals.astype(np.float64))


def crease_groups(
    vertices: np.ndarray, faces: np.ndarray, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which corners of faces share a normal, where edges sharper than `angle` degrees stay sharp.

    Corners at one vertex belong together where their faces meet, directly or through others, over
    edges that are not sharp. A face weighs as much in a normal as it has angle at the corner, so
    that how a flat side is cut into triangles does not matter.

    Args:
        vertices: (V, 3), welded: no two at one place.
        faces: (F, 3).

    Returns:
        group (F, 3) int64: the number of every corner's group; normals (G, 3) float32, of length
        1 also where there is no area.
    """
    corner = vertices.astype(np.float64)[faces]
    edges = np.roll(corner, -1, 1) - corner
    raw = np.cross(edges[:, 0], -edges[:, 2])
    unit = raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-300)
    # Every edge with its lower vertex first, the corners at its ends, and its face.
    here = np.arange(3 * len(faces)).reshape(-1, 3)
    one, two = faces, np.roll(faces, -1, 1)
    at_one, at_two = here, np.roll(here, -1, 1)
    swap = one > two
    low, high = np.where(swap, two, one).reshape(-1), np.where(swap, one, two).reshape(-1)
    at_low = np.where(swap, at_two, at_one).reshape(-1)
    at_high = np.where(swap, at_one, at_two).reshape(-1)
    order = np.lexsort((high, low))
    first, second = order[:-1], order[1:]
    owner = np.repeat(np.arange(len(faces)), 3)
    smooth = (low[first] == low[second]) & (high[first] == high[second])
    first, second = first[smooth], second[smooth]
    bend = np.einsum("ij,ij->i", unit[owner[first]], unit[owner[second]])
    smooth = bend >= np.cos(np.radians(angle))
    first, second = first[smooth], second[smooth]
    ends = np.concatenate([at_low[first], at_high[first]])
    others = np.concatenate([at_low[second], at_high[second]])
    size = 3 * len(faces)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends, others)), shape=(size, size))
    count, group = connected_components(graph, directed=False)
    length = np.linalg.norm(edges, axis=2)
    cosine = -np.einsum("fki,fki->fk", edges, np.roll(edges, 1, 1)) / np.maximum(
        length * np.roll(length, 1, 1), 1e-300
    )
    weight = np.arccos(cosine.clip(-1, 1))
    total = np.zeros((count, 3))
    for k in range(3):
        share = unit * weight[:, k, None]
        for axis in range(3):
            total[:, axis] += np.bincount(group[k::3], share[:, axis], count)
    size_of = np.linalg.norm(total, axis=1, keepdims=True)
    normals = np.where(size_of > 1e-9, total / np.maximum(size_of, 1e-300), [0.0, 1.0, 0.0])
    return group.reshape(-1, 3).astype(np.int64), normals.astype(np.float32)
