"""The workers of a batch: one contract, and the crew of one worker in this process."""

from __future__ import annotations

from typing import Protocol

from .items import Outcome, Task, Work
from .worker import Worker


class Crew(Protocol):
    """Workers by number. Each has one task at most: what waits, waits with the driver."""

    def idle(self) -> list[int]:
        """Numbers of the workers that could be given a task now."""

    def submit(self, number: int, task: Task) -> None:
        """Give a worker a task."""

    def wait(self, seconds: float) -> list[tuple[int, Outcome]]:
        """What has come to an end, after some seconds at most. A worker that died is replaced, and
        its task's outcome says so."""

    def dashboard(self) -> str:
        """The address of a page about the workers; empty where there is none."""

    def close(self) -> None:
        """End the workers."""


class LocalCrew:
    """One worker: this process. `wait` does the work."""

    def __init__(self, work: Work) -> None:
        self._worker = Worker(work)
        self._task: Task | None = None

    def idle(self) -> list[int]:
        """See `Crew`."""
        return [0] if self._task is None else []

    def submit(self, number: int, task: Task) -> None:
        """See `Crew`."""
        self._task = task

    def wait(self, seconds: float) -> list[tuple[int, Outcome]]:
        """See `Crew`; it lasts as long as the task."""
        if self._task is None:
            return []
        task, self._task = self._task, None
        return [(0, self._worker.make(task))]

    def dashboard(self) -> str:
        """See `Crew`."""
        return ""

    def close(self) -> None:
        """See `Crew`."""
        self._worker.close()
