"""Every training of `train all` that is killed outright goes on where its last checkpoint was, and
ends in the bytes of the uninterrupted one.

The trainings run through `train all`'s own table."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.children import KILLED, Children
from threestudio_like.training.all import PARTS

TRAINS = """
from pathlib import Path
from threestudio_like.engine import training
from threestudio_like.training import all as every
from threestudio_like.training.options import TrainingOptions

# A checkpoint after every step.
plain_loop, plain_settings = training.Loop, training.LoopSettings
training.LoopSettings = lambda **known: plain_settings(**{**known, "checkpoint_seconds": 0.0})


def carry_out(order):
    part = next(p for p in every.PARTS if p.name == order["part"])
    training.Loop = killing(plain_loop, order["stage"], order["index"])
    options = TrainingOptions(
        out=Path(order["out"]), preset="quick", steps=4, groups=8, objects=8, quiet=True,
        resume=order["resume"],
    )
    part.train(replace(every._options(options, part, None), cache=Path(order["data"])))
    return 0
"""


class Trainer(Children):
    """Trains parts."""

    def __init__(self, data: Path) -> None:
        self.data = data
        super().__init__(TRAINS, data.parent / "errors.txt")

    def train(
        self, part: str, out: Path, stage: str = "", index: int = 0, resume: bool = False
    ) -> int:
        """The exit code of a child that trains a part; it is killed after a step of a stage."""
        order = {"part": part, "out": str(out), "stage": stage, "index": index}
        return self.carry_out(**order, resume=resume, data=str(self.data))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The process, and the folder in which every part that others need is trained, in order."""
    folder = tmp_path_factory.mktemp("trained")
    trainer = Trainer(folder / "data")
    yield trainer, folder / "whole"
    trainer.close()


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the finished models below a folder, by file and name."""
    return {
        f"{path.relative_to(folder)}:{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        if "work" not in path.relative_to(folder).parts
        for name, tensor in load_file(path).items()
    }


def stages_in(work: Path) -> set[str]:
    """The trainings that have a folder."""
    return {p.parent.name for p in work.glob("*/events.jsonl")}


@pytest.mark.parametrize("part", [p.name for p in PARTS])
def test_a_killed_training_ends_in_the_same_weights(part, trained, tmp_path):
    trainer, whole = trained
    kind = next(p for p in PARTS if p.name == part)
    work = whole / kind.folder / "work"
    before = stages_in(work)
    cut = tmp_path / "cut"
    if whole.is_dir():
        # What the parts before it have made.
        subprocess.run(["cp", "-r", str(whole), str(cut)], check=True)
    assert trainer.train(part, whole, resume=True) == 0
    stages = sorted(
        stages_in(work) - before, key=lambda n: (work / n / "events.jsonl").stat().st_ctime
    )
    assert stages, "nothing was trained"
    for stage in stages:
        assert trainer.train(part, cut, stage, 1, resume=True) == KILLED
    assert trainer.train(part, cut, resume=True) == 0
    first, second = (tensors(folder / kind.folder) for folder in (whole, cut))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_all_runs_through_with_the_quick_preset(tmp_path):
    """Only what of `train all` is no training: the preset has every part's numbers."""
    from threestudio_like.training.contrastive import ContrastiveTraining
    from threestudio_like.training.g3dr import G3drTraining
    from threestudio_like.training.recipes import GROUPS, OBJECTS, RECIPES
    from threestudio_like.training.voxel_diffusion import VoxelTraining

    assert RECIPES["quick"].keys() == RECIPES["toybox"].keys()
    assert max(r.steps for r in RECIPES["quick"].values()) <= 20
    assert max(GROUPS["quick"], OBJECTS["quick"]) <= 24
    for kind in (ContrastiveTraining, VoxelTraining, G3drTraining):
        assert kind.of("quick").steps <= 6
