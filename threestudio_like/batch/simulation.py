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

    dice = random.Random(seed)
    world = simpy.Environment()
    driver = simpy.Resource(world, capacity=1)
    schedule = Schedule(retries=farm.retries)
    for n in range(items):
        schedule.add(str(n), f"prior {n * farm.affinities // max(items, 1)}")
    warm: dict[int, str | None] = dict.fromkeys(range(farm.workers))
    counts = {"made": 0, "aside": 0, "loads": 0}
    times = {"busy": 0.0, "wasted": 0.0, "loading": 0.0, "last": 0.0}
    affinity_of = {str(n): f"prior {n * farm.affinities // max(items, 1)}" for n in range(items)}

    def settle(id: str, kind: str) -> None:
        schedule.finish(id)
        counts[kind] += 1
        times["last"] = world.now

    def worker(number: int) -> Generator[Any, Any, None]:
        yield world.timeout(farm.start)
        ends = world.now + _life(farm, dice)
        while counts["made"] + counts["aside"] < items:
            id = schedule.take(warm[number], warm.values())
            if id is None:
                # What others make may still come back.
                yield world.timeout(max(1e-3, min(farm.seconds) / 10))
                continue
            with driver.request() as turn:
                yield turn
                yield world.timeout(farm.driver)
            loading = 0.0
            if warm[number] != affinity_of[id]:
                loading = dice.choice(farm.load)
                warm[number] = affinity_of[id]
                counts["loads"] += 1
            needed = loading + dice.choice(farm.seconds) + farm.publish
            if world.now + needed > ends:
                spent = max(0.0, ends - world.now)
                yield world.timeout(spent)
                times["wasted"] += spent
                if not schedule.fail(id, lasting=False):
                    settle(id, "aside")
                warm[number] = None
                yield world.timeout(farm.start)
                ends = world.now + _life(farm, dice)
                continue
            yield world.timeout(needed)
            times["loading"] += loading
            if dice.random() < farm.failing:
                times["wasted"] += needed - loading
                if not schedule.fail(id, lasting=False):
                    settle(id, "aside")
                continue
            times["busy"] += needed - loading
            settle(id, "made")

    for number in range(farm.workers):
        world.process(worker(number))
    world.run()
    return Outlook(
        made=counts["made"],
        aside=counts["aside"],
        seconds=times["last"],
        busy=times["busy"],
        wasted=times["wasted"],
        loading=times["loading"],
        loads=counts["loads"],
    )


def _life(farm: Farm, dice: random.Random) -> float:
    return dice.expovariate(1 / farm.lost) if farm.lost > 0 else float("inf")
