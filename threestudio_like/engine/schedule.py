"""Schedules: values over the fraction of a run, written as text.

Examples are ``"0.98"``, ``"0.98->0.5"`` and ``"cos 0.98->0.5 @ 0..60%"``; several in turn are
separated by semicolons: ``"0->1 @ 0..5%; exp 1->0.1 @ 5..100%"``.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace

from .errors import ConfigError

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_PATTERN = re.compile(
    rf"^\s*(?:(?P<shape>linear|cos|exp|sqrt|step|onecycle)\s+)?(?P<start>{_NUMBER})\s*(?:->\s*(?P<end>{_NUMBER}))?"
    rf"\s*(?:@\s*(?P<low>{_NUMBER})\s*\.\.\s*(?P<high>{_NUMBER})\s*%)?\s*$"
)


@dataclass(frozen=True)
class Schedule:
    """A value that moves from `start` to `end` while the run's fraction goes from `low` to `high`,
    and is constant outside of that range.

    Shapes: linear; cos (half a cosine); exp (constant ratio; both ends must be positive); sqrt
    (along the square root, fast first: HiFA, Zhu et al. 2023); step (jumps at `low`); onecycle
    (rises from a twenty-fifth of `start` to `start` in the first fiftieth, then falls to `end`,
    both along half a cosine; "onecycle 5e-5" ends at zero; Smith and Topin 2018).

    `later` are schedules that follow in turn; each holds from its own `low` on.
    """

    start: float
    end: float
    shape: str = "linear"
    low: float = 0.0
    high: float = 1.0
    later: tuple[Schedule, ...] = ()

    @staticmethod
    def parse(text: str | float | int | Schedule, where: str = "schedule") -> Schedule:
        """Read the textual form. Raises ConfigError with the grammar if it cannot be read."""
        if isinstance(text, Schedule):
            return text
        if ";" in str(text):
            return Schedule._in_turn(str(text), where)
        match = _PATTERN.match(str(text))
        if match is None:
            raise ConfigError(
                f'"{text}" is not a schedule',
                where,
                'Write "0.98", "0.98->0.5" or "cos 0.98->0.5 @ 0..60%"',
            )
        start = float(match["start"])
        shape = match["shape"] or "linear"
        end = (
            float(match["end"])
            if match["end"] is not None
            else 0.0
            if shape == "onecycle"
            else start
        )
        low, high = (
            (0.0, 1.0)
            if match["low"] is None
            else (float(match["low"]) / 100, float(match["high"]) / 100)
        )
        if not low < high:
            raise ConfigError(f'the window of "{text}" is empty', where, "Write it as @ 0..60%")
        if shape == "exp" and (start <= 0 or end <= 0):
            raise ConfigError(f'"{text}" is exponential, so both ends must be positive', where)
        return Schedule(start, end, shape, low=low, high=high)

    @staticmethod
    def _in_turn(text: str, where: str) -> Schedule:
        """Several schedules, separated by semicolons. Raises ConfigError unless each begins after
        the one before it."""
        first, *rest = (Schedule.parse(part, where) for part in text.split(";"))
        begins = [first.low, *(one.low for one in rest)]
        if any(b <= a for a, b in itertools.pairwise(begins)):
            raise ConfigError(
                f'the parts of "{text}" do not follow one another',
                where,
                'Each begins later than the one before: "1->2 @ 0..30%; 2->1 @ 30..100%"',
            )
        return replace(first, later=tuple(rest))

    def values(self) -> tuple[float, ...]:
        """The values between which it moves."""
        return (self.start, self.end, *(v for one in self.later for v in one.values()))

    def __call__(self, fraction: float) -> float:
        """The value at a fraction of the run in [0, 1]."""
        for one in reversed(self.later):
            if fraction >= one.low:
                return one(fraction)
        x = min(1.0, max(0.0, (fraction - self.low) / (self.high - self.low)))
        if self.shape == "step":
            return self.end if fraction >= self.low else self.start
        if self.shape == "exp":
            return self.start * (self.end / self.start) ** x
        if self.shape == "onecycle":
            rise = 0.02
            if x < rise:
                return self.start * (
                    1 / 25 + (1 - 1 / 25) * (0.5 - 0.5 * math.cos(math.pi * x / rise))
                )
            fall = 0.5 - 0.5 * math.cos(math.pi * (x - rise) / (1 - rise))
            return self.start + (self.end - self.start) * fall
        if self.shape == "sqrt":
            x = math.sqrt(x)
        if self.shape == "cos":
            x = 0.5 - 0.5 * math.cos(math.pi * x)
        return self.start + (self.end - self.start) * x
