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
        remedy: what to do instead, for the error.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    finite: bool = True
    remedy: str = ""

    def check(self, value: Any, name: str, where: str) -> None:
        """See `Rule`."""
        if value < self.low or (self.above and value == self.low):
            bound = f"{'more than' if self.above else 'at least'} {self.low:g}"
            message = f'"{name}" must be {bound}, got {shown(value)}'
            raise ConfigError(message, where, self.remedy)
        if value > self.high:
            message = f'"{name}" must be at most {self.high:g}, got {shown(value)}'
            raise ConfigError(message, where, self.remedy)


@dataclass(frozen=True, kw_only=True)
class WrittenSchedule:
    """The text of a schedule (`engine.schedule`), all of whose values lie within `bounds`."""

    bounds: Bounds = Bounds(low=0)

    def check(self, value: Any, name: str, where: str) -> None:
        """See `Rule`."""
        schedule = Schedule.parse(value, f'{where}, "{name}"' if where else f'"{name}"')
        for reached in schedule.values():
            self.bounds.check(reached, name, where)


@dataclass(frozen=True, kw_only=True)
class NotEmpty:
    """A list with one value at least."""

    def check(self, value: Any, name: str, where: str) -> None:
        """See `Rule`."""
        if not value:
            raise ConfigError(f'"{name}" wants one value at least', where)


ScheduleText = Annotated[str, WrittenSchedule()]
"""A schedule as text, "0.98->0.5", of weights, rates or sizes, which are never negative; a number
stands for a constant one."""
SignedSchedule = Annotated[str, WrittenSchedule(bounds=Bounds())]
"""A schedule of anything."""
PositiveSchedule = Annotated[str, WrittenSchedule(bounds=Bounds(low=0, above=True))]
"""A schedule of what is never zero."""
_NOISE = Bounds(low=0, high=1, remedy="It is a share of the noise times: 0.98 is step 980 of 1000")
NoiseTime = Annotated[float, _NOISE]
"""A time of a diffusion prior, as a share of its last one."""
NoiseTimes = Annotated[str, WrittenSchedule(bounds=_NOISE)]
"""A schedule of those."""
Count = Annotated[int, Bounds(low=0, high=1_000_000_000)]
"""How many; none is allowed."""
Number = Annotated[int, Bounds(low=1, high=1_000_000_000)]
"""How many, one at least."""
Size = Annotated[int, Bounds(low=1, high=65536)]
"""An edge in pixels, texels, cells or points."""
SurfaceGrid = Annotated[int, Bounds(low=8, high=65536)]
"""Points along an edge of a grid in which a surface is looked for."""
OptionalSize = Annotated[int, Bounds(low=0, high=65536)]
"""An edge; 0 leaves the choice to the program."""
Weight = Annotated[float, Bounds(low=0)]
"""A factor that is never negative."""
Positive = Annotated[float, Bounds(low=0, above=True)]
"""A length, a width, a rate."""
Share = Annotated[float, Bounds(low=0, high=1)]
"""A part of a whole, a level of grey, a probability."""
Decay = Annotated[float, Bounds(low=0, high=0.99999)]
"""A share of the past in a moving average, as Adam's betas; with all of it nothing new counts."""
Degrees = Annotated[float, Bounds(low=-360, high=360)]
"""An angle about the vertical, in degrees."""
Elevation = Annotated[float, Bounds(low=-90, high=90)]
"""An angle above the horizon, in degrees."""
Elevations = Annotated[tuple[Elevation, ...], NotEmpty()]
"""Some of them, in turn."""
Greys = Annotated[tuple[Share, ...], NotEmpty()]
"""Levels of grey, in turn."""
FieldOfView = Annotated[float, Bounds(low=1, high=170)]
"""A camera's vertical angle, in degrees."""
FEWEST_FACES = 50
"""Of a mesh that is decimated: fewer are no shape any more."""
