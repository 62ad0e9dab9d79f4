"""Measures of what eyes see, on surfaces whose answers are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from threestudio_like.engine.errors import InputError
from threestudio_like.meshes.mesh import Mesh, join
from threestudio_like.metrics.appearance import appearance
from threestudio_like.metrics.pictured import (
    colour_bleed,
    inside_seen,
    normal_error,
    pinholes,
    saturation_error,
    sharpness,
)
from threestudio_like.metrics.seen import Seen
from threestudio_like.metrics.solid import (
    bumpiness,
    crease_points,
    creases,
    flatness,
    folds,
    genus_right,
    handles,
    planes,
    size_of,
)
from threestudio_like.renderers import Cameras, RingCameras

FOV = math.radians(40)


def front(size=128):
    zero = torch.zeros(1)
    return Cameras.orbit(zero, zero, 3.0, FOV, size, size)


def mesh_of(solid):
    return Mesh(solid.vertices.astype(np.float32), solid.faces.astype(np.int32))


def cube(edge=1.0, divisions=0):
    solid = trimesh.creation.box((edge, edge, edge))
    for _ in range(divisions):
        solid = solid.subdivide()
    return mesh_of(solid)


def ball(divisions=4, radius=0.8):
    return mesh_of(trimesh.creation.icosphere(divisions, radius))


def rounded(mesh, amount):
    """The mesh, drawn towards the ball of radius 0.6: `amount` 1 is that ball."""
    points = mesh.vertices.astype(np.float64)
    around = points / np.linalg.norm(points, axis=1, keepdims=True) * 0.6
    return replace(mesh, vertices=(points + amount * (around - points)).astype(np.float32))


def sheet(colour, divisions=64, half=0.9):
    """A square that looks to the front, its vertex colours a function of x and y (N, 2)."""
    line = np.linspace(-half, half, divisions + 1)
    x, y = np.meshgrid(line, line)
    points = np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(np.float32)
    number = np.arange((divisions + 1) ** 2).reshape(divisions + 1, -1)
    a, b, c, d = (
        n.ravel() for n in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1])
    )
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return Mesh(points, faces, colours=colour(points[:, :2]).astype(np.float32))


def grey(at):
    return np.full((len(at), 3), 0.5)


def step_at(place):
    """Black to the left of `place`, white to the right; the step lies within one face."""
    return lambda at: np.repeat((at[:, :1] > place).astype(float), 3, 1)


def look(mesh, cameras=None):
    return Seen.of(mesh, cameras or front())


def test_a_mesh_against_itself_is_perfect():
    mesh = cube(1.0, 3)
    mesh.colours = np.tile(np.float32([0.8, 0.2, 0.1]), (len(mesh.vertices), 1))
    figures = appearance(mesh, mesh, RingCameras(count=3).all(96))
    zero = ("normal error", "unevenness", "plane distance", "bumpiness", "pinholes", "inside seen")
    for name in (*zero, "colour error", "saturation error"):
        assert figures[name] == pytest.approx(0, abs=1e-5), name
    assert figures["crease recall"] == figures["crease precision"] == figures["genus right"] == 1
    # One colour has no borders, and nothing to be sharp.
    assert math.isnan(figures["colour bleed"])
    assert math.isnan(figures["sharpness"])


@pytest.mark.parametrize("degrees", [3.0, 10.0, 40.0])
def test_normal_error_of_a_tilted_sheet_is_its_tilt(degrees):
    flat = sheet(grey, 4)
    turn = trimesh.transformations.rotation_matrix(math.radians(degrees), [1, 0, 0])[:3, :3]
    tilted = replace(flat, vertices=(flat.vertices @ turn.T).astype(np.float32))
    assert normal_error(look(tilted), look(flat)) == pytest.approx(degrees, abs=1e-3)


def test_normals_do_not_depend_on_winding_and_the_back_is_told():
    flat = sheet(grey, 4)
    back = replace(flat, faces=np.ascontiguousarray(flat.faces[:, ::-1]))
    assert normal_error(look(back), look(flat)) == pytest.approx(0, abs=1e-4)
    assert inside_seen(look(flat)) == 0
    assert inside_seen(look(back)) == 1


def test_what_shares_no_pixel_has_the_worst_normal_error():
    left, right = cube(0.3), cube(0.3)
    left.vertices[:, 0] -= 0.6
    right.vertices[:, 0] += 0.6
    assert normal_error(look(left), look(right)) == 90.0


def test_folds_of_a_cube():
    found = folds(cube())
    assert len(found.angle) == 18
    assert sorted(np.round(found.angle)) == [0] * 6 + [90] * 12
    points, along = crease_points(cube(), 40, 0.01)
    assert len(points) == 1200
    assert np.allclose(np.sort(np.abs(along), 1), [0, 0, 1])


def test_creases_of_a_finer_cube_are_all_there():
    assert creases(cube(1.0, 3), cube()) == (1.0, 1.0)
    assert creases(cube(), cube(1.0, 3)) == (1.0, 1.0)


def test_a_rounded_cube_loses_its_creases():
    fine = cube(1.0, 4)
    recall, precision = creases(rounded(fine, 1.0), fine)
    assert recall == 0
    # What has no crease has no wrong one.
    assert precision == 1
    assert creases(fine, rounded(fine, 1.0)) == (1.0, 0.0)
    assert creases(rounded(fine, 0.05), fine)[0] > 0.9


def test_creases_beyond_reach_or_in_another_direction_do_not_count():
    assert creases(cube(1.0), cube(1.3)) == (0.0, 0.0)
    size = size_of(cube())
    near = cube(1.0 + 2 * 0.015 * size / math.sqrt(3))
    assert creases(near, cube()) == (1.0, 1.0)
    assert creases(near, cube(), reach=0.01)[0] < 0.05
    # Half of the edges: a second cube on top of the first adds as many that are wrong.
    beside = cube()
    beside.vertices[:, 0] += 3
    recall, precision = creases(join([cube(), beside]), cube())
    assert recall == 1
    assert precision == pytest.approx(0.5, abs=0.01)


def test_bumps_make_creases_everywhere_that_are_not_precise():
    fine = ball(4)
    noise = np.random.default_rng(0).normal(0, 0.03, (len(fine.vertices), 1))
    rough = replace(fine, vertices=(fine.vertices * (1 + noise)).astype(np.float32))
    assert creases(rough, fine) == (1.0, 0.0)


def test_planes_of_a_cube_and_of_a_cylinder():
    assert [len(faces) for faces in planes(cube(1.0, 2))] == [32] * 6
    barrel = mesh_of(trimesh.creation.cylinder(0.5, 1.0, sections=400))
    assert len(planes(barrel)) == 2
    assert planes(ball()) == []


def test_flatness_tells_a_wave_from_a_shift():
    flat = cube(1.0, 5)
    size = size_of(flat)
    wavy = flat.vertices.astype(np.float64).copy()
    top = wavy[:, 1] > 0.499
    inner = np.abs(wavy[:, [0, 2]]).max(1) < 0.49
    wavy[top & inner, 1] += 0.02 * np.sign(np.sin(40 * wavy[top & inner, 0]))
    uneven, distance = flatness(replace(flat, vertices=wavy.astype(np.float32)), flat)
    assert 0.3 < uneven * 6 * size / 0.02 < 1.05
    shifted = flat.vertices + np.float32([0, 0.02, 0])
    uneven, distance = flatness(replace(flat, vertices=shifted), flat)
    # At the lower edge the nearest points of the walls are a little above.
    assert uneven < 0.15 * distance
    assert distance == pytest.approx(2 / 6 * 0.02 / size, rel=0.1)
    assert all(math.isnan(x) for x in flatness(flat, ball()))


def test_bumpiness_is_that_of_the_surface_and_not_of_its_triangles():
    truth = ball(5)
    assert bumpiness(ball(5), truth) == 0
    assert abs(bumpiness(ball(4), truth)) < 0.6
    noise = np.random.default_rng(1).normal(0, 0.004, (len(truth.vertices), 1))
    rough = replace(truth, vertices=(truth.vertices * (1 + noise)).astype(np.float32))
    assert bumpiness(rough, truth) > 5
    assert bumpiness(truth, rough) < -5


def test_bumpiness_leaves_true_creases_out():
    fine = cube(1.0, 4)
    assert bumpiness(fine, cube()) == pytest.approx(0, abs=0.01)


def test_genus():
    ring = mesh_of(trimesh.creation.torus(0.6, 0.2))
    assert handles(ball(2)) == [0]
    assert handles(ring) == [1]
    far = replace(ball(2), vertices=ball(2).vertices + np.float32([3, 0, 0]))
    assert handles(join([ring, far])) == [0, 1]
    assert genus_right(ring, ball(2)) == 0
    assert genus_right(ring, ring) == 1
    crumb = replace(ball(1), vertices=ball(1).vertices * np.float32(0.02) + np.float32(2))
    assert handles(join([ball(2), crumb])) == [0]


def test_an_open_surface_has_no_genus():
    whole = ball(2)
    pierced = replace(whole, faces=whole.faces[1:])
    assert handles(pierced) is None
    assert genus_right(pierced, whole) == 0
    assert math.isnan(genus_right(whole, pierced))


def test_a_pierced_sheet_has_pinholes():
    whole = sheet(grey, 64)
    middle = whole.vertices[whole.faces].mean(1)[:, :2]

    def pierced(*places):
        keep = np.ones(len(middle), bool)
        for x, y in places:
            keep &= np.abs(middle - [x + 0.014, y + 0.014]).max(1) > 0.012
        assert not keep.all()
        return replace(whole, faces=whole.faces[keep])

    cameras = front(512)
    truth = look(whole, cameras)
    assert pinholes(truth, truth) == 0
    assert pinholes(look(pierced((0, 0)), cameras), truth) == 1
    assert pinholes(look(pierced((0, 0), (0.5, 0.25), (-0.5, 0)), cameras), truth) == 3
    # A true hole, a wide hole and a notch in the outline are none.
    assert pinholes(look(pierced((0, 0)), cameras), look(pierced((0, 0)), cameras)) == 0
    wide = replace(whole, faces=whole.faces[np.abs(middle).max(1) > 0.2])
    assert pinholes(look(wide, cameras), truth) == 0


def test_a_hole_in_a_ball_shows_its_inside():
    whole = ball(3)
    hole = whole.vertices[whole.faces].mean(1)[:, 2] > 0.7
    opened = replace(whole, faces=whole.faces[~hole])
    cameras = front()
    share = inside_seen(look(opened, cameras))
    assert 0.1 < share < 0.4
    assert inside_seen(look(whole, cameras)) == 0


@pytest.mark.parametrize("late", [0.25, 0.5])
def test_a_late_border_bleeds_by_its_share_of_the_band(late):
    cameras = front(256)
    pixels = 256 / (2 * 3 * math.tan(FOV / 2))
    width = 8 / pixels * late
    truth, moved = (sheet(step_at(place), 600) for place in (0.0, width))
    bleed, inside = colour_bleed(look(moved, cameras), look(truth, cameras), band=8 / 256)
    assert inside == pytest.approx(0, abs=1e-6)
    # The border itself is one pixel of seventeen.
    assert bleed == pytest.approx(late / 2, abs=0.05)
    same = look(truth, cameras)
    assert colour_bleed(same, same, band=8 / 256) == (0, 0)


def test_an_even_colour_error_is_no_bleed():
    cameras = front(256)
    truth = sheet(step_at(0.0), 200)
    dull = replace(truth, colours=truth.colours * np.float32(0.8) + np.float32(0.1))
    bleed, inside = colour_bleed(look(dull, cameras), look(truth, cameras))
    assert inside == pytest.approx(0.1, abs=1e-3)
    assert bleed == pytest.approx(0, abs=0.02)


def test_saturation():
    red = look(sheet(lambda at: np.tile([0.8, 0.2, 0.2], (len(at), 1)), 4))
    pale = look(sheet(lambda at: np.tile([0.6, 0.4, 0.4], (len(at), 1)), 4))
    assert saturation_error(pale, red) == pytest.approx(-0.4, abs=1e-4)
    assert saturation_error(red, pale) == pytest.approx(0.4, abs=1e-4)


def test_sharpness_of_a_blurred_step_is_one_over_its_width():
    cameras = front(256)
    pixels = 256 / (2 * 3 * math.tan(FOV / 2))
    wide = 10 / pixels

    def ramp(at):
        return np.repeat(((at[:, :1] / wide) + 0.5).clip(0, 1), 3, 1)

    truth = look(sheet(step_at(0.0), 600), cameras)
    assert sharpness(truth, truth) == 1
    blurred = look(sheet(ramp, 600), cameras)
    assert sharpness(blurred, truth) == pytest.approx(0.1, rel=0.25)
    assert sharpness(look(sheet(grey, 4), cameras), truth) == pytest.approx(0, abs=1e-6)


def test_bad_input_is_refused():
    empty = Mesh(np.zeros((3, 3), np.float32), np.zeros((0, 3), np.int32))
    for call in (
        lambda: look(empty),
        lambda: creases(empty, cube()),
        lambda: creases(cube(), empty),
        lambda: handles(empty),
        lambda: bumpiness(empty, cube()),
    ):
        with pytest.raises(InputError):
            call()
    with pytest.raises(InputError, match="same cameras"):
        normal_error(look(cube(), front(64)), look(cube(), front(96)))
