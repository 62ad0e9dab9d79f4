"""pymeshlab and open3d behind the mesh tools, where they are installed (`make test-extras`)."""

import numpy as np
import pytest
import trimesh

from threestudio_like.engine.errors import ConfigError
from threestudio_like.meshes import Mesh
from threestudio_like.meshes.extras import load, poisson, ray_hits, register, remesh_isotropic
from threestudio_like.meshes.simplify import decimate


def available(name):
    try:
        load(name)
    except ConfigError:
        return False
    return True


pymeshlab = pytest.mark.skipif(not available("pymeshlab"), reason="pymeshlab is not installed")
open3d = pytest.mark.skipif(not available("open3d"), reason="open3d is not installed")


def sphere(subdivisions=4):
    body = trimesh.creation.icosphere(subdivisions=subdivisions)
    return Mesh(np.asarray(body.vertices, np.float32), np.asarray(body.faces, np.int32))


def test_a_missing_extra_is_one_clear_error():
    with pytest.raises(ConfigError, match="pip install"):
        load("a_module_that_is_not_there")


@pytest.mark.parametrize("backend", [pytest.param("pymeshlab", marks=pymeshlab), pytest.param("open3d", marks=open3d)])
def test_decimation(backend):
    small = decimate(sphere(), 1000, backend)
    assert 900 <= len(small.faces) <= 1100
    assert np.linalg.norm(small.vertices, axis=1) == pytest.approx(1, abs=0.02)


@pymeshlab
def test_isotropic_remeshing():
    mesh = remesh_isotropic(sphere(3), 0.1)
    edges = np.linalg.norm(mesh.vertices[mesh.faces] - np.roll(mesh.vertices[mesh.faces], 1, 1), axis=2)
    assert float(edges.mean()) == pytest.approx(0.1, rel=0.25)
    assert float(edges.std()) < 0.03


@pymeshlab
def test_screened_poisson():
    body = sphere(4)
    mesh = poisson(body.vertices, body.vertices)
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(1, abs=0.03)


@open3d
def test_registration_and_rays():
    points = sphere(3).vertices * [1.0, 0.7, 0.4]
    turn = trimesh.transformations.rotation_matrix(0.1, [0, 1, 0], [0, 0, 0])
    found = register(points, trimesh.transform_points(points, turn), 0.2)
    assert np.allclose(found, turn, atol=1e-2)
    hits = ray_hits(sphere(4), np.float32([[0, 0, 3], [0, 3, 3]]), np.float32([[0, 0, -1], [0, 0, -1]]))
    assert hits[0] == pytest.approx(2, abs=0.01)
    assert np.isinf(hits[1])
