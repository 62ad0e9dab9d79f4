"""The stage loop: runs stages one after the other, knows nothing about methods.

A stage brings its modules (what is saved), its parameter groups (what is optimised) and a function that returns the loss
terms of a step. Optimising one asset and training a network are the same loop; only that function differs.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checkpoint import load_checkpoint, save_checkpoint
from .errors import CheckpointError
from .events import Events
from .parallel import Workers
from .random import RandomStream
from .schedule import Schedule
from .watchdog import Watchdog

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Step:
    """Where the run stands: step `index` of `steps` in the stage; `fraction` in [0, 1) of the stage's schedule."""

    stage: str
    index: int
    steps: int
    fraction: float
    seed: int

    @property
    def random(self) -> RandomStream:
        """The random numbers of this step."""
        return RandomStream(self.seed, self.stage, self.index)


@dataclass
class ParameterGroup:
    """Tensors that share a learning-rate schedule, Adam's betas and eps, and a weight decay."""

    name: str
    parameters: list[nn.Parameter]
    lr: str | float = "1e-2"
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-15
    weight_decay: float = 0.0


@dataclass
class Stage:
    """One phase of a run.

    Attributes:
        name: shown to the user, and part of every random key.
        steps: optimisation steps.
        modules: everything that a checkpoint must hold, by name.
        groups: what the optimiser moves.
        loss: the weighted loss terms of a step, by name; their sum is minimised.
        prepare: called once before step 0 of a fresh stage (never on resume); its results must live in `modules`.
        after_step: called after every optimiser step.
        preview: draws a picture (H, W, 3) uint8 array; called on a clock, must not change any state.
        watch: figures for the watchdog, by name (see `Watchdog`).
        recover: turns one knob after a collapse; returns what it did in words.
        clip_norm: largest gradient norm, over all groups; 0 for no limit.
        accumulate: backward passes a step; `loss` is called that often with index `i` in `Step.random` purposes.
    """

    name: str
    steps: int
    modules: dict[str, nn.Module]
    groups: list[ParameterGroup]
    loss: Callable[[Step], dict[str, torch.Tensor]]
    prepare: Callable[[Step], None] | None = None
    after_step: Callable[[Step], None] | None = None
    preview: Callable[[], Any] | None = None
    watch: Callable[[], dict[str, float]] | None = None
    recover: Callable[[str], str] | None = None
    clip_norm: float = 0.0


@dataclass
class StagePlan:
    """A stage that is built when its turn comes, from the modules of the stages before it."""

    name: str
    build: Callable[[dict[str, Stage]], Stage]


@dataclass
class LoopSettings:
    """How the loop runs; none of it changes the result except `seed` and `minutes`."""

    seed: int = 0
    minutes: float | None = None
    checkpoint_seconds: float = 20.0
    checkpoint_steps: int | None = None
    preview_seconds: float = 5.0
    log_every: int = 10
    resume: bool = False
    identity: dict[str, Any] = field(default_factory=dict)
    """What a checkpoint must agree with to be resumed: system, prompt, seed, configuration."""


class Interrupted(Exception):
    """Ctrl-C: the state was saved, and the run ends with what there is."""


def _optimiser(stage: Stage) -> torch.optim.Adam:
    groups = [
        {"params": g.parameters, "lr": 0.0, "betas": g.betas, "eps": g.eps, "weight_decay": g.weight_decay}
        for g in stage.groups
    ]
    return torch.optim.Adam(groups, fused=True, decoupled_weight_decay=True)


