"""The thread pool on which nogil kernels run. One pool a process; its size follows
``torch.get_num_threads()``.

Numba's own parallel runtime is not used: it starts a second OpenMP pool beside torch's, and its
fallback ends the process when two Python threads enter it.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0


def thread_count() -> int:
    """The number of threads that kernels use: torch's setting if torch is loaded, else the number
    of cores of this process."""
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    )


def run(task: Callable[..., Any], arguments: Iterable[tuple]) -> list[Any]:
    """``[task(*a) for a in arguments]``, in parallel if there is more than one argument tuple and
    more than one thread.

    Results are in the order of the arguments, so that work that is divided by ownership stays
    deterministic.
    """
    jobs = list(arguments)
    threads = thread_count()
    if threads <= 1 or len(jobs) <= 1:
        return [task(*a) for a in jobs]
    global _pool, _size
    with _lock:
        if _pool is None or _size != threads:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool, _size = ThreadPoolExecutor(threads, thread_name_prefix="kernel"), threads
        pool = _pool
    return [f.result() for f in [pool.submit(task, *a) for a in jobs]]


def split(total: int, minimum: int = 1) -> list[tuple[int, int]]:
    """Contiguous [begin, end) ranges of `total` items, at most one for each thread, with at least
    `minimum` items each."""
    parts = max(1, min(thread_count(), total // max(1, minimum)))
    edges = [total * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(edges))
