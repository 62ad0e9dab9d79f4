"""The stages that systems are made of: distillation of a field, and rounds of targets that a field
is fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from ..engine.errors import ConfigError
from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.random import RandomStream
from ..engine.schedule import Schedule
from ..engine.schema.bounds import Count, Decay, Positive, ScheduleText, Weight
from ..engine.schema.by_name import check_chosen
from ..guidance.guidance import Guidance, GuidanceInputs
from ..guidance.registry import GuidanceContext, Moved
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
    Cameras,
    FieldRenderer,
    ProgressiveCameras,
    ShadingConfig,
    StratifiedCameras,
    UniformCameras,
    draw_light,
)
from ..renderers.camera_samplers import CameraSampler
from ..renderers.rendering import Rendering
from ..representations import LearningRates
from ..representations.config import FieldConfig
from .demand import Demand, Place, volume_demand
from .distilling import DistillingConfig, sampler_of_prior
from .model import FieldModel, figures, parameter_groups, preview
from .regularisers import Regularisation, regularisation_terms, schedules
from .snapshots import field_snapshot


def distillation_stage(
    name: str,
    steps: int,
    parts: FieldModel,
    guidance: Guidance,
    views: StepViews,
    rates: LearningRates,
    regularise: Regularisation,
    weight: float = 1.0,
    extra: Callable[[Rendering, GuidanceInputs], dict[str, torch.Tensor]] | None = None,
    clip_norm: float = 0.0,
    last: bool = True,
    guidances: Sequence[WeightedGuidance] = (),
    option: str = "",
    optimiser: OptimiserConfig | None = None,
) -> Stage:
    """A stage that moves a field by a guidance.

    Args:
        guidance: the main one, whose term is called "distil".
        views: what a step looks at.
        weight: of the main guidance.
        extra: more weighted terms of the rendering, by name.
        last: whether the field is a result; what another stage will sharpen may still be fog.
        guidances: more of them, with their weights.
        option: the name of its configuration, where it is not `name`; messages say it.
        optimiser: Adam's numbers, where they are others than the groups' own.
    """
    every = [WeightedGuidance("distil", guidance, Schedule.parse(weight)), *guidances]
    weights = schedules(regularise)
    seen: list[torch.Tensor] = []
    looked: list[Cameras] = []
    guidance_figures = GuidanceFigures()
    own = parameter_groups(parts, rates)
    own = own if optimiser is None else optimiser.applied(own)

    def before_step(step: Step) -> Mapping[nn.Parameter, torch.Tensor]:
        seen.clear()
        moved = parts.field.before_step(step)
        if step.index % parts.renderer.config.refresh == 0:
            parts.renderer.refresh(parts.field, step.random)
        return moved

    def loss(step: Step) -> dict[str, torch.Tensor]:
        rendering, inputs = views.render(step, parts, every, option)
        seen.append(rendering.opacity.detach())
        looked[:] = [inputs.cameras]
        terms = guidance_terms(every[:1], rendering, inputs, figures=guidance_figures)
        drawn = (inputs.cameras, step.fraction, step.random)
        terms.update(regularisation_terms(weights, parts, rendering, *drawn))
        terms.update(guidance_terms(guidances, rendering, inputs, figures=guidance_figures))
        if extra is not None:
            terms.update(extra(rendering, inputs))
        return terms

    def watch() -> dict[str, float]:
        found = figures(torch.cat(seen)) if seen else {}
        return found if last else {k: v for k, v in found.items() if k != "half"}

    def recover(verdict: str) -> str:
        if verdict == "empty":
            weights["sparsity"] = Schedule.parse("0")
            return "switched sparsity off"
        return recover_guidances(every, verdict)

    return Stage(
        name,
        steps,
        {**parts.all_modules(), **guidance_modules(every)},
        groups=[*own, *guidance_groups(every)],
        loss=loss,
        shared=True,
        before_step=before_step,
        after_step=parts.field.after_step,
        clip_norm=clip_norm,
        preview=lambda: preview(parts, views.size),
        snapshot=lambda: field_snapshot(parts, *looked),
        watch=watch,
        figures=guidance_figures,
        recover=recover,
        shrink=lambda: shrink(parts.renderer, every),
        # What guidances train is of no use without the rest of their run.
        result=tuple(parts.all_modules()),
    )


def shrink(renderer: FieldRenderer, guidances: Sequence[WeightedGuidance]) -> str:
    """Render fewer samples at once, and let the guidances do less at once; what was done in
    words."""
    renderer.chunk = max(1024, renderer.chunk // 2) if renderer.chunk else 1 << 17
    done = shrink_guidances(guidances)
    return f"rendered {renderer.chunk} samples at a time" + (f" and {done}" if done else "")


@dataclass(frozen=True, kw_only=True)
class Milestones:
    """How the renderings change on the way, as schedules of whole numbers: "64; step 64->512 @
    20..100%". "0" leaves the stage's own value."""

    resolution: ScheduleText = "0"
    """Height and width of the rendering, in pixels."""
    batch: ScheduleText = "0"
    """Views a step."""

    def largest(self, name: str) -> int:
        """The largest value of a schedule; 0 where it is off."""
        return int(max(Schedule.parse(getattr(self, name), f"milestones.{name}").values()))

    def cameras(
        self, sampler: CameraSampler, size: int, random: RandomStream, fraction: float
    ) -> Cameras:
        """The cameras of a step at `fraction` of the run; `size` where no milestone says another.

        Raises ConfigError where the sampler has no number of views.
        """
        size = int(Schedule.parse(self.resolution)(fraction)) or size
        batch = int(Schedule.parse(self.batch)(fraction))
        if batch > 0:
            sampler = with_batch(sampler, batch)
        return sampler.sample(random, size, fraction)


