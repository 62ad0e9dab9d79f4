"""How networks are trained: one stage in a folder of its own, batches on its device, and the moving
average of its weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import CheckpointError
from .events import Events
from .loop import CHECKPOINT, Loop, LoopSettings
from .parallel import ProcessGroup
from .stage import Stage, StagePlan, Step

AHEAD = 8
"""Batches that are drawn before they are asked for."""


def place_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are."""
    return next((p.device for p in module.parameters()), torch.get_default_device())


class Batches:
    """The batches of a training, on the device of its model.

    A batch depends on nothing but its step's number and seed: threads draw the next ones while
    another device than main memory's is at work, and a training sees the same batches on every
    device.

    Args:
        draw: the batch of a step, tensors in main memory by name; must not read the step's
            `fraction`.
        model: where it is, batches are brought.
    """

    def __init__(self, draw: Callable[[Step], dict[str, Any]], model: nn.Module) -> None:
        self._draw, self._model = draw, model
        self._threads: ThreadPoolExecutor | None = None
        self._drawn: dict[int, Future[dict[str, Any]]] = {}

    def __call__(self, step: Step) -> dict[str, Any]:
        """The batch of a step."""
        device = place_of(self._model)
        if device == torch.get_default_device():
            return self._draw(step)
        if self._threads is None:
            count = max(1, min(AHEAD, (os.cpu_count() or 1) - 1))
            # Side by side they would fight for the cores that torch's own threads take.
            self._threads = ThreadPoolExecutor(count, "batches", torch.set_num_threads, (1,))
        wanted = range(step.index, min(step.index + AHEAD, step.steps))
        self._drawn = {
            n: self._drawn.get(n) or self._threads.submit(self._draw, replace(step, index=n))
            for n in wanted
        }
        batch = self._drawn.pop(step.index).result()
        return {
            name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()
        }


def train_stage(
    out: Path,
    stage: Stage,
    seed: int = 0,
    minutes: float | None = None,
    resume: bool = False,
    quiet: bool = False,
    identity: dict[str, Any] | None = None,
    workers: ProcessGroup | None = None,
    checkpoint_seconds: float = 60.0,
    device: str | None = None,
) -> None:
    """Run a stage, with checkpoints in the folder of its name under `out`.

    Args:
        identity: what a checkpoint must agree with to be resumed.
        device: where the stage's modules are while it runs.

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
    events = Events(
        folder / "events.jsonl" if lead else None, "line" if lead and not quiet else "quiet"
    )
    settings = LoopSettings(
        seed,
        minutes,
        checkpoint_seconds,
        log_every=25,
        resume=begun,
        device=device,
        identity={"network": stage.name, **(identity or {})},
    )
    threads = torch.get_num_threads()
    try:
        Loop(folder, events, settings, workers=workers).run(
            [StagePlan(stage.name, lambda done: stage)]
        )
    finally:
        torch.set_num_threads(threads)
        events.close()


class Ema(nn.Module):
    """An exponential moving average of a module's parameters, kept as buffers of the same names
    with dots replaced."""

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
