"""Tournaments: several seeds of an entry begin with short runs, the better ones go on to longer
ones, and the best are made in full (successive halving: Jamieson and Talwalkar, "Non-stochastic
best arm identification and hyperparameter optimization", 2016).

Every run of every rung is an item of its own: a run of fewer steps has other bytes. The last rung's
items are those that a batch without a tournament would make of the same seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .items import Item, Spec

LOWER_IS_BETTER = ("fog",)
STOPPED = "watchdog"
"""A figure that is 1 where the watchdog had something to say: such a run is last whatever else."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A tournament among the seeds of one entry.

    Attributes:
        entry: the plan's item of the first seed, for what all of them share.
        specs: of full length, one a seed.
        steps: of full length.
        keep: how many are made in full.
        factor: by which the number of runs falls and that of steps grows from rung to rung.
    """

    entry: Item
    specs: tuple[Spec, ...]
    steps: int
    keep: int = 1
    factor: int = 2

    @property
    def rungs(self) -> int:
        """How many rungs there are, the one of full length counted."""
        if len(self.specs) <= self.keep:
            return 1
        return 1 + math.ceil(math.log(len(self.specs) / self.keep, self.factor) - 1e-9)

    def size(self, rung: int) -> int:
        """How many runs a rung has."""
        return max(self.keep, math.ceil(len(self.specs) / self.factor**rung - 1e-9))

    def length(self, rung: int) -> int:
        """How many steps a run of a rung has."""
        return max(1, math.ceil(self.steps / self.factor ** (self.rungs - 1 - rung)))

    def cost(self) -> int:
        """Steps of all rungs together."""
        last = self.rungs - 1
        return sum(
            (min(self.keep, len(self.specs)) if r == last else self.size(r)) * self.length(r)
            for r in range(self.rungs)
        )

    def reached(
        self,
        with_steps: Callable[[Spec, int], Spec],
        settled: Callable[[str], Mapping[str, float] | bool | None],
    ) -> list[tuple[int, Spec]]:
        """The runs of all rungs that have begun, each with its rung. It follows from what is
        settled alone, so it is the same after a restart; when all are, the tournament is over.

        Args:
            with_steps: an item of fewer steps.
            settled: the figures of a finished run, False of one that was set aside, None of one
                that is still to be made.
        """
        field, runs = list(self.specs), []
        for rung in range(self.rungs):
            last = rung == self.rungs - 1
            length = self.length(rung)
            own = [spec if last else with_steps(spec, length) for spec in field]
            runs += [(rung, run) for run in own]
            found = [settled(run.id) for run in own]
            if last or any(figures is None for figures in found):
                break
            alive = [(s, f) for s, f in zip(field, found) if isinstance(f, Mapping)]
            order = ranked([f for _, f in alive])
            field = [alive[n][0] for n in order[: self.size(rung + 1)]]
        return runs


def ranked(figures: Sequence[Mapping[str, float]]) -> list[int]:
    """Positions from the best to the worst: by the mean rank over all figures that the measured
    runs share, so that no figure's scale counts. Those of which nothing was measured come behind
    them, those that the watchdog stopped last; equals stay in their order."""
    measured = [set(f) for f in figures if f]
    shared = set.intersection(*measured) - {STOPPED} if measured else set()
    totals = [0.0] * len(figures)
    for name in sorted(shared):
        sign = -1 if name in LOWER_IS_BETTER else 1
        values = [sign * f[name] if f else -math.inf for f in figures]
        for n, value in enumerate(values):
            better = sum(v > value for v in values)
            equal = sum(v == value for v in values)
            totals[n] += better + (equal - 1) / 2
    return sorted(
        range(len(figures)),
        key=lambda n: (figures[n].get(STOPPED, 0) > 0, not figures[n], totals[n], n),
    )
