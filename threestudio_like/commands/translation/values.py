"""Values of threestudio's configurations in this toolkit's forms: schedules, units."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any


class NoTranslation(Exception):
    """A value that has no counterpart; the text says why."""


def plain(value: float) -> str:
    """A number as text, without a rounding's tail."""
    return f"{value:.10g}"


def number(value: Any) -> float:
    """A number. Raises NoTranslation on anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NoTranslation(f'"{value}" is no number')
    return float(value)


def whole(value: Any) -> int:
    """A whole number. Raises NoTranslation on anything else."""
    if number(value) != int(value):
        raise NoTranslation(f"{value} is no whole number")
    return int(value)


def pair(value: Any, scale: float = 1.0) -> list[float]:
    """Two numbers, multiplied by `scale`. Raises NoTranslation on anything else."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise NoTranslation(f"{value} are no two numbers")
    return [round(number(v) * scale, 9) for v in value]


@dataclass(frozen=True)
class Timed:
    """A value in steps as a schedule of this toolkit: its text, and what is to be said of it."""

    text: str
    note: str = ""


def timed(value: Any, steps: int, scale: float = 1.0) -> Timed:
    """A number, or a list as threestudio's C() reads it, over a run of `steps`.

    [a, b, end] is [0, a, b, end]; [begin, a, b, end] is linear from a to b between two steps; [s0,
    v0, v1, s1, v2, s2, ...] goes on to v2 at s2. A last step with a decimal point counts epochs,
    and threestudio's data have one endless epoch: the value at epoch 0 stays.

    Args:
        scale: of the values.

    Raises:
        NoTranslation: it is none of these.
    """
    if not isinstance(value, (list, tuple)):
        return Timed(plain(number(value) * scale))
    row = [*value]
    for item in row:
        number(item)
    if len(row) == 3:
        row = [0, *row]
    if len(row) < 4 or len(row) % 2:
        raise NoTranslation(f"{value} is no schedule in steps")
    knots = [
        (row[0], row[1]),
        (row[3], row[2]),
        *((row[i + 1], row[i]) for i in range(4, len(row), 2)),
    ]
    if any(isinstance(step, float) for step, _ in knots[1:]):
        if len(knots) > 2:
            raise NoTranslation(f"{value} mixes epochs and steps")
        (begin, first), (end, last) = knots
        share = min(1.0, max(0.0, (0 - begin) / (end - begin))) if end != begin else 1.0
        kept = first + (last - first) * share
        return Timed(
            plain(kept * scale),
            f"the last number, {end}, has a decimal point: threestudio counts epochs then, and its "
            f"endless data never leave epoch 0, so the value stays {plain(kept)}",
        )
    return Timed(_segments(knots, steps, scale))


def _segments(knots: list[tuple[float, float]], steps: int, scale: float) -> str:
    parts = []
    for (begin, first), (end, last) in itertools.pairwise(knots):
        if end < begin:
            raise NoTranslation(f"its steps {begin} and {end} run backwards")
        if end == begin or (first == last and len(knots) == 2):
            continue
        low, high = (plain(100.0 * at / steps) for at in (begin, end))
        parts.append(f"{plain(first * scale)}->{plain(last * scale)} @ {low}..{high}%")
    return "; ".join(parts) or plain(knots[-1][1] * scale)


def stepped(values: list[Any], milestones: list[Any], steps: int) -> str:
    """A schedule that takes the next of `values` at each of the milestones, in steps.

    Raises NoTranslation where their numbers do not fit.
    """
    if len(values) != len(milestones) + 1:
        raise NoTranslation(f"{values} and milestones {milestones} do not fit together")
    parts = []
    for before, after, at in zip(values, values[1:], milestones):
        # Half a step before: no rounding moves it over the step.
        low = 100.0 * (number(at) - 0.5) / steps
        parts.append(f"step {whole(before)}->{whole(after)} @ {plain(low)}..{plain(low + 100)}%")
    return "; ".join(parts) or str(whole(values[0]))
