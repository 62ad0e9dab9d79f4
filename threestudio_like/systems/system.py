"""What a system is: a typed configuration, and a function that lists its stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..engine.limits import Limits
from ..engine.loop import Stage, StagePlan
from ..priors.diffusion import PLAIN_CAMERAS, CameraProtocol, DiffusionPrior
from ..stages.model import FieldModel


@dataclass
class Request:
    """What a system is asked for: the prompt, the prior that knows it, the seed, and how many
    objects the prompt names."""

    prompt: str
    prior: DiffusionPrior
    seed: int = 0
    objects: int = 1
    limits: Limits = field(default_factory=Limits, kw_only=True)
    """What is done at once, where a memory plan says so."""

    @property
    def protocol(self) -> CameraProtocol:
        """The cameras by which the asset is shown."""
        return self.prior.facts.camera or PLAIN_CAMERAS


class System(Protocol):
    """A published method. Its instance is its configuration (a dataclass of values)."""

    def plans(self, request: Request) -> list[StagePlan]:
        """The stages, in order."""

    def result(self, request: Request, stages: dict[str, Stage]) -> FieldModel:
        """The field that the finished stages leave, with its renderer and its way to RGB."""


@dataclass
class Registered:
    """A system with its one-line description and its presets: functions that make a
    configuration."""

    name: str
    description: str
    presets: dict[str, Callable[[], Any]] = field(default_factory=dict)
    verb: str = "generate"
    """The verb of the command line that runs it."""
