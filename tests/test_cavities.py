"""Closed shells within others: the walls of voids stay turned into them, also where the whole file
is inside out, solids within others face outwards, and the volume is that of the solid."""

import itertools
import json

import numpy as np
import pytest
import trimesh

from threestudio_like.cli import main
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.surface.clean import clean


def ball(radius: float, at=(0.0, 0.0, 0.0)) -> trimesh.Trimesh:
    shape = trimesh.creation.icosphere(2, radius)
    return shape.apply_translation(at)


def box(size, at=(0.0, 0.0, 0.0)) -> trimesh.Trimesh:
    return trimesh.creation.box(size).apply_translation(at)


def u_shape() -> trimesh.Trimesh:
    """A bent beam of three unit cubes and two arms, from one mould of eight corners a layer."""
    line = [(-1.5, -1), (1.5, -1), (1.5, 1), (0.5, 1), (0.5, 0), (-0.5, 0), (-0.5, 1), (-1.5, 1)]
    flat = [(0, 1, 4), (0, 4, 5), (1, 2, 3), (1, 3, 4), (0, 5, 6), (0, 6, 7)]
    points = [(x, y, z) for z in (0.0, 1.0) for x, y in line]
    faces = [t[::-1] for t in flat] + [tuple(8 + k for k in t) for t in flat]
    for k in range(8):
        n = (k + 1) % 8
        faces += [(k, n, 8 + n), (k, 8 + n, 8 + k)]
    return trimesh.Trimesh(points, faces, process=False)


def mesh_of(shapes, inverted) -> Mesh:
    """One mesh of several shells, of which some are turned inside out."""
    shapes = [shape.copy() for shape in shapes]
    for shape, turned in zip(shapes, inverted):
        if turned:
            shape.invert()
    whole = trimesh.util.concatenate(shapes)
    return Mesh(np.float32(whole.vertices), np.int32(whole.faces))


IN = "walls of voids turned inwards"
SOLIDS = {
    # Shells, and of each whether its volume is a part of the solid (1), or a void (-1) if it faces
    # the other way than the first, which is around it.
    "a ball": ([ball(1)], [1]),
    "a hollow ball": ([ball(1), ball(0.6)], [1, -1]),
    "a ball in a ball in a ball": ([ball(1), ball(0.7), ball(0.4)], [1, -1, 1]),
    "two separate balls": ([ball(1), ball(1, (3, 0, 0))], [1, 1]),
    "a hollow ball beside a ball": ([ball(1), ball(0.6), ball(1, (3, 0, 0))], [1, -1, 1]),
    "two voids": ([ball(1), ball(0.3, (0.5, 0, 0)), ball(0.3, (-0.5, 0, 0))], [1, -1, -1]),
    "far away": ([ball(1, (900, 0, 0)), ball(0.6, (900, 0, 0))], [1, -1]),
    "balls that cross": ([ball(1), ball(1, (1, 0, 0))], [1, 1]),
    "balls that cross in a hall": ([box((9, 9, 9)), ball(1), ball(1, (1, 0, 0))], [1, 1, 1]),
    "voids that cross": ([box((9, 9, 9)), ball(1), box((0.1, 0.1, 2.5))], [1, 1, 1]),
    "a stud through the wall": ([ball(1), ball(0.6), box((0.1, 0.1, 2.5))], [1, -1, 1]),
    "beside a bay": (
        # The bar lies in the box of the ring, and within none of its faces.
        [trimesh.creation.annulus(0.6, 1, 1), box((0.2, 0.2, 0.2))],
        [1, 1],
    ),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_the_volume_is_that_of_the_solid_however_shells_are_wound(name):
    shapes, kinds = SOLIDS[name]
    for inverted in itertools.product([False, True], repeat=len(shapes)):
        signs = [
            -1 if kind < 0 and turned != inverted[0] else 1 for kind, turned in zip(kinds, inverted)
        ]
        expected = sum(sign * shape.volume for sign, shape in zip(signs, shapes))
        mesh = mesh_of(shapes, inverted)
        mended, done = clean(mesh)
        assert mended.volume == pytest.approx(expected, rel=1e-4)
        other = trimesh.Trimesh(mended.vertices, mended.faces, process=False)
        assert other.is_winding_consistent
        if name != "far away":
            assert other.volume == pytest.approx(expected, rel=1e-4)
        wrong = [bool(turned) != (sign < 0) for turned, sign in zip(inverted, signs)]
        assert done["faces turned"] == sum(
            len(shape.faces) for shape, turned in zip(shapes, wrong) if turned
        )
        told = {key: done.get(key, 0) for key in ("shells turned outwards", IN)}
        assert told == {
            "shells turned outwards": sum(w for w, sign in zip(wrong, signs) if sign > 0),
            IN: sum(w for w, sign in zip(wrong, signs) if sign < 0),
        }
        assert clean(mended)[1]["faces turned"] == 0


def test_single_faces_of_a_wall_are_turned_with_it():
    mesh = mesh_of([ball(1), ball(0.6)], [False, True])
    random = np.random.default_rng(0).uniform(size=len(mesh.faces)) < 0.3
    mesh.faces[random] = mesh.faces[random][:, ::-1]
    mended, _ = clean(mesh)
    assert mended.volume == pytest.approx(ball(1).volume - ball(0.6).volume, rel=1e-4)


def test_an_open_shell_within_another_keeps_its_side():
    inner = ball(0.6)
    inner.update_faces(np.arange(len(inner.faces)) > 0)
    for turned in (False, True):
        mesh = mesh_of([ball(1), inner], [False, turned])
        mended, done = clean(mesh)
        assert done["faces turned"] == 0
        np.testing.assert_array_equal(mended.faces, mesh.faces)


def test_a_stick_whose_corners_alone_are_inside_is_no_void():
    # Both ends lie in the arms of a U, and its middle in the gap between them.
    shape = u_shape()
    stick = box((2.2, 0.1, 0.1), (0, 0.7, 0.5))
    for inverted in itertools.product([False, True], repeat=2):
        mended, _ = clean(mesh_of([shape, stick], inverted))
        assert mended.volume == pytest.approx(shape.volume + stick.volume, rel=1e-4)


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_the_command_keeps_the_void_of_one_part_among_others(tmp_path, capsys, suffix):
    parts = {
        "hollow": mesh_of([ball(1), ball(0.6)], [True, False]),
        "solid": mesh_of([ball(1, (3, 0, 0))], [False]),
        "turned": mesh_of([ball(1, (6, 0, 0))], [True]),
    }
    path = Asset(parts).save(tmp_path / f"in{suffix}", force=True)
    out = tmp_path / f"out{suffix}"
    assert main(["mesh", "clean", str(path), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    expected = 3 * ball(1).volume - ball(0.6).volume
    again = Asset.load(out)
    assert sum(m.volume for m in again.meshes.values()) == pytest.approx(expected, rel=1e-4)
    seen = trimesh.load(out, force="mesh")
    assert seen.volume == pytest.approx(expected, rel=1e-4)
    assert f'"{IN}": 1' in json.dumps(said)
    # The normals that are written are those of the sides that faces now have.
    for mesh in again.meshes.values():
        raw = trimesh.triangles.normals(mesh.vertices[mesh.faces].astype(float))[0]
        assert (np.einsum("fi,fki->fk", raw, mesh.normals[mesh.faces]) > 0.5).all()
