"""Triangles of polygons: as many as there must be, of the same area, none over another."""

import numpy as np
import pytest

from threestudio_like.meshes.surface.polygons import triangulate, triangulate_all


def area(points, triangles):
    corner = np.asarray(points, float)[triangles]
    return np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]) / 2


def in_space(flat, seed=0):
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    return np.c_[flat, np.zeros(len(flat))] @ turn.T + 5


def shoelace(flat):
    x, y = np.asarray(flat, float).T
    return abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2


def star(count, seed):
    draw = np.random.default_rng(seed)
    angle = np.sort(draw.uniform(0, 2 * np.pi, count))
    return draw.uniform(0.2, 1, count)[:, None] * np.c_[np.cos(angle), np.sin(angle)]


COMB = [(x, y) for k in range(20) for x, y in ((k, 0), (k + 0.5, 5))]
POLYGONS = {
    "triangle": [(0, 0), (1, 0), (0, 1)],
    "square": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "arrow, reflex second": [(0, 0), (1, 0.9), (2, 0), (1, 3)],
    "arrow, reflex third": [(1, 3), (0, 0), (1, 0.9), (2, 0)],
    "an L": [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)],
    "a corner on an edge": [(0, 0), (0.5, 0), (1, 0), (1, 1), (0, 1)],
    "many on an edge": [(0, 0), *((k / 9, 0) for k in range(1, 9)), (1, 0), (1, 1), (0, 1)],
    "a comb": [*COMB, (20, -1), (0, -1)],
    "hexagon": [(np.cos(k * np.pi / 3), np.sin(k * np.pi / 3)) for k in range(6)],
    "a hole by a bridge": [
        *((0, 0), (4, 0), (4, 4), (0, 4), (0, 0)),
        *((1, 1), (1, 3), (3, 3), (3, 1), (1, 1)),
    ],
    **{f"star {n}": star(n, n) for n in (5, 8, 13, 40, 300)},
}


@pytest.mark.parametrize("name", POLYGONS)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_area_is_that_of_the_polygon(name, reverse):
    flat = POLYGONS[name][::-1] if reverse else POLYGONS[name]
    points = in_space(flat)
    for shift in range(min(len(flat), 5)):
        rolled = np.roll(points, shift, 0)
        triangles = triangulate(rolled)
        assert triangles.shape == (len(flat) - 2, 3)
        pieces = area(rolled, triangles)
        whole = pieces.sum(0)
        # All pieces turn the same way and none lies over another.
        np.testing.assert_allclose(np.linalg.norm(whole), shoelace(flat), rtol=1e-9)
        np.testing.assert_allclose(
            np.linalg.norm(pieces, axis=1).sum(), shoelace(flat), rtol=1e-6, atol=1e-9
        )
        assert set(triangles.reshape(-1).tolist()) == set(range(len(flat)))


def test_many_polygons_at_once_are_those_alone():
    shapes = [in_space(p, n) for n, p in enumerate(POLYGONS.values())]
    points = np.concatenate(shapes)
    sizes = [len(s) for s in shapes]
    triangles, owner = triangulate_all(points, np.arange(len(points)), np.array([*sizes, 2, 0]))
    start = np.cumsum(sizes) - sizes
    for n, shape in enumerate(shapes):
        np.testing.assert_array_equal(triangles[owner == n] - start[n], triangulate(shape))
    assert owner.max() == len(shapes) - 1
    assert (np.diff(owner) >= 0).all()


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((6, 3)),
        np.full((5, 3), np.nan),
        [[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3]],
        [[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]],
        np.random.default_rng(0).normal(size=(3000, 3)),
        np.random.default_rng(0).normal(size=(7, 3)) * 1e200,
        np.zeros((2, 3)),
    ],
)
def test_what_is_no_polygon_gives_triangles_all_the_same(points):
    assert len(triangulate(points)) == max(0, len(points) - 2)


def test_bent_quads_keep_their_sense():
    points = np.array([[0, 0, 0], [1, 0, 0.2], [1, 1, 0], [0, 1, 0.2]])
    assert (area(points, triangulate(points))[:, 2] > 0).all()
