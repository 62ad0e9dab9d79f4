"""The rasteriser has no holes: closed surfaces with their corners on pixel centres or anywhere,
against rational numbers and against what closed and convex surfaces are."""

import numpy as np
import pytest
import torch
import trimesh

from threestudio_like import kernels
from threestudio_like.kernels.reference import raster

from .exact_coverage import (
    convex_body,
    gaps,
    layers,
    on_pixel_centres,
    perspective,
    same_as_exact,
    subdivided_box,
)


def in_float64(clip, tri, height, width):
    return raster.rasterize(clip.double(), tri, height, width)


TARGETS = {"reference": raster.rasterize, "float64": in_float64, "cpu": kernels.rasterize}


@pytest.fixture(params=list(TARGETS))
def draw(request):
    if request.param == "cpu":
        assert kernels.check("rasterize").selected == "cpu"
    return TARGETS[request.param]


@pytest.mark.parametrize("w", [(1.0,), (1.0, 1.25, 2.5, 0.625), (3.0,)])
def test_corners_on_pixel_centres_against_rational_numbers(draw, w):
    points, faces = subdivided_box(3)
    assert same_as_exact(draw, on_pixel_centres(points, 16, w), faces, 16, 16) == 0


@pytest.mark.parametrize("seed", range(4))
def test_random_bodies_against_rational_numbers(draw, seed):
    points, faces = convex_body(seed, 14)
    assert same_as_exact(draw, perspective(points, seed), faces, 11, 13) == 0


def test_a_body_around_the_camera_against_rational_numbers(draw):
    points, faces = subdivided_box(2)
    clip = perspective(points, 5, distance=0.25, focus=0.8)
    # Depths in [-1, 1] on both sides of the camera.
    clip[:, 2] = 0.5 * clip[:, 3]
    assert (clip[:, 3] < 0).any()
    assert same_as_exact(draw, clip, faces, 9, 10) == 0
    pixels = draw(clip[None], torch.from_numpy(faces).int(), 200, 220)[0]
    assert bool((pixels[..., 3] > 0).all())


@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_of_a_convex_body_has_one_front_and_one_back_face(draw, seed):
    points, faces = convex_body(seed, 24)
    for clip in (
        perspective(points, seed),
        on_pixel_centres(points, 32, (1.0, 1.5, 0.75)),
    ):
        front, back = layers(draw, clip, faces, 32, 32)
        # Corners that were moved to pixel centres make no convex body, but a closed one.
        assert torch.equal(front, back)
    front, back = layers(draw, perspective(points, seed), faces, 40, 56)
    assert int(front.max()) == 1
    assert torch.equal(front, back)


@pytest.mark.parametrize("size", [96, 256, 511])
def test_a_grid_before_the_camera_has_no_holes(draw, size):
    """Sixteen quads in a row, straight on: corners or edges lie on pixel centres."""
    line = torch.linspace(-1, 1, 17)
    y, x = torch.meshgrid(line, line, indexing="ij")
    number = torch.arange(289).view(17, 17)
    p, q, r, s = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    tri = torch.cat([torch.stack(c, -1).view(-1, 3) for c in ((p, q, s), (p, s, r))]).int()
    for distance in (0.98, 1.0, 3.0):
        for shift in (0.0, 1.0 / size):
            clip = torch.stack(
                [1.2 * x + shift, 1.2 * y + shift, 0.1 * x, torch.full_like(x, distance)], -1
            ).view(-1, 4)
            assert gaps(draw(clip[None], tri, size, size)[0]) == 0


def test_triangles_smaller_than_a_pixel_are_not_missed(draw):
    body = trimesh.creation.icosphere(subdivisions=4)
    clip, tri = perspective(np.array(body.vertices), 1), torch.tensor(np.array(body.faces)).int()
    for small in (1.0, 1e-5):
        # The same picture, wherever the camera's unit of length is.
        pixels = draw(clip[None] * small, tri, 100, 100)[0]
        assert gaps(pixels) == 0
        assert 0.2 < float((pixels[..., 3] > 0).float().mean()) < 0.5


def test_thin_triangles_cover_what_they_cover_and_their_weights_are_right(draw):
    """A strip of slivers, each about a millionth as wide as long."""
    generator = torch.Generator().manual_seed(0)
    at = torch.cat([torch.tensor([-0.9]), torch.rand(40, generator=generator) * 1.8 - 0.9])
    at = torch.cat([at.sort().values, torch.tensor([0.9])])
    along = torch.stack([at, 0.37 * at + 1e-6 * torch.rand(42, generator=generator)], 1)
    ends = torch.tensor([[-0.9, -0.8], [0.9, 0.85]])
    points = torch.cat([along, ends])
    clip = torch.cat([points, 0.1 * points[:, :1], torch.ones(44, 1)], 1) * 1.3
    i = torch.arange(41)
    fans = [torch.stack([i, i + 1, torch.full_like(i, top)], 1) for top in (42, 43)]
    thin = torch.stack([i[:-1], i[:-1] + 1, i[:-1] + 2], 1)
    pixels = draw(clip[None], torch.cat(fans).int(), 64, 64)[0]
    lone = draw(clip[None], thin.int(), 64, 64)[0]
    for picture, tri in ((pixels, torch.cat(fans)), (lone, thin)):
        hit = picture[..., 3] > 0
        corner = clip.double()[tri[picture[..., 3][hit].long() - 1]]
        u, v = picture[..., 0][hit].double(), picture[..., 1][hit].double()
        weights = torch.stack([u, v, 1 - u - v], 1)[..., None]
        place = (corner[..., :2] * weights).sum(1) / (corner[..., 3:] * weights).sum(1)
        row, column = hit.nonzero().T
        centre = torch.stack([(column + 0.5) / 32 - 1, 1 - (row + 0.5) / 32], 1)
        assert bool(hit.any()) or picture is lone
        assert float((place - centre).abs().max() if len(place) else 0.0) < 1e-6


def test_an_edge_through_pixel_centres_moves_the_antialiased_area_by_its_length():
    """A quad whose left and right edges, or top and bottom ones, lie on pixel centres."""
    low, high = -17 / 32, 13 / 32
    corners = torch.tensor([[low, low], [high, low], [high, high], [low, high]])
    tri = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    table = kernels.edge_table(tri)
    for axis in (0, 1):
        move = torch.zeros(2, requires_grad=True)
        moved = move[(corners[:, axis] > 0).long()]
        points = corners + moved[:, None] * (torch.arange(2) == axis)
        clip = torch.cat([points, torch.zeros(4, 1), torch.ones(4, 1)], 1)
        pixels = kernels.rasterize(clip.detach(), tri, 32, 32)
        area = kernels.antialias((pixels[..., 3:] > 0).float(), pixels, clip, table).sum()
        assert area.item() == pytest.approx(15 * 15, abs=1e-3)
        area.backward()
        assert move.grad.tolist() == pytest.approx([-15 * 16, 15 * 16], rel=1e-3)
