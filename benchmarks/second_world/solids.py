"""The means of the second world: rounded blocks, turned splines, bevelled outlines, rods, tubes and
skinned spheres, joined to one closed surface by exact boolean operations.

Lengths are metres, +Y is up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from manifold3d import CrossSection, FillRule, JoinType, Manifold, Mesh, OpType
from scipy.interpolate import PchipInterpolator
from skimage.measure import marching_cubes

Point = Sequence[float]


@dataclass(frozen=True)
class Part:
    """A solid and what it is made of: the role "main" has the object's own colour and pattern, all
    others are accents. `round` says that a pattern runs about the vertical axis."""

    solid: Manifold
    role: str = "main"
    round: bool = False

    def moved(self, by: Point) -> Part:
        """The part at another place."""
        return replace(self, solid=self.solid.translate(tuple(by)))

    def turned(self, degrees: Point) -> Part:
        """The part turned about x, then y, then z."""
        return replace(self, solid=self.solid.rotate(tuple(degrees)))


def upright(solid: Manifold) -> Manifold:
    """A solid built along z, standing along y."""
    return solid.rotate((-90.0, 0.0, 0.0))


def block(size: Point, centre: Point, radius: float = 0.0) -> Manifold:
    """A box with edges rounded to `radius`."""
    x, y, z = (float(s) for s in size)
    if radius <= 0:
        return Manifold.cube((x, y, z), True).translate(tuple(centre))
    r = min(radius, 0.499 * min(x, y, z))
    ball = Manifold.sphere(r, 20)
    corners = [
        ball.translate((sx * (x / 2 - r), sy * (y / 2 - r), sz * (z / 2 - r)))
        for sx in (-1, 1)
        for sy in (-1, 1)
        for sz in (-1, 1)
    ]
    return Manifold.batch_hull(corners).translate(tuple(centre))


def ellipsoid(radii: Point, centre: Point, segments: int = 48) -> Manifold:
    """A ball, stretched along the axes."""
    return Manifold.sphere(1.0, segments).scale(tuple(radii)).translate(tuple(centre))


def rod(a: Point, b: Point, radius_a: float, radius_b: float, sides: int = 20) -> Manifold:
    """A tapered rod between two points with ends that are level; four sides give a square leg."""
    angle = (np.arange(sides) + (0.5 if sides == 4 else 0.0)) / sides * 2 * math.pi
    wide = math.sqrt(2) if sides == 4 else 1.0
    ring = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], 1) * wide
    return Manifold.hull_points(
        np.concatenate([np.asarray(a) + radius_a * ring, np.asarray(b) + radius_b * ring])
    )


def bar(a: Point, b: Point, radius_a: float, radius_b: float, sides: int = 20) -> Manifold:
    """A tapered round bar between two points, in any direction, with rounded ends."""
    ends = [
        Manifold.sphere(radius_a, sides).translate(tuple(a)),
        Manifold.sphere(radius_b, sides).translate(tuple(b)),
    ]
    return Manifold.batch_hull(ends)


def tube(path: np.ndarray, radius: float, sides: int = 16) -> Manifold:
    """A round tube along a path (N, 3)."""
    pieces = [bar(a, b, radius, radius, sides) for a, b in pairwise(path)]
    return Manifold.batch_boolean(pieces, OpType.Add)


def spline(points: Sequence[Point], count: int = 40) -> np.ndarray:
    """`count` points (N, 2) of a smooth curve through radius and height; it does not overshoot."""
    knots = np.asarray(points, np.float64)
    steps = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    return np.asarray(PchipInterpolator(steps, knots)(np.linspace(0, steps[-1], count)))


def lathe(outline: np.ndarray | Sequence[Point], segments: int = 72) -> Manifold:
    """The body that a closed outline (N, 2) of radius and height makes when it is turned."""
    polygon = np.asarray(outline, np.float64)
    return upright(CrossSection([polygon], fillrule=FillRule.NonZero).revolve(segments))


def turned_solid(points: Sequence[Point], count: int = 48, segments: int = 72) -> Manifold:
    """A full body of revolution whose side is the spline through radius and height, from the
    bottom to the top."""
    side = spline(points, count)
    return lathe(np.concatenate([[[0.0, side[0, 1]]], side, [[0.0, side[-1, 1]]]]), segments)


def hollow(points: Sequence[Point], wall: float, floor: float, segments: int = 72) -> Manifold:
    """A vessel: the turned spline, emptied from above but for a wall and a floor."""
    outer = spline(points, 56)
    low, high = outer[0, 1] + floor, outer[-1, 1]
    inner = outer[outer[:, 1] > low] - [wall, 0.0]
    inner[:, 0] = np.maximum(inner[:, 0], 0.15 * wall)
    # A rounded lip: half a circle between the outer and the inner edge.
    turn = np.linspace(0, math.pi, 7)[1:-1]
    lip = np.stack(
        [outer[-1, 0] - wall / 2 + wall / 2 * np.cos(turn), high + wall / 2 * np.sin(turn)], 1
    )
    outline = [[[0.0, outer[0, 1]]], outer, lip, inner[::-1], [[inner[0, 0], low]], [[0.0, low]]]
    return lathe(np.concatenate(outline), segments)


def outline(points: Sequence[Point], radius: float = 0.0) -> CrossSection:
    """A flat shape; convex and concave corners are rounded to `radius`."""
    shape = CrossSection([np.asarray(points, np.float64)], fillrule=FillRule.NonZero)
    if radius > 0:
        for by in (-radius, 2 * radius, -radius):
            shape = shape.offset(by, JoinType.Round, circular_segments=40)
    return shape


def rectangle(width: float, height: float, radius: float = 0.0) -> CrossSection:
    """A rectangle about the origin with rounded corners."""
    x, y = width / 2, height / 2
    shape = CrossSection([np.array([[-x, -y], [x, -y], [x, y], [-x, y]])])
    if radius <= 0:
        return shape
    shape = shape.offset(-min(radius, 0.98 * min(x, y)), JoinType.Miter)
    return shape.offset(min(radius, 0.98 * min(x, y)), JoinType.Round, circular_segments=48)


def disc(radius: float, segments: int = 72) -> CrossSection:
    """A circle about the origin."""
    return CrossSection.circle(radius, segments)


def slab(shape: CrossSection, thickness: float, bevel: float = 0.0) -> Manifold:
    """A flat shape of x and y, extruded along z about z = 0, with bevelled edges."""
    if bevel <= 0:
        return shape.extrude(thickness).translate((0.0, 0.0, -thickness / 2))
    steps = 4
    layers = []
    for k in range(steps + 1):
        angle = k / steps * math.pi / 2
        inset, rise = bevel * (1 - math.cos(angle)), bevel * math.sin(angle)
        half = thickness / 2 - bevel + rise
        layer = shape.offset(-inset, JoinType.Round, circular_segments=40)
        layers.append(layer.extrude(2 * half).translate((0.0, 0.0, -half)))
    return Manifold.batch_boolean(layers, OpType.Add)


def plate(shape: CrossSection, thickness: float, height: float, bevel: float = 0.0) -> Manifold:
    """A flat shape of x and -z that lies level, its upper side at `height`."""
    return upright(slab(shape, thickness, bevel)).translate((0.0, height - thickness / 2, 0.0))


def across(shape: CrossSection, width: float, bevel: float = 0.0) -> Manifold:
    """An outline of z (to the front) and y (up), extruded from side to side."""
    return slab(shape, width, bevel).rotate((0.0, -90.0, 0.0))


def join(solids: Sequence[Manifold]) -> Manifold:
    """The union of solids."""
    return Manifold.batch_boolean(list(solids), OpType.Add)


def mirrored(solid: Manifold) -> Manifold:
    """The solid with its image in the plane x = 0."""
    return solid + solid.mirror((1.0, 0.0, 0.0))


def skin(balls: np.ndarray, blend: float, cells: int = 56) -> Manifold:
    """The smooth union of balls (N, 4), each x, y, z and radius: a signed distance, meshed by
    marching cubes.

    Args:
        blend: the width over which neighbours flow together.
        cells: grid cells along the longest side.
    """
    centre, radius = balls[:, :3], balls[:, 3]
    low = (centre - radius[:, None]).min(0) - blend
    high = (centre + radius[:, None]).max(0) + blend
    step = float((high - low).max()) / cells
    counts = np.ceil((high - low) / step).astype(int) + 3
    axes = [low[i] + step * (np.arange(counts[i]) - 1) for i in range(3)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    total = np.zeros(tuple(counts))
    for (a, b, c), r in zip(centre, radius):
        distance = np.sqrt((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) - r
        total += np.exp(-np.clip(distance / blend * 4, -60, 60))
    # The logarithm of a sum of exponentials is a minimum without an edge.
    points, faces, _, _ = marching_cubes(
        np.log(total), 0.0, spacing=(step, step, step), allow_degenerate=False
    )
    points = (points + [a[0] for a in axes]).astype(np.float32)
    solid = Manifold(Mesh(points, np.ascontiguousarray(faces, np.uint32)))
    if solid.volume() < 0:
        solid = Manifold(Mesh(points, np.ascontiguousarray(faces[:, ::-1], np.uint32)))
    return solid


def fused(
    parts: Sequence[Part], finest: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One closed surface of all parts: vertices (V, 3) float64, faces (F, 3) int32 and, for every
    face, the number (F,) of the part that it is of. What lies inside of another part is gone; with
    `finest`, edges are split until none is longer."""
    originals = [p.solid.as_original() for p in parts]
    number = {solid.original_id(): k for k, solid in enumerate(originals)}
    whole = Manifold.batch_boolean(originals, OpType.Add)
    low, high = np.array(whole.bounding_box()).reshape(2, 3)
    whole = whole.simplify(1e-5 * float(np.linalg.norm(high - low)))
    mesh = (whole if finest is None else whole.refine_to_length(finest)).to_mesh()
    faces = np.asarray(mesh.tri_verts).astype(np.int32)
    bounds = np.asarray(mesh.run_index) // 3
    owner = np.zeros(len(faces), np.int32)
    for k, name in enumerate(mesh.run_original_id):
        owner[bounds[k] : bounds[k + 1]] = number[name]
    return np.asarray(mesh.vert_properties)[:, :3].astype(np.float64), faces, owner
