"""What keeps its colour, painted on a mesh: which texels the brush takes, the mask that is written,
the commands. The page: test_viewer_panels_in_a_browser.py."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threestudio_like.cli import main
from threestudio_like.engine.errors import InputError
from threestudio_like.kernels import interpolate
from threestudio_like.meshes.io.files import read
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.texture.bake import atlas_raster
from threestudio_like.systems.texturing.subject import (
    SubjectOptions,
    locked_texels,
    read_subject,
)

pytest.importorskip("viser", reason="no viser: pip install '.[viewer]'")

from threestudio_like.reports import viewer as package
from threestudio_like.reports.viewer import LockPainter
from threestudio_like.reports.viewer.lock import SurfaceTexels

ROBOT, TEAPOT = Path("assets/meshes/robot.glb"), Path("assets/meshes/teapot.obj")


def wall(z: float, flip: bool) -> Mesh:
    """A square of edge 2 that looks to +Z, or to -Z where it is flipped, with its own half of the
    texture."""
    points = np.array([[-1, -1, z], [1, -1, z], [1, 1, z], [-1, 1, z]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uv = (points[:, :2] + 1) / 2 * np.float32([0.5, 1]) + np.float32([0.5 if flip else 0, 0])
    return Mesh(points, faces[:, ::-1] if flip else faces, uv.astype(np.float32))


@pytest.mark.parametrize("path", [ROBOT, TEAPOT])
def test_a_ray_meets_the_mesh_where_another_library_says(path):
    from trimesh.ray.ray_triangle import ray_triangle_id

    texels = SurfaceTexels(read(path), 64)
    corners = texels._corners
    corners = corners[
        np.linalg.norm(np.cross(*np.diff(corners, axis=1).swapaxes(0, 1)), axis=1) > 0
    ]
    rng = np.random.default_rng(0)
    origins = rng.normal(size=(40, 3))
    origins *= 3 / np.linalg.norm(origins, axis=1, keepdims=True)
    rays = rng.normal(size=(40, 3)) * 0.3 - origins

    class Every:
        """In place of the tree that narrows the triangles down, which is not installed."""

        bounds = np.array([-4.0, -4, -4, 4, 4, 4])

        def intersection(self, box):
            return range(len(corners))

    _, ray, points = ray_triangle_id(corners, origins, rays, tree=Every(), multiple_hits=False)
    at = dict(zip(ray.tolist(), points))
    assert 8 < len(at) < 40
    for number, (origin, direction) in enumerate(zip(origins, rays)):
        if number in at:
            assert np.allclose(texels.cast(origin, direction)[0], at[number], atol=1e-5)
        else:
            with pytest.raises(InputError, match="beside the mesh"):
                texels.cast(origin, direction)


def test_a_brush_paints_a_disc_on_one_side_of_a_thin_wall():
    texels = SurfaceTexels(Asset({"out": wall(0.01, False), "in": wall(-0.01, True)}), 256)
    at, normal = texels.cast(np.array([0.2, -0.1, 3]), np.array([0.0, 0, -1]))
    assert normal.tolist() == pytest.approx([0, 0, 1])
    count = texels.paint(at, normal, 0.2)
    # The disc's share of the front's texels, which are half of all 256 x 256.
    edge = 2 / texels._radius
    assert count == pytest.approx(np.pi * 0.2**2 / edge**2 * 256 * 128, rel=0.02)
    assert not texels.mask[:, 128:].any()
    painted = texels.points[texels.painted()]
    assert np.linalg.norm(painted - at, axis=1).max() <= 0.2
    # What is rubbed out again is as it was, and the mask is white where it is painted.
    assert texels.picture()[texels.mask].min() == 255
    assert texels.paint(at, normal, 0.2, keep=False) == count
    assert texels.share() == 0


def painted_by(painter: LockPainter) -> np.ndarray:
    """A user's stroke: from the front, across the middle."""
    eye = np.array([0.0, 0.3, 3.0])
    painter.begin()
    for x in np.linspace(-0.25, 0.25, 5):
        painter.stroke_to(eye, np.array([x, 0.1, 0.0]))
    painter.finish()
    return painter.texels.points[painter.texels.painted()]


