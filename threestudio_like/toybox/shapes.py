"""Closed primitive meshes from which the toybox builds its objects, with +Y up and faces
counter-clockwise from outside.

Every function returns (vertices (V, 3) float32, faces (F, 3) int32).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Primitive = tuple[np.ndarray, np.ndarray]

# Vertex index = 4 [x > 0] + 2 [y > 0] + [z > 0].
_BOX_FACES = np.array(
    [
        [0, 1, 3],
        [0, 3, 2],
        [4, 6, 7],
        [4, 7, 5],
        [0, 4, 5],
        [0, 5, 1],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 5, 7],
        [1, 7, 3],
    ],
    np.int32,
)


def box(
    size: tuple[float, float, float],
    center=(0.0, 0.0, 0.0),
    taper: float = 1.0,
    taper_z: float | None = None,
) -> Primitive:
    """A box of full extents `size`, whose top is scaled by `taper` in x and by `taper_z` in z."""
    x, y, z = size[0] / 2, size[1] / 2, size[2] / 2
    taper_z = taper if taper_z is None else taper_z
    vertices = np.array(
        [
            [sx * x * (taper if sy > 0 else 1.0), sy * y, sz * z * (taper_z if sy > 0 else 1.0)]
            for sx in (-1, 1)
            for sy in (-1, 1)
            for sz in (-1, 1)
        ],
        np.float32,
    )
    return vertices + np.asarray(center, np.float32), _BOX_FACES


@lru_cache(maxsize=64)
def _ring(segments: int) -> tuple[np.ndarray, np.ndarray]:
    angle = np.arange(segments) * (2 * np.pi / segments)
    return np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32)


@lru_cache(maxsize=256)
def _lathe_faces(rows: int, segments: int) -> np.ndarray:
    i = np.arange(rows - 1)[:, None] * segments
    j = np.arange(segments)[None]
    k = (j + 1) % segments
    quads = np.stack([i + j, i + k, i + segments + k, i + segments + j], -1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def lathe(
    profile: list[tuple[float, float]], segments: int = 20, center=(0.0, 0.0, 0.0)
) -> Primitive:
    """A surface of revolution about y. `profile` lists (radius, height) from the bottom up along
    the outside; a radius of 0 closes it."""
    sin, cos = _ring(segments)
    points = np.asarray(profile, np.float32)
    radius, height = np.maximum(points[:, :1], 1e-4), points[:, 1:]
    vertices = np.stack(
        [radius * sin, np.broadcast_to(height, (len(points), segments)), radius * cos], -1
    )
    return vertices.reshape(-1, 3) + np.asarray(center, np.float32), _lathe_faces(
        len(points), segments
    )


def cylinder(
    radius: float,
    height: float,
    center=(0.0, 0.0, 0.0),
    top: float | None = None,
    segments: int = 16,
) -> Primitive:
    """Capped cylinder or frustum about y, of bottom radius `radius` and top radius `top`."""
    top = radius if top is None else top
    h = height / 2
    return lathe([(0, -h), (radius, -h), (top, h), (0, h)], segments, center)


def ellipsoid(
    radii: tuple[float, float, float], center=(0.0, 0.0, 0.0), segments: int = 18, rows: int = 10
) -> Primitive:
    """Axis-aligned ellipsoid of the given radii."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, rows)
    vertices, faces = lathe([(float(np.cos(a)), float(np.sin(a))) for a in angle], segments)
    return vertices * np.asarray(radii, np.float32) + np.asarray(center, np.float32), faces


def tube(path: np.ndarray, radius: float, segments: int = 8, normal=(0.0, 0.0, 1.0)) -> Primitive:
    """A round tube along a planar path (P, 3) in a plane with the given normal. The ends are closed
    by points."""
    path = np.asarray(path, np.float32)
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    across = np.broadcast_to(np.asarray(normal, np.float32), tangent.shape)
    outward = np.cross(tangent, across)
    sin, cos = _ring(segments)
    rings = path[:, None] + radius * (
        outward[:, None] * cos[:, None] + across[:, None] * sin[:, None]
    )
    first = np.broadcast_to(path[:1, None], (1, segments, 3))
    last = np.broadcast_to(path[-1:, None], (1, segments, 3))
    vertices = np.concatenate([first, rings, last]).astype(np.float32)
    # The rings run in the opposite direction to those of a lathe.
    faces = np.ascontiguousarray(_lathe_faces(len(path) + 2, segments)[:, ::-1])
    return vertices.reshape(-1, 3), faces


def prism(outline: list[tuple[float, float]], depth: float, center=(0.0, 0.0, 0.0)) -> Primitive:
    """The extrusion along z of a convex polygon (x, y), which is given counter-clockwise."""
    flat = np.asarray(outline, np.float32)
    n = len(flat)
    z = depth / 2
    vertices = np.concatenate([np.c_[flat, np.full(n, z)], np.c_[flat, np.full(n, -z)]]).astype(
        np.float32
    )
    fan = np.array([[0, i, i + 1] for i in range(1, n - 1)], np.int32)
    sides = np.array(
        [[[i, n + i, n + (i + 1) % n], [i, n + (i + 1) % n, (i + 1) % n]] for i in range(n)],
        np.int32,
    )
    return vertices + np.asarray(center, np.float32), np.concatenate(
        [fan, fan[:, ::-1] + n, sides.reshape(-1, 3)]
    )


def rotate(primitive: Primitive, axis: str, degrees: float) -> Primitive:
    """Rotate a primitive about x, y or z through the origin."""
    a = np.deg2rad(degrees)
    s, c = np.sin(a), np.cos(a)
    matrix = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }[axis]
    vertices, faces = primitive
    return (vertices @ np.asarray(matrix, np.float32).T).astype(np.float32), faces


def shift(primitive: Primitive, offset: tuple[float, float, float]) -> Primitive:
    """Move a primitive by `offset`."""
    vertices, faces = primitive
    return vertices + np.asarray(offset, np.float32), faces
