"""Smoothing of surfaces that does not take what is thin: Taubin's, and the bilateral filter of
normals."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..mesh import Mesh
from .normals import vertex_normals


def averaging(mesh: Mesh) -> Any:
    """The sparse matrix (V, V) that replaces a value of each vertex by its neighbours' mean; that
    of a vertex without neighbours is 0."""
    from scipy.sparse import coo_matrix, diags

    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    count = len(mesh.vertices)
    adjacency = coo_matrix(
        (np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count)
    ).tocsr()
    adjacency.data[:] = 1.0
    degree = np.asarray(adjacency.sum(1)).ravel()
    return diags(1 / np.maximum(degree, 1)) @ adjacency


def given_back(mesh: Mesh, lost: np.ndarray, average: Any, rounds: int = 8) -> Mesh:
    """The mesh moved along its normals by what is common to the neighbourhood in `lost` (V, 3),
    the ways from its vertices back to the surface that was smoothed.

    Noise has no common part, and stays away; a leg that has become thinner has, all along it.
    """
    normals = vertex_normals(mesh.vertices, mesh.faces).astype(np.float64)
    along = np.einsum("vi,vi->v", lost, normals)
    for _ in range(rounds):
        along = (along + average @ along) / 2
    moved = mesh.vertices + along[:, None] * normals
    return Mesh(moved.astype(np.float32), mesh.faces)


def relax(mesh: Mesh, iterations: int, shrink: float = 0.5, grow: float = -0.53) -> Mesh:
    """Taubin smoothing (1995): shrinking and growing Laplacian steps alternate, so that the volume
    is kept. What is thinner than the smoothing is wide would be lost all the same, so after every
    few pairs of steps its common part is given back (`given_back`)."""
    average = averaging(mesh)
    for start in range(0, iterations, PAIRS):
        points = mesh.vertices.astype(np.float64)
        for i in range(2 * min(PAIRS, iterations - start)):
            points = points + (shrink if i % 2 == 0 else grow) * (average @ points - points)
        lost = mesh.vertices - points
        mesh = given_back(Mesh(points.astype(np.float32), mesh.faces), lost, average)
    return mesh


PAIRS = 2
"""Pairs of Taubin steps after which what is thin gets its volume back."""


def flatten(mesh: Mesh, iterations: int, deviation: float = 0.35) -> Mesh:
    """Bilateral filtering of face normals (Zheng et al. 2011), which makes nearly flat regions flat
    and keeps edges.

    Args:
        iterations: of the normals, and equally many of the vertices that follow them (Sun et al.
            2007).
        deviation: difference of unit normals up to which two neighbours count as one surface.
    """
    if iterations <= 0:
        return mesh
    from scipy.sparse import coo_matrix, diags

    points, faces = mesh.vertices.astype(np.float64), mesh.faces
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    owner = np.tile(np.arange(len(faces)), 3)
    order = np.lexsort((owner, edges[:, 1], edges[:, 0]))
    same = (edges[order][1:] == edges[order][:-1]).all(1)
    one, two = owner[order][:-1][same], owner[order][1:][same]
    rows, columns = np.concatenate([one, two]), np.concatenate([two, one])
    corner = points[faces]
    raw = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(raw, axis=1)
    normals = raw / np.maximum(area, 1e-12)[:, None]
    for _ in range(iterations):
        difference = normals[rows] - normals[columns]
        weight = area[columns] * np.exp(-0.5 * (difference**2).sum(1) / deviation**2)
        spread = coo_matrix((weight, (rows, columns)), shape=(len(faces), len(faces))).tocsr()
        normals = area[:, None] * normals + spread @ normals
        normals /= np.maximum(np.linalg.norm(normals, axis=1), 1e-12)[:, None]
    around = coo_matrix(
        (np.ones(faces.size), (faces.ravel(), np.repeat(np.arange(len(faces)), 3))),
        shape=(len(points), len(faces)),
    )
    around = diags(1 / np.maximum(np.asarray(around.sum(1)).ravel(), 1)) @ around.tocsr()
    for _ in range(iterations):
        centre = points[faces].mean(1)
        # n (n . (c - v)) averaged over the faces of v; the part that depends on v is a 3 x 3 matrix
        # for each vertex.
        towards = np.einsum("fi,fi->f", normals, centre)[:, None] * normals
        outer = np.einsum("fi,fj->fij", normals, normals).reshape(-1, 9)
        matrix = (around @ outer).reshape(-1, 3, 3)
        points = points + around @ towards - np.einsum("vij,vj->vi", matrix, points)
    return Mesh(points.astype(np.float32), faces)