@pytest.mark.parametrize("path", [ROBOT, TEAPOT])
def test_what_is_painted_is_what_texture_locks(path, tmp_path):
    """The mask, read as `--lock`, locks the places that were painted and no others."""
    painter = LockPainter(read(path), path.name)
    try:
        painted = painted_by(painter)
        mask = painter.wait(5)
        middle, radius = painter.texels._middle, painter.texels._radius
    finally:
        painter.close()
    Image.fromarray(mask).save(tmp_path / "lock.png")
    subject = read_subject(path, SubjectOptions(lock=tmp_path / "lock.png"), "sphere")
    locked = locked_texels(subject)
    assert locked is not None
    atlas = subject.atlas
    raster = atlas_raster(atlas.mesh, atlas.resolution)
    import torch

    inside = raster[..., 3] > 0
    points = interpolate(
        torch.from_numpy(atlas.mesh.vertices), torch.from_numpy(atlas.mesh.faces), raster
    )
    locked_points = subject.placement.undo(points[inside & locked].numpy())
    free_points = subject.placement.undo(points[inside & ~locked].numpy())
    from scipy.spatial import cKDTree

    tree = cKDTree(painted)
    near = tree.query((locked_points - middle) / radius)[0]
    far = tree.query((free_points - middle) / radius)[0]
    texel = 2 * np.sqrt(4 * np.pi) / atlas.resolution
    assert len(locked_points) > 100
    assert np.quantile(near, 0.99) < 3 * texel
    # A free texel within the painted area would lie between painted ones.
    assert (far < 0.2 * texel).mean() < 0.01


def test_strokes_are_taken_back_and_nothing_or_all_is_refused():
    painter = LockPainter(read(ROBOT), "robot.glb")
    try:
        with pytest.raises(InputError, match="nothing is painted"):
            painter.finish()
        eye = np.array([0.0, 0.0, 3.0])
        painter.begin()
        painter.stroke_to(eye, np.zeros(3))
        first = painter.texels.mask.copy()
        painter.begin()
        painter.stroke_to(eye, np.array([0.1, 0.1, 0.0]))
        assert painter.texels.mask.sum() > first.sum()
        painter.undo()
        assert np.array_equal(painter.texels.mask, first)
        painter.clear()
        assert not painter.texels.mask.any()
        painter.undo()
        assert np.array_equal(painter.texels.mask, first)
        painter.texels.mask[:] = True
        with pytest.raises(InputError, match="all of the mesh"):
            painter.finish()
        assert painter.wait(0.01) is None
    finally:
        painter.close()


@pytest.fixture
def user(monkeypatch, tmp_path):
    """Somebody who paints across the middle, and is done, in a folder of their own."""
    real = package.LockPainter.wait

    def wait(self, seconds=None):
        threading.Thread(target=painted_by, args=(self,), daemon=True).start()
        return real(self, seconds)

    monkeypatch.setattr(package.LockPainter, "wait", wait)
    path = tmp_path / "my robot.glb"
    path.write_bytes(ROBOT.read_bytes())
    monkeypatch.chdir(tmp_path)
    return path


def test_view_of_a_mesh_and_a_prompt_prints_the_command_with_the_mask(user, capsys):
    line = ["view", str(user), "a red robot", "--no-browser", "--seconds", "60"]
    assert main(line) == 0
    assert main(line) == 0
    said = [shlex.split(text) for text in capsys.readouterr().out.strip().splitlines()]
    wanted = ["threestudio-like", "texture", str(user), "a red robot", "--lock"]
    # A second mask replaces none.
    assert said == [[*wanted, "my-robot-lock.png"], [*wanted, "my-robot-lock-2.png"]]
    with Image.open("my-robot-lock.png") as mask:
        assert mask.mode == "L"
        assert 0 < np.asarray(mask).mean() < 255


def test_texture_takes_what_is_painted(user, monkeypatch, capsys):
    from threestudio_like.commands.jobs import texture as texturing

    class Stop(Exception):
        pass

    taken = {}

    def opened(command, options, **_):
        taken.update(lock=options.lock, pick=options.pick)
        raise Stop

    monkeypatch.setattr(texturing.Run, "open", opened)
    monkeypatch.setattr(package.follow.__globals__["webbrowser"], "open", lambda address: False)
    with pytest.raises(Stop):
        texturing.texture(texturing.Texture(mesh=user, prompt="a red robot", pick=True))
    assert taken == {"lock": Path("my-robot-lock.png"), "pick": False}
    lock = ["--pick", "--lock", "my-robot-lock.png"]
    assert main(["texture", str(user), "a red robot", *lock]) == 2
    assert "Leave out --lock" in capsys.readouterr().err


def test_a_mesh_without_coordinates_is_refused_in_one_line(capsys):
    assert main(["view", "assets/shapes/mug.obj", "a red mug", "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert "mug.obj" in said
    assert "mesh unwrap" in said
    assert said.count("\n") == 1
