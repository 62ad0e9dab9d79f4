"""Every command that computes, with every system, preset and guidance that it has, on a device that
is none (see `pretend`): what a GPU would refuse fails here, and a step waits for the device once.

`test_devices.py` has the runs on the embedded prior; here small random ones show what is left."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from pretend import ELSEWHERE, WAITS, pretend_device

from tests.view_twins import save_view_twin
from threestudio_like.cli import main
from threestudio_like.engine.loop import Loop
from threestudio_like.guidance.registry import GUIDANCES
from threestudio_like.meshes import Asset

ASSETS = Path(__file__).parent.parent / "assets"
MUG = str(ASSETS / "shapes/mug.obj")
SMALL = ["--faces", "300", "--texture", "64", "--no-turntable", "--quiet", "--preview-seconds", "0"]
HASH = [
    *("--representation.hash.levels", "2", "--representation.hash.log2_size", "8"),
    *("--renderer.samples", "8", "--renderer.occupancy", "8"),
]
FEW = ["--steps", "6", "--resolution", "16"]
DREAM = ["generate", "a red chair", "--system", "dreamfusion", "--preset", "paper", *HASH, *FEW]
MESH = [
    *("--mesh.steps", "4", "--mesh.resolution", "16", "--mesh.shape.flexicubes.size", "8"),
    *("--mesh.colours.hash.levels", "2", "--mesh.colours.hash.log2_size", "8"),
]
LATENT = ["generate", "a red chair", "--preset", "paper", *HASH, "--steps", "6", "--resolution", "8"]
RUNS = {
    "latent-nerf": LATENT,
    "latent-nerf, mesh": [*LATENT, "--refine-mesh", *MESH],
    "dreamfusion": DREAM,
    "magic3d": [*DREAM[:4], "--preset", "magic3d", *HASH, *FEW, *MESH],
    "prolificdreamer": [*DREAM[:4], "--preset", "prolificdreamer", *HASH, *FEW],
    "fantasia3d": ["generate", "a red chair", "--system", "fantasia3d", "--steps", "6"],
    "dreamgaussian": ["generate", "a red chair", "--system", "dreamgaussian", "--steps", "6"],
    "latent-paint": ["texture", MUG, "a red mug", "--preset", "paper", *FEW],
    "latent-paint, prolificdreamer": ["texture", MUG, "a red mug", "--preset", "prolificdreamer", *FEW],
}


@pytest.fixture
def any_device(monkeypatch):
    """Errors come with their traces."""
    monkeypatch.setenv("THREESTUDIO_LIKE_DEBUG", "1")


@pytest.fixture
def steps(monkeypatch):
    """What every step of a run waited for, by its stage, but for what kernels have to know."""
    found: dict[str, list[list[str]]] = {}
    begin = Loop._step
    last: list[list[str]] = []

    def watched(self, stage, index, fraction):
        if last:
            last[-1].extend(w for w in WAITS if not w.startswith("kernels/"))
        WAITS.clear()
        last.append([])
        found.setdefault(stage.name, []).append(last[-1])
        return begin(self, stage, index, fraction)

    monkeypatch.setattr(Loop, "_step", watched)
    return found


def run(arguments, out, *more):
    with pretend_device() as there:
        line = [*arguments, *SMALL, "--device", str(there), "--dtype", "float32", "--out", str(out)]
        return main([*line, *more])


@pytest.mark.parametrize("name", RUNS)
def test_a_system_runs_on_its_device(name, tiny_folder, tmp_path, any_device, steps):
    assert run(RUNS[name], tmp_path / "run", "--prior", str(tiny_folder)) == 0
    assert Asset.load(tmp_path / "run/asset.glb").meshes
    for stage, waits in steps.items():
        print(stage, waits)