def _module_tensors(stage: str, modules: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    return {f"{stage}/module/{name}/{k}": v for name, module in modules.items() for k, v in module.state_dict().items()}


def _tensors(stage: Stage, optimiser: torch.optim.Adam) -> dict[str, torch.Tensor]:
    found = _module_tensors(stage.name, stage.modules)
    for index, state in optimiser.state_dict()["state"].items():
        found.update({f"{stage.name}/adam/{index}/{k}": torch.as_tensor(v) for k, v in state.items()})
    return found


def restore(stage: Stage, optimiser: torch.optim.Adam | None, tensors: dict[str, torch.Tensor]) -> None:
    """Put a checkpoint's tensors into a stage's modules (and its optimiser). Raises CheckpointError when they do not fit."""
    for name, module in stage.modules.items():
        prefix = f"{stage.name}/module/{name}/"
        own = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        if not own:
            # Shared with a later stage, which restores it.
            continue
        for key, value in own.items():
            # Buffers that grow during a run (targets, for one) take the saved shape.
            holder, _, leaf = key.rpartition(".")
            owner = module.get_submodule(holder)
            if leaf in owner._buffers and (owner._buffers[leaf] is None or owner._buffers[leaf].shape != value.shape):  # type: ignore[union-attr]
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


class Loop:
    """Runs stage plans in a folder.

    Example:
        >>> loop = Loop(Path("run/work"), Events(), LoopSettings(seed=0))      # doctest: +SKIP
        >>> stages = loop.run([StagePlan("fit", lambda done: stage)])          # doctest: +SKIP
    """

    def __init__(
        self, folder: Path | None, events: Events, settings: LoopSettings, watchdog: Watchdog | None = None,
        workers: Workers | None = None,
    ) -> None:  # fmt: skip
        self._folder, self._events, self._settings = folder, events, settings
        self._watchdog, self._workers = watchdog, workers
        self._writes = folder is not None and (workers is None or workers.rank == 0)
        self._stop = False
        self._finished: list[Stage] = []

    def run(self, plans: list[StagePlan]) -> dict[str, Stage]:
        """Run every stage to its end (or to the time limit); returns the stages by name.

        Raises:
            Interrupted: after Ctrl-C, with the state saved.
            CheckpointError, CollapseError, OutputError: see `engine.errors`.
        """
        done: dict[str, Stage] = {}
        tensors: dict[str, torch.Tensor] = {}
        facts: dict[str, Any] = {}
        if self._settings.resume and self._folder is not None:
            tensors, facts = load_checkpoint(self._folder / CHECKPOINT)
            theirs, ours = facts.get("identity", {}), json.loads(json.dumps(self._settings.identity))
            if theirs != ours:
                differing = sorted(k for k in {*theirs, *ours} if theirs.get(k) != ours.get(k))
                raise CheckpointError(
                    f"the checkpoint belongs to another run (different: {', '.join(differing)})",
                    str(self._folder / CHECKPOINT), "Resume with the options of the first run",
                )  # fmt: skip
        previous = self._catch_interrupt()
        try:
            for number, plan in enumerate(plans):
                stage = plan.build(done)
                if facts and number < facts["stage"]:
                    restore(stage, None, tensors)
                else:
                    here = facts if facts and number == facts["stage"] else {}
                    self._run_stage(number, len(plans), stage, tensors if here else {}, here)
                self._finished.append(stage)
                done[stage.name] = stage
                if self._stop:
                    raise Interrupted
        finally:
            if previous is not None:
                signal.signal(signal.SIGINT, previous)
        return done

    def _catch_interrupt(self) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return None

        def stop(*_: Any) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True
            self._events.say("Stopping after this step; press Ctrl-C again to stop at once.")

        return signal.signal(signal.SIGINT, stop)

    def _run_stage(
        self, number: int, count: int, stage: Stage, tensors: dict[str, torch.Tensor], facts: dict[str, Any]
    ) -> None:
        settings, events = self._settings, self._events
        optimiser = _optimiser(stage)
        schedules = [Schedule.parse(g.lr, f"{stage.name}.{g.name}.lr") for g in stage.groups]
        parameters = [p for g in stage.groups for p in g.parameters]
        start, recovered = 0, False
        if facts:
            restore(stage, optimiser, tensors)
            start, recovered = facts["step"], facts.get("recovered", False)
            if recovered and stage.recover is not None:
                stage.recover(facts.get("verdict", ""))
        elif stage.prepare is not None:
            events.status(f"{stage.name} {number + 1}/{count}  preparing", force=True)
            stage.prepare(Step(stage.name, 0, stage.steps, 0.0, settings.seed))
        began = time.monotonic()
        budget = (
            None if settings.minutes is None else max(1.0, settings.minutes * 60 - events.elapsed) / (count - number)
        )
        events.record("stage", stage=stage.name, steps=stage.steps, start=start)
        saved_at = drawn_at = time.monotonic()
        index = start
        good: tuple[int, dict[str, torch.Tensor]] | None = None
        while index < stage.steps and not self._stop:
            fraction = index / stage.steps
            if budget is not None:
                fraction = max(fraction, (time.monotonic() - began) / budget)
                if fraction >= 1.0 and self._workers is None:
                    events.record("minutes", stage=stage.name, step=index)
                    break
            seed = settings.seed if self._workers is None else settings.seed * 1009 + self._workers.rank
            step = Step(stage.name, index, stage.steps, fraction, seed)
            for parameter in parameters:
                parameter.grad = None if parameter.grad is None else parameter.grad.zero_()
            terms = stage.loss(step)
            total = torch.stack([t.reshape(()) for t in terms.values()]).sum()
            if total.requires_grad:
                total.backward()
            if self._workers is not None:
                fraction, over = self._workers.average(parameters, fraction, self._stop or fraction >= 1.0)
                self._stop = self._stop or (over and fraction < 1.0)
                if over:
                    break
            for group, schedule in zip(optimiser.param_groups, schedules):
                group["lr"] = schedule(fraction)
            verdict = self._watchdog.nan(total, parameters) if self._watchdog else None
            if verdict is None:
                if stage.clip_norm > 0:
                    nn.utils.clip_grad_norm_(parameters, stage.clip_norm)
                optimiser.step()
                if stage.after_step is not None:
                    stage.after_step(step)
                if self._watchdog and stage.watch is not None and self._watchdog.due(index, stage.steps):
                    verdict = self._watchdog.look(stage.watch(), fraction)
                    if verdict is None:
                        good = (index + 1, {k: v.clone() for k, v in _tensors(stage, optimiser).items()})
            if verdict is not None and self._watchdog is not None:
                if not recovered and stage.recover is not None:
                    recovered = True
                    action = stage.recover(verdict.name)
                    index = 0 if good is None else good[0]
                    if good is not None:
                        restore(stage, optimiser, good[1])
                    elif stage.prepare is not None:
                        stage.prepare(Step(stage.name, 0, stage.steps, 0.0, settings.seed))
                    events.record("watchdog", verdict=verdict.name, saw=verdict.saw, action=action, back_to=index)
                    events.say(f"Watchdog: {verdict.saw}; went back to step {index} and {action}.")
                    continue
                events.record("watchdog", verdict=verdict.name, saw=verdict.saw, action="stopped")
                raise self._watchdog.error(verdict, stage.name, index)
            index += 1
            now = time.monotonic()
            if index % settings.log_every == 0 or index == stage.steps:
                values = {k: float(v.detach()) for k, v in terms.items()}
                rate = (index - start) / max(now - began, 1e-6)
                left = (stage.steps - index) / max(rate, 1e-6)
                events.record(
                    "step", stage=stage.name, step=index, loss=float(total.detach()), terms=values, rate=round(rate, 2)
                )
                shown = "  ".join(f"{k} {v:.4g}" for k, v in list(values.items())[:4])
                events.status(
                    f"{stage.name} {number + 1}/{count}  {index}/{stage.steps}  {shown}  {rate:.1f} it/s  ETA {left:.0f} s"
                )
            due = settings.checkpoint_steps is not None and index % settings.checkpoint_steps == 0
            if self._writes and (
                due or now - saved_at > settings.checkpoint_seconds or index == stage.steps or self._stop
            ):
                self._save(number, index, stage, optimiser, recovered)
                saved_at = time.monotonic()
            if stage.preview is not None and now - drawn_at > settings.preview_seconds and self._writes:
                self._draw(stage)
                drawn_at = time.monotonic()
        if self._writes and index < stage.steps:
            self._save(number, index, stage, optimiser, recovered)
        events.record("stage-end", stage=stage.name, step=index, seconds=round(time.monotonic() - began, 3))

    def _save(self, number: int, index: int, stage: Stage, optimiser: torch.optim.Adam, recovered: bool) -> None:
        assert self._folder is not None
        facts = {
            "stage": number,
            "name": stage.name,
            "step": index,
            "recovered": recovered,
            "identity": self._settings.identity,
        }
        tensors = _tensors(stage, optimiser)
        # Stages may hand a module on: it is saved once, under the last stage that holds it.
        seen = {id(m) for m in stage.modules.values()}
        for earlier in reversed(self._finished):
            own = {name: m for name, m in earlier.modules.items() if id(m) not in seen}
            tensors.update(_module_tensors(earlier.name, own))
            seen |= {id(m) for m in own.values()}
        save_checkpoint(self._folder / CHECKPOINT, tensors, facts)

    def _draw(self, stage: Stage) -> None:
        from PIL import Image

        assert self._folder is not None
        assert stage.preview is not None
        with torch.no_grad():
            picture = stage.preview()
        path = self._folder / "preview.png"
        temporary = path.with_name(".preview.part.png")
        Image.fromarray(picture).save(temporary)
        temporary.replace(path)
