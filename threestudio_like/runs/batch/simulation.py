"""A discrete-event model of a batch: many workers, the real schedule (`schedule.Schedule`), times
drawn from measured ones. It answers what a cluster would do before anybody rents it.

Needs simpy (extra `dev`).
"""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from .schedule import Schedule

DAY = 86400.0


@dataclass(frozen=True, kw_only=True)
class Farm:
    """What is simulated.

    Attributes:
        workers: that make one item each at a time.
        seconds: measured times of items, drawn with replacement.
        load: measured times of loading what an affinity needs, drawn likewise.
        start: seconds until a worker that was asked for can begin (a cold machine).
        driver: seconds that the driver takes for an item: one after the other, for all workers.
        publish: seconds that an item's files take to the store.
        affinities: how many priors the items are spread over.
        lost: mean seconds until a worker's machine is taken away (spot); 0 for never.
        failing: share of trials that fail for a reason that may pass.
        retries: how often such an item is tried again.
    """

    workers: int
    seconds: Sequence[float]
    load: Sequence[float] = (0.0,)
    start: float = 0.0
    driver: float = 0.0
    publish: float = 0.0
    affinities: int = 1
    lost: float = 0.0
    failing: float = 0.0
    retries: int = 2


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What the model says.

    made, aside: items; seconds: until the last; busy: seconds of work that counted; wasted: of work
    that was lost with a machine or failed; loading: of all workers; loads: how many.
    """

    made: int
    aside: int
    seconds: float
    busy: float
    wasted: float
    loading: float
    loads: int

    @property
    def a_day(self) -> float:
        """Items a day at this rate."""
        return self.made / self.seconds * DAY if self.seconds else 0.0

    def used(self, workers: int) -> float:
        """The share of all workers' time that went into items that count, in [0, 1]."""
        return self.busy / (self.seconds * workers) if self.seconds else 0.0


def simulate(farm: Farm, items: int, seed: int = 0) -> Outlook:
    """Run `items` through the farm.

    Raises:
        ImportError: simpy is not installed.

    Example:
        >>> simulate(Farm(workers=2, seconds=[3.0]), 10).seconds          # doctest: +SKIP
        15.0
    """
    import simpy

    model = _Model(farm, items, seed, world=simpy.Environment())
    model.driver = simpy.Resource(model.world, capacity=1)
    for number in range(farm.workers):
        model.world.process(model.work(number))
    model.world.run()
    return Outlook(
        made=model.counts["made"],
        aside=model.counts["aside"],
        seconds=model.last,
        busy=model.times["busy"],
        wasted=model.times["wasted"],
        loading=model.times["loading"],
        loads=model.counts["loads"],
    )


class _Model:
    """The state of a simulated batch; `world` is a simpy environment."""

    driver: Any

    def __init__(self, farm: Farm, items: int, seed: int, world: Any) -> None:
        self.farm, self.items, self.world = farm, items, world
        self.dice = random.Random(seed)
        self.schedule = Schedule(retries=farm.retries)
        self.affinity = {str(n): f"prior {n * farm.affinities // items}" for n in range(items)}
        for id, affinity in self.affinity.items():
            self.schedule.add(id, affinity)
        self.warm: dict[int, str | None] = dict.fromkeys(range(farm.workers))
        self.counts = {"made": 0, "aside": 0, "loads": 0}
        self.times = {"busy": 0.0, "wasted": 0.0, "loading": 0.0}
        self.last = 0.0
        self._changed = world.event()

    def work(self, number: int) -> Generator[Any, Any, None]:
        """A worker, from its machine's start to the last item."""
        farm, world = self.farm, self.world
        yield world.timeout(farm.start)
        ends = world.now + _life(farm, self.dice)
        while self.counts["made"] + self.counts["aside"] < self.items:
            id = self.schedule.take(self.warm[number], self.warm.values())
            if id is None:
                # What others make may still come back.
                yield self._changed
                continue
            with self.driver.request() as turn:
                yield turn
                yield world.timeout(farm.driver)
            loading = self._load(number, id)
            making = self.dice.choice(farm.seconds) + farm.publish
            if world.now + loading + making > ends:
                spent = max(0.0, ends - world.now)
                yield world.timeout(spent)
                self._fail(id, spent)
                self.warm[number] = None
                yield world.timeout(farm.start)
                ends = world.now + _life(farm, self.dice)
                continue
            yield world.timeout(loading + making)
            self.times["loading"] += loading
            if self.dice.random() < farm.failing:
                self._fail(id, making)
            else:
                self.times["busy"] += making
                self._settle(id, "made")

    def _load(self, number: int, id: str) -> float:
        if self.warm[number] == self.affinity[id]:
            return 0.0
        self.warm[number] = self.affinity[id]
        self.counts["loads"] += 1
        return self.dice.choice(self.farm.load)

    def _settle(self, id: str, kind: str) -> None:
        self.schedule.finish(id)
        self.counts[kind] += 1
        self.last = self.world.now
        self._tell()

    def _fail(self, id: str, spent: float) -> None:
        self.times["wasted"] += spent
        if self.schedule.fail(id, lasting=False):
            self._tell()
        else:
            self._settle(id, "aside")

    def _tell(self) -> None:
        """Wake the workers that found nothing to do."""
        self._changed.succeed()
        self._changed = self.world.event()


def _life(farm: Farm, dice: random.Random) -> float:
    return dice.expovariate(1 / farm.lost) if farm.lost > 0 else float("inf")
