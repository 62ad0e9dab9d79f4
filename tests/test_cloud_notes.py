"""Clouds of points: what a reader leaves out is told where they are used."""

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.io.ply.reading import read_points
from threestudio_like.meshes.points import read_cloud
from threestudio_like.reports.viewer.shapes import point_cloud


def cloud(path, more=("red", "green", "blue", "quality"), lean=2.0, elements="", behind=""):
    """A ball of points with their normals and further properties."""
    points = np.random.default_rng(0).normal(size=(300, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    names = ("x", "y", "z", "nx", "ny", "nz", *more)
    head = "ply\nformat ascii 1.0\nelement vertex 300\n"
    head += "".join(f"property float {name}\n" for name in names) + elements
    rows = np.concatenate([points, points * lean, np.full((300, len(more)), 0.5)], 1)
    body = "\n".join(" ".join(f"{v:.7g}" for v in row) for row in rows)
    path.write_text(head + "end_header\n" + body + "\n" + behind)
    return path


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"more": ()}, []),
        ({}, ['properties of "vertex" that are left out: red, green, blue, quality']),
        (
            {
                "more": (),
                "elements": "element camera 1\nproperty float view\n",
                "behind": "1\n",
            },
            ["elements that are left out: camera"],
        ),
        ({"more": (), "lean": 0.0}, ["the normals are left out: some are no directions"]),
    ],
)
def test_a_cloud_says_what_it_left_out(tmp_path, more, says):
    assert read_cloud(cloud(tmp_path / "a.ply", **more)).notes == says


def test_a_cloud_of_a_mesh_says_what_its_reader_said(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf 1 2\n")
    notes = Asset.load(tmp_path / "a.obj").notes
    assert notes
    assert read_cloud(tmp_path / "a.obj").notes == notes


def test_points_that_are_shown_keep_their_colours_and_say_the_rest(tmp_path):
    notes: list[str] = []
    found = read_points(cloud(tmp_path / "a.ply"), notes)
    assert found.colours is not None
    wanted = ['properties of "vertex" that are left out: nx, ny, nz, quality']
    assert notes == wanted
    assert point_cloud(tmp_path / "a.ply").notes == wanted


def test_the_tools_tell_it(tmp_path, capsys):
    ball = Asset({"ball": sphere()}).save(tmp_path / "ball.glb")
    path = cloud(tmp_path / "a.ply")
    out = str(tmp_path / "out.glb")
    assert main(["mesh", "register", str(ball), "--onto", str(path), "--out", out]) == 0
    said = capsys.readouterr().err
    assert said.count("a.ply: properties of") == 1
    assert "red, green, blue, quality" in said
    poisson = main(["mesh", "poisson", str(path), "--depth", "4", "--out", out, "--force"])
    said = capsys.readouterr().err
    # It needs an extra, which this machine may lack.
    assert poisson != 0 or "red, green, blue, quality" in said


def sphere() -> Mesh:
    import trimesh

    shape = trimesh.creation.icosphere(2)
    return Mesh(np.float32(shape.vertices), np.int32(shape.faces))
