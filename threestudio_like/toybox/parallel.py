"""Data sets are drawn object by object, by one process or by several: every object depends on
nothing but its number."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Job = TypeVar("Job")
Drawn = TypeVar("Drawn")


@contextlib.contextmanager
def each(
    function: Callable[[Job], Drawn], jobs: Iterable[Job], workers: int = 1
) -> Iterator[Iterable[Drawn]]:
    """What a function of a module makes of every job, in order; by `workers` processes side by
    side."""
    if workers == 1:
        yield map(function, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield pool.imap(function, jobs, 16)
