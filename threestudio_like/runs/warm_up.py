"""Kernels before a run: which back end serves, compiled and checked before any clock runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..engine.errors import ConfigError
from ..engine.events import Events
from ..kernels import devices, dispatch
from .launcher import launched, local_rank
from .options import RunOptions


@contextmanager
def machine_as_before() -> Iterator[None]:
    """After it, threads and kernels are those that the process had: in Python a run with --threads
    or --kernels does not decide about the next one."""
    threads, kernels = torch.get_num_threads(), dispatch.chosen()
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if dispatch.chosen() != kernels:
            dispatch.choose(kernels)


def prepare_machine(settings: RunOptions, before: int | None, events: Events) -> None:
    """Threads and kernels as the options say; a resumed run takes the number of threads that it
    was begun with. Raises ConfigError.

    Args:
        before: that number, None for a new run.
    """
    device = settings.device or devices.MAIN
    device = devices.settle(device, *local_rank())
    choose_kernels(settings.kernels, device)
    wanted = settings.threads
    if wanted is None and before is not None and not launched():
        wanted = before
    if wanted is not None:
        torch.set_num_threads(wanted)
    if before is not None and torch.get_num_threads() != before and not launched():
        events.say(
            f"The run was begun with {before} threads and goes on with "
            f"{torch.get_num_threads()}: its bytes will differ in rounding."
        )


def choose_kernels(kernels: str, device: str) -> None:
    """Prefer some kernels, see `kernels.dispatch`. Raises ConfigError where none of them could
    serve on the device."""
    problem = dispatch.why_not(kernels, device)
    if kernels != "auto" and problem:
        raise ConfigError(
            problem,
            f"--kernels {kernels}",
            "Leave it out; threestudio-like doctor says what each operation would use",
        )
    if kernels != "auto":
        dispatch.choose(kernels)


def warm_kernels(events: Events, device: str) -> None:
    """Compile and check a device's kernels before the clock of the first stage runs, with progress
    on the first use of a machine."""
    began = time.monotonic()

    def progress(operation: str, number: int, count: int) -> None:
        if time.monotonic() - began > 1.0:
            events.status(
                f"first use: compiling kernels {number + 1}/{count} ({operation})", force=True
            )

    states = dispatch.warm_up(progress, torch.device(device))
    slow = [s for s in states if s.selected == "reference" and not dispatch.forced_reference()]
    for state in slow:
        events.record("kernel", operation=state.operation, serves=state.selected, why=state.why)
    if slow:
        names = ", ".join(s.operation for s in slow[:3]) + (" ..." if len(slow) > 3 else "")
        events.say(
            f"Warning: {len(slow)} of {len(states)} kernels run in plain torch, slowly ({names}): "
            f"{slow[0].why}"
        )
