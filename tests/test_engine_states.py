"""What a checkpoint brings back of states that are not a parameter's: a recovery's, and those of a
step that was broken off within."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from threestudio_like.engine.checkpoint import load_checkpoint
from threestudio_like.engine.errors import RankError
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Loop, LoopSettings, ParameterGroup, Stage, StagePlan
from threestudio_like.engine.watchdog import Watchdog
from threestudio_like.guidance.score_distillation import ScoreDistillationConfig
from threestudio_like.priors.latent_rgb import show_rgb
from threestudio_like.priors.oracle import PointMass
from threestudio_like.renderers import RandomBackground, VolumeConfig, VolumeRenderer
from threestudio_like.representations import VoxelField
from threestudio_like.representations.voxel_grid import VoxelGridConfig
from threestudio_like.stages.distillation import DistillationConfig, configured_stage
from threestudio_like.stages.model import FieldModel

STEPS = 40


class Grid(nn.Module):
    """A parameter, and a state that every step and a recovery change."""

    seen: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3))
        self.register_buffer("seen", torch.ones(3))


def plan(stops_at: int | None = None, begun: list[int] | None = None) -> StagePlan:
    """A stage that is empty at step 27 until it is recovered, and is killed at `stops_at`."""
    grid, state = Grid(), {"recovered": False, "empty": False}

    def before_step(step):
        if begun is not None:
            begun.append(step.index)
        grid.seen.mul_(0.9).add_(0.01 * step.index)

    def loss(step):
        if step.index == stops_at:
            raise KeyboardInterrupt
        state["empty"] = step.index >= 27 and not state["recovered"]
        factor = 0.5 if state["recovered"] else 1.0
        return {"x": ((grid.w - grid.seen).square() * factor * (step.index + 1)).sum()}

    def recover(verdict):
        state["recovered"] = True
        grid.seen.fill_(7.0)
        return "turned the knob"

    stage = Stage(
        "s",
        STEPS,
        {"grid": grid},
        [ParameterGroup("w", [grid.w], "0.1")],
        loss,
        before_step=before_step,
        recover=recover,
        watch=lambda: {"opacity": 0.0 if state["empty"] else 0.5},
    )
    return StagePlan("s", lambda done: stage)


def end(folder, work: StagePlan, resume: bool = False, workers=None) -> dict[str, torch.Tensor]:
    """Carry a plan out; the tensors of the checkpoint at its end."""
    settings = LoopSettings(resume=resume, checkpoint_steps=1)
    Loop(folder, Events(None, "quiet"), settings, Watchdog(), workers=workers).run([work])
    return load_checkpoint(folder / "checkpoint.safetensors")[0]


@pytest.mark.parametrize("stops_at", [1, 3, 10, 24, 26, 27, 30, 36])
def test_a_recovered_run_that_was_killed_ends_in_the_same_bytes(stops_at, tmp_path):
    """Also where it is killed between the last good state, every fourth step, and what goes
    wrong."""
    whole = end(tmp_path / "whole", plan())
    with pytest.raises(KeyboardInterrupt):
        end(tmp_path / "killed", plan(stops_at))
    found = end(tmp_path / "killed", plan(), resume=True)
    for name, tensor in whole.items():
        assert torch.equal(tensor, found[name]), name
    assert not (tmp_path / "killed" / "good.safetensors").exists()


def test_a_good_state_that_is_ahead_of_its_checkpoint_is_not_gone_back_to(tmp_path):
    """The run was killed between the two files."""
    whole = end(tmp_path / "whole", plan())
    with pytest.raises(KeyboardInterrupt):
        end(tmp_path / "killed", plan(22))
    early = (tmp_path / "killed" / "checkpoint.safetensors").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        end(tmp_path / "killed", plan(25), resume=True)
    good = load_checkpoint(tmp_path / "killed" / "good.safetensors")[1]
    (tmp_path / "killed" / "checkpoint.safetensors").write_bytes(early)
    assert good["step"] == 24
    found = end(tmp_path / "killed", plan(), resume=True)
    for name, tensor in whole.items():
        assert torch.equal(tensor, found[name]), name


def test_a_recovery_of_a_field_changes_no_state():
    """It is repeated where a run goes on, beside a state that has gone on since."""
    field = VoxelField(VoxelGridConfig(size=8), 3)
    parts = FieldModel(field, VolumeRenderer(VolumeConfig(samples=16, occupancy=4)), show_rgb)
    parts.renderer.average.fill_(0.5)
    parts.renderer.occupied[0] = False
    context = parts.guidance_context("distil", "x", PointMass(torch.zeros(4, 8, 8)), 0, True)
    config = DistillationConfig(guidance=ScoreDistillationConfig())
    stage = configured_stage(config, parts, context, RandomBackground.grey(), 8)
    before = {k: v.clone() for m in stage.modules.values() for k, v in m.state_dict().items()}
    for verdict in ("empty", "nan", "fog", "box"):
        assert stage.recover(verdict)
        after = {k: v for m in stage.modules.values() for k, v in m.state_dict().items()}
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_step_that_a_rank_broke_off_does_not_begin_twice(tmp_path):
    """What is saved then is the state within the step."""
    whole, begun = end(tmp_path / "whole", plan()), []

    def average(parameters, fraction, over, loss):
        if len(begun) > 12:
            raise RankError("another rank has failed", "rank 0")
        return fraction, over, loss

    workers = SimpleNamespace(rank=0, world=1, average=average, mean=lambda figures: figures)
    with pytest.raises(RankError):
        end(tmp_path / "broken", plan(begun=begun), workers=workers)
    assert begun == list(range(13))
    facts = load_checkpoint(tmp_path / "broken" / "checkpoint.safetensors")[1]
    assert (facts["step"], facts["begun"]) == (12, 12)
    again: list[int] = []
    found = end(tmp_path / "broken", plan(begun=again), resume=True)
    assert again[0] == 13
    for name, tensor in whole.items():
        assert torch.equal(tensor, found[name]), name
