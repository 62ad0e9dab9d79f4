"""The state of a stage in progress: optimiser, tensors for a checkpoint, and the last good
state."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checkpoint import load_checkpoint, load_facts, save_checkpoint
from .errors import CheckpointError
from .output import new_file
from .schedule import Schedule
from .stage import Stage, StagePlan, Step

GOOD = "good.safetensors"
"""The last state that the watchdog found good, beside a checkpoint."""
ReadIdentity = Callable[[dict[str, Any]], dict[str, Any]]
"""A checkpoint's own identity as this version writes it."""


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


def all_tensors(
    stage: Stage, optimiser: torch.optim.Adam, finished: list[Stage]
) -> dict[str, torch.Tensor]:
    """What a checkpoint holds: the stage, its optimiser, and the modules of the stages before it.
    Stages may hand a module on: it is saved once, under the last stage that holds it."""
    tensors = stage_tensors(stage, optimiser)
    seen = {id(m) for m in stage.modules.values()}
    for earlier in reversed(finished):
        own = {name: m for name, m in earlier.modules.items() if id(m) not in seen}
        tensors.update(module_tensors(earlier.name, own))
        seen |= {id(m) for m in own.values()}
    return tensors


def draw_preview(stage: Stage, folder: Path) -> None:
    """Write the stage's picture to preview.png of a run's folder."""
    from PIL import Image

    assert stage.preview is not None
    with torch.no_grad():
        picture = stage.preview()
    with new_file(folder / "preview.png", force=True) as temporary:
        Image.fromarray(picture).save(temporary)


def restore(
    stage: Stage, optimiser: torch.optim.Adam | None, tensors: dict[str, torch.Tensor]
) -> list[nn.Module]:
    """Put a checkpoint's tensors into a stage's modules (and its optimiser).

    Returns:
        The modules of which the checkpoint holds nothing under this stage's name. A module that
        stages share is saved under the last of them, so these must be filled by a later stage: see
        `Restored`.

    Raises:
        CheckpointError: they do not fit.
    """
    empty = []
    for name, module in stage.modules.items():
        prefix = f"{stage.name}/module/{name}/"
        own = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        if not own:
            if module.state_dict():
                empty.append(module)
            continue
        try:
            _take_shapes(module, own)
            module.load_state_dict(own)
        except (RuntimeError, AttributeError):
            raise CheckpointError(
                f'its "{name}" does not fit this configuration',
                "checkpoint",
                "Resume with the options of the first run",
            ) from None
    if optimiser is not None:
        _restore_optimiser(stage.name, optimiser, tensors)
    return empty


def _take_shapes(module: nn.Module, own: dict[str, torch.Tensor]) -> None:
    """Buffers that grow during a run (targets, for one) take the saved shape."""
    for key, value in own.items():
        holder, _, leaf = key.rpartition(".")
        buffers = module.get_submodule(holder)._buffers
        if leaf in buffers:
            held = buffers[leaf]
            if held is None or held.shape != value.shape:
                buffers[leaf] = value.clone()


def _restore_optimiser(
    stage: str, optimiser: torch.optim.Adam, tensors: dict[str, torch.Tensor]
) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    prefix = f"{stage}/adam/"
    for key, value in tensors.items():
        if key.startswith(prefix):
            index, leaf = key[len(prefix) :].split("/")
            state.setdefault(int(index), {})[leaf] = value
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for number, held in state.items():
        for name, value in held.items():
            if number < len(parameters) and value.shape == parameters[number].shape:
                # In the parameter's own order of memory, as it was before: sums over another order
                # differ in their last bits.
                held[name] = torch.empty_like(parameters[number]).copy_(value)
    for number in state:
        if number < len(parameters) and parameters[number].grad is None:
            # A parameter that was used once keeps its gradient's buffer, and moves on by its
            # momentum also in steps that do not use it.
            parameters[number].grad = torch.zeros_like(parameters[number])
    whole = optimiser.state_dict()
    whole["state"] = state
    try:
        optimiser.load_state_dict(whole)
    except (ValueError, KeyError):
        raise CheckpointError(
            "its optimiser does not fit this configuration",
            "checkpoint",
            "Resume with the options of the first run",
        ) from None


