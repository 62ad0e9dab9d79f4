"""Renders data sets object by object, in one or several processes. Every object depends only on its
number."""

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
    """Apply a function of a module to every job, in order, with `workers` processes."""
    if workers == 1:
        yield map(function, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield pool.imap(function, jobs, 16)
