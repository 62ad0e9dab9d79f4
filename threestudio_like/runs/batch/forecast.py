"""What a batch will take: hours, memory, storage. Times and sizes are those that were measured for
items of the same kind in the store; what was never measured is said to be unknown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GIB = 2**30
BASE = int(0.7 * GIB)
"""What a worker's process takes before it has loaded anything: Python, torch and kernels."""


@dataclass(frozen=True, kw_only=True)
class KindForecast:
    """Of the items of one kind: how many; seconds and bytes of one (None: never measured), and of
    how many that was measured."""

    kind: str
    count: int
    seconds: float | None
    bytes: float | None
    measured: int


def forecast_kinds(
    wanted: Mapping[str, Sequence[int]], measured: Mapping[str, Sequence[tuple[float, int, int]]]
) -> list[KindForecast]:
    """A row for each kind.

    Args:
        wanted: the steps (0: none) of the items that are to be made, by kind.
        measured: seconds, steps and bytes of finished items, by kind, see `Index.measured`.

    Example:
        >>> forecast_kinds({"a": [100, 300]}, {"a": [(2.0, 100, 10), (4.0, 200, 30)]})[0].seconds
        4.0
    """
    rows = []
    for kind, steps in wanted.items():
        known = measured.get(kind, ())
        seconds = size = None
        if known:
            with_steps = [s / n for s, n, _ in known if n > 0]
            if with_steps and any(steps):
                seconds = statistics.median(with_steps) * sum(steps) / len(steps)
            else:
                seconds = statistics.median(s for s, _, _ in known)
            size = statistics.median(b for _, _, b in known)
        rows.append(
            KindForecast(
                kind=kind, count=len(steps), seconds=seconds, bytes=size, measured=len(known)
            )
        )
    return rows


def forecast_lines(
    rows: Sequence[KindForecast], *, workers: int, memory: Mapping[str, int | None]
) -> list[str]:
    """The forecast in words: one line a kind, and the sum.

    Args:
        workers: items made at once.
        memory: bytes that an item takes at most, by kind; None where nobody knows.
    """
    lines = []
    for row in rows:
        taken = memory.get(row.kind)
        words = [
            "time not measured yet" if row.seconds is None else f"{spoken(row.seconds)} each",
            "memory unknown" if taken is None else f"{(taken + BASE) / GIB:.1f} GB a worker",
            "size not measured yet" if row.bytes is None else f"{row.bytes / 1e6:.1f} MB each",
        ]
        basis = f" (of {row.measured} finished)" if row.measured else ""
        lines.append(f"  {row.count} x {row.kind}: {', '.join(words)}{basis}")
    known = [r for r in rows if r.seconds is not None]
    if known and len(known) == len(rows):
        work = sum(r.count * (r.seconds or 0) for r in rows)
        size = sum(r.count * (r.bytes or 0) for r in rows)
        lines.append(
            f"  in all {spoken(work)} of work, {spoken(work / max(workers, 1))} on {workers} "
            f"workers; {size / 1e9:.2f} GB of storage"
        )
    elif rows:
        lines.append("  Make a few items first: --dry-run then knows their time and size")
    return lines


def spoken(seconds: float) -> str:
    """A duration in words."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
