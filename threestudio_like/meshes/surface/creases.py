"""Compiled computation of normals that stay sharp at creases, in a separate file because Numba
takes long to import."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...kernels.compiling import CACHE


@njit(nogil=True, cache=CACHE)
def crease_normals(vertices, faces, cos_crease):
    """Unit normal of every face corner, smoothed over neighbours whose angle is below the crease
    angle.

    Args:
        vertices: (V, 3) float32.
        faces: (F, 3) int32.
        cos_crease: cosine of the angle above which an edge stays sharp.

    Returns:
        (F, 3, 3) float32: face, corner, axis.
    """
    n_vertices, n_faces = vertices.shape[0], faces.shape[0]
    raw = np.empty((n_faces, 3), np.float32)
    unit = np.empty((n_faces, 3), np.float32)
    count = np.zeros(n_vertices + 1, np.int32)
    for f in range(n_faces):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        raw[f, 0], raw[f, 1], raw[f, 2] = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = np.sqrt(raw[f, 0] ** 2 + raw[f, 1] ** 2 + raw[f, 2] ** 2) + np.float32(1e-12)
        for k in range(3):
            unit[f, k] = raw[f, k] / length
            count[faces[f, k] + 1] += 1
    start = np.cumsum(count).astype(np.int32)
    fill = start[:-1].copy()
    incident = np.empty(3 * n_faces, np.int32)
    for f in range(n_faces):
        for k in range(3):
            v = faces[f, k]
            incident[fill[v]] = f
            fill[v] += 1
    out = np.empty((n_faces, 3, 3), np.float32)
    for f in range(n_faces):
        for k in range(3):
            v = faces[f, k]
            nx, ny, nz = raw[f, 0], raw[f, 1], raw[f, 2]
            for i in range(start[v], start[v + 1]):
                g = incident[i]
                if (
                    g != f
                    and unit[f, 0] * unit[g, 0] + unit[f, 1] * unit[g, 1] + unit[f, 2] * unit[g, 2]
                    > cos_crease
                ):
                    nx += raw[g, 0]
                    ny += raw[g, 1]
                    nz += raw[g, 2]
            length = np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-12)
            out[f, k, 0], out[f, k, 1], out[f, k, 2] = nx / length, ny / length, nz / length
    return out
