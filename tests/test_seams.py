"""Outlines of meshes whose faces share no vertices: their gradient against the area of the convex
hull, and the warning where a table does not know the seams."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import ConvexHull

from threestudio_like import kernels

SIZE = 96


def ball(divisions, unwelded):
    """Vertices (V, 3) and faces (F, 3) of a turned sphere; unwelded, every face has its own."""
    sphere = trimesh.creation.icosphere(divisions, 0.61)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    vertices, faces = np.asarray(sphere.vertices) @ turn, np.asarray(sphere.faces)
    if unwelded:
        vertices, faces = vertices[faces.ravel()], np.arange(faces.size).reshape(-1, 3)
    return vertices, torch.tensor(faces, dtype=torch.int32)


def area_and_growth(vertices, tri, sewn):
    """Pixels that a mesh covers after antialiasing, and their derivative by its scale."""
    scale = torch.ones((), requires_grad=True)
    points = torch.tensor(vertices, dtype=torch.float32) * scale
    clip = torch.cat([points[:, :2], -points[:, 2:] / 2, torch.ones(len(points), 1)], 1)
    pixels = kernels.rasterize(clip, tri, SIZE, SIZE)
    table = kernels.edge_table(tri, points if sewn else None)
    area = kernels.antialias((pixels[..., 3:] > 0).float(), pixels, clip, table).sum()
    area.backward()
    return float(area.detach()), float(scale.grad)


@pytest.mark.parametrize("divisions", [2, 3, 4])
def test_sewn_seams_have_the_outline_of_the_welded_mesh(divisions):
    vertices, tri = ball(divisions, unwelded=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        area, growth = area_and_growth(vertices, tri, sewn=True)
        welded = area_and_growth(*ball(divisions, unwelded=False), sewn=False)
    assert (area, growth) == pytest.approx(welded, rel=1e-6)
    hull = ConvexHull(vertices[:, :2]).volume * SIZE * SIZE / 4
    assert area == pytest.approx(hull, rel=5e-4)
    assert growth == pytest.approx(2 * hull, rel=0.015)


def test_seams_that_are_not_welded_are_told_once():
    vertices, tri = ball(3, unwelded=True)
    hull = ConvexHull(vertices[:, :2]).volume * SIZE * SIZE / 4
    with pytest.warns(UserWarning, match="1920 seam edges are not welded"):
        _, growth = area_and_growth(vertices, tri, sewn=False)
    assert growth > 2 * hull * 1.03
    clip = torch.cat([torch.tensor(vertices, dtype=torch.float32), torch.ones(len(vertices), 1)], 1)
    table, pixels = kernels.edge_table(tri), kernels.rasterize(clip, tri, 8, 8)
    with pytest.warns(UserWarning, match="not welded"):
        kernels.antialias(pixels, pixels, clip, table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernels.antialias(pixels, pixels, clip, table)


def test_only_borders_on_one_another_are_sewn():
    # Two quads of two faces each with a seam between them, and a third sheet at the same seam.
    points = torch.tensor(
        [
            *([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
            *([1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]),
            *([0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 1.0]),
        ]
    )
    tri = torch.arange(9, dtype=torch.int32).view(3, 3)
    assert len(kernels.edge_table(tri)) == 9
    two = kernels.edge_table(tri[:2], points)
    assert len(two) == 5
    shared = two.opposite[:, 1] >= 0
    assert shared.sum() == 1
    assert sorted(two.opposite[shared][0].tolist()) == [0, 4]
    three = kernels.edge_table(tri, points)
    assert len(three) == 8
    assert (three.opposite[:, 1] >= 0).sum() == 1
    apart = points.clone()
    apart[3:] += 1e-6
    assert len(kernels.edge_table(tri[:2], apart)) == 6
