"""What a worker does with a task, in this process or in an actor on another machine: fetch the
inputs, make the item in a folder of its own, publish, and say what became of it."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ...engine.errors import (
    CheckpointError,
    MemoryShortage,
    OutputError,
    RankError,
    UserError,
)
from .inputs import fetch_input
from .items import Outcome, Task, Work
from .store import Store

PASSING = (MemoryShortage, OutputError, CheckpointError, RankError)
"""Errors of the machine rather than of the item: another trial may end well."""


class TimeUp(BaseException):
    """An item took longer than it may. No `Exception`: what an item catches for itself must not
    catch this."""


class Worker:
    """Makes items, one after the other; what it has loaded stays loaded.

    Args:
        work: what carries out commands.
        name: for records and events.
    """

    def __init__(self, work: Work, name: str = "") -> None:
        self._work, self.name = work, name or f"{platform.node()}:{os.getpid()}"
        work.prepare()
        self._stores: dict[str, Store] = {}
        self._scratch = Path(tempfile.mkdtemp(prefix="threestudio-like-batch-"))

    def close(self) -> None:
        """Remove the worker's folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def make(self, task: Task) -> Outcome:
        """Make an item and publish it. Never raises, but for Ctrl-C."""
        began = time.monotonic()
        spec, id = task.spec, task.spec.id
        folder = self._scratch / "item"
        cause, error, lasting = "", "", False
        try:
            store = self._store(task.store)
            known = store.record(id)
            if known is not None:
                return Outcome(id=id, record=known, new=False, worker=self.name)
            _empty(folder)
            with time_limit(task.seconds):
                paths = {d: fetch_input(store, d, self._scratch / "inputs") for d in spec.inputs()}
                made = self._work.execute(spec, folder, paths)
                figures = dict(made.figures)
                if task.judged:
                    figures["tournament"] = self._work.judge(spec, folder)
            # It comes with torch, which a driver that finds everything made does not load.
            from ...engine.memory import peak_memory_mb

            facts = {
                "label": task.label,
                "verdict": made.verdict,
                "figures": figures,
                "kind": self._work.kind(spec),
                "steps": self._work.steps(spec),
                "seconds": round(time.monotonic() - began, 3),
                "worker": self.name,
                "trial": task.trial,
                "peak memory, MB": round(peak_memory_mb() or 0),
            }
            record, new = store.publish(spec, folder, facts)
            seconds = time.monotonic() - began
            return Outcome(
                id=id, record=record, seconds=seconds, new=new, loads=made.loads, worker=self.name
            )
        except TimeUp:
            cause, error = "timeout", f"took longer than {task.seconds:g} s"
        except UserError as problem:
            cause, error = type(problem).__name__, problem.line()
            lasting = not isinstance(problem, PASSING)
        except MemoryError:
            cause, error = "MemoryError", "the machine has too little memory"
        except Exception as problem:
            if type(problem).__name__ == "Interrupted":
                raise
            cause = type(problem).__name__
            error = " ".join(f"unexpected {cause}: {problem}".split())[:300]
        finally:
            _empty(folder)
        seconds = time.monotonic() - began
        return Outcome(
            id=id, cause=cause, error=error, lasting=lasting, seconds=seconds, worker=self.name
        )

    def _store(self, address: str) -> Store:
        if address not in self._stores:
            self._stores[address] = Store(address)
        return self._stores[address]


def _empty(folder: Path) -> None:
    """Make a folder, or remove all that is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeUp within the block after some seconds (0: never), as far as the machine can
    interrupt a computation: on Windows, and outside of the main thread, it cannot, and an actor
    that goes on too long is ended by the driver instead."""
    able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if seconds <= 0 or not able:
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeUp

    before: Any = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
