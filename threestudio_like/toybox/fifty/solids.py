"""Closed solids from which the objects of the second edition are built: every edge belongs to two
faces, poles are single vertices, and faces are counter-clockwise from outside.

Every function returns (vertices (V, 3) float32, faces (F, 3) int32), with +Y up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from ..objects.parts import Part
from ..shapes import Primitive, box, rotate, shift

__all__ = [
    "Primitive",
    "ball",
    "box",
    "cyl",
    "extrude",
    "loft",
    "mirrored",
    "pair",
    "pillow",
    "pipe",
    "ring",
    "rod",
    "rotate",
    "shift",
    "spun",
    "turn",
]
Place = tuple[float, float, float]
ORIGIN: Place = (0.0, 0.0, 0.0)


@lru_cache(maxsize=256)
def _skin(rows: int, segments: int) -> np.ndarray:
    """Faces between `rows` rings of vertices, counted from 1, closed by a pole before (number 0)
    and one after all of them."""
    j = np.arange(segments)
    k = (j + 1) % segments
    i = 1 + np.arange(rows - 1)[:, None] * segments
    a, b = i + j, i + k
    last = 1 + (rows - 1) * segments
    pole = np.full(segments, last + segments)
    faces = [
        np.stack([np.zeros(segments, int), 1 + k, 1 + j], -1),
        np.stack([a, b, b + segments], -1).reshape(-1, 3),
        np.stack([a, b + segments, a + segments], -1).reshape(-1, 3),
        np.stack([last + j, last + k, pole], -1),
    ]
    return np.concatenate(faces).astype(np.int32)


@lru_cache(maxsize=64)
def _circle(segments: int) -> tuple[np.ndarray, np.ndarray]:
    angle = np.arange(segments) * (2 * np.pi / segments)
    return np.sin(angle), np.cos(angle)


def _along(points: np.ndarray, axis: str) -> np.ndarray:
    """Points about y as points about another axis."""
    order = {"y": [0, 1, 2], "x": [1, 2, 0], "z": [2, 0, 1]}[axis]
    return points[:, order]


def turn(
    profile: Sequence[tuple[float, float]],
    segments: int = 20,
    at: Place = ORIGIN,
    axis: str = "y",
) -> Primitive:
    """A surface of revolution. `profile` lists (radius, height) from the bottom up along the
    outside; its first and last radius are 0, all others more."""
    points = np.asarray(profile, np.float64)
    sin, cos = _circle(segments)
    radius, height = points[1:-1, :1], points[1:-1, 1:]
    rings = np.stack([radius * sin, np.broadcast_to(height, radius.shape) + 0 * sin, radius * cos])
    vertices = np.concatenate(
        [[[0, points[0, 1], 0]], rings.transpose(1, 2, 0).reshape(-1, 3), [[0, points[-1, 1], 0]]]
    )
    faces = _skin(len(points) - 2, segments)
    return (_along(vertices, axis) + np.asarray(at)).astype(np.float32), faces


def cyl(
    radius: float,
    height: float,
    at: Place = ORIGIN,
    axis: str = "y",
    top: float | None = None,
    segments: int = 18,
) -> Primitive:
    """A cylinder or frustum whose middle is at `at`; a `top` of 0 makes a cone."""
    h, top = height / 2, radius if top is None else top
    rim = [(top, h)] if top > 0 else []
    return turn([(0, -h), (radius, -h), *rim, (0, h)], segments, at, axis)


def ball(
    radii: float | tuple[float, float, float],
    at: Place = ORIGIN,
    segments: int = 18,
    rows: int = 11,
    axis: str = "y",
) -> Primitive:
    """A sphere, or an ellipsoid of three radii, with its poles on an axis."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, rows)
    inner = [(float(np.cos(a)), float(np.sin(a))) for a in angle[1:-1]]
    vertices, faces = turn([(0, -1), *inner, (0, 1)], segments, axis=axis)
    sizes = np.broadcast_to(np.asarray(radii, np.float32), (3,))
    return vertices * sizes + np.asarray(at, np.float32), faces


