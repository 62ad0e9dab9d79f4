"""How networks are trained: one stage in a folder of its own, and the moving average of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import CheckpointError
from .events import Events
from .loop import CHECKPOINT, Loop, LoopSettings
from .parallel import Workers
from .stage import Stage, StagePlan


def train_stage(
    out: Path, stage: Stage, seed: int = 0, minutes: float | None = None, resume: bool = False, quiet: bool = False,
    identity: dict[str, Any] | None = None, workers: Workers | None = None, checkpoint_seconds: float = 60.0,
) -> None:  # fmt: skip
    """Run a stage, with checkpoints in the folder of its name under `out`.

    Args:
        identity: what a checkpoint must agree with to be resumed.

    Raises:
        CheckpointError: there is a training already and `resume` is not set, or it was another one.
    """
    folder = out / "work" / stage.name
    begun = (folder / CHECKPOINT).is_file()
    if begun and not resume:
        raise CheckpointError(
            f"there is a {stage.name} training already",
            str(folder),
            "Add --resume to go on with it, or choose another --out",
        )
    lead = workers is None or workers.rank == 0
    events = Events(folder / "events.jsonl" if lead else None, "line" if lead and not quiet else "quiet")
    settings = LoopSettings(
        seed,
        minutes,
        checkpoint_seconds,
        log_every=25,
        resume=begun,
        identity={"network": stage.name, **(identity or {})},
    )
    Loop(folder, events, settings, workers=workers).run([StagePlan(stage.name, lambda done: stage)])
    events.close()


class Ema(nn.Module):
    """An exponential moving average of a module's parameters, kept as buffers of the same names with dots replaced."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        for name, parameter in module.named_parameters():
            self.register_buffer(name.replace(".", "/"), parameter.detach().clone())

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module; the first steps average over fewer."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own, new = [], []
        for name, parameter in module.named_parameters():
            own.append(self.get_buffer(name.replace(".", "/")))
            new.append(parameter.detach())
        torch._foreach_lerp_(own, new, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Put the average into the module."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.get_buffer(name.replace(".", "/")))
