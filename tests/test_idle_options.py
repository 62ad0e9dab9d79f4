"""Options that change nothing for what is given are said or refused, never passed over: each beside
the same call in which they mean something."""

from __future__ import annotations

import json
import shutil

import pytest

from threestudio_like.commands.api.options import build_options
from threestudio_like.commands.compose import Compose
from threestudio_like.commands.jobs.compose_objects import of_made_objects
from threestudio_like.commands.jobs.picture.given import check_known, say_unused
from threestudio_like.engine.errors import ConfigError, InputError
from threestudio_like.runs.options import AssetOptions, KnownOptions
from threestudio_like.runs.record import RunRecord
from threestudio_like.runs.session import Run
from threestudio_like.systems.image_to_3d.known import Known

from .runs import CAR, MUG, run


class Heard:
    """Events that keep what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)


@pytest.mark.parametrize("depth", ["", "depth-anything-small"])
def test_what_a_depth_map_holds_is_said_of_a_map_alone(depth, tmp_path, capsys):
    with pytest.raises(ConfigError, match="none is given"):
        check_known(KnownOptions(depth=depth, depth_kind="disparity"), 1)
    check_known(KnownOptions(depth=depth), 1)
    check_known(KnownOptions(depth="depth.npy", depth_kind="disparity"), 1)
    words = ("reconstruct", CAR, "--depth-kind", "disparity", "--out", tmp_path / "run")
    assert run(*words) == 2
    assert capsys.readouterr().err.startswith("threestudio-like: --depth-kind: says what a depth")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("known", "unused"),
    [
        (Known(fov=50.0), "--fov"),
        (Known(distance=2.0, height=0.8), "--distance"),
        (Known(fov=50.0, distance=2.0), ""),
        (Known(height=0.8), ""),
        (Known(normals="marigold", fov=50.0), "--normal, --fov"),
    ],
)
def test_a_perspective_that_a_method_has_of_its_own_is_said(known, unused):
    heard = Heard()
    say_unused(known, "g3dr", set(), heard)
    assert [line.partition("no use of ")[2].partition(".")[0] for line in heard.lines] == (
        [unused] if unused else []
    )
    say_unused(known, "relief", {"--normal", "--fov", "--distance"}, heard)
    assert len(heard.lines) == bool(unused)


def test_the_methods_of_given_objects_are_said():
    plain = of_made_objects(Compose())
    assert set(plain) == {"--method", "--faces", "--texture"}
    assert not any(plain.values())
    options = build_options(
        Compose,
        None,
        asset=AssetOptions(faces=0, texture=64),
        values={"method_name": "relief"},
        method={},
        seed=0,
        set=None,
    )
    assert all(of_made_objects(options).values())


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A folder with a mesh and the poses of two of them."""
    folder = tmp_path_factory.mktemp("scene")
    shutil.copy(MUG, folder / "mug.obj")
    poses = [{"file": "mug.obj", "translation": [x, 0, 0]} for x in (0.0, 3.0)]
    (folder / "poses.json").write_text(json.dumps({"objects": poses}))
    return folder


def test_a_layout_that_is_settled_says_what_changes_nothing(scene, capsys):
    words = ("compose", "--poses", scene / "poses.json", "--no-turntable", "--place.stand", "false")
    assert run(*words, "--out", scene / "plain") == 0
    assert "changes nothing" not in capsys.readouterr().err
    idle = ("--faces", "500", "--texture", "64", "--negative", "a red box", "--steps", "3")
    assert run(*words, "--out", scene / "idle", *idle) == 0
    told = capsys.readouterr().err
    for name in idle[::2]:
        assert f"Warning: {name} changes nothing" in told


def test_a_painting_has_the_faces_of_its_mesh(tmp_path, capsys, monkeypatch):
    def enough(*_, **__):
        raise InputError("enough")

    monkeypatch.setattr(Run, "execute", enough)
    corners = ("0 0 0", "1 0 0", "0 1 0", "0 0 1")
    faces = ("1 3 2", "1 2 4", "2 3 4", "1 4 3")
    lines = [*(f"v {c}" for c in corners), *(f"f {f}" for f in faces)]
    (tmp_path / "tent.obj").write_text("\n".join(lines))
    words = ("texture", tmp_path / "tent.obj", "a red box", "--texture", "64")
    for name, more in (("few", ["--faces", "500"]), ("all", [])):
        assert run(*words, "--out", tmp_path / name, *more) == 2
        told = capsys.readouterr().err
        assert "enough" in told
        assert ("Warning: --faces changes nothing" in told) == bool(more)


def test_a_painting_is_not_refined_as_a_field(tmp_path, capsys):
    """Its mesh is the user's."""
    (tmp_path / "mug").mkdir()
    RunRecord(command="texture", facts={"prompt": "a red mug"}).write(tmp_path / "mug")
    again = ("refine", tmp_path / "mug", "--out", tmp_path / "again", "--quiet")
    assert run(*again, "--refine-mesh") == 2
    assert "--refine-mesh: optimises the mesh of a field" in capsys.readouterr().err
    assert run(*again) == 2
    assert "has no asset yet" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
