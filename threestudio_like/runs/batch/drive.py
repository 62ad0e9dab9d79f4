"""The driver of a batch: gives the items of an index to a crew until none is left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ...engine.events import Events
from .crew import Crew
from .index import ASIDE, DONE, Index
from .items import Item, Outcome, Task, Work
from .schedule import Schedule
from .store import Store
from .tournament import Contest

PUBLISH_SECONDS = 10.0
"""Seconds between copies of the index into the store."""
LATEST = 50
"""Failures that the driver keeps in memory, for the table."""


@dataclass
class Progress:
    """How far a batch is, for whoever shows it.

    made: by this driver; found: finished by somebody else meanwhile; retried, aside: failures;
    latest: the last failures in a line each; loads: how often each worker has loaded a prior;
    busy: seconds of work of all workers; most_in_flight: tasks that workers had at once.
    """

    total: int = 0
    made: int = 0
    found: int = 0
    retried: int = 0
    aside: int = 0
    busy: float = 0.0
    most_in_flight: int = 0
    began: float = field(default_factory=time.monotonic)
    loads: dict[str, int] = field(default_factory=dict)
    running: dict[int, str] = field(default_factory=dict)
    latest: deque[str] = field(default_factory=lambda: deque(maxlen=LATEST))

    @property
    def left(self) -> int:
        """How many items are neither made nor set aside."""
        return self.total - self.made - self.found - self.aside

    @property
    def seconds(self) -> float:
        """Since the driver began."""
        return time.monotonic() - self.began


class Driver:
    """Makes what waits in an index.

    Args:
        work: what the workers carry out.
        crew: the workers.
        contests: tournaments by the ids of their entries, see `Item.contest`.
        seconds: that an item may take; 0 for any number.
        show: is called with the progress now and then.
    """

    def __init__(
        self,
        store: Store,
        index: Index,
        crew: Crew,
        *,
        work: Work,
        events: Events,
        schedule: Schedule | None = None,
        contests: Mapping[str, Contest] | None = None,
        seconds: float = 0.0,
        show: Callable[[Progress], None] | None = None,
    ) -> None:
        self._store, self._index, self._crew, self._work = store, index, crew, work
        self._events, self._show, self._seconds = events, show, seconds
        self._schedule = Schedule() if schedule is None else schedule
        self._contests = dict(contests or {})
        self._warm: dict[int, str | None] = {}
        self._running: dict[int, Item] = {}
        self._published = time.monotonic()
        self.progress = Progress()

    def run(self) -> Progress:
        """Make everything; what cannot be made is set aside and named in the progress."""
        for id, affinity in self._index.waiting():
            self._schedule.add(id, affinity)
        for name in self._contests:
            self._advance(name)
        self.progress.total = len(self._schedule)
        self._events.record("batch", waiting=len(self._schedule), dashboard=self._crew.dashboard())
        try:
            while len(self._schedule) or self._running:
                self._hand_out()
                for number, outcome in self._crew.wait(0.5):
                    self._take(number, outcome)
                self._tell()
        finally:
            self._index.publish(self._store)
        self._events.record("batch end", made=self.progress.made, aside=self.progress.aside)
        return self.progress

    def _hand_out(self) -> None:
        for number in self._crew.idle():
            warm = self._warm.get(number)
            id = self._schedule.take(warm, self._warm.values())
            if id is None:
                return
            item = self._index.item(id)
            trial = self._schedule.trial(id)
            self._warm[number] = item.affinity
            self._running[number] = item
            self.progress.running[number] = item.label
            self.progress.most_in_flight = max(self.progress.most_in_flight, len(self._running))
            self._events.record("begin", id=id, label=item.label, worker=number, trial=trial)
            task = Task(
                spec=item.spec,
                store=self._store.address,
                label=item.label,
                judged=bool(item.contest),
                seconds=self._seconds,
                trial=trial,
            )
            self._crew.submit(number, task)

    def _take(self, number: int, outcome: Outcome) -> None:
        item = self._running.pop(number)
        self.progress.running.pop(number, None)
        self.progress.busy += outcome.seconds
        if outcome.worker and outcome.loads:
            self.progress.loads[outcome.worker] = outcome.loads
        if outcome.cause in ("worker died", "timeout"):
            # Whoever takes the number next has loaded nothing.
            self._warm[number] = None
        if outcome.record is not None:
            self._finish(item, outcome)
        else:
            self._fail(item, outcome)
        if item.contest and self._index.state(item.id) in (DONE, ASIDE):
            before = len(self._schedule)
            self._advance(item.contest)
            self.progress.total += len(self._schedule) - before

    def _finish(self, item: Item, outcome: Outcome) -> None:
        assert outcome.record is not None
        self._schedule.finish(item.id)
        self._index.finish(outcome.record)
        if outcome.new:
            self.progress.made += 1
        else:
            self.progress.found += 1
        self._events.record(
            "made" if outcome.new else "found",
            id=item.id,
            label=item.label,
            seconds=round(outcome.seconds, 3),
            verdict=outcome.record.get("verdict"),
            worker=outcome.worker,
            loads=outcome.loads,
        )

    def _fail(self, item: Item, outcome: Outcome) -> None:
        trials = self._schedule.trial(item.id)
        again = self._schedule.fail(item.id, lasting=outcome.lasting)
        facts = {"cause": outcome.cause, "error": outcome.error, "trials": trials}
        kind = "retry" if again else "aside"
        self._events.record(kind, id=item.id, label=item.label, worker=outcome.worker, **facts)
        line = f"{item.label} (seed {item.spec.seed}): {outcome.cause}: {outcome.error}"
        self.progress.latest.append(line)
        if again:
            self.progress.retried += 1
            return
        self._schedule.finish(item.id)
        self.progress.aside += 1
        content = {"id": item.id, "label": item.label, "spec": item.spec.plain(), **facts}
        self._store.set_aside(item.id, content)
        self._index.set_aside(item.id, outcome.cause, outcome.error, trials=trials)

    def _advance(self, name: str) -> None:
        """Take the runs of a tournament that can be made now into the plan."""
        contest = self._contests[name]
        items = [
            replace(contest.entry, spec=spec, contest=name, rung=rung)
            for rung, spec in contest.reached(self._work.with_steps, self._settled)
        ]
        self._index.plan((i, self._work.kind(i.spec), self._work.steps(i.spec)) for i in items)
        for item in items:
            if self._index.state(item.id) not in (DONE, ASIDE):
                self._schedule.add(item.id, item.affinity)

    def _settled(self, id: str) -> Mapping[str, float] | bool | None:
        state = self._index.state(id)
        if state == ASIDE:
            return False
        if state != DONE:
            return None
        found = self._index.figures(id).get("tournament")
        return found if isinstance(found, dict) else {}

    def _tell(self) -> None:
        if self._show is not None:
            self._show(self.progress)
        if time.monotonic() - self._published > PUBLISH_SECONDS:
            self._published = time.monotonic()
            self._index.publish(self._store)


def summary(progress: Progress) -> str:
    """What a driver did, in a line."""
    words = [f"{progress.made} made"]
    for count, what in (
        (progress.found, "found finished"),
        (progress.retried, "tried again"),
        (progress.aside, "set aside"),
    ):
        if count:
            words.append(f"{count} {what}")
    return f"{', '.join(words)} in {progress.seconds:.1f} s"
