"""What a batch asks before anything begins: defaults that no command has, and all that commands
are given with pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .batches import batch

GOOD = {"command": "tiny", "prompt": "good"}
CHAIR = {"prompt": "a red chair"}


@pytest.fixture
def folder(tmp_path):
    """A manifest's folder with a picture, its maps and files that are none of them."""
    grey = np.full((48, 64, 3), 200, np.uint8)
    grey[12:36, 16:48] = (200, 30, 30)
    Image.fromarray(grey).save(tmp_path / "ok.png")
    Image.fromarray(grey[:, :32]).save(tmp_path / "narrow.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "ok.png").read_bytes()[:90])
    (tmp_path / "text.yaml").write_text("a: 1\n")
    np.save(tmp_path / "ok.npy", np.linspace(1, 2, 48 * 64, dtype=np.float32).reshape(48, 64))
    np.save(tmp_path / "narrow.npy", np.ones((48, 20), np.float32))
    (tmp_path / "empty").mkdir()
    return tmp_path


def refused(folder: Path, content: dict, capsys) -> str:
    path = folder / "m.yaml"
    path.write_text(json.dumps(content))
    for more in ((), ("--dry-run",)):
        assert batch(path, "--store", folder / "store", *more) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1, told
        assert not (folder / "store").exists()
    return told


DEFAULTS = {
    "a misspelt option": ({"promtp": "x", "steps": 7}, [GOOD], "promtp", '"prompt"'),
    "a misspelt dotted value": (
        {"distil.guidance.scal": 5},
        [{"command": "generate", **CHAIR}],
        "distil.guidance.scal",
        '"distil.guidance.scale"',
    ),
    "an option of another command": ({"elevation": 5}, [CHAIR], "elevation", "generate"),
    "an option of neither command": ({"stepz": 5}, [GOOD, CHAIR], "stepz", "generate, tiny"),
    "a key that all items overwrite": ({"stepz": 5}, [{**GOOD, "steps": 1}], "stepz", '"steps"'),
    "a dotted value of none": ({"a.b": 5}, [GOOD], "a.b", "tiny"),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_that_no_command_knows_is_refused(name, folder, capsys):
    defaults, items, key, word = DEFAULTS[name]
    told = refused(folder, {"defaults": defaults, "items": items}, capsys)
    assert f'm.yaml: defaults, field "{key}": there is no such option' in told
    assert word in told


def test_a_default_that_is_no_word_is_refused(folder, capsys):
    (folder / "m.yaml").write_text("defaults: {3: x}\nitems: [{prompt: x, command: tiny}]")
    assert batch(folder / "m.yaml", "--store", folder / "store") == 2
    assert "a key that is no word" in capsys.readouterr().err


@pytest.mark.parametrize(
    "items",
    [
        [{**GOOD}, {"command": "generate", **CHAIR}],
        [{"command": ["tiny", "generate"], **CHAIR}],
        [{**GOOD, "overrides": [{}, {"command": "generate", **CHAIR}]}],
    ],
)
def test_a_default_of_one_of_the_commands_stays(items, folder):
    """`distil.batch` is generate's alone, `seeds` everybody's."""
    content = {"defaults": {"distil.guidance.scale": 9, "seeds": "0-1"}, "items": items}
    (folder / "m.yaml").write_text(json.dumps(content))
    assert batch(folder / "m.yaml", "--store", folder / "store", "--dry-run") == 0


PICTURES = {
    "depth that is not there": ({"depth": "nope.npy"}, "depth", "no such file"),
    "depth of another shape": ({"depth": "narrow.npy"}, "depth", "do not show the same"),
    "depth that is none": ({"depth": "text.yaml"}, "depth", "no map"),
    "normals of one channel": ({"normal": "ok.npy"}, "normal", "three channels"),
    "half a box": ({"box": "1,2,3"}, "box", "is not a box"),
    "a box beside the picture": ({"box": "1,2,300,40"}, "box", "leaves the picture"),
    "a box of nothing": ({"box": "10,10,10,40"}, "box", "empty"),
    "a mask of another size": ({"mask": "narrow.png"}, "mask", "64 x 48"),
    "a mask and a box": ({"mask": "ok.png", "box": "1,2,30,40"}, "mask", "already"),
    "two azimuths of one": ({"azimuths": [0, 90]}, "azimuths", "names 2 for 1"),
    "one azimuth of two": ({"azimuths": [0], "further": ["narrow.png"]}, "azimuths", "names 1"),
    "an azimuth that is none": ({"azimuths": [float("inf")]}, "azimuths", "finite"),
    "a height in words": ({"height": "tall"}, "height", "no length"),
    "a height of nothing": ({"height": "0m"}, "height", "no length"),
    "no field of view": ({"fov": 0}, "fov", "from 5 to 120"),
    "an elevation from below": ({"elevation": -90}, "elevation", "from -89"),
    "no distance": ({"distance": 0}, "distance", "at least"),
    "a distance alone": ({"distance": 1}, "distance", "perspective"),
    "a text as picture": ({"picture": "text.yaml"}, "picture", "no picture"),
    "a picture that is cut off": ({"picture": "cut.png"}, "picture", ""),
    "a folder of no pictures": ({"picture": "empty"}, "picture", "no picture"),
    "a text as another photo": ({"further": ["text.yaml"]}, "further", "no picture"),
}


SCENES = {
    "a text as picture": ({"picture": "text.yaml"}, "picture", "no picture"),
    "half a box": ({"boxes": ["1,2,3"]}, "boxes", "is not a box"),
    "a box beside the picture": ({"boxes": ["1,2,300,40"]}, "boxes", "leaves the picture"),
    "no masks": ({"masks": "empty"}, "masks", "picture"),
}


@pytest.mark.parametrize(
    ("command", "case"),
    [
        *(("reconstruct", case) for case in PICTURES.values()),
        *(("compose", case) for case in SCENES.values()),
    ],
    ids=[*PICTURES, *(f"scene, {name}" for name in SCENES)],
)
def test_what_is_known_of_a_picture_is_asked_before_anything_begins(command, case, folder, capsys):
    values, field, word = case
    bad = {"command": command, "picture": "ok.png", **values}
    told = refused(folder, {"items": [GOOD, bad]}, capsys)
    assert f'm.yaml: item 2, field "{field}"' in told
    assert word in told


def test_what_is_good_is_not_refused(folder):
    good = {"command": "reconstruct", "picture": "ok.png", "seeds": "0-2"}
    items = [
        {**good, "depth": "ok.npy", "box": "10,8,50,40", "azimuths": [30], "height": "80cm"},
        {**good, "further": ["narrow.png"], "azimuths": [0, 90], "fov": 40, "distance": 2},
        {**good, "picture": "."},
    ]
    (folder / "cut.png").unlink()
    (folder / "m.yaml").write_text(json.dumps({"items": items}))
    assert batch(folder / "m.yaml", "--store", folder / "store", "--dry-run") == 0


def test_a_tournament_whose_first_runs_could_not_be_is_refused(folder, capsys):
    """Its short runs have fewer steps than the dotted value asks for."""
    items = [{"command": "generate", **CHAIR, "seeds": "0-3", "distil.steps": 2000}]
    (folder / "m.yaml").write_text(json.dumps({"items": items}))
    words = (folder / "m.yaml", "--store", folder / "store", "--dry-run")
    assert batch(*words) == 0
    assert batch(*words, "--keep-best", 1) == 2
    assert "distil.steps" in capsys.readouterr().err