@dataclass(frozen=True, kw_only=True)
class StepViews:
    """What a step looks at: cameras, what lies behind, and the light; `size` in pixels where no
    milestone says another."""

    sampler: CameraSampler
    background: Background
    size: int
    shading: ShadingConfig = field(default_factory=ShadingConfig)
    milestones: Milestones = field(default_factory=Milestones)

    def render(
        self, step: Step, parts: FieldModel, guidances: Sequence[WeightedGuidance], option: str
    ) -> tuple[Rendering, GuidanceInputs]:
        """The rendering of a step's own views, and what guidances are told besides. Raises
        ConfigError where the views cannot be shared, see `own_views`."""
        random = step.microbatch_random
        drawn = self.milestones.cameras(self.sampler, self.size, step.random, step.fraction)
        cameras = own_views(drawn, step, guidances, option)
        sample = self.background.sample(cameras, random)
        light = draw_light(self.shading, cameras, random, step.fraction)
        rendering = parts.renderer.render(parts.field, cameras, sample, random, light=light)
        return rendering, GuidanceInputs(cameras, step.fraction, random, background=sample.level)


def with_batch(sampler: CameraSampler, batch: int) -> CameraSampler:
    """The same sampler with another number of views. Raises ConfigError where it has none."""
    kind: Any = sampler
    if not is_dataclass(sampler) or not hasattr(sampler, "batch"):
        raise ConfigError("means nothing to these cameras", "milestones.batch", "Leave it out")
    return replace(kind, batch=batch)


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam's numbers, of the field and what lies behind it; the rates are schedules of their own,
    and what a guidance trains keeps the numbers that it brings."""

    betas: tuple[Decay, Decay] = (0.9, 0.99)
    eps: Positive = 1e-15
    weight_decay: Weight = 0.0
    """Decoupled from the gradient, as in AdamW."""

    def applied(self, groups: list[ParameterGroup]) -> list[ParameterGroup]:
        """The groups, optimised by these numbers."""
        for group in groups:
            group.betas, group.eps = self.betas, self.eps
            group.weight_decay = self.weight_decay
            group.update(betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)
        return groups


DRAWN: Mapping[str, Moved] = {
    "voxels": "volume",
    "hash": "volume",
    "triplane": "volume",
    "gaussians": "splats",
}
"""How the package's own kinds of fields are drawn."""


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

    shading: ShadingConfig = field(default_factory=ShadingConfig)
    """A point light on RGB fields."""
    milestones: Milestones = field(default_factory=Milestones)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def demand(self, place: Place) -> Demand:
        """See `DistillingConfig.demand`."""
        largest = {name: self.milestones.largest(name) for name in ("resolution", "batch")}
        place = replace(place, pixels=largest["resolution"])
        sampler = self.sampler()
        if largest["batch"] > 0:
            sampler = with_batch(sampler, largest["batch"])
        own = {k: getattr(self, k, None) for k in ("renderer", "representation")}
        return volume_demand(
            place,
            sampler,
            self.regularise,
            renderer=own["renderer"],
            field=own["representation"],
            lit=self.shading.diffuse_prob > 0,
            steps=self.steps,
        )

    def moves(self, place: Place) -> Moved | None:
        """See `DistillingConfig.moves`: a field."""
        if place.present is not None:
            return "splats" if place.present.drawn_by == "splats" else "volume"
        own = self.field_of(place)
        return DRAWN.get(own.kind) if own is not None else None

    def field_of(self, place: Place) -> FieldConfig | None:
        """The configuration of the field: the stage's own, or its holder's; None where it goes on
        with one that is there."""
        own = getattr(self, "representation", None)
        return own or getattr(place.holder, "representation", None)

    def check(self, place: Place) -> None:
        """See `DistillingConfig.check`."""
        super().check(place)
        own = self.field_of(place)
        if own is not None and place.present is None:
            check_chosen(own, "representation")
        if not place.encode:
            check_light(self, place.name, latents=True)

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
        return sampler_of_prior(context) or self.sampler()


def check_light(config: DistillationConfig, option: str, latents: bool) -> None:
    """Raise ConfigError where latents would be lit."""
    if config.shading.diffuse_prob > 0 and latents:
        raise ConfigError(
            "lights RGB, and this field holds latents",
            f"--{option}.shading.diffuse-prob",
            "Leave it at 0",
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
    check_light(config, option or context.stage, latents=parts.field.channels != 3)
    context, size = config.seen_by(context, size)
    main, guidances = config.guide(context)
    return distillation_stage(
        context.stage,
        config.steps,
        parts,
        guidance=main,
        views=StepViews(
            sampler=config.sampler_for(context),
            background=background,
            size=size,
            shading=config.shading,
            milestones=config.milestones,
        ),
        rates=config.rates,
        regularise=config.regularise,
        weight=config.weight,
        extra=extra,
        last=last,
        guidances=[*more, *guidances],
        option=option,
        optimiser=config.optimiser,
    )