def pillow(
    size: tuple[float, float, float],
    at: Place = ORIGIN,
    power: float = 4.0,
    segments: int = 20,
    rows: int = 11,
) -> Primitive:
    """A box of full extents `size` with edges as round as a superellipsoid's: power 2 is an
    ellipsoid, a large one a box."""

    def swell(x: np.ndarray) -> np.ndarray:
        return np.sign(x) * np.abs(x) ** (2 / power)

    v = np.linspace(-np.pi / 2, np.pi / 2, rows)[1:-1, None]
    u = (np.arange(segments) * (2 * np.pi / segments))[None]
    rings = np.stack(
        [
            swell(np.cos(v)) * swell(np.sin(u)),
            swell(np.sin(v)) + 0 * u,
            swell(np.cos(v)) * swell(np.cos(u)),
        ],
        -1,
    )
    vertices = np.concatenate([[[0, -1, 0]], rings.reshape(-1, 3), [[0, 1, 0]]])
    vertices = vertices * np.asarray(size) / 2 + np.asarray(at)
    return vertices.astype(np.float32), _skin(rows - 2, segments)


def pipe(
    path: Iterable[Sequence[float]],
    radius: float | Sequence[float],
    segments: int = 10,
    flat: float = 1.0,
) -> Primitive:
    """A round pipe along a path (P, 3) with flat ends, of one radius or one for each point.

    Args:
        flat: its extent across the plane in which it bends, as a share of that within it.
    """
    points = np.asarray([*path], np.float64)
    radii = np.broadcast_to(np.asarray(radius, np.float64), (len(points),))
    step = np.diff(points, axis=0)
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    tangent = np.concatenate([step[:1], step[:-1] + step[1:], step[-1:]])
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    bend = np.cross(step[:-1], step[1:]).sum(0) if len(step) > 1 else np.zeros(3)
    if np.linalg.norm(bend) < 1e-6:
        bend = np.cross(tangent[0], np.eye(3)[int(np.abs(tangent[0]).argmin())])
    across = bend / np.linalg.norm(bend)
    sin, cos = _circle(segments)
    rings = []
    for centre, along, r in zip(points, tangent, radii):
        across = across - along * (across @ along)
        across = across / np.linalg.norm(across)
        other = np.cross(along, across)
        rings.append(centre + r * (sin[:, None] * other + flat * cos[:, None] * across))
    vertices = np.concatenate([points[:1], np.concatenate(rings), points[-1:]])
    return vertices.astype(np.float32), _skin(len(points), segments)


def smooth(knots: Iterable[Sequence[float]], count: int = 10) -> np.ndarray:
    """A path (count, 3) without corners through knots (K, 3), by a cubic spline over their
    distances."""
    from scipy.interpolate import CubicSpline

    points = np.asarray([*knots], np.float64)
    along = np.r_[0, np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()]
    return np.asarray(CubicSpline(along, points)(np.linspace(0, along[-1], count)))


def rod(
    begin: Sequence[float],
    end: Sequence[float],
    radius: float,
    tip: float | None = None,
    segments: int = 10,
) -> Primitive:
    """A straight pipe between two points, of radius `tip` at its end."""
    return pipe([begin, end], [radius, radius if tip is None else tip], segments)


def ring(
    radius: float,
    thick: float,
    at: Place = ORIGIN,
    axis: str = "y",
    segments: int = 24,
    flat: float = 1.0,
    around: int = 10,
) -> Primitive:
    """A torus of radius `radius` about an axis, of a tube of radius `thick`; `flat` is the tube's
    extent along the axis as a share of that across it."""
    sin, cos = _circle(segments)
    a, b = _circle(around)
    r = radius + thick * b[:, None]
    rows = np.stack([r * sin, (flat * thick * a)[:, None] + 0 * sin, r * cos], -1)
    i, j = np.arange(around)[:, None] * segments, np.arange(segments)[None]
    k, up = (j + 1) % segments, (i + segments) % (around * segments)
    quads = np.stack([i + j, i + k, up + k, up + j], -1).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    return (_along(rows.reshape(-1, 3), axis) + np.asarray(at)).astype(np.float32), faces


def loft(
    sections: Sequence[tuple[float, float, float, float]],
    segments: int = 18,
    at: Place = ORIGIN,
    power: float = 2.0,
    axis: str = "z",
) -> Primitive:
    """A skin over sections (place along the axis, height of the middle, half width, half height),
    in rising order along z or x; flat at both ends. A larger `power` makes sections squarer."""
    sin, cos = _circle(segments)
    round_ = 2 / power
    s, c = np.sign(sin) * np.abs(sin) ** round_, np.sign(cos) * np.abs(cos) ** round_
    table = np.asarray(sections, np.float64)
    # Counter-clockwise as seen from behind, as the rings of a surface of revolution are.
    rings = np.stack(
        [
            table[:, 2:3] * c,
            table[:, 1:2] + table[:, 3:4] * s,
            np.broadcast_to(table[:, :1], (len(table), segments)),
        ],
        -1,
    )
    first, last = ([[0, table[n, 1], table[n, 0]]] for n in (0, -1))
    vertices = np.concatenate([first, rings.reshape(-1, 3), last])
    if axis == "x":
        vertices = vertices[:, [2, 1, 0]] * [1, 1, -1]
    return (vertices + np.asarray(at)).astype(np.float32), _skin(len(table), segments)


