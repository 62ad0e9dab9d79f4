"""Workers as actors of Ray: on this machine without anything started beforehand, or on a cluster by
its address. Processes, placement, restarts of nodes and growing clusters are Ray's; here is one
actor a worker, which keeps what it has loaded."""

from __future__ import annotations

import importlib.util
import os
import time
from dataclasses import dataclass
from typing import Any

from ...engine.errors import BatchError
from .forecast import BASE
from .items import Outcome, Task, Work
from .worker import Worker

GRACE = 10.0
"""Seconds that an item gets to end by itself after its time is up, before its worker is ended."""
OBJECT_STORE = 100 << 20
"""Bytes of Ray's object store on this machine: tasks and outcomes are small, files go to the
store."""


def available() -> bool:
    """Whether Ray is installed."""
    return importlib.util.find_spec("ray") is not None


class Hand:
    """An actor: a worker in a process of its own."""

    def __init__(self, work: Work) -> None:
        import torch

        torch.set_num_threads(1)
        self._worker = Worker(work)

    def make(self, task: Task) -> Outcome:
        """See `Worker.make`."""
        return self._worker.make(task)

    def pid(self) -> int:
        """The actor's process, for whoever wants to kill it."""
        return os.getpid()


@dataclass
class _Seat:
    actor: Any
    hello: Any
    task: Task | None = None
    reference: Any = None
    began: float = 0.0
    started: bool = False


class RayCrew:
    """Actors of Ray, see `crew.Crew`.

    Args:
        work: what they carry out.
        workers: how many; None for as many as processors, memory and GPUs of the cluster allow.
        address: of a cluster; empty for Ray on this machine.
        threads: of the processor that a worker takes.
        gpus: that a worker takes.
        memory: bytes of an item by its forecast; None where there is none.
        most: no more workers than there is work; None for no limit.
        seconds: that an item may take; 0 for any number.

    Raises:
        BatchError: the cluster cannot be reached.
    """

    def __init__(
        self,
        work: Work,
        *,
        workers: int | None = None,
        address: str = "",
        threads: int = 1,
        gpus: float = 0.0,
        memory: int | None = None,
        most: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        import ray

        self._ray, self._work, self._seconds = ray, work, seconds
        self._own = not ray.is_initialized()
        self._dashboard = ""
        if self._own:
            self._begin(address, threads * (workers or 0))
        need = {"num_cpus": float(threads), "num_gpus": gpus}
        if memory is not None:
            need["memory"] = float(memory + BASE)
        # A died worker is replaced here: Ray's own restart would not know that its task is lost.
        self._kind = ray.remote(**need, max_restarts=0, max_task_retries=0)(Hand)
        count = workers or self._fitting(need)
        count = max(1, min(count, most or count))
        self._seats = [self._seat() for _ in range(count)]

    def _seat(self) -> _Seat:
        actor = self._kind.remote(self._work)
        return _Seat(actor, hello=actor.pid.remote())

    def _begin(self, address: str, processors: int) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address:
            settings["address"] = address
        else:
            settings["object_store_memory"] = OBJECT_STORE
            settings["include_dashboard"] = importlib.util.find_spec("aiohttp_cors") is not None
            settings["num_cpus"] = max(processors, os.cpu_count() or 1)
        try:
            context = self._ray.init(**settings)
        except Exception as error:
            what = " ".join(str(error).split())[:200]
            raise BatchError(
                f"Ray cannot be reached ({what})",
                f"--address {address}" if address else "Ray",
                "See docs/batch.md, or --workers 1",
            ) from None
        url = getattr(context, "dashboard_url", "") or ""
        self._dashboard = f"http://{url}" if url and "://" not in url else url

    def _fitting(self, need: dict[str, float]) -> int:
        """How many workers the cluster holds at once now; what joins later is not counted."""
        there = self._ray.cluster_resources()
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        counts = [there.get(names[k], 0.0) // v for k, v in need.items() if v > 0]
        return int(min(counts, default=1))

    def idle(self) -> list[int]:
        """See `Crew`."""
        return [n for n, seat in enumerate(self._seats) if seat.task is None]

    def submit(self, number: int, task: Task) -> None:
        """See `Crew`."""
        seat = self._seats[number]
        seat.task, seat.began = task, time.monotonic()
        seat.reference = seat.actor.make.remote(task)

    def wait(self, seconds: float) -> list[tuple[int, Outcome]]:
        """See `Crew`."""
        busy = {seat.reference: n for n, seat in enumerate(self._seats) if seat.task is not None}
        if not busy:
            return []
        ready, _ = self._ray.wait(list(busy), num_returns=len(busy), timeout=0)
        if not ready:
            ready, _ = self._ray.wait(list(busy), num_returns=1, timeout=seconds)
        outcomes = [(busy[reference], self._outcome(busy[reference])) for reference in ready]
        return outcomes + self._overdue()

    def _outcome(self, number: int) -> Outcome:
        seat = self._seats[number]
        task = seat.task
        assert task is not None
        seconds = time.monotonic() - seat.began
        try:
            outcome: Outcome = self._ray.get(seat.reference)
        except self._ray.exceptions.RayError as error:
            kind = type(error).__name__
            cause = "memory" if "OutOfMemory" in kind else "worker died"
            text = " ".join(str(error).split())[:200]
            self._replace(number)
            return Outcome(id=task.spec.id, cause=cause, error=f"{kind}: {text}", seconds=seconds)
        seat.task = seat.reference = None
        return outcome

    def _overdue(self) -> list[tuple[int, Outcome]]:
        """End workers whose item does not end by itself: a computation outside of Python."""
        ended: list[tuple[int, Outcome]] = []
        for number, seat in enumerate(self._seats):
            task = seat.task
            if task is None or self._seconds <= 0:
                continue
            if not seat.started:
                # A worker may wait for a machine, or load: that is no time of its item.
                ready, _ = self._ray.wait([seat.hello], timeout=0)
                seat.started, seat.began = bool(ready), time.monotonic()
            elif time.monotonic() - seat.began > self._seconds + GRACE:
                self._ray.kill(seat.actor, no_restart=True)
                self._replace(number)
                text = f"took longer than {self._seconds:g} s; its worker was ended"
                ended.append((number, Outcome(id=task.spec.id, cause="timeout", error=text)))
        return ended

    def _replace(self, number: int) -> None:
        self._seats[number] = self._seat()

    def processes(self) -> list[int]:
        """The processes of the workers, once they have started."""
        return self._ray.get([seat.actor.pid.remote() for seat in self._seats])

    def dashboard(self) -> str:
        """See `Crew`."""
        return self._dashboard

    def close(self) -> None:
        """See `Crew`; Ray itself ends where it was begun here."""
        for seat in self._seats:
            try:
                self._ray.kill(seat.actor, no_restart=True)
            except Exception:
                continue
        self._seats = []
        if self._own:
            self._ray.shutdown()
