"""The noise times that score distillation draws from: schedules of the smallest and the largest."""

from __future__ import annotations

from ..engine.errors import ConfigError
from ..engine.schedule import Schedule


def check_times(t_min: str | float, t_max: str | float) -> None:
    """Raise ConfigError where schedules of noise times leave [0, 1], or the smallest time is at any
    time of the run above the largest."""
    low, high = (
        Schedule.parse(text, f"guidance.{name}")
        for name, text in (("t_min", t_min), ("t_max", t_max))
    )
    for name, schedule in (("t_min", low), ("t_max", high)):
        if min(schedule.values()) < 0 or max(schedule.values()) > 1:
            raise ConfigError(
                f'"{name}" must be from 0 to 1, a share of the noise times',
                f"guidance.{name}",
                "Write 0.98 for step 980 of 1000",
            )
    if max(low.values()) <= min(high.values()):
        return
    for percent in range(101):
        if low(percent / 100) > high(percent / 100) + 1e-9:
            raise ConfigError(
                f"the smallest noise time, {low(percent / 100):g}, is above the largest, "
                f"{high(percent / 100):g}, after {percent} % of the run",
                "guidance.t_min",
                "Lower t_min or raise t_max",
            )
