"""What a value of a configuration may be beyond its type, written where the value is declared:

    steps: Annotated[int, Bounds(low=0)] = 60

`engine.config` asks it wherever a value comes from outside. Type checkers see the plain type.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

from ..errors import ConfigError
from ..schedule import Schedule


def shown(value: Any) -> str:
    """A value in an error: short, whatever it is."""
    try:
        return f"{value:g}" if isinstance(value, float) else str(value)[:60]
    except (ValueError, OverflowError):
        return "a number of thousands of digits"


@runtime_checkable
class Rule(Protocol):
    """Something that a value has to keep to."""

    def check(self, value: Any, name: str, where: str) -> None:
        """Raise ConfigError where the value does not."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """A range of numbers.

    Attributes:
        low, high: both may be reached, unless `above` says that `low` may not.
        above: whether a number has to be larger than `low`.
        finite: whether infinities and NaN are refused.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    finite: bool = True

    def check(self, value: Any, name: str, where: str) -> None:
        """See `Rule`."""
        if value < self.low or (self.above and value == self.low):
            bound = f"{'more than' if self.above else 'at least'} {self.low:g}"
            raise ConfigError(f'"{name}" must be {bound}, got {shown(value)}', where)
        if value > self.high:
            raise ConfigError(f'"{name}" must be at most {self.high:g}, got {shown(value)}', where)


@dataclass(frozen=True, kw_only=True)
class WrittenSchedule:
    """The text of a schedule (`engine.schedule`)."""

    def check(self, value: Any, name: str, where: str) -> None:
        """See `Rule`."""
        Schedule.parse(value, f'{where}, "{name}"' if where else f'"{name}"')


ScheduleText = Annotated[str, WrittenSchedule()]
"""A schedule as text, "0.98->0.5"; a number stands for a constant one."""
Count = Annotated[int, Bounds(low=0, high=1_000_000_000)]
"""How many; none is allowed."""
Number = Annotated[int, Bounds(low=1, high=1_000_000_000)]
"""How many, one at least."""
Size = Annotated[int, Bounds(low=1, high=65536)]
"""An edge in pixels, texels, cells or points."""
OptionalSize = Annotated[int, Bounds(low=0, high=65536)]
"""An edge; 0 leaves the choice to the program."""
Weight = Annotated[float, Bounds(low=0)]
"""A factor that is never negative."""
Positive = Annotated[float, Bounds(low=0, above=True)]
"""A length, a width, a rate."""
Share = Annotated[float, Bounds(low=0, high=1)]
"""A part of a whole, a level of grey, a probability."""
Degrees = Annotated[float, Bounds(low=-360, high=360)]
"""An angle about the vertical, in degrees."""
Elevation = Annotated[float, Bounds(low=-90, high=90)]
"""An angle above the horizon, in degrees."""
FieldOfView = Annotated[float, Bounds(low=1, high=170)]
"""A camera's vertical angle, in degrees."""
