"""Things that were turned about an upright axis are known by outline and depth, and closed all
around; others are left as they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from threestudio_like.kernels.surface import rasterize
from threestudio_like.meshes.mesh import Mesh
from threestudio_like.meshes.surface.voxels import voxelise
from threestudio_like.metrics.point_sets import voxel_iou
from threestudio_like.systems.image_to_3d.relief.surface import (
    SolidView,
    outline_of,
    solid_mesh,
    turn_to,
)
from threestudio_like.systems.image_to_3d.relief.turned import (
    likely_turned,
    turned_solid,
    with_ends,
)
from threestudio_like.toybox.render import view_projection


def lathe(profile: list[tuple[float, float]], around: int = 64) -> Mesh:
    """The closed mesh of a profile (radius, height) from below, turned about +Y."""
    angle = np.arange(around) * 2 * math.pi / around
    rings = [
        np.stack([r * np.sin(angle), np.full(around, y), r * np.cos(angle)], 1) for r, y in profile
    ]
    ends = np.array([[0, profile[0][1], 0], [0, profile[-1][1], 0]])
    vertices = np.concatenate([*rings, ends]).astype(np.float32)
    one = np.arange(around)
    two = (one + 1) % around
    faces = []
    for k in range(len(profile) - 1):
        a, b = k * around, (k + 1) * around
        faces += [
            np.stack([a + one, a + two, b + two], 1),
            np.stack([a + one, b + two, b + one], 1),
        ]
    low, high, last = len(vertices) - 2, len(vertices) - 1, (len(profile) - 1) * around
    faces += [np.stack([np.full(around, low), two, one], 1)]
    faces += [np.stack([np.full(around, high), last + one, last + two], 1)]
    return Mesh(vertices, np.concatenate(faces).astype(np.int32))


def box(width: float, height: float, depth: float) -> Mesh:
    corners = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    vertices = np.array(corners, np.float32) * np.array([width, height, depth], np.float32) / 2
    faces = [(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1)]
    faces += [(2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)]
    return Mesh(vertices, np.array(faces, np.int32))


SHAPES = {
    "bottle": lathe([(0.3, -0.8), (0.3, 0.1), (0.12, 0.35), (0.12, 0.75)]),
    "cone": lathe([(0.5, -0.6), (0.25, 0.0), (0.001, 0.6)]),
    "drum": lathe([(0.6, -0.3), (0.6, 0.3)]),
    "ball": lathe([(0.6 * math.cos(a), 0.6 * math.sin(a)) for a in np.linspace(-1.57, 1.57, 24)]),
    "lamp": lathe([(0.3, -0.8), (0.3, -0.7), (0.05, -0.7), (0.05, 0.1), (0.5, 0.1), (0.25, 0.7)]),
}
DISTANCE, REACH = 3.0, 3.0 * math.tan(math.radians(20))


def seen(mesh: Mesh, elevation: float, size: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """Outline (S, S) bool and depth (S, S) along the axis from the middle, of the front."""
    matrix = torch.from_numpy(view_projection(0.0, elevation, DISTANCE))
    points = torch.cat([torch.from_numpy(mesh.vertices), torch.ones(len(mesh.vertices), 1)], 1)
    triangles = torch.from_numpy(mesh.faces)
    out = rasterize((points @ matrix.T)[None], triangles, size, size)[0]
    face = out[..., 3].long() - 1
    there = face >= 0
    # Where the pixel's ray meets the face's plane, in the camera's axes.
    corners = mesh.vertices[mesh.faces[face.clamp_min(0).numpy()]] @ turn_to(0.0, elevation).numpy()
    corners = corners - np.array([0, 0, DISTANCE], np.float32)
    first = corners[..., 0, :]
    normal = np.cross(corners[..., 1, :] - first, corners[..., 2, :] - first)
    line = ((np.arange(size) + 0.5) / size * 2 - 1) * math.tan(math.radians(20))
    x, y = np.meshgrid(line, -line)
    rays = np.stack([x, y, -np.ones_like(x)], -1)
    away = (first * normal).sum(-1) / (rays * normal).sum(-1)
    return there.numpy(), np.where(there.numpy(), away - DISTANCE, np.nan)


def view_of(inside: np.ndarray, elevation: float) -> SolidView:
    mask = torch.from_numpy(inside.astype(np.float32))
    return SolidView(turn_to(0.0, elevation), DISTANCE, REACH, outline_of(mask))


def overlap(one: Mesh, two: Mesh) -> float:
    return voxel_iou(*(voxelise(m, 64) for m in (one, two)))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("degrees", [2, 18, 35])
def test_what_was_turned_is_closed_all_around(name, degrees):
    elevation = math.radians(degrees)
    inside, front = seen(SHAPES[name], elevation)
    likely = likely_turned(view_of(inside, elevation), front, (0.0, elevation), free=False)
    assert likely is not None
    assert likely.convincing, (likely.fits, likely.bulge, likely.unlike)
    made = solid_mesh([likely.solid], 96, 0, reach=likely.solid.extent)
    assert made is not None
    # From above, a lamp's shade hides how thin the pole is below it.
    assert overlap(made, SHAPES[name]) > (0.65 if name == "lamp" and degrees > 10 else 0.88)


@pytest.mark.parametrize("degrees", [0, 20, 45])
def test_a_circle_is_a_ball_wherever_the_camera_is_said_to_stand(degrees):
    """Of a ball an estimator cannot tell from how high it is seen; it was cut flat below."""
    middle = np.array([0.1, -0.05, 0.0], np.float32)
    mesh = Mesh(SHAPES["ball"].vertices + middle, SHAPES["ball"].faces)
    inside, front = seen(mesh, 0.0)
    elevation = math.radians(degrees)
    likely = likely_turned(view_of(inside, elevation), front, (0.0, elevation))
    assert likely is not None
    assert likely.convincing
    assert likely.elevation == elevation
    made = solid_mesh([likely.solid], 96, 0, reach=likely.solid.extent)
    # Where it stands in the camera's axes, whatever those are in the world.
    local = Mesh((made.vertices @ turn_to(0.0, elevation).numpy()), made.faces)
    assert np.abs(local.vertices.mean(0) - middle).max() < 0.03
    assert np.ptp(local.vertices, axis=0) == pytest.approx([1.2] * 3, abs=0.03)
    # An ellipse is no circle: seen from the side, this one was turned.
    flat = Mesh(mesh.vertices * np.array([1, 0.8, 1], np.float32), mesh.faces)
    inside, front = seen(flat, 0.0)
    other = likely_turned(view_of(inside, 0.0), front, (0.0, 0.0), free=False)
    made = solid_mesh([other.solid], 96, 0, reach=other.solid.extent)
    assert np.ptp(made.vertices, axis=0) == pytest.approx([1.2, 0.96, 1.2], abs=0.05)


ANGLES = np.linspace(-1.57, 1.57, 30)
ROUND_ENDS = {
    "egg": lathe(
        [(0.5 * math.cos(a) * (1 - 0.25 * math.sin(a)), 0.65 * math.sin(a)) for a in ANGLES]
    ),
    "pill": lathe([(0.4 * math.cos(a), 0.4 * math.sin(a) + math.copysign(0.2, a)) for a in ANGLES]),
    "dome": lathe([(0.5, -0.4), *((0.5 * math.cos(a), 0.5 * math.sin(a)) for a in ANGLES[15:])]),
    "drum": SHAPES["drum"],
    "bottle": SHAPES["bottle"],
}


@pytest.mark.parametrize("name", ROUND_ENDS)
@pytest.mark.parametrize("degrees", [6, 18, 27, 35])
def test_a_round_end_goes_on_as_its_side_does_and_a_flat_one_is_cut(name, degrees):
    mesh, elevation = ROUND_ENDS[name], math.radians(degrees)
    view = view_of(seen(mesh, elevation)[0], elevation)
    made = solid_mesh([with_ends(turned_solid(view), view)], 96, 0, reach=1.2)
    low, high = (getattr(mesh.vertices[:, 1], end)() for end in ("min", "max"))
    assert made.vertices[:, 1].min() == pytest.approx(low, abs=0.07)
    assert made.vertices[:, 1].max() == pytest.approx(high, abs=0.04)


@pytest.mark.parametrize("name", ["drum", "lamp"])
def test_a_flat_base_says_from_where_it_is_seen_at_most(name):
    inside, front = seen(SHAPES[name], math.radians(12))
    view = view_of(inside, 0.0)
    said = likely_turned(view, front, (0.0, math.radians(24)))
    assert said is not None
    assert math.degrees(said.elevation) < 20


@pytest.mark.parametrize("turn", [0, 30, 45])
def test_a_box_was_not_turned(turn):
    angle = math.radians(turn)
    upright = np.array(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    mesh = box(0.7, 0.9, 0.7)
    mesh = Mesh((mesh.vertices @ upright).astype(np.float32), mesh.faces)
    inside, front = seen(mesh, math.radians(15))
    likely = likely_turned(view_of(inside, math.radians(15)), front, (0.0, math.radians(15)))
    assert likely is None or not likely.convincing


def test_a_speck_was_not_turned():
    inside = np.zeros((96, 96), bool)
    inside[48, 48] = True
    view = view_of(inside, 0.2)
    nothing = SolidView(view.turn, DISTANCE, REACH, view.outline.clamp_max(-0.01))
    for one in (view, nothing):
        said = likely_turned(one, np.zeros((96, 96)), (0.0, 0.2))
        assert said is None or not said.convincing


def test_a_ring_on_top_is_not_lost():
    inside, front = seen(SHAPES["drum"], 0.0)
    size = inside.shape[0]
    y, x = np.mgrid[:size, :size]
    away = np.hypot(x - (size - 1) / 2, y - 0.25 * size)
    ring = (away < 0.12 * size) & (away > 0.07 * size)
    front = np.where(ring & ~inside, 0.0, front)
    assert likely_turned(view_of(inside, 0.0), front, (0.0, 0.0)) is not None
    assert likely_turned(view_of(inside | ring, 0.0), front, (0.0, 0.0)) is None
