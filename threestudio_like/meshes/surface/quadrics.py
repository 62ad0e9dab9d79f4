"""Quadrics: the sum of squared distances to planes as a function of the place, by which edge
collapses are chosen (Garland and Heckbert, "Surface Simplification Using Quadric Error Metrics",
SIGGRAPH 1997, with their planes at right angles to borders). Compiled, in a separate file because
Numba takes long to import."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...kernels.compiling import CACHE

SEAM = np.uint8(1)
"""Flag of an edge with other texture coordinates or colours on both sides."""
FIRM = np.uint8(2)
"""Flag of a border, of one between parts, and of an edge of more than two faces."""
FLATTEST = 5e-5
"""Smallest shape of a new face (1 where all sides are equal, 0 for a line), unless the old one's
was smaller."""
TURN = 0.2
"""Smallest cosine between the normals of a face before and after a collapse."""


@njit(nogil=True, cache=CACHE)
def normal_of(a, b, c):
    """The normal of a triangle, twice its area long, and the sum of its squared sides."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    wx, wy, wz = c[0] - b[0], c[1] - b[1], c[2] - b[2]
    sides = ux * ux + uy * uy + uz * uz + vx * vx + vy * vy + vz * vz + wx * wx + wy * wy + wz * wz
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx, sides


@njit(nogil=True, cache=CACHE)
def add_plane(quadric, x, y, z, point, weight):
    """Add the squared distance to a plane, of unit normal x, y, z through a point, to a quadric:
    xx xy xz yy yz zz, x y z, constant."""
    d = -(x * point[0] + y * point[1] + z * point[2])
    quadric[0] += weight * x * x
    quadric[1] += weight * x * y
    quadric[2] += weight * x * z
    quadric[3] += weight * y * y
    quadric[4] += weight * y * z
    quadric[5] += weight * z * z
    quadric[6] += weight * x * d
    quadric[7] += weight * y * d
    quadric[8] += weight * z * d
    quadric[9] += weight * d * d


@njit(nogil=True, cache=CACHE)
def quadrics_of(points, faces, flags):
    """The quadric (V, 10) float64 of every vertex: planes of its faces by their area, and planes at
    right angles to them through its firm edges and seams.

    Args:
        points: (V, 3) float64. faces: (F, 3) int32.
        flags: (F, 3) uint8, of the edge from a corner to the next.
    """
    out = np.zeros((points.shape[0], 10))
    for f in range(faces.shape[0]):
        a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        x, y, z, _ = normal_of(a, b, c)
        length = np.sqrt(x * x + y * y + z * z)
        if length <= 0.0:
            continue
        x, y, z = x / length, y / length, z / length
        for k in range(3):
            add_plane(out[faces[f, k]], x, y, z, a, length / 6)
        for k in range(3):
            flag = flags[f, k]
            if flag == 0:
                continue
            i, j = faces[f, k], faces[f, (k + 1) % 3]
            ex, ey, ez = (
                points[j, 0] - points[i, 0],
                points[j, 1] - points[i, 1],
                points[j, 2] - points[i, 2],
            )
            size = np.sqrt(ex * ex + ey * ey + ez * ez)
            if size <= 0.0:
                continue
            ex, ey, ez = ex / size, ey / size, ez / size
            sx, sy, sz = y * ez - z * ey, z * ex - x * ez, x * ey - y * ex
            # A seam may stray further than the outline of what is open.
            weight = size * size * (1.0 if flag & FIRM else 0.02)
            add_plane(out[i], sx, sy, sz, points[i], weight)
            add_plane(out[j], sx, sy, sz, points[i], weight)
    return out


@njit(nogil=True, cache=CACHE)
def error_at(q, x, y, z):
    """The value of a quadric at a point."""
    return (
        q[0] * x * x
        + q[3] * y * y
        + q[5] * z * z
        + 2.0 * (q[1] * x * y + q[2] * x * z + q[4] * y * z)
        + 2.0 * (q[6] * x + q[7] * y + q[8] * z)
        + q[9]
    )


@njit(nogil=True, cache=CACHE)
def best_place(q, one, two, out):
    """Write the point of least error near an edge to `out`. The midpoint draws a little, so that
    there is one on planes and lines too."""
    mx, my, mz = (one[0] + two[0]) / 2, (one[1] + two[1]) / 2, (one[2] + two[2]) / 2
    pull = 1e-6 * (q[0] + q[3] + q[5]) + 1e-300
    a, b, c, d, e, f = q[0] + pull, q[1], q[2], q[3] + pull, q[4], q[5] + pull
    # About the midpoint, so that a place far away costs no digits.
    rx = -(q[0] * mx + q[1] * my + q[2] * mz + q[6])
    ry = -(q[1] * mx + q[3] * my + q[4] * mz + q[7])
    rz = -(q[2] * mx + q[4] * my + q[5] * mz + q[8])
    ca, cb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    det = a * ca + b * cb + c * cc
    dx, dy, dz = 0.0, 0.0, 0.0
    if det > 0.0:
        dx = (ca * rx + cb * ry + cc * rz) / det
        dy = (cb * rx + (a * f - c * c) * ry + (b * c - a * e) * rz) / det
        dz = (cc * rx + (b * c - a * e) * ry + (a * d - b * b) * rz) / det
    size = (one[0] - two[0]) ** 2 + (one[1] - two[1]) ** 2 + (one[2] - two[2]) ** 2
    if det > 0.0 and dx * dx + dy * dy + dz * dz <= 2.25 * size:
        out[0], out[1], out[2] = mx + dx, my + dy, mz + dz
        return
    out[0], out[1], out[2] = mx, my, mz
    least = error_at(q, mx, my, mz)
    for end in (one, two):
        value = error_at(q, end[0], end[1], end[2])
        if value < least:
            least = value
            out[0], out[1], out[2] = end[0], end[1], end[2]


@njit(nogil=True, cache=CACHE)
def keeps_shape(this, x, y, place, points):
    """Whether the face of a vertex and two others neither turns over nor becomes a line where the
    vertex moves to a place."""
    ox, oy, oz, old_sides = normal_of(points[this], points[x], points[y])
    nx, ny, nz, sides = normal_of(place, points[x], points[y])
    old = np.sqrt(ox * ox + oy * oy + oz * oz)
    new = np.sqrt(nx * nx + ny * ny + nz * nz)
    # 1 where all sides are equal.
    shape, before = 3.4641 * new, 3.4641 * old
    if shape < FLATTEST * sides and shape * old_sides < before * sides:
        return False
    # What is a line already has no side that it could turn.
    flat = before <= 1e-6 * old_sides
    return flat or ox * nx + oy * ny + oz * nz >= TURN * old * new
