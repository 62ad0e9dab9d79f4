"""The mesh stage as the last one of a system."""

from __future__ import annotations

from collections.abc import Callable

from ..engine.loop import Stage, StagePlan
from ..priors.absent import AbsentPrior
from ..stages.mesh import MeshStageConfig, MeshStart, mesh_stage
from .system import Request

NAME = "mesh"
"""Of the stage."""


def mesh_plans(
    config: MeshStageConfig, request: Request, start: Callable[[dict[str, Stage]], MeshStart]
) -> list[StagePlan]:
    """The mesh stage of a request, if it is switched on. Where the method asks no prior, what was
    there before and the regularisers move it alone.

    Args:
        start: what it begins with, of the stages before.
    """
    if config.steps == 0:
        return []
    prior = None if isinstance(request.prior, AbsentPrior) else request.prior

    def build(done: dict[str, Stage]) -> Stage:
        return mesh_stage(
            NAME, config, start(done), prompt=request.prompt, prior=prior, seed=request.seed
        )

    return [StagePlan(NAME, build)]
