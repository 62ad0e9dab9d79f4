"""Who looks at a run while it goes, and what they ask of it.

A run knows no viewer. Whoever looks writes a small file of wishes beside its checkpoint, again and
again; the run reads it now and then, leaves snapshots of its model where somebody looks, waits
where it is asked to pause, and ends early, with what there is, where it is asked to stop. No result
depends on it: a snapshot changes no state and draws no random number.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .events import Events
from .output import new_file

if TYPE_CHECKING:
    # The viewer reads this file too, and is open sooner without torch.
    from .stage import Stage

WISHES = "wishes.json"
"""The file of wishes in work/."""
HISTORY = "history"
"""The folder of snapshots in work/."""
LOOK_SECONDS = 0.25
"""How often a run looks for wishes."""
ALIVE_SECONDS = 6.0
"""Wishes that nobody has renewed for so long are forgotten: nobody looks, nobody pauses."""
SHARE_WATCHED, SHARE_ALONE = 0.03, 0.004
"""Share of a run's time that snapshots may take where somebody looks, and where a viewer is open
and nobody looks."""
LEAST_SECONDS = 1.0
"""Between two snapshots."""
MOST_KEPT = 40
"""Snapshots that are kept; of more, every second of the older ones is dropped."""

Snapshot = Mapping[str, bytes]
"""Files of a model as it is now, by suffix: ".glb" or ".ply", and ".json" about its cameras."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What somebody who looks asks of a run.

    Attributes:
        beat: another number every time; a run believes that somebody is there while it changes.
        watched: whether a browser is connected.
        pause: wait after this step.
        stop: end after this step, with what there is.
    """

    beat: int = 0
    watched: bool = False
    pause: bool = False
    stop: bool = False

    def write(self, work: Path) -> None:
        """Ask the run whose folder work/ this is. Raises OutputError."""
        with new_file(work / WISHES, force=True) as temporary:
            temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read_wishes(work: Path) -> Wishes:
    """The wishes in a folder; none where the file is missing or cannot be understood."""
    try:
        found = json.loads((work / WISHES).read_text(encoding="utf-8"))
        return Wishes(
            beat=int(found["beat"]), **{k: found[k] is True for k in ("watched", "pause", "stop")}
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Wishes()


class Onlookers:
    """The wishes about a run, and the snapshots that answer them.

    Args:
        work: the run's folder work/; None where nothing is written.
        events: told of a snapshot that failed; it is not tried again in that stage.
        may_pause: False where other ranks would wait for this one.
    """

    def __init__(self, work: Path | None, events: Events, *, may_pause: bool = True) -> None:
        self._work, self._events, self._may_pause = work, events, may_pause
        self._wishes = Wishes() if work is None else read_wishes(work)
        self._heard = -ALIVE_SECONDS
        self._looked = self._due = 0.0
        self._failed = ""
        self._number = 0

    def before_steps(self, stage: Stage, step: int) -> None:
        """A snapshot of a stage as it begins, where a viewer is open: its first step may take
        seconds, for it compiles. Nothing is asked of a run that has not begun."""
        if self._work is None or _age(self._work / WISHES) >= ALIVE_SECONDS:
            return
        if read_wishes(self._work).watched:
            # A short stage would be over before the next one is due.
            self._due = 0.0
        self._look(stage, step, time.monotonic())

    def after_step(
        self, stage: Stage, step: int, stopping: Callable[[], bool]
    ) -> tuple[float, bool]:
        """What is due after a step: a snapshot, a pause.

        Args:
            stopping: whether the run is to end anyhow; it ends a pause.

        Returns:
            Seconds that the run has waited, and whether it is asked to end.
        """
        now = time.monotonic()
        if self._work is None or now - self._looked < LOOK_SECONDS:
            return 0.0, False
        wishes = self._read(now)
        if wishes is None:
            return 0.0, False
        self._look(stage, step, now)
        waited = 0.0
        if wishes.pause and self._may_pause and not stopping():
            self._events.record("pause", stage=stage.name, step=step)
            self._events.status(f"{stage.name}  {step}/{stage.steps}  paused", force=True)
            while wishes is not None and wishes.pause and not wishes.stop and not stopping():
                time.sleep(LOOK_SECONDS)
                wishes = self._read(time.monotonic())
            waited = time.monotonic() - now
            self._events.record("go-on", stage=stage.name, step=step, seconds=round(waited, 3))
        if wishes is not None and wishes.stop:
            self._events.say("Stopping after this step, as the viewer asks.")
            return waited, True
        return waited, False

    def _read(self, now: float) -> Wishes | None:
        """The wishes of somebody who is there."""
        assert self._work is not None
        self._looked = now
        found = read_wishes(self._work)
        if found.beat != self._wishes.beat:
            self._heard = now
        self._wishes = found
        return found if now - self._heard < ALIVE_SECONDS else None

    def _look(self, stage: Stage, step: int, now: float) -> None:
        """A snapshot, if one is due."""
        if now >= self._due and stage.snapshot is not None and self._failed != stage.name:
            self._keep(stage, step, SHARE_WATCHED if self._wishes.watched else SHARE_ALONE)

    def _keep(self, stage: Stage, step: int, share: float) -> None:
        import torch

        assert self._work is not None
        assert stage.snapshot is not None
        began = time.monotonic()
        try:
            with torch.no_grad():
                files = dict(stage.snapshot())
            facts = json.loads(files.pop(".json", b"{}"))
            facts |= {"stage": stage.name, "step": step, "steps": stage.steps}
            facts["seconds"] = round(self._events.elapsed, 3)
            if files:
                self._write(files, facts)
        except Exception as error:  # a picture more or less must not end a run
            self._failed = stage.name
            reason = f"{type(error).__name__}: {str(error)[:120]}"
            self._events.record("snapshot", stage=stage.name, step=step, failed=reason)
        took = time.monotonic() - began
        self._due = began + max(LEAST_SECONDS, took / share)

    def _write(self, files: dict[str, bytes], facts: dict[str, object]) -> None:
        assert self._work is not None
        folder = self._work / HISTORY
        folder.mkdir(exist_ok=True)
        kept = snapshots(folder)
        if kept and not self._number:
            self._number = int(kept[-1].name.split("-")[0])
        self._number += 1
        plain = re.sub(r"[^A-Za-z0-9]+", "-", str(facts["stage"]))
        stem = f"{self._number:05d}-{plain}-{facts['step']}"
        facts["file"] = next(stem + suffix for suffix in files)
        for suffix, data in {**files, ".json": json.dumps(facts).encode()}.items():
            with new_file(folder / f"{stem}{suffix}", force=True) as temporary:
                temporary.write_bytes(data)
        if len(kept) >= MOST_KEPT:
            for path in kept[1 : MOST_KEPT // 2 : 2]:
                for one in folder.glob(f"{path.stem}.*"):
                    one.unlink(missing_ok=True)


def _age(path: Path) -> float:
    """Seconds since a file was written; endless where there is none."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return float("inf")


def snapshots(history: Path) -> list[Path]:
    """The facts (.json) of the snapshots in a folder, the oldest first."""
    return sorted(history.glob("[0-9]*.json"))
