"""Which twin of an operation serves: the Numba twin on CPU float32 once it has passed its self-check, else plain torch.

Set THREESTUDIO_LIKE_KERNELS=reference to force plain torch everywhere.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass
class Status:
    """The state of one operation's CPU twin: `serves` is "cpu" or "reference", `why` says so in words."""

    operation: str
    serves: str
    why: str
    seconds: float = 0.0


_checks: dict[str, Callable[[], float]] = {}
_tolerances: dict[str, float] = {}
_status: dict[str, Status] = {}
_lock = threading.RLock()


def register_check(operation: str, tolerance: float) -> Callable[[Callable[[], float]], Callable[[], float]]:
    """Decorator: the function compares the CPU twin with the reference and returns the largest relative error."""

    def add(check: Callable[[], float]) -> Callable[[], float]:
        _checks[operation], _tolerances[operation] = check, tolerance
        return check

    return add


def operations() -> tuple[str, ...]:
    """The operations that have a CPU twin."""
    return tuple(_checks)


def forced_reference() -> bool:
    """Whether the environment asks for plain torch."""
    return os.environ.get("THREESTUDIO_LIKE_KERNELS", "") == "reference"


def serves_cpu(operation: str, *tensors: torch.Tensor | None) -> bool:
    """Whether the CPU twin takes this call: float32 CPU tensors, and a passed self-check (run at first use)."""
    for tensor in tensors:
        if tensor is not None and (
            tensor.device.type != "cpu" or (tensor.is_floating_point() and tensor.dtype != torch.float32)
        ):
            return False
    return not forced_reference() and check(operation).serves == "cpu"


def check(operation: str) -> Status:
    """Run the self-check of an operation once, compiling its twin; returns what serves and why."""
    with _lock:
        if operation in _status:
            return _status[operation]
        # While the check itself runs the twin serves, or the check could not call it.
        _status[operation] = Status(operation, "cpu", "self-check running")
        began = time.perf_counter()
        try:
            # The first use may stand inside no_grad; the check compares gradients.
            with torch.enable_grad():
                error = _checks[operation]()
            passed = error <= _tolerances[operation]
            why = (
                f"self-check {'passed' if passed else 'failed'}: error {error:.1e}, limit {_tolerances[operation]:.0e}"
            )
        except Exception as problem:
            passed, why = False, f"self-check raised {type(problem).__name__}: {problem}".splitlines()[0]
        status = Status(operation, "cpu" if passed else "reference", why, time.perf_counter() - began)
        _status[operation] = status
        return status


def warm_up(progress: Callable[[str, int, int], None] | None = None) -> list[Status]:
    """Compile and check every twin. `progress(operation, number, count)` is called before each."""
    result = []
    for number, operation in enumerate(_checks):
        if progress is not None:
            progress(operation, number, len(_checks))
        result.append(check(operation))
    return result
