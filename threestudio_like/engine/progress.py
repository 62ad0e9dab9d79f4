"""The state of a stage in progress: optimiser, tensors for a checkpoint, and the last good
state."""

from __future__ import annotations

import itertools
import time
from functools import lru_cache

import torch
from torch import nn

from .errors import CheckpointError
from .schedule import Schedule
from .stage import Stage


def optimiser_of(stage: Stage) -> torch.optim.Adam:
    groups = [
        {
            "params": g.parameters,
            "lr": 0.0,
            "betas": g.betas,
            "eps": g.eps,
            "weight_decay": g.weight_decay,
        }
        for g in stage.groups
    ]
    fused = all(_has_fused_step(p.device) for g in stage.groups for p in g.parameters)
    return torch.optim.Adam(groups, fused=fused, decoupled_weight_decay=True)


@lru_cache(maxsize=8)
def _has_fused_step(device: torch.device) -> bool:
    """Whether torch has a fused Adam for a device; found out by a step on one number."""
    probe = nn.Parameter(torch.zeros(1, device=device))
    probe.grad = torch.zeros(1, device=device)
    try:
        torch.optim.Adam([probe], fused=True).step()
    except RuntimeError:
        return False
    return True


def module_tensors(stage: str, modules: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    return {
        f"{stage}/module/{name}/{k}": v
        for name, module in modules.items()
        for k, v in module.state_dict().items()
    }


def stage_tensors(stage: Stage, optimiser: torch.optim.Adam) -> dict[str, torch.Tensor]:
    tensors = module_tensors(stage.name, stage.modules)
    for index, state in optimiser.state_dict()["state"].items():
        tensors.update(
            {f"{stage.name}/adam/{index}/{k}": torch.as_tensor(v) for k, v in state.items()}
        )
    return tensors


def restore(
    stage: Stage, optimiser: torch.optim.Adam | None, tensors: dict[str, torch.Tensor]
) -> None:
    """Put a checkpoint's tensors into a stage's modules (and its optimiser). Raises CheckpointError
    when they do not fit."""
    for name, module in stage.modules.items():
        prefix = f"{stage.name}/module/{name}/"
        own = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        if not own:
            # The module is shared with a later stage, which restores it.
            continue
        for key, value in own.items():
            # Buffers that grow during a run (targets, for example) take the shape that was saved.
            holder, _, leaf = key.rpartition(".")
            owner = module.get_submodule(holder)
            if leaf in owner._buffers:
                held = owner._buffers[leaf]
                if held is None or held.shape != value.shape:
                    owner._buffers[leaf] = value.clone()
        try:
            module.load_state_dict(own)
        except RuntimeError:
            raise CheckpointError(
                f'its "{name}" does not fit this configuration',
                "checkpoint",
                "Resume with the options of the first run",
            ) from None
    if optimiser is not None:
        state: dict[int, dict[str, torch.Tensor]] = {}
        prefix = f"{stage.name}/adam/"
        for key, value in tensors.items():
            if key.startswith(prefix):
                index, leaf = key[len(prefix) :].split("/")
                state.setdefault(int(index), {})[leaf] = value
        whole = optimiser.state_dict()
        whole["state"] = state
        optimiser.load_state_dict(whole)


def put(module: nn.Module, device: torch.device | str | None) -> torch.device | str | None:
    """Move the tensors of a module to a device (None: leave them); returns the device that they
    were on."""
    home = next((t.device for t in itertools.chain(module.parameters(), module.buffers())), device)
    module.to(device)
    return home


class Progress:
    """The state of a stage in progress: its optimiser, step and clocks, and the last state that the
    watchdog found good."""

    def __init__(self, number: int, count: int, stage: Stage, optimiser: torch.optim.Adam) -> None:
        self.number, self.count, self.stage, self.optimiser = number, count, stage, optimiser
        self.schedules = [Schedule.parse(g.lr, f"{stage.name}.{g.name}.lr") for g in stage.groups]
        self.parameters = [p for g in stage.groups for p in g.parameters]
        self.index = self.start = 0
        self.recovered_from, self.shrunk = "", False
        self.began = self.saved_at = self.drawn_at = 0.0
        self._good: tuple[int, dict[str, torch.Tensor]] = (0, {})

    def begin(self) -> None:
        """Start the clocks at the present step."""
        self.start = self.index
        self.began = self.saved_at = self.drawn_at = time.monotonic()

    def remember(self, index: int | None = None) -> None:
        """Keep a copy of the present state, which `go_back` can return to."""
        copy = {k: v.detach().clone() for k, v in stage_tensors(self.stage, self.optimiser).items()}
        self._good = (self.index if index is None else index, copy)

    def go_back(self) -> None:
        """Return to the state that was remembered last."""
        self.index, tensors = self._good
        restore(self.stage, self.optimiser, tensors)