def extrude(
    outline: Sequence[tuple[float, float]] | np.ndarray,
    depth: float,
    at: Place = ORIGIN,
    axis: str = "z",
    taper: float = 1.0,
) -> Primitive:
    """The extrusion along an axis of a simple polygon (x, y), counter-clockwise; `taper` scales the
    polygon on the side that the axis points to. With axis x, the polygon is (z, y) seen from -X."""
    flat = np.asarray(outline, np.float64)
    n = len(flat)
    z = depth / 2
    vertices = np.concatenate([np.c_[flat * taper, np.full(n, z)], np.c_[flat, np.full(n, -z)]])
    cover = np.asarray(_ears(flat), np.int32)
    i = np.arange(n)
    j = (i + 1) % n
    sides = np.concatenate([np.stack([i, n + i, n + j], -1), np.stack([i, n + j, j], -1)])
    faces = np.concatenate([cover, cover[:, ::-1] + n, sides]).astype(np.int32)
    if axis == "y":
        vertices = vertices[:, [0, 2, 1]] * [1, 1, -1]
    elif axis == "x":
        vertices = vertices[:, [2, 1, 0]] * [-1, 1, 1]
    return (vertices + np.asarray(at)).astype(np.float32), faces


def stroke(
    path: Sequence[Sequence[float]] | np.ndarray, thick: float, begin: bool = True
) -> np.ndarray:
    """The outline (2 P, 2), counter-clockwise, of a line of some thickness along a path (P, 2):
    corners are mitred, and ends are square and half a thickness beyond the path's, the first one
    only where `begin` says so."""
    points = np.array(path, np.float64)
    step = np.diff(points, axis=0)
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    points[-1] += step[-1] * thick / 2
    if begin:
        points[0] -= step[0] * thick / 2
    left = np.stack([-step[:, 1], step[:, 0]], 1)
    before, after = np.concatenate([left[:1], left]), np.concatenate([left, left[-1:]])
    corner = (before + after) / (1 + (before * after).sum(1, keepdims=True)) * thick / 2
    return np.concatenate([points - corner, (points + corner)[::-1]])


def _ears(polygon: np.ndarray) -> list[tuple[int, int, int]]:
    """Triangles of a simple polygon (N, 2), counter-clockwise, by cutting ears."""
    x, y = polygon[:, 0].tolist(), polygon[:, 1].tolist()

    def side(a: int, b: int, c: int) -> float:
        return (x[b] - x[a]) * (y[c] - y[a]) - (y[b] - y[a]) * (x[c] - x[a])

    left, out = list(range(len(polygon))), []
    while len(left) > 3:
        for k in range(len(left)):
            a, b, c = left[k - 1], left[k], left[(k + 1) % len(left)]
            if side(a, b, c) <= 1e-12:
                continue
            others = (p for p in left if p not in (a, b, c))
            if all(min(side(a, b, p), side(b, c, p), side(c, a, p)) < -1e-12 for p in others):
                out.append((a, b, c))
                del left[k]
                break
        else:
            raise ValueError("the outline crosses itself, or is not counter-clockwise")
    return [*out, (left[0], left[1], left[2])]


def mirrored(primitive: Primitive) -> Primitive:
    """A primitive seen in a mirror at x = 0."""
    vertices, faces = primitive
    return vertices * np.array([-1, 1, 1], np.float32), np.ascontiguousarray(faces[:, ::-1])


def pair(primitive: Primitive, role: str) -> list[Part]:
    """A part on the right and its mirror image on the left."""
    return [(primitive, role), (mirrored(primitive), role)]


def spun(primitive: Primitive, role: str, count: int, first: float = 0.0) -> list[Part]:
    """A part `count` times around y, from the angle `first` in degrees."""
    return [(rotate(primitive, "y", first + 360 * k / count), role) for k in range(count)]
