"""Trainings that are killed outright go on where their last checkpoint was and end in the bytes of
the uninterrupted ones."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
from threestudio_like.engine.training import train_stage
from threestudio_like.toybox.pairs import ToyPairs

kind, out, data, killed = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
torch.manual_seed(0)
if kind == "cisp":
    from threestudio_like.priors.networks.contrastive import (
        Contrastive, ContrastiveConfig, TextConfig
    )
    from threestudio_like.priors.networks.patch_transformer import EncoderConfig
    from threestudio_like.training.contrastive import (
        BatchSource, ContrastiveTraining, contrastive_stage
    )

    sizes = [
        EncoderConfig(
            dims=d, size=32, patch=8, width=32, depth=1, heads=2, leading=2, init=0.1
        )
        for d in (2, 3)
    ]
    text = TextConfig(vocabulary=50, end=2, tokens=8, width=16, depth=1, heads=2)
    model = ContrastiveConfig(width=16, image=sizes[0], shape=sizes[1], text=text)
    config = ContrastiveTraining(model=model, steps=8, batch=6)
    model = Contrastive(config.model)
    stage = contrastive_stage("net", model, BatchSource(ToyPairs(data, 7, 8), config))
else:
    from threestudio_like.priors.networks.triplane_generator import (
        TriplaneGenerator, TriplaneGeneratorConfig
    )
    from threestudio_like.renderers.midpoint import MidpointConfig
    from threestudio_like.training.g3dr import G3drTraining, ToyRgbd, g3dr_stage

    size = TriplaneGeneratorConfig(
        size=64, width=8, multipliers=(1, 2), blocks=1, heads=2, head_width=4, positions=4,
        features=8, hidden=16
    )
    rays = MidpointConfig(coarse=8, fine=8)
    config = G3drTraining(
        generator=size, rays=rays, render=16, clip=0.0, perceptual=0.0, steps=8
    )
    model = TriplaneGenerator(config.generator)
    stage = g3dr_stage("net", model, config, ToyRgbd(data, 7, 8), None, None)
after = stage.after_step

def stop(step):
    if after is not None:
        after(step)
    if step.index == killed:
        os.kill(os.getpid(), signal.SIGKILL)

stage.after_step = stop
train_stage(out, stage, 3, resume=(out / "work").is_dir(), quiet=True, checkpoint_seconds=0.0)
from safetensors.torch import save_file
save_file({k: v.contiguous() for k, v in model.state_dict().items()}, out / "result.safetensors")
"""


def run(kind: str, out: Path, data: Path, killed: int) -> int:
    """The exit code of a training in a process of its own that is killed after step `killed` (-1:
    never)."""
    command = [sys.executable, "-c", SCRIPT, kind, str(out), str(data), str(killed)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


@pytest.mark.parametrize("kind", ["cisp", "g3dr"])
def test_a_killed_training_ends_in_the_same_weights(kind, tmp_path):
    assert run(kind, tmp_path / "whole", tmp_path / "data", -1) == 0
    assert run(kind, tmp_path / "cut", tmp_path / "data", 2) == -9
    assert run(kind, tmp_path / "cut", tmp_path / "data", 5) == -9
    assert not (tmp_path / "cut/result.safetensors").exists()
    assert run(kind, tmp_path / "cut", tmp_path / "data", -1) == 0
    whole, cut = (load_file(tmp_path / name / "result.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[k], cut[k]) for k in whole)
