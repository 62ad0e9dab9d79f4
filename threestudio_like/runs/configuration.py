"""The steps of a configuration: divided among its stages, counted, extended."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

Config = TypeVar("Config")


def distilled(config: Any) -> dict[str, Any]:
    """The stages of a configuration that have steps of an optimiser, by name: dataclasses with a
    number `steps` above zero and a `guidance` or learning `rates`."""
    found = {}
    for item in fields(config):
        stage: Any = getattr(config, item.name)
        whole = is_dataclass(stage)
        if not whole or not isinstance(getattr(stage, "steps", None), int):
            continue
        if (hasattr(stage, "rates") or hasattr(stage, "guidance")) and stage.steps > 0:
            found[item.name] = stage
    return found


def divide_steps(config: Config, steps: int) -> Config:
    """The configuration with `steps` in all for its stages of distillation, in the proportion that it
    has."""
    changed: Any = config
    stages = distilled(config)
    left, total = steps, sum(stage.steps for stage in stages.values())
    for name, stage in stages.items():
        share = left if name == list(stages)[-1] else round(steps * stage.steps / total)
        changed, left = replace(changed, **{name: replace(stage, steps=share)}), left - share
    return changed


def total_steps(config: Any) -> int:
    """Steps of distillation in all."""
    return sum(stage.steps for stage in distilled(config).values())


def extend_steps(config: Config, more: int) -> Config:
    """The configuration with `more` steps for its last stage of distillation."""
    changed: Any = config
    stages = distilled(config)
    if not stages:
        return config
    name, stage = list(stages.items())[-1]
    return replace(changed, **{name: replace(stage, steps=stage.steps + more)})
