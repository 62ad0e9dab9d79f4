"""Training of networks: one stage in its own folder, batches on the device, and a moving average of
the weights."""

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
"""Number of batches that are drawn before they are needed."""


def place_of(module: nn.Module) -> torch.device:
    """The device of a module's parameters."""
    return next((p.device for p in module.parameters()), torch.get_default_device())


class Batches:
    """The batches of a training, on the device of its model.

    A batch depends only on the number and the seed of its step, so that a training sees the same
    batches on every device. While an accelerator computes, threads draw the next batches.

    Args:
        draw: returns the batch of a step, as named tensors in main memory; it must not read the
            step's `fraction`.
        model: batches are moved to the device of this module.
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
            # On the CPU, drawing in parallel would compete with torch's own threads for the cores.
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
    """Run one stage, with checkpoints in the folder of its name under `out`.

    Args:
        identity: facts that a checkpoint must agree with to be resumed.
        device: the device of the stage's modules while it runs.

    Raises:
        CheckpointError: the folder holds a training and `resume` is not set, or holds a different
            training.
    """
    folder = out / "work" / stage.name
    begun = (folder / CHECKPOINT).is_file()
    if begun and not resume:
        raise CheckpointError(
            f"there is a {stage.name} training already",
            str(folder),
            "Add --resume to continue it, or choose another --out",
        )
    lead = workers is None or workers.rank == 0
    events = Events(
        folder / "events.jsonl" if lead else None, "line" if lead and not quiet else "quiet"
    )
    settings = LoopSettings(
        seed=seed,
        minutes=minutes,
        checkpoint_seconds=checkpoint_seconds,
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


def agrees(kept: torch.Tensor, made: torch.Tensor) -> bool:
    """Whether rows (R, ...) that an earlier call has kept are those that are made now, but for
    rounding: a file of the right size may be of other data, or of another network."""
    kept, made = kept.float(), made.float()
    if kept.shape != made.shape:
        return False
    # Rows may have most in common; what counts is by how much they differ from each other.
    spread = (made - made.mean(0)).abs().mean()
    return bool((kept - made).abs().mean() <= 0.1 * spread + 1e-3 * made.abs().mean())


class Ema(nn.Module):
    """An exponential moving average of a module's parameters, kept as buffers of the same names
    with the dots replaced."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        for name, parameter in module.named_parameters():
            self.register_buffer(name.replace(".", "/"), parameter.detach().clone())

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the module; the first steps average over fewer steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own, new = [], []
        for name, parameter in module.named_parameters():
            own.append(self.get_buffer(name.replace(".", "/")))
            new.append(parameter.detach())
        torch._foreach_lerp_(own, new, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Copy the average into the module's parameters."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.get_buffer(name.replace(".", "/")))
