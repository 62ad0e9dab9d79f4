"""Workers as actors of Ray: on this machine without anything started beforehand, or on a cluster by
its address. Processes, placement, restarts of nodes and growing clusters are Ray's; here is one
actor a worker, which keeps what it has loaded."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from dataclasses import dataclass
from typing import Any

from ...engine.errors import BatchError
from .forecast import BASE
from .items import Outcome, Task, Work
from .pulse import Pulse
from .worker import Worker

GRACE = 10.0
"""Seconds that an item gets to end by itself after its time is up, before its worker is ended."""
OBJECT_STORE = 100 << 20
"""Bytes of Ray's object store on this machine: tasks and outcomes are small, files go to the
store."""
PULSE = 2.0
"""Seconds between two looks whether Ray itself is still there."""
BEGINNINGS = 3
"""How often Ray is tried to be begun on this machine."""
MOMENT = 0.3
"""Seconds until whatever died together is dead."""
LIVES = 3
"""How often Ray is begun again on this machine without an item that came to its end in between."""


def available() -> bool:
    """Whether Ray is installed."""
    return importlib.util.find_spec("ray") is not None


def _keep_quiet(ray: Any) -> None:
    """Ray tells of dead workers in long lines on standard output, where events may go as JSON
    lines; a batch tells of them itself. There is no setting for it."""
    inside = getattr(getattr(ray, "_private", None), "worker", None)
    if inside is not None and hasattr(inside, "print_to_stdstream"):
        inside.print_to_stdstream = lambda *data, **options: None


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

    Where Ray itself dies, it is begun again if it was begun here, and its tasks' outcomes say so.

    Raises:
        BatchError: the cluster cannot be reached; in `wait`: it is gone.
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
        self._address, self._processors = address, threads * (workers or 0)
        self._dashboard, self._pulse = "", Pulse({})
        self._looked, self._lives = time.monotonic(), LIVES
        if self._own:
            self._begin()
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

    def _begin(self) -> None:
        address = self._address
        _keep_quiet(self._ray)
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Nothing is told to anybody about what runs here.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address:
            settings["address"] = address
        else:
            # Otherwise Ray takes a cluster that somebody began on this machine, running or not.
            settings["address"] = "local"
            settings["object_store_memory"] = OBJECT_STORE
            settings["include_dashboard"] = importlib.util.find_spec("aiohttp_cors") is not None
            settings["num_cpus"] = max(self._processors, os.cpu_count() or 1)
        context = self._init(settings)
        self._pulse = Pulse(getattr(context, "address_info", None) or {})
        url = getattr(context, "dashboard_url", "") or ""
        self._dashboard = f"http://{url}" if url and "://" not in url else url

    def _init(self, settings: dict[str, Any]) -> Any:
        """Ray gives its own processes half a minute to start; a busy machine may need another."""
        address = self._address
        for left in reversed(range(1 if address else BEGINNINGS)):
            try:
                return self._ray.init(**settings)
            except Exception as error:
                with contextlib.suppress(Exception):
                    self._ray.shutdown()
                if left:
                    continue
                what = " ".join(str(error).split())[:200]
                remedy = "See docs/how-to/batch.md, or --workers 1"
                if address and "RAY_AUTH_MODE" not in os.environ:
                    remedy = f"If `ray start` began it: RAY_AUTH_MODE=token. {remedy}"
                raise BatchError(
                    f"Ray cannot be reached ({what})",
                    f"--address {address}" if address else "Ray",
                    remedy,
                ) from None
        raise AssertionError("unreachable")

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
        outcomes: list[tuple[int, Outcome]] = []
        try:
            if time.monotonic() - self._looked > PULSE:
                self._look()
            ready, _ = self._ray.wait(list(busy), num_returns=len(busy), timeout=0)
            if not ready:
                ready, _ = self._ray.wait(list(busy), num_returns=1, timeout=seconds)
            for reference in ready:
                outcomes.append((busy[reference], self._outcome(busy[reference])))
            return outcomes + self._overdue()
        except ConnectionError as error:
            # Ray itself, as `_look` says, or as a client of a cluster (ray://) notices.
            return outcomes + self._begin_again(" ".join(str(error).split())[:200])

    def _look(self) -> None:
        """Whether Ray is still there. Raises ConnectionError."""
        self._looked = time.monotonic()
        what = self._pulse.lost()
        if what:
            raise ConnectionError(what)

    def _begin_again(self, what: str) -> list[tuple[int, Outcome]]:
        """Ray has died. One that was begun here is begun again, with new workers."""
        self._lives -= 1
        if self._address or not self._own or self._lives < 0:
            raise BatchError(
                f"Ray is gone: {what}",
                f"--address {self._address}" if self._address else "Ray",
                "What is made is kept: run the same again, or batch resume",
            )
        lost = [(n, seat.task) for n, seat in enumerate(self._seats) if seat.task is not None]
        count = len(self._seats)
        self._seats = []
        with contextlib.suppress(Exception):
            self._ray.shutdown()
        self._begin()
        self._seats = [self._seat() for _ in range(count)]
        error = f"Ray died ({what}) and was begun again"
        return [(n, Outcome(id=t.spec.id, cause="worker died", error=error)) for n, t in lost]

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
            # What took the worker may have taken all of Ray: then nothing can be asked of it.
            time.sleep(MOMENT)
            self._look()
            self._replace(number)
            return Outcome(id=task.spec.id, cause=cause, error=f"{kind}: {text}", seconds=seconds)
        self._lives = LIVES
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
                self._replace(number)
                text = f"took longer than {self._seconds:g} s; its worker was ended"
                ended.append((number, Outcome(id=task.spec.id, cause="timeout", error=text)))
        return ended

    def _replace(self, number: int) -> None:
        # One that cannot be reached may live all the same, and would keep its place.
        with contextlib.suppress(Exception):
            self._ray.kill(self._seats[number].actor, no_restart=True)
        self._seats[number] = self._seat()

    def processes(self) -> list[int]:
        """The processes of the workers, once they have started."""
        return self._ray.get([seat.actor.pid.remote() for seat in self._seats])

    def dashboard(self) -> str:
        """See `Crew`."""
        return self._dashboard

    def close(self) -> None:
        """See `Crew`; Ray itself ends where it was begun here."""
        if self._pulse.lost():
            # Whoever talks to a Ray that is gone waits for it.
            self._seats = []
        for seat in self._seats:
            with contextlib.suppress(Exception):
                self._ray.kill(seat.actor, no_restart=True)
        self._seats = []
        if self._own:
            self._ray.shutdown()
