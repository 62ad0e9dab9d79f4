"""pymeshlab and open3d behind the mesh tools, where they are installed (`make test-extras`)."""

import numpy as np
import pytest
import trimesh

from threestudio_like.cli import main
from threestudio_like.engine.errors import ConfigError
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.extras import load, poisson, remesh_isotropic
from threestudio_like.meshes.points import estimate_normals, hidden_faces, register
from threestudio_like.meshes.surface.simplify import decimate


def available(name):
    try:
        load(name)
    except ConfigError:
        return False
    return True


pymeshlab = pytest.mark.skipif(not available("pymeshlab"), reason="pymeshlab is not installed")
open3d = pytest.mark.skipif(not available("open3d"), reason="open3d is not installed")
EITHER = [pytest.param("pymeshlab", marks=pymeshlab), pytest.param("open3d", marks=open3d)]


def sphere(subdivisions=4, radius=1.0):
    body = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(np.asarray(body.vertices, np.float32), np.asarray(body.faces, np.int32))


def test_a_missing_extra_is_one_clear_error():
    with pytest.raises(ConfigError, match="pip install"):
        load("a_module_that_is_not_there")


@pytest.mark.parametrize("backend", EITHER)
def test_decimation(backend):
    small = decimate(sphere(), 1000, backend)
    assert 900 <= len(small.faces) <= 1100
    assert np.linalg.norm(small.vertices, axis=1) == pytest.approx(1, abs=0.02)


@pymeshlab
def test_isotropic_remeshing(tmp_path):
    mesh = remesh_isotropic(sphere(3), 0.1)
    edges = np.linalg.norm(
        mesh.vertices[mesh.faces] - np.roll(mesh.vertices[mesh.faces], 1, 1), axis=2
    )
    assert float(edges.mean()) == pytest.approx(0.1, rel=0.25)
    assert float(edges.std()) < 0.03
    Asset({"ball": sphere(2)}).save(tmp_path / "ball.glb")
    assert (
        main(
            [
                "mesh",
                "remesh",
                str(tmp_path / "ball.glb"),
                "--edge",
                "0.1",
                "--out",
                str(tmp_path / "new.glb"),
            ]
        )
        == 0
    )
    assert len(Asset.load(tmp_path / "new.glb").mesh.faces) > 1000


@pytest.mark.parametrize("backend", EITHER)
def test_screened_poisson(backend, tmp_path):
    body = sphere(4)
    mesh = poisson(body.vertices, body.vertices, backend=backend)
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(1, abs=0.03)
    # A soup of loose triangles becomes one closed surface, from the command line.
    torn = sphere(3).keep_faces(np.arange(1280) % 10 > 0)
    Asset({"torn": torn}).save(tmp_path / "torn.ply")
    target = tmp_path / "closed.glb"
    assert (
        main(
            [
                "mesh",
                "poisson",
                str(tmp_path / "torn.ply"),
                "--backend",
                backend,
                "--depth",
                "6",
                "--out",
                str(target),
            ]
        )
        == 0
    )
    assert Asset.load(target).mesh.volume == pytest.approx(4.19, abs=0.2)


@open3d
def test_registration_normals_and_rays_by_open3d():
    points = sphere(3).vertices * [1.0, 0.7, 0.4]
    turn = trimesh.transformations.rotation_matrix(0.1, [0, 1, 0], [0, 0, 0])
    found, _ = register(points, trimesh.transform_points(points, turn), 0.2, "open3d")
    assert np.allclose(found, turn, atol=1e-2)
    ball = sphere(3).vertices
    assert float((estimate_normals(ball, backend="open3d") * ball).sum(1).min()) > 0.9
    inner = sphere(2, 0.5)
    both = Mesh(
        np.concatenate([sphere(2).vertices, inner.vertices]),
        np.concatenate([inner.faces, inner.faces + len(inner.vertices)]),
    )
    assert np.array_equal(hidden_faces(both, "open3d"), np.arange(640) >= 320)
