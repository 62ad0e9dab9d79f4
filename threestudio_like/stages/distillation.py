"""The stages that systems are made of: distillation of a field, and rounds of targets that a field
is fitted to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from ..engine.loop import Stage, Step
from ..engine.schedule import Schedule
from ..engine.schema.bounds import Count
from ..guidance.guidance import Guidance, GuidanceInputs
from ..guidance.registry import GuidanceContext
from ..guidance.score_distillation import ScoreDistillationConfig
from ..guidance.weighted import (
    GuidanceFigures,
    WeightedGuidance,
    guidance_groups,
    guidance_modules,
    guidance_terms,
    own_views,
    recover_guidances,
    shrink_guidances,
)
from ..renderers import (
    Background,
    ProgressiveCameras,
    StratifiedCameras,
    UniformCameras,
)
from ..renderers.cameras import CameraSampler, FixedCameras
from ..renderers.rendering import Rendering
from ..representations import LearningRates
from .demand import Demand, Place, volume_demand
from .distilling import DistillingConfig
from .model import FieldModel, figures, parameter_groups, preview
from .regularisers import Regularisation, regularisation_terms, schedules


def distillation_stage(
    name: str,
    steps: int,
    parts: FieldModel,
    guidance: Guidance,
    cameras: CameraSampler,
    background: Background,
    size: int,
    rates: LearningRates,
    regularise: Regularisation,
    weight: float = 1.0,
    extra: Callable[[Rendering, GuidanceInputs], dict[str, torch.Tensor]] | None = None,
    clip_norm: float = 0.0,
    last: bool = True,
    guidances: Sequence[WeightedGuidance] = (),
    option: str = "",
) -> Stage:
    """A stage that moves a field by a guidance.

    Args:
        size: height and width of the rendering.
        guidance: the main one, whose term is called "distil".
        weight: of the main guidance.
        extra: more weighted terms of the rendering, by name.
        last: whether the field is a result; what another stage will sharpen may still be fog.
        guidances: more of them, with their weights.
        option: the name of its configuration, where it is not `name`; messages say it.
    """
    every = [WeightedGuidance("distil", guidance, Schedule.parse(weight)), *guidances]
    weights = schedules(regularise)
    seen: list[torch.Tensor] = []
    guidance_figures = GuidanceFigures()

    def before_step(step: Step) -> None:
        seen.clear()
        if step.index % parts.renderer.config.refresh == 0:
            parts.renderer.refresh(parts.field, step.random)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        random = step.random
        some = own_views(cameras.sample(random, size, step.fraction), step, every, option)
        sample = background.sample(some, random)
        rendering = parts.renderer.render(parts.field, some, sample, step.microbatch_random)
        seen.append(rendering.opacity.detach())
        inputs = GuidanceInputs(
            some, step.fraction, step.microbatch_random, background=sample.level
        )
        terms = guidance_terms(every[:1], rendering, inputs, figures=guidance_figures)
        terms.update(
            regularisation_terms(weights, parts, rendering, cameras=some, fraction=step.fraction)
        )
        terms.update(guidance_terms(guidances, rendering, inputs, figures=guidance_figures))
        if extra is not None:
            terms.update(extra(rendering, inputs))
        return terms

    def watch() -> dict[str, float]:
        found = figures(torch.cat(seen)) if seen else {}
        return found if last else {k: v for k, v in found.items() if k != "half"}

    def recover(verdict: str) -> str:
        if verdict == "empty":
            parts.renderer.reset()
            weights["sparsity"] = Schedule.parse("0")
            return "switched sparsity off"
        return recover_guidances(every, verdict)

    def shrink() -> str:
        renderer = parts.renderer
        renderer.chunk = max(1024, renderer.chunk // 2) if renderer.chunk else 1 << 17
        done = shrink_guidances(every)
        return f"rendered {renderer.chunk} samples at a time" + (f" and {done}" if done else "")

    return Stage(
        name,
        steps,
        {**parts.all_modules(), **guidance_modules(every)},
        groups=[*parameter_groups(parts, rates), *guidance_groups(every)],
        loss=loss,
        shared=True,
        before_step=before_step,
        clip_norm=clip_norm,
        preview=lambda: preview(parts, size),
        watch=watch,
        figures=guidance_figures,
        recover=recover,
        shrink=shrink,
    )


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(DistillingConfig):
    """The distillation stage of a field."""

    steps: Count = 60
    cameras: Literal["stratified", "uniform", "progressive"] = "stratified"
    stratified: StratifiedCameras = field(default_factory=StratifiedCameras)
    uniform: UniformCameras = field(default_factory=UniformCameras)
    progressive: ProgressiveCameras = field(default_factory=ProgressiveCameras)
    guidance: ScoreDistillationConfig = field(
        default_factory=lambda: ScoreDistillationConfig(
            scale=5.0,
            rescale=0.5,
            weighting="clean",
            t_max="0.85->0.3",
            shared_time=True,
            clamp=3.5,
            known_background=1.0,
            joint_views=True,
        )
    )
    rates: LearningRates = field(default_factory=lambda: LearningRates(voxels="0.06->0.015"))
    regularise: Regularisation = field(
        default_factory=lambda: Regularisation(
            opacity_entropy="0->2 @ 50..100%", density_variation="0.3", feature_variation="0.3"
        )
    )

    def demand(self, place: Place) -> Demand:
        """See `DistillingConfig.demand`."""
        own = {k: getattr(self, k, None) for k in ("renderer", "representation")}
        repeats = 4 if self.guidance.perp_neg > 0 else 2
        return volume_demand(
            place,
            self.sampler(),
            self.regularise,
            repeats=repeats,
            renderer=own["renderer"],
            field=own["representation"],
        )

    def sampler(self) -> CameraSampler:
        """The camera sampler that is switched on."""
        samplers: dict[str, CameraSampler] = {
            "stratified": self.stratified,
            "uniform": self.uniform,
            "progressive": self.progressive,
        }
        return samplers[self.cameras]

    def sampler_for(self, context: GuidanceContext) -> CameraSampler:
        """The camera sampler of a stage: the prior's own views, where it knows no others."""
        views, reference = context.prior.facts.fixed_views, context.reference
        if not views:
            return self.sampler()
        protocol = context.protocol
        return FixedCameras(
            views=views,
            around=0.0 if reference is None else math.degrees(reference.azimuth),
            distance=protocol.distance,
            fov_y=protocol.fov_y,
        )


def configured_stage(
    config: DistillationConfig,
    parts: FieldModel,
    context: GuidanceContext,
    background: Background,
    size: int,
    extra: Callable[[Rendering, GuidanceInputs], dict[str, torch.Tensor]] | None = None,
    last: bool = True,
    more: Sequence[WeightedGuidance] = (),
    option: str = "",
) -> Stage:
    """The stage of a configuration, with the guidances that it names; `more` are the method's own.
    See `distillation_stage`."""
    main, guidances = config.guide(context)
    return distillation_stage(
        context.stage,
        config.steps,
        parts,
        guidance=main,
        cameras=config.sampler_for(context),
        background=background,
        size=size,
        rates=config.rates,
        regularise=config.regularise,
        weight=config.weight,
        extra=extra,
        last=last,
        guidances=[*more, *guidances],
        option=option,
    )
