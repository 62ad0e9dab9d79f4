"""Nearest points and winding numbers against rational numbers and exact sums: degenerate and thin
faces, open bodies."""

import math

import pytest
import torch
import trimesh

from threestudio_like import kernels
from threestudio_like.kernels.reference import distance as by_hand

from .exact_distances import worst_error


def reference(corners, queries):
    far, _, point = by_hand.nearest(queries, corners)
    return far, point


def backend(corners, queries):
    tree = kernels.surface_tree(corners.reshape(-1, 3), torch.arange(3 * len(corners)).view(-1, 3))
    far, _, point = kernels.nearest(tree, queries)
    return far, point


@pytest.mark.parametrize("target", [reference, backend])
def test_hard_triangles_against_rational_numbers(target):
    assert kernels.check("nearest").selected == "cpu"
    assert worst_error(target) < 1e-6


@pytest.mark.parametrize("target", [reference, backend])
def test_faces_without_area_are_what_is_left_of_them(target):
    face = torch.tensor([[[0.0, 0, 0], [0, 0, 0], [1, 0, 0]]])
    far, point = target(face, torch.tensor([[1.0, 0, 0], [2.0, 0, 0], [0.5, 3.0, 4.0]]))
    assert far.tolist() == [0.0, 1.0, 5.0]
    assert point.tolist() == [[1.0, 0, 0], [1.0, 0, 0], [0.5, 0, 0]]
    assert bool(torch.isfinite(target(torch.zeros(1, 3, 3), torch.randn(9, 3))[0]).all())


def test_a_body_with_thin_faces_among_others():
    """A sphere whose every edge carries a face without area."""
    body = trimesh.creation.icosphere(subdivisions=2)
    points, faces = (torch.tensor(v.copy()) for v in (body.vertices, body.faces))
    thin = faces[:, [0, 1, 1]]
    tree = kernels.surface_tree(points.float(), torch.cat([faces, thin]))
    plain = kernels.surface_tree(points.float(), faces)
    queries = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(kernels.nearest(tree, queries)[0], kernels.nearest(plain, queries)[0])


def bodies():
    sphere = trimesh.creation.icosphere(subdivisions=4)
    points = torch.tensor(sphere.vertices.copy())
    bumps = 1 + 0.2 * torch.sin(5 * points[:, :1]) * torch.cos(4 * points[:, 1:2])
    faces = torch.tensor(sphere.faces.copy())
    yield "whole", points * bumps, faces
    yield "cut open", points * bumps, faces[points[faces].mean(1)[:, 2] < 0.3]
    torus = trimesh.creation.torus(0.6, 0.1)
    yield "torus", torch.tensor(torus.vertices.copy()), torch.tensor(torus.faces.copy())
    box = trimesh.creation.box((1.6, 0.02, 1.0)).subdivide().subdivide().subdivide().subdivide()
    yield "plate far away", torch.tensor(box.vertices.copy()) + 40, torch.tensor(box.faces.copy())


@pytest.mark.parametrize(
    ("name", "points", "faces"), bodies(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_winding_number_against_the_sum_over_all_triangles(name, points, faces):
    tree = kernels.surface_tree(points.float(), faces)
    middle = points.mean(0)
    queries = middle + torch.rand(1200, 3, generator=torch.Generator().manual_seed(0)) * 3 - 1.5
    queries = queries.float()
    exact = by_hand.winding_number(queries.double(), tree.corners.double())
    for beta, limit in ((2.0, 0.01), (3.0, 0.003), (4.0, 0.0012)):
        error = (kernels.winding_number(tree, queries, beta).double() - exact).abs()
        assert float(error.max()) < limit
    error = (kernels.winding_number(tree, queries).double() - exact).abs()
    assert float(error.max()) < 0.003
    assert float(error.mean()) < 2e-4


def test_a_node_far_away_is_its_moments():
    """Beyond the reach of a body of size 1 the three terms are its series: the error falls with the
    fifth power of the distance at least."""
    tree = kernels.surface_tree(*open_cap())
    direction = torch.nn.functional.normalize(
        torch.randn(64, 3, generator=torch.Generator().manual_seed(2)), dim=1
    )
    errors = []
    for far in (4.0, 8.0):
        exact = by_hand.winding_number(far * direction.double(), tree.corners.double())
        mine = kernels.winding_number(tree, far * direction, 1.0).double()
        errors.append(float((mine - exact).abs().max()))
    assert errors[0] < 5e-4
    assert math.log2(errors[0] / errors[1]) > 4.5


def open_cap():
    body = trimesh.creation.icosphere(subdivisions=2)
    keep = body.triangles_center[:, 2] > 0.2
    return torch.tensor(body.vertices.copy()).float(), torch.tensor(body.faces[keep].copy())
