"""Which item a free worker gets, how often a failed one is tried, and when it is set aside. Nothing
here knows processes or clocks: the driver and the simulation (`simulation`) ask the same
schedule."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

RETRIES = 2


@dataclass
class Schedule:
    """The items that wait, by what a worker has to load for them.

    retries: how often an item that failed is tried again, where trying again can help.

    Example:
        >>> schedule = Schedule()
        >>> schedule.add("a", "toybox"); schedule.add("b", "sdxl"); schedule.add("c", "toybox")
        >>> schedule.take(warm="toybox", workers=["toybox"]), schedule.take("toybox", ["toybox"])
        ('a', 'c')
    """

    retries: int = RETRIES
    _queues: dict[str, deque[str]] = field(default_factory=dict)
    _affinity: dict[str, str] = field(default_factory=dict)
    _trials: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        """How many items wait."""
        return sum(map(len, self._queues.values()))

    def add(self, id: str, affinity: str) -> None:
        """Let an item wait; one that waits or is being made already is not taken twice."""
        if id not in self._affinity:
            self._affinity[id] = affinity
            self._queues.setdefault(affinity, deque()).append(id)

    def take(self, warm: str | None, workers: Iterable[str | None]) -> str | None:
        """The next item for a worker; None where none waits.

        It gets one of what it has loaded. Where none of that waits, it gets one of the affinity
        with most waiting items for each worker that has it loaded, itself counted.

        Args:
            warm: what the worker has loaded; None for nothing.
            workers: what every worker has loaded, for the balance between affinities.
        """
        if warm is not None and self._queues.get(warm):
            return self._pop(warm)
        waiting = {affinity: len(queue) for affinity, queue in self._queues.items() if queue}
        if not waiting:
            return None
        loaded = Counter(workers)
        return self._pop(max(waiting, key=lambda a: waiting[a] / (loaded[a] + 1)))

    def trial(self, id: str) -> int:
        """How many times an item has been taken."""
        return self._trials[id]

    def finish(self, id: str) -> None:
        """The item is made, or set aside."""
        self._affinity.pop(id, None)
        self._trials.pop(id, None)

    def fail(self, id: str, *, lasting: bool) -> bool:
        """An item failed; it waits again behind the others if that can help. Returns whether it
        does; if not it is to be set aside.

        Args:
            lasting: whether trying again would end in the same way.
        """
        if lasting or self._trials[id] > self.retries:
            return False
        self._queues.setdefault(self._affinity[id], deque()).append(id)
        return True

    def _pop(self, affinity: str) -> str:
        id = self._queues[affinity].popleft()
        self._trials[id] += 1
        return id
