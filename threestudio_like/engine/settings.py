"""How the stage loop runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Settings of the loop. Only `seed` and `minutes` can change the result."""

    seed: int = 0
    minutes: float | None = None
    checkpoint_seconds: float = 20.0
    checkpoint_steps: int | None = None
    preview_seconds: float = 5.0
    log_every: int = 10
    resume: bool = False
    device: str | None = None
    """Device that the modules of a stage are moved to while it runs; None leaves them where they
    are."""
    one_asset: bool = False
    """Whether all ranks optimise one asset, each with its share of a step's views."""
    accumulate: int = 1
    """Parts of a step's views (of a rank's share of them) that are worked on one after the other;
    their gradients add up."""
    identity: dict[str, Any] | None = field(default_factory=dict)
    """What a checkpoint must agree with to be resumed: system, prompt, seed, configuration; None
    compares nothing."""
    read_identity: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """How the identity in a checkpoint reads in this version, where earlier ones wrote others."""
