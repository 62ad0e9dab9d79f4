"""What a stage is: modules to save, parameters to move, and the loss of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .errors import ConfigError
from .random import RandomStream
from .schedule import Schedule


@dataclass(frozen=True)
class Step:
    """Where the run stands: step `index` of `steps` in the stage; `fraction` in [0, 1) of the
    stage's schedule; of the parts that a step's views are worked on in, by several ranks or one
    after the other, this one and how many there are."""

    stage: str
    index: int
    steps: int
    fraction: float
    seed: int
    part: int = 0
    parts: int = 1

    def share(self, views: int) -> slice:
        """The views of a step that are this part's: consecutive ones, as many in every part. Raises
        ConfigError where that cannot be."""
        if views % self.parts:
            raise ConfigError(
                f"{views} views a step cannot be shared by {self.parts} (--ranks times --accumulate)",
                f"stage {self.stage}",
                "Choose a multiple as its batch of cameras",
            )
        each = views // self.parts
        return slice(self.part * each, (self.part + 1) * each)

    @property
    def own(self) -> RandomStream:
        """The random numbers of this part's views."""
        return self.random.share(self.part, self.parts)

    @property
    def random(self) -> RandomStream:
        """The random numbers of this step."""
        return RandomStream(self.seed, self.stage, self.index)


class ParameterGroup(dict[str, Any]):
    """Tensors that share a learning-rate schedule, Adam's betas and eps, and a weight decay.

    It is a group as torch's optimisers take them too, with the rate that the schedule begins with:
    ``torch.optim.Adam(field.parameter_groups())``.

    Args:
        name: for messages.
        parameters: the tensors.
        lr: the schedule of the learning rate.
    """

    def __init__(
        self,
        name: str,
        parameters: list[nn.Parameter],
        lr: str | float = "1e-2",
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-15,
        weight_decay: float = 0.0,
    ) -> None:
        rate = Schedule.parse(lr, f"{name}.lr")(0.0)
        super().__init__(
            params=parameters, lr=rate, betas=betas, eps=eps, weight_decay=weight_decay
        )
        self.name, self.parameters, self.lr = name, parameters, lr
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay


@dataclass
class Stage:
    """One phase of a run.

    Attributes:
        name: shown to the user, and part of every random key.
        steps: optimisation steps.
        modules: everything that a checkpoint must hold, by name.
        groups: what the optimiser moves.
        loss: the weighted loss terms of a step, by name; their sum is minimised. Where the step has
            parts, those of its own views.
        shared: whether the step's views can be worked on in parts; the terms of the whole are the
            means of those of its parts.
        prepare: called once before step 0 of a fresh stage (never on resume); its results must live
            in `modules`.
        before_step: called once before the loss of a step, of which part ever; what a step changes
            beside its parameters is changed here.
        after_step: called after every optimiser step.
        preview: draws a picture (H, W, 3) uint8 array; called on a clock, must not change any
            state.
        watch: figures for the watchdog, by name (see `Watchdog`).
        recover: turns one knob after a collapse; returns what it did in words.
        shrink: does less at once from now on, with the same result; returns what it did in words,
            empty where nothing can be.
        clip_norm: largest gradient norm, over all groups; 0 for no limit.
    """

    name: str
    steps: int
    modules: dict[str, nn.Module]
    groups: list[ParameterGroup]
    loss: Callable[[Step], dict[str, torch.Tensor]]
    shared: bool = False
    prepare: Callable[[Step], None] | None = None
    before_step: Callable[[Step], None] | None = None
    after_step: Callable[[Step], None] | None = None
    preview: Callable[[], Any] | None = None
    watch: Callable[[], dict[str, float]] | None = None
    recover: Callable[[str], str] | None = None
    shrink: Callable[[], str] | None = None
    clip_norm: float = 0.0


@dataclass
class StagePlan:
    """A stage that is built when its turn comes, from the modules of the stages before it."""

    name: str
    build: Callable[[dict[str, Stage]], Stage]
