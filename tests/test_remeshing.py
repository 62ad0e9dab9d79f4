"""Local remeshing, and the surface that is remeshed while it is optimised (Palfinger 2022)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from tests.test_mesh_stage import STAGE, colour, cube, fitted
from tests.test_mesh_surfaces import edge_counts, links_are_circles, shapes
from threestudio_like.engine.errors import ConfigError, ExportError
from threestudio_like.engine.stage import Step
from threestudio_like.meshes.mesh import Mesh
from threestudio_like.meshes.surface.remesh import (
    Edges,
    Remeshed,
    collapse,
    flip,
    relax,
    remesh,
    split,
    too_long,
)
from threestudio_like.metrics.solid import creases
from threestudio_like.representations.surfaces import (
    Remeshing,
    RemeshingConfig,
    ShapeConfig,
)
from threestudio_like.stages.mesh import MeshStart
from threestudio_like.stages.mesh.stage import sphere
from threestudio_like.stages.mesh.start import mesh_views

KIND = ShapeConfig(kind="remeshing", remeshing=RemeshingConfig(edge=0.12, longest=0.3))


def bodies() -> dict[str, trimesh.Trimesh]:
    bumpy = trimesh.creation.icosphere(4, radius=0.6)
    noise = np.random.Generator(np.random.Philox(3)).normal(size=bumpy.vertices.shape)
    bumpy.vertices = bumpy.vertices + 0.01 * noise
    return {
        "ball": trimesh.creation.icosphere(5, radius=0.5),
        "box": trimesh.creation.box((1.0, 0.6, 0.4)),
        "torus": trimesh.creation.torus(0.5, 0.15, major_sections=60, minor_sections=40),
        "slivers": trimesh.creation.cylinder(0.3, 1.0, sections=48),
        "bumpy": bumpy,
    }


def of(body: trimesh.Trimesh, size: float) -> Remeshed:
    return Remeshed.of(
        np.asarray(body.vertices), np.asarray(body.faces), np.full(len(body.vertices), size)
    )


def as_mesh(found: Remeshed) -> Mesh:
    return Mesh(found.points.astype(np.float32), found.faces.astype(np.int32))


@pytest.mark.parametrize("name", list(bodies()))
@pytest.mark.parametrize("size", [0.05, 0.12])
def test_a_closed_surface_stays_one_of_its_genus_and_volume(name, size):
    body = bodies()[name]
    found, operations = remesh(of(body, size), rounds=12, relaxed=0.5)
    mesh = as_mesh(found)
    assert operations > 0
    assert edge_counts(mesh) == ({2}, {1})
    assert links_are_circles(mesh)
    checked = trimesh.Trimesh(found.points, found.faces, process=False)
    assert checked.is_watertight
    assert checked.is_winding_consistent
    assert checked.euler_number == body.euler_number
    assert checked.volume == pytest.approx(body.volume, rel=0.02 if size < 0.1 else 0.06)


@pytest.mark.parametrize("name", ["ball", "torus", "slivers"])
def test_edges_become_as_long_as_wanted_and_angles_better(name):
    body = bodies()[name]
    found, _ = remesh(of(body, 0.07), rounds=30, relaxed=0.5)
    edges = Edges.of(found.faces, len(found.points))
    assert (too_long(found, edges, 0.5) <= 1e-9).mean() > 0.99
    ends = found.points[edges.pairs]
    length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) / 0.07
    assert (length < 0.45).mean() < 0.02
    least = trimesh.Trimesh(found.points, found.faces, process=False).face_angles.min(1)
    assert np.degrees(least.mean()) > 40
    if name != "ball":
        assert least.mean() > body.face_angles.min(1).mean()


def test_creases_and_corners_stay():
    body = bodies()["box"]
    found, _ = remesh(of(body, 0.08), rounds=12, relaxed=0.5)
    half = np.array([0.5, 0.3, 0.2])
    off = np.abs(np.abs(found.points) - half).min(1)
    assert off.max() < 1e-9, "every vertex lies in one of the box's planes"
    for corner in body.vertices:
        assert np.linalg.norm(found.points - corner, axis=1).min() < 1e-9
    assert creases(as_mesh(found), Mesh(body.vertices.astype(np.float32), body.faces))[0] > 0.99
    assert trimesh.Trimesh(found.points, found.faces).volume == pytest.approx(0.24, rel=1e-9)


def test_each_operation_says_what_it_did():
    body = bodies()["ball"]
    longer, more = split(of(body, 0.01), 0.2, room=40)
    assert more == 40, "no more than there is room for"
    assert len(longer.points) == len(body.vertices) + 40
    new = longer.ends[len(body.vertices) :]
    middle = body.vertices[new].mean(1)
    assert np.allclose(longer.points[len(body.vertices) :], middle), "in the middle of its ends"
    assert (longer.ends[: len(body.vertices)] == np.arange(len(body.vertices))[:, None]).all()
    fewer, gone = collapse(of(body, 0.2), 0.5)
    assert len(fewer.points) == len(body.vertices) - gone < len(body.vertices)
    assert len(np.unique(fewer.ends[:, 0])) == len(fewer.points)
    # Two triangles over the long diagonal of a kite.
    kite = np.array([[0, 0, 0], [2, 0, 0], [1, 0.3, 0], [1, -0.3, 0], [1, 0, -2.0]])
    faces = np.array([[0, 1, 2], [1, 0, 3], [2, 1, 4], [0, 2, 4], [1, 3, 4], [3, 0, 4]])
    assert trimesh.Trimesh(kite, faces, process=False).is_watertight
    turned, flips = flip(Remeshed.of(kite, faces, np.ones(5)))
    assert flips == 1
    assert {2, 3} in [set(edge) for edge in Edges.of(turned.faces, 5).pairs.tolist()]
    assert trimesh.Trimesh(turned.points, turned.faces, process=False).is_watertight
    assert as_mesh(turned).volume == pytest.approx(
        as_mesh(Remeshed.of(kite, faces, np.ones(5))).volume
    )
    assert flip(turned)[1] == 0
    assert np.array_equal(relax(of(body, 1.0), 0.0).points, body.vertices)


def test_what_is_no_surface_is_left_alone():
    """Edges of three faces and of one are split with their neighbours, and nothing else."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0.5, 1, 0], [0.5, -1, 0], [0.5, 0, 1.0]])
    fan = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    found, _ = remesh(Remeshed.of(points, fan, np.full(5, 5.0)), rounds=4, relaxed=0.5)
    assert np.array_equal(found.faces, fan)
    assert np.array_equal(found.points, points)
    finer, more = split(Remeshed.of(points, fan, np.full(5, 0.6)), 0.5, 100)
    assert more == 7
    assert len(finer.faces) == 12
    area = trimesh.Trimesh(finer.points, finer.faces, process=False).area
    assert area == pytest.approx(trimesh.Trimesh(points, fan, process=False).area)


