"""Decimation of odd meshes: stray vertices, very small ones, copies of other sizes, many parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from threestudio_like.meshes.mesh import Mesh
from threestudio_like.meshes.surface import instances
from threestudio_like.meshes.surface.simplify import change, decimate, decimate_parts


def ball(size: float = 1.0, place=(0, 0, 0), detail: int = 3) -> Mesh:
    body = trimesh.creation.icosphere(detail, size)
    points = np.asarray(body.vertices + np.array(place), np.float32)
    return Mesh(points, np.asarray(body.faces, np.int32))


@pytest.mark.parametrize("stray", [np.nan, np.inf, 1e30])
def test_a_vertex_of_no_face_may_be_anywhere(stray):
    mesh = ball()
    expected = decimate(mesh, 200)
    odd = replace(mesh, vertices=np.concatenate([[[stray] * 3], mesh.vertices]).astype(np.float32))
    odd.faces = mesh.faces + 1
    made = decimate(odd, 200)
    assert np.array_equal(made.vertices[made.faces], expected.vertices[expected.faces])
    assert np.array_equal(made.origin, expected.origin + 1)
    assert change(odd, made) == change(mesh, expected)
    assert decimate(odd, len(odd.faces)) is odd


@pytest.mark.parametrize("size", [1e-12, 1e-8, 1e8])
def test_the_texture_stays_whatever_the_size_is(size):
    mesh = ball()
    mesh = replace(mesh, uv=mesh.vertices[:, :2] / 2 + 0.5)
    small = replace(mesh, vertices=mesh.vertices * np.float32(size))
    made = decimate(small, 200)
    expected = made.vertices[:, :2] / np.float32(size) / 2 + 0.5
    assert np.abs(made.uv - expected).max() < 0.02
    moved = float(change(small, made).split("at most ")[1].split(" %")[0])
    assert 0.5 < moved < 3


def test_a_small_original_does_not_ruin_its_large_copy():
    parts = [ball(0.01), ball(100, (1000, 0, 0)), ball(10, (-500, 0, 0))]
    parts[2].faces = parts[2].faces[:, ::-1]
    for order in ((0, 1, 2), (1, 0, 2)):
        made = decimate_parts([parts[k] for k in order], 1500)
        large = made[order.index(1)]
        # A copy stays one, and what an error of it costs is that of the large one.
        assert len(large.faces) == len(made[order.index(0)].faces) > 500
        assert len(large.faces) > 2 * len(made[order.index(2)].faces)


def test_parts_that_are_no_copies_are_told_apart_quickly(monkeypatch):
    rng = np.random.default_rng(0)
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]], np.int32)
    parts = [
        Mesh((rng.random((6, 3)) + np.array([2 * k, 0, 0])).astype(np.float32), faces)
        for k in range(300)
    ]
    turn = trimesh.transformations.rotation_matrix(1, [1, 2, 3])[:3, :3]
    parts += [replace(m, vertices=(m.vertices @ turn + [0, 50, 0]).astype("f4")) for m in parts]
    compared = []
    affine = instances._affine

    def counted(one, other):
        compared.append(affine(one, other))
        return compared[-1]

    monkeypatch.setattr(instances, "_affine", counted)
    found = instances.copies(parts)
    pairs = sorted(sorted((k, of[0][0])) for k, of in found.items())
    assert pairs == [[k, 300 + k] for k in range(300)]
    assert len(compared) < 600


@pytest.mark.parametrize("far", [0, 300])
def test_flat_copies_are_found_wherever_they_lie(far):
    flat = np.random.default_rng(1).random((30, 3)) * [1, 1, 0]
    faces = np.arange(30).reshape(-1, 3).astype(np.int32)
    parts = []
    for k in range(12):
        turn = trimesh.transformations.rotation_matrix(k, [1, k, 2])[:3, :3]
        parts.append(Mesh((flat @ turn + [far + 3 * k, 0, far]).astype(np.float32), faces))
    found = instances.copies(parts)
    assert sorted([*found, *(k for of in found.values() for k, _ in of)]) == list(range(12))
    assert len(found) == 1


def test_vertices_of_their_own_for_each_face_are_no_seams():
    mesh = ball(detail=4)

    def uv(points):
        return (points[:, :2] / 2 + 0.5 + 0.1 * points[:, 2:]).astype(np.float32)

    corners = mesh.vertices[mesh.faces].reshape(-1, 3)
    own = np.arange(len(corners)).reshape(-1, 3).astype(np.int32)
    whole = decimate(replace(mesh, uv=uv(mesh.vertices)), 1000)
    soup = decimate(Mesh(corners, own, uv=uv(corners)), 1000)
    assert len(soup.vertices) == len(whole.vertices)
    assert np.abs(soup.uv - uv(soup.vertices)).max() < 0.005
