"""Systems and presets with small random priors on a device that is none (see `pretend`): what a GPU
would refuse fails here, and a step waits for the device once.

`test_devices.py` has the runs on the embedded prior; here small random ones show what is left."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from control_twins import controlnet
from pretend import WAITS, pretend_device

from threestudio_like.cli import main
from threestudio_like.engine.loop import Loop
from threestudio_like.engine.watchdog import Watchdog
from threestudio_like.meshes import Asset

ASSETS = Path(__file__).parent.parent / "assets"
MUG = str(ASSETS / "shapes/mug.obj")
SMALL = ["--faces", "300", "--texture", "64", "--no-turntable", "--quiet", "--preview-seconds", "0"]
HASH = [
    *("--representation.hash.levels", "2", "--representation.hash.log2_size", "8"),
    *("--renderer.samples", "8", "--renderer.occupancy", "8"),
]
FEW = ["--steps", "6", "--resolution", "16"]
COARSE = ["--export.resolution", "24"]
DREAM = ["generate", "a red chair", "--system", "dreamfusion", "--preset", "paper", *HASH, *FEW]
DREAM += COARSE
MESH = [
    *("--mesh.steps", "4", "--mesh.resolution", "16", "--mesh.shape.flexicubes.size", "8"),
    *("--mesh.colours.hash.levels", "2", "--mesh.colours.hash.log2_size", "8"),
]
LATENT = ["generate", "a red chair", "--preset", "paper", *HASH, "--steps", "6", *COARSE]
PAINT = ["texture", MUG, "a red mug"]
VIEWS = ["--paint.steps", "3", "--paint.views", "4"]
RUNS = {
    "latent-nerf": [*LATENT, "--resolution", "8"],
    "latent-nerf, mesh": [*LATENT, "--refine-mesh", *MESH],
    "dreamfusion": DREAM,
    "magic3d": [*DREAM[:4], "--preset", "magic3d", *HASH, *FEW, *MESH],
    "prolificdreamer": [*DREAM[:4], "--preset", "prolificdreamer", *HASH, *FEW],
    "latent-paint": [*PAINT, "--preset", "paper", *FEW],
    "latent-paint, prolificdreamer": [*PAINT, "--preset", "prolificdreamer", *FEW],
    "relief": ["reconstruct", str(ASSETS / "pictures/chair.png"), "--method", "relief"],
    "latent-paint, by views": [*PAINT, "--method", "paint", *VIEWS],
    "latent-paint, by views and then": [*PAINT, "--method", "both", *VIEWS, *FEW],
    "dreamgaussian": [
        *("generate", "a red chair", "--system", "dreamgaussian", "--resolution", "8"),
        *("--distil.steps", "4", "--representation.gaussians.start", "20"),
        *("--representation.gaussians.capacity", "30", "--representation.gaussians.opacity", "0.9"),
        *("--representation.gaussians.densify.every", "2", "--texture.steps", "4"),
        *("--texture.texels", "32", "--texture.surface.resolution", "8"),
    ],
    "fantasia3d": [
        *("generate", "a red chair", "--system", "fantasia3d", "--geometry.resolution", "16"),
        *("--geometry.steps", "4", "--geometry.shape.flexicubes.size", "8"),
        *("--appearance.steps", "3", "--appearance.resolution", "16"),
        *("--appearance.colours.hash.levels", "2", "--appearance.colours.hash.log2_size", "8"),
    ],
}
CONTROLLED = ("latent-paint, by views", "latent-paint, by views and then")
ELSEWHERE_TRIED = {
    "cisp": "test_devices.py",
    "g3dr": "test_devices.py",
    "field": "test_devices.py",
    "comboverse": "test_devices.py",
}
"""Systems whose runs on a pretended device are in another file."""
MOVING = ("mesh", "geometry")
"""Stages of a surface whose topology follows from its values, and has to be asked for."""


@pytest.fixture
def any_device(monkeypatch):
    """Errors come with their traces."""
    monkeypatch.setenv("THREESTUDIO_LIKE_DEBUG", "1")


@pytest.fixture
def steps(monkeypatch):
    """What every step of a run waited for, by its stage, but for what kernels have to know; its
    checkpoints, pictures and lines of events are no part of it."""
    found: dict[str, list[list[str]]] = {}
    gradients, move = Loop._gradients, Loop._move

    def ours():
        waits = [w for w in WAITS if not w.startswith("kernels/")]
        WAITS.clear()
        return waits

    def with_gradients(self, progress, step):
        WAITS.clear()
        made = gradients(self, progress, step)
        found.setdefault(step.stage, []).append(ours())
        return made

    def with_move(self, progress, step, loss, fraction):
        WAITS.clear()
        verdict = move(self, progress, step, loss, fraction)
        found[step.stage][-1].extend(ours())
        return verdict

    monkeypatch.setattr(Loop, "_gradients", with_gradients)
    monkeypatch.setattr(Loop, "_move", with_move)
    # It looks at every step of so short a stage, and at every hundredth or so of a real one.
    monkeypatch.setattr(Watchdog, "due", lambda self, index, steps: False)
    return found


def run(arguments, out, *more):
    with pretend_device() as there:
        line = [*arguments, *SMALL, "--device", str(there), "--dtype", "float32", "--out", str(out)]
        return main([*line, *more])


def control_of(folder: Path, place: Path) -> Path:
    """A control network with random weights for a prior's folder."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(5)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", local_files_only=True)
    controlnet(SimpleNamespace(unet=unet)).eval().save_pretrained(place)
    return place


def test_every_system_is_tried_on_a_pretended_device():
    """A system that is added to the package wants a run here."""
    from threestudio_like.systems.registry import SYSTEMS

    tried = {name.split(",")[0] for name in RUNS} | {*ELSEWHERE_TRIED}
    built_in = {name for name in SYSTEMS.names() if name in SYSTEMS._built_in}
    inside = {"rgb-refinement"}  # what refine runs, see test_devices.py
    assert built_in - inside <= tried, built_in - inside - tried


@pytest.mark.parametrize("name", RUNS)
def test_a_system_runs_on_its_device(name, tiny_folder, tmp_path, any_device, steps):
    prior = [] if name == "relief" else ["--prior", str(tiny_folder)]
    if name in CONTROLLED:
        prior += ["--control", f"depth={control_of(tiny_folder, tmp_path / 'control')}"]
    assert run([*RUNS[name], *prior], tmp_path / "run") == 0
    assert Asset.load(tmp_path / "run/asset.glb").meshes
    late = [waits for name, stage in steps.items() if name not in MOVING for waits in stage[2:]]
    assert all(len(waits) <= 1 for waits in late), steps
    assert all("watchdog.py" in wait for waits in late for wait in waits), steps