@pytest.mark.parametrize("name", ["sphere", "cube", "torus", "two"])
def test_it_begins_with_a_mesh_and_keeps_its_volume(name):
    mesh = shapes()[name][0]
    surface = Remeshing(RemeshingConfig(edge=0.07))
    surface.begin(mesh)
    found = surface.mesh()
    assert found.volume == pytest.approx(mesh.volume, rel=1e-3)
    assert edge_counts(found) == ({2}, {1})


def test_a_shape_that_has_no_room_gets_larger_triangles_or_is_refused():
    mesh = shapes()["torus"][0]
    few = Remeshing(RemeshingConfig(vertices=300, edge=0.02))
    few.begin(mesh)
    assert int(few.count[0]) <= 300
    assert few.mesh().volume == pytest.approx(mesh.volume, rel=1e-2)
    dust = trimesh.util.concatenate(
        [
            trimesh.creation.icosphere(0, radius=0.02).apply_translation([x, y, 0.0])
            for x in np.linspace(-0.9, 0.9, 12)
            for y in np.linspace(-0.9, 0.9, 12)
        ]
    )
    with pytest.raises(ExportError, match="does not fit into 300 vertices"):
        few.begin(Mesh(dust.vertices.astype(np.float32), dust.faces.astype(np.int32)))
    with pytest.raises(ConfigError, match=r"not between 0.015 and 0.15"):
        Remeshing(RemeshingConfig(edge=0.5))


def test_true_views_make_the_true_shape():
    """From a sphere, by pictures alone."""
    truth = cube()
    start = MeshStart(
        lambda: sphere(0.55), colour=None, teacher=mesh_views(truth, colour), distance=3.0
    )
    model = fitted(replace(STAGE, shape=KIND, steps=80), start)
    mesh = model.surface.mesh()
    assert mesh.volume == pytest.approx(truth.volume, rel=0.05)
    assert edge_counts(mesh) == ({2}, {1})
    assert creases(mesh, truth)[0] > 0.6


def test_lengths_follow_the_gradients_and_moments_the_vertices():
    surface = Remeshing(RemeshingConfig(edge=0.1, vertices=2000))
    begun = surface.sizes[: int(surface.count[0])].clone()
    steady = torch.zeros_like(surface.moved)
    steady[..., 0] = 1.0
    for k in range(6):
        surface.moved.grad = steady.clone()
        surface.after_step(step(k))
    grown = surface.sizes[: len(begun)]
    assert (grown > 1.5 * begun).all() or float(grown.min()) == pytest.approx(0.15)
    for k in range(40):
        surface.moved.grad = steady * (1 if k % 2 else -1)
        surface.after_step(step(k))
    assert float(surface.sizes[: len(begun)].max()) < 0.1
    rows = surface.before_step(step(3))[surface.moved]
    count = int(surface.count[0])
    assert count > len(begun), "smaller triangles are more"
    assert (rows[:count] >= 0).all()
    assert (rows[:count] < len(begun)).all()
    assert (rows[count:] == -1).all()
    assert surface.before_step(step(4)) == {}, "only every third step"
    assert surface.before_step(step(96)) == {}, "not at the end"


def step(index: int) -> Step:
    return Step("mesh", index, 100, fraction=index / 100, seed=0)