class Restored:
    """Which modules of a checkpoint's stages have been filled: nothing that a stage needs may stay
    as it was initialised."""

    def __init__(self) -> None:
        self._filled: set[int] = set()
        self._empty: dict[int, tuple[str, nn.Module]] = {}

    def note(self, stage: Stage, empty: list[nn.Module]) -> None:
        """Take down what `restore` of a stage returned."""
        for name, module in stage.modules.items():
            if any(module is e for e in empty):
                if id(module) not in self._filled:
                    self._empty[id(module)] = (f"{stage.name}/{name}", module)
            else:
                self._filled.add(id(module))
                self._empty.pop(id(module), None)

    def check(self) -> None:
        """Raise CheckpointError where a module was never filled."""
        if self._empty:
            names = ", ".join(sorted(name for name, _ in self._empty.values()))
            raise CheckpointError(
                f"it holds nothing for {names}",
                "checkpoint",
                "The run's configuration does not fit its checkpoint; start the run again",
            )


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
        self.begun = -1
        """The step whose `before_step` the present state has seen, or an earlier one: where a rank
        fails within a step, what is saved is the state within it."""
        self.recovered_from, self.shrunk = "", False
        self.began = self.saved_at = self.drawn_at = 0.0
        self._good: tuple[int, dict[str, torch.Tensor]] = (0, {})
        self._good_is_kept = True

    def facts(self) -> dict[str, Any]:
        """Where it stands, for a checkpoint."""
        within = {"begun": self.begun} if self.begun == self.index else {}
        return {"step": self.index, "recovered_from": self.recovered_from, **within}

    def take_up(self, facts: dict[str, Any]) -> None:
        """Go on where a checkpoint stands, whose tensors are restored after it: a recovery comes
        before the state that it goes back to here too."""
        self.index, self.begun = facts["step"], facts.get("begun", -1)
        self.recovered_from = facts.get("recovered_from", "")
        if self.recovered_from and self.stage.recover is not None:
            self.stage.recover(self.recovered_from)

    def begin(self) -> None:
        """Start the clocks at the present step."""
        self.start = self.index
        self.began = self.saved_at = self.drawn_at = time.monotonic()

    def before(self, step: Step) -> None:
        """The stage's `before_step`, once a step; Adam's moments follow the rows that it moves."""
        if step.index == self.begun:
            return
        self.begun = step.index
        moved = self.stage.before_step(step) if self.stage.before_step is not None else None
        for parameter, rows in (moved or {}).items():
            for key, moment in self.optimiser.state.get(parameter, {}).items():
                if key != "step":
                    new = (rows < 0).view(-1, *[1] * (moment.ndim - 1))
                    moment.copy_(moment[rows.clamp_min(0)].masked_fill(new, 0))

    def remember(self, index: int | None = None) -> None:
        """Keep a copy of the present state, which `go_back` can return to."""
        copy = {k: v.detach().clone() for k, v in stage_tensors(self.stage, self.optimiser).items()}
        self._good = (self.index if index is None else index, copy)
        self._good_is_kept = False

    def keep_good(self, folder: Path, identity: Any) -> None:
        """Write the remembered state to a folder, beside a checkpoint that is about to be written,
        where a recovery may still go back to it: a run that goes on from there goes back to the
        same step. The file goes with the stage."""
        path = folder / GOOD
        if self.index >= self.stage.steps or self.recovered_from:
            path.unlink(missing_ok=True)
        elif not self._good_is_kept and self.stage.recover is not None:
            step, tensors = self._good
            facts = {"stage": self.number, "name": self.stage.name, "step": step}
            save_checkpoint(path, tensors, {**facts, "identity": identity})
            self._good_is_kept = True

    def take_good(self, folder: Path | None, facts: dict[str, Any]) -> bool:
        """Remember the state that `keep_good` wrote to a folder, where it belongs to the checkpoint
        of these facts that has been taken up; whether it does. One of a later step was written just
        before a checkpoint that never came to be: until that step nothing went wrong, and nothing
        will. Raises CheckpointError where the file is damaged."""
        if not facts or folder is None or self.recovered_from or not (folder / GOOD).is_file():
            return False
        good = load_facts(folder / GOOD)
        same = all(good.get(key) == facts.get(key) for key in ("stage", "name", "identity"))
        if not same or good["step"] > self.index:
            return False
        self._good, self._good_is_kept = (good["step"], load_checkpoint(folder / GOOD)[0]), True
        return True

    def go_back(self) -> None:
        """Return to the state that was remembered last."""
        self.index, tensors = self._good
        self.begun = -1
        restore(self.stage, self.optimiser, tensors)


def check_identity(
    path: Path, identity: dict[str, Any] | None, read: ReadIdentity | None = None
) -> None:
    """Raise CheckpointError where a checkpoint, if there is one, is of another run or damaged in
    its facts; its tensors are not read. Arguments as of `load_state`."""
    if path.is_file():
        _compare(load_facts(path), path, identity, read=read)


def _compare(
    facts: dict[str, Any],
    path: Path,
    identity: dict[str, Any] | None,
    read: ReadIdentity | None,
) -> None:
    if identity is None:
        return
    theirs, ours = facts.get("identity", {}), json.loads(json.dumps(identity))
    if read is not None:
        theirs = json.loads(json.dumps(read(theirs)))
    if theirs != ours:
        differing = sorted(k for k in {*theirs, *ours} if theirs.get(k) != ours.get(k))
        raise CheckpointError(
            f"the checkpoint belongs to another run (different: {', '.join(differing)})",
            str(path),
            "Resume with the options of the first run",
        )


def load_state(
    path: Path,
    plans: list[StagePlan],
    identity: dict[str, Any] | None,
    read: ReadIdentity | None = None,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors and facts of a checkpoint to go on from; nothing where there is none.

    Args:
        identity: what the checkpoint must agree with; None compares nothing.
        read: the checkpoint's own identity as this version writes it.

    Raises:
        CheckpointError: it is damaged, of another run, or of other stages.
    """
    if not path.is_file():
        # Killed before the first checkpoint: the run begins again.
        return {}, {}
    tensors, facts = load_checkpoint(path)
    _compare(facts, path, identity, read=read)
    number = facts.get("stage")
    if (
        not isinstance(number, int)
        or not 0 <= number < len(plans)
        or facts.get("name") != plans[number].name
        or not isinstance(facts.get("step"), int)
        or facts["step"] < 0
    ):
        raise CheckpointError(
            f'it stands at stage {number} ("{facts.get("name")}"), which this run lacks',
            str(path),
            "Start the run again in another folder",
        )
    return tensors, facts
