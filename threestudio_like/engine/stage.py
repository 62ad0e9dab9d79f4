"""The definition of a stage: modules to save, parameters to optimise, and the loss of a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .errors import ConfigError
from .random import RandomStream
from .schedule import Schedule


@dataclass(frozen=True)
class Step:
    """The position of a run: step `index` of `steps` in a stage.

    `fraction` in [0, 1) is the position in the stage's schedules. The views of a step are divided
    into `microbatches`, which several ranks compute side by side or one process computes one after
    the other; `microbatch_index` is the number of the one to compute.
    """

    stage: str
    index: int
    steps: int
    fraction: float
    seed: int
    microbatch_index: int = 0
    microbatches: int = 1

    def microbatch_views(self, views: int) -> slice:
        """The consecutive views that belong to this microbatch, of `views` in the whole step.

        Raises ConfigError if the views cannot be divided equally.
        """
        if views % self.microbatches:
            raise ConfigError(
                f"{views} views a step cannot be divided by {self.microbatches} (--ranks "
                f"times --accumulate)",
                f"stage {self.stage}",
                "Choose a batch of cameras that is a multiple of it",
            )
        each = views // self.microbatches
        return slice(self.microbatch_index * each, (self.microbatch_index + 1) * each)

    @property
    def microbatch_random(self) -> RandomStream:
        """The random numbers of this microbatch's views."""
        return self.random.microbatch(self.microbatch_index, self.microbatches)

    @property
    def random(self) -> RandomStream:
        """The random numbers of the whole step."""
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
        groups: the parameters that the optimiser changes.
        loss: the weighted loss terms of a step, by name; their sum is minimised. If the step
            is divided into microbatches, these are the terms of its own views.
        shared: whether the step's views can be divided into microbatches; the terms of the whole
            step are then the means over its microbatches.
        prepare: called once before step 0 of a fresh stage (never on resume); its results must live
            in `modules`.
        before_step: called once before the loss of a step, whatever its microbatches; a step
            changes state other than the parameters only here. For parameters whose rows it moved
            it may return the former row of every row, (rows,) int64 with -1 for new ones: the
            optimiser's moments follow.
        after_step: called after every optimiser step.
        preview: draws a picture (H, W, 3) uint8; it is called at wall-clock intervals and must not
            change any state.
        watch: figures for the watchdog, by name (see `Watchdog`).
        figures: numbers about the last step for the events and the report, by name.
        recover: changes one setting after a collapse; returns a description of the change. After
            it the state goes back to one that was good, or to that of a checkpoint.
        shrink: uses less memory from now on, with the same result; returns a description of the
            change, or an empty text if nothing can be changed.
        clip_norm: largest norm of the gradient over all groups; 0 for no limit.
        rate_factor: of every learning rate; `recover` may lower it.
        result: names of the modules that hold what the stage leaves; empty for all of them.
        snapshot: the model as it is now, for whoever looks at the run (see `engine.onlookers`):
            files by suffix; it must not change any state, either.
    """

    name: str
    steps: int
    modules: dict[str, nn.Module]
    groups: list[ParameterGroup]
    loss: Callable[[Step], dict[str, torch.Tensor]]
    shared: bool = False
    prepare: Callable[[Step], None] | None = None
    before_step: Callable[[Step], Mapping[nn.Parameter, torch.Tensor] | None] | None = None
    after_step: Callable[[Step], None] | None = None
    preview: Callable[[], Any] | None = None
    watch: Callable[[], dict[str, float]] | None = None
    figures: Callable[[], dict[str, float]] | None = None
    recover: Callable[[str], str] | None = None
    shrink: Callable[[], str] | None = None
    clip_norm: float = 0.0
    rate_factor: float = 1.0
    result: tuple[str, ...] = ()
    snapshot: Callable[[], Mapping[str, bytes]] | None = None


def total_of(terms: dict[str, torch.Tensor]) -> torch.Tensor:
    """The sum () of the loss terms of a step; 0 where every weight is 0 at its time."""
    if not terms:
        return torch.zeros(())
    return torch.stack([term.reshape(()) for term in terms.values()]).sum()


@dataclass
class StagePlan:
    """A stage that is built when its turn comes, from the modules of the stages before it."""

    name: str
    build: Callable[[dict[str, Stage]], Stage]
