"""The stage loop: runs the stages of a method one after the other, without knowing the method.

A stage provides its modules (what is saved), its parameter groups (what is optimised) and a
function that returns the loss terms of a step. Optimising one asset and training a network use the
same loop and differ only in that function.
"""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .checkpoint import save_checkpoint
from .errors import MemoryShortage, RankError
from .events import Events
from .memory import release
from .onlookers import Onlookers
from .parallel import GradientAccumulator, ProcessGroup
from .progress import (
    Progress,
    Restored,
    all_tensors,
    draw_preview,
    load_state,
    optimiser_of,
    put,
    restore,
)
from .random import deterministic_sums
from .settings import LoopSettings
from .stage import ParameterGroup, Stage, StagePlan, Step, total_of
from .watchdog import Verdict, Watchdog

CHECKPOINT = "checkpoint.safetensors"

__all__ = [
    "CHECKPOINT",
    "Interrupted",
    "Loop",
    "LoopSettings",
    "ParameterGroup",
    "Stage",
    "StagePlan",
    "Step",
    "restore",
]


class Interrupted(Exception):
    """Raised after Ctrl-C, when the state has been saved; the run ends with what has been made so
    far."""


class Loop:
    """Runs stage plans in a folder.

    Example:
        >>> loop = Loop(Path("run/work"), Events(), LoopSettings(seed=0))      # doctest: +SKIP
        >>> stages = loop.run([StagePlan("fit", lambda done: stage)])          # doctest: +SKIP
    """

    def __init__(
        self,
        folder: Path | None,
        events: Events,
        settings: LoopSettings,
        watchdog: Watchdog | None = None,
        workers: ProcessGroup | None = None,
    ) -> None:
        self._folder, self._events, self._settings = folder, events, settings
        self._watchdog, self._workers = watchdog, workers
        self._writes = folder is not None and (workers is None or workers.rank == 0)
        self._onlookers = Onlookers(
            folder if self._writes else None, events, may_pause=workers is None
        )
        self._stop = False
        self._finished: list[Stage] = []

    def run(self, plans: list[StagePlan]) -> dict[str, Stage]:
        """Run every stage to its end (or to the time limit); returns the stages by name.

        Raises:
            Interrupted: after Ctrl-C, with the state saved.
            CheckpointError, CollapseError, OutputError: see `engine.errors`.
        """
        done: dict[str, Stage] = {}
        tensors, facts = self._saved(plans)
        restored = Restored()
        settings = self._settings
        previous = self._catch_interrupt()
        try:
            for number, plan in enumerate(plans):
                stage = plan.build(done)
                # The modules are on the device only while the stage runs: everything that is built
                # or read between stages is in main memory.
                homes = [put(module, settings.device) for module in stage.modules.values()]
                here = facts if facts and number == facts["stage"] else {}
                if facts and number < facts["stage"]:
                    empty = restore(stage, None, tensors)
                    # Of a finished run only what its last stage leaves is kept.
                    restored.note(stage, [] if facts.get("model_only") else empty)
                else:
                    with deterministic_sums(settings.device):
                        self._run_stage(
                            number, len(plans), stage, tensors if here else {}, here, restored
                        )
                for module, home in zip(stage.modules.values(), homes):
                    put(module, home)
                self._finished.append(stage)
                done[stage.name] = stage
                if self._stop:
                    raise Interrupted
        finally:
            if previous is not None:
                signal.signal(signal.SIGINT, previous)
        return done

    def _saved(self, plans: list[StagePlan]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The checkpoint to go on from; nothing where there is none. Raises CheckpointError."""
        folder, as_now = self._folder, self._settings.read_identity
        if not self._settings.resume or folder is None:
            return {}, {}
        return load_state(folder / CHECKPOINT, plans, self._settings.identity, read=as_now)

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
        self,
        number: int,
        count: int,
        stage: Stage,
        tensors: dict[str, torch.Tensor],
        facts: dict[str, Any],
        restored: Restored,
    ) -> None:
        settings, events = self._settings, self._events
        optimiser = optimiser_of(stage)
        progress = Progress(number, count, stage, optimiser=optimiser)
        if facts:
            progress.take_up(facts)
            empty = restore(stage, optimiser, tensors)
            if facts.get("model_only"):
                held = [m for n, m in stage.modules.items() if n in stage.result]
                empty = [m for m in empty if not stage.result or any(m is h for h in held)]
            restored.note(stage, empty)
            restored.check()
        elif stage.prepare is not None:
            events.status(f"{stage.name} {number + 1}/{count}  preparing", force=True)
            stage.prepare(Step(stage.name, 0, stage.steps, fraction=0.0, seed=settings.seed))
        progress.begin()
        budget = (
            None
            if settings.minutes is None
            else max(1.0, settings.minutes * 60 - events.elapsed) / (count - number)
        )
        events.record("stage", stage=stage.name, steps=stage.steps, start=progress.index)
        if self._watchdog is not None and not progress.take_good(self._folder, facts):
            progress.remember()
        self._onlookers.before_steps(stage, progress.index)
        while progress.index < stage.steps and not self._stop:
            fraction = progress.index / stage.steps
            if budget is not None:
                fraction = max(fraction, (time.monotonic() - progress.began) / budget)
                if fraction >= 1.0 and self._workers is None:
                    events.record("minutes", stage=stage.name, step=progress.index)
                    break
            step = self._step(stage, progress.index, fraction)
            progress.before(step)
            terms, total = self._gradients(progress, step)
            loss = total.detach()
            if self._workers is not None:
                fraction, over, loss = self._average(progress, fraction, loss)
                self._stop = self._stop or (over and fraction < 1.0)
                if over:
                    break
            verdict = self._move(progress, step, loss, fraction=fraction)
            if verdict is not None:
                self._rescue(progress, verdict)
                continue
            progress.index += 1
            self._account(progress, terms, total)
        if self._writes and progress.index < stage.steps:
            self._save(progress)
        seconds = round(time.monotonic() - progress.began, 3)
        events.record("stage-end", stage=stage.name, step=progress.index, seconds=seconds)

    def _step(self, stage: Stage, index: int, fraction: float) -> Step:
        workers, seed = self._workers, self._settings.seed
        if workers is None or (self._settings.one_asset and not stage.shared):
            return Step(stage.name, index, stage.steps, fraction=fraction, seed=seed)
        if self._settings.one_asset:
            return Step(
                stage.name,
                index,
                stage.steps,
                fraction=fraction,
                seed=seed,
                microbatch_index=workers.rank,
                microbatches=workers.world,
            )
        # A training draws a different batch on every rank.
        return Step(
            stage.name, index, stage.steps, fraction=fraction, seed=seed * 1009 + workers.rank
        )

    def _average(
        self, progress: Progress, fraction: float, loss: torch.Tensor
    ) -> tuple[float, bool, torch.Tensor]:
        """Average gradients and loss over the ranks. If another rank has failed, the last step is
        saved before the RankError is passed on."""
        assert self._workers is not None
        # Only the clock of rank 0 ends a stage: the vote of a helper that is ahead would be taken
        # for a stop by the user.
        over = self._stop or (fraction >= 1.0 and self._workers.rank == 0)
        try:
            return self._workers.average(progress.parameters, fraction, over, loss)
        except RankError:
            if self._writes:
                self._save(progress)
            raise

    def _gradients(
        self, progress: Progress, step: Step
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The loss terms of a step and their sum, after the backward pass.

        The gradients are in the parameters, in the buffers that these had before.
        """
        count = self._settings.accumulate if progress.stage.shared else 1
        computed, sums = [], GradientAccumulator(progress.parameters)
        try:
            for k in range(count):
                # The microbatches of a rank are consecutive, so that many microbatches on one rank
                # are the same as few on each of many ranks.
                microbatch = replace(
                    step,
                    microbatch_index=step.microbatch_index * count + k,
                    microbatches=step.microbatches * count,
                )
                sums.clear()
                terms = progress.stage.loss(microbatch)
                total = total_of(terms)
                if total.requires_grad:
                    total.backward()
                if count == 1:
                    return terms, total
                sums.add()
                computed.append({name: term.detach().reshape(()) for name, term in terms.items()})
                del terms, total
            sums.mean()
            terms = {
                name: torch.stack([each[name] for each in computed]).mean() for name in computed[0]
            }
            return terms, total_of(terms)
        except torch.OutOfMemoryError:
            shortage = self._shrink(progress, step)
        # This is outside of the handler, whose traceback keeps the tensors of the failed step
        # alive.
        if shortage is not None:
            raise shortage
        release()
        return self._gradients(progress, step)

    def _shrink(self, progress: Progress, step: Step) -> MemoryShortage | None:
        """Reduce the stage's use of memory, at most once a stage.

        Returns the error to raise if that has been done already or is not possible.
        """
        action = (
            progress.stage.shrink()
            if progress.stage.shrink is not None and not progress.shrunk
            else ""
        )
        self._events.record("memory", stage=step.stage, step=step.index, action=action or "stopped")
        if not action:
            return MemoryShortage(
                f"the device ran out of memory in step {step.index}",
                f"stage {step.stage}",
                "Set a budget (--memory 6GB), lower --resolution, or use a smaller prior",
            )
        progress.shrunk = True
        self._events.say(f"Out of memory: {action}, and repeated the step.")
        return None

    def _move(
        self, progress: Progress, step: Step, loss: torch.Tensor, fraction: float
    ) -> Verdict | None:
        """Take one optimiser step, unless a gradient is not finite; returns the watchdog's
        verdict."""
        stage, watchdog = progress.stage, self._watchdog
        for group, schedule in zip(progress.optimiser.param_groups, progress.schedules):
            group["lr"] = schedule(fraction) * stage.rate_factor
        verdict = watchdog.nan(loss, progress.parameters) if watchdog else None
        if verdict is not None:
            return verdict
        if stage.clip_norm > 0:
            nn.utils.clip_grad_norm_(progress.parameters, stage.clip_norm)
        progress.optimiser.step()
        if stage.after_step is not None:
            stage.after_step(step)
        if (
            watchdog is not None
            and stage.watch is not None
            and watchdog.due(step.index, stage.steps)
        ):
            figures = stage.watch()
            verdict = watchdog.look(
                figures if self._workers is None else self._workers.mean(figures), fraction
            )
            if verdict is None:
                progress.remember(step.index + 1)
        return verdict

    def _rescue(self, progress: Progress, verdict: Verdict) -> None:
        """Return to the last good state and change one setting; raises CollapseError the second
        time."""
        stage, events = progress.stage, self._events
        assert self._watchdog is not None
        if progress.recovered_from or stage.recover is None:
            events.record("watchdog", verdict=verdict.name, saw=verdict.saw, action="stopped")
            raise self._watchdog.error(verdict, stage.name, progress.index)
        progress.recovered_from = verdict.name
        action = stage.recover(verdict.name)
        progress.go_back()
        events.record(
            "watchdog", verdict=verdict.name, saw=verdict.saw, action=action, back_to=progress.index
        )
        events.say(f"Watchdog: {verdict.saw}; went back to step {progress.index} and {action}.")

    def _account(
        self, progress: Progress, terms: dict[str, torch.Tensor], total: torch.Tensor
    ) -> None:
        """Write the events, status line, checkpoint and preview that are due after a step."""
        settings, events = self._settings, self._events
        stage, index = progress.stage, progress.index
        now = time.monotonic()
        if index % settings.log_every == 0 or index == stage.steps:
            values = {k: float(v.detach()) for k, v in terms.items()}
            rate = (index - progress.start) / max(now - progress.began, 1e-6)
            loss = float(total.detach())
            more = {} if stage.figures is None else {"figures": stage.figures()}
            events.record(
                "step",
                stage=stage.name,
                step=index,
                loss=loss,
                terms=values,
                rate=round(rate, 2),
                **more,
            )
            where = f"{stage.name} {progress.number + 1}/{progress.count}"
            events.progress(where, index, stage.steps, loss=loss, rate=rate)
        due = settings.checkpoint_steps is not None and index % settings.checkpoint_steps == 0
        late = now - progress.saved_at > settings.checkpoint_seconds
        if self._writes and (due or late or index == stage.steps or self._stop):
            self._save(progress)
            progress.saved_at = time.monotonic()
        if (
            stage.preview is not None
            and self._writes
            and now - progress.drawn_at > settings.preview_seconds
        ):
            assert self._folder is not None
            draw_preview(stage, self._folder)
            progress.drawn_at = time.monotonic()
        waited, stop = self._onlookers.after_step(stage, index, lambda: self._stop)
        progress.began, self._stop = progress.began + waited, self._stop or stop

    def _save(self, progress: Progress) -> None:
        assert self._folder is not None
        stage = progress.stage
        facts = {
            "stage": progress.number,
            "name": stage.name,
            **progress.facts(),
            "identity": self._settings.identity,
        }
        tensors = all_tensors(stage, progress.optimiser, self._finished)
        if self._watchdog is not None:
            progress.keep_good(self._folder, self._settings.identity)
        save_checkpoint(self._folder / CHECKPOINT, tensors, facts)
