"""Renders data sets object by object, in one or several processes. Every object depends only on its
number."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..engine.output import new_file

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


def stored(
    path: Path,
    count: int,
    function: Callable[[Job], np.ndarray],
    jobs: Iterable[Job],
    workers: int = 1,
) -> np.ndarray:
    """The arrays that a function of a module gives for `count` jobs as one array (count, ...),
    which is kept in the file `path` and read from it the next time. Its pages are read when they
    are needed, and what is written to it stays in memory."""
    if not path.is_file():
        found = np.empty(0)
        with each(function, jobs, workers) as drawn:
            for n, one in enumerate(drawn):
                if n == 0:
                    found = np.empty((count, *one.shape), one.dtype)
                found[n] = one
        with new_file(path) as temporary:
            np.save(temporary, found)
    return np.load(path, mmap_mode="c", allow_pickle=False)
