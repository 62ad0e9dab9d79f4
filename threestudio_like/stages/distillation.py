"""The stages that systems are made of: distillation of a field, and rounds of targets that a field
is fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from ..engine.errors import ConfigError
from ..engine.loop import Stage, Step
from ..engine.schedule import Schedule
from ..guidance.contract import View
from ..guidance.score_distillation import (
    ScoreDistillation,
    ScoreDistillationConfig,
)
from ..renderers import (
    Background,
    Cameras,
    ProgressiveCameras,
    StratifiedCameras,
    UniformCameras,
)
from ..renderers.cameras import CameraSampler
from ..renderers.rendering import Rendering
from .model import FieldParts, LearningRates, figures, parameter_groups, preview
from .regularisers import Regularisation, regularisation_terms, schedules


def distillation_stage(
    name: str,
    steps: int,
    parts: FieldParts,
    guidance: ScoreDistillation,
    cameras: CameraSampler,
    background: Background,
    size: int,
    rates: LearningRates,
    regularise: Regularisation,
    weight: float = 1.0,
    extra: Callable[[Rendering, View], dict[str, torch.Tensor]] | None = None,
    clip_norm: float = 0.0,
    last: bool = True,
) -> Stage:
    """A stage that moves a field by score distillation.

    Args:
        size: height and width of the rendering.
        weight: of the distillation loss.
        extra: more weighted terms of the rendering, by name.
        last: whether the field is a result; what another stage will sharpen may still be fog.
    """
    weights = schedules(regularise)
    seen: list[torch.Tensor] = []

    def before_step(step: Step) -> None:
        seen.clear()
        if step.index % parts.renderer.config.refresh == 0:
            parts.renderer.refresh(parts.field, step.random)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        random = step.random
        some = cameras.sample(random, size, step.fraction)
        some = own_views(some, step, guidance)
        sample = background.sample(some, random)
        rendering = parts.renderer.render(parts.field, some, sample, step.own)
        seen.append(rendering.opacity.detach())
        view = View(some, step.fraction, step.own, sample.level)
        value, _ = guidance.loss(rendering, view)
        terms = {"distil": weight * value}
        terms.update(regularisation_terms(weights, parts, rendering, some, step.fraction))
        if extra is not None:
            terms.update(extra(rendering, view))
        return terms

    def watch() -> dict[str, float]:
        found = figures(torch.cat(seen)) if seen else {}
        return found if last else {k: v for k, v in found.items() if k != "half"}

    def recover(verdict: str) -> str:
        if verdict == "empty":
            parts.renderer.reset()
            weights["sparsity"] = Schedule.parse("0")
            return "switched sparsity off"
        if verdict == "nan":
            guidance.config.clip = 1.0
            return "limited the guidance gradient to 1 per pixel"
        guidance.config.scale *= 0.5
        return f"halved the guidance scale to {guidance.config.scale:g}"

    def shrink() -> str:
        settings = parts.renderer.config
        settings.chunk = max(1024, settings.chunk // 2) if settings.chunk else 1 << 17
        done = guidance.prior.shrink()
        return f"rendered {settings.chunk} samples at a time" + (f" and {done}" if done else "")

    return Stage(
        name,
        steps,
        parts.all_modules(),
        parameter_groups(parts, rates),
        loss,
        shared=True,
        before_step=before_step,
        clip_norm=clip_norm,
        preview=lambda: preview(parts, size),
        watch=watch,
        recover=recover,
        shrink=shrink,
    )


def own_views(cameras: Cameras, step: Step, guidance: ScoreDistillation) -> Cameras:
    """The cameras of this part of a step. Raises ConfigError where they cannot be shared."""
    if step.parts > 1 and guidance.config.joint_views and guidance.prior.facts.joint_views > 1:
        raise ConfigError(
            "views that are denoised together cannot be shared",
            f"stage {step.stage}",
            f"Leave --ranks and --accumulate out, or add --{step.stage}.guidance.joint-views False",
        )
    return cameras[step.share(len(cameras))]


@dataclass
class DistillationConfig:
    """The distillation stage: 0 steps switch it off."""

    steps: int = 60
    weight: float = 1.0
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

    def sampler(self) -> CameraSampler:
        """The camera sampler that is switched on."""
        samplers: dict[str, CameraSampler] = {
            "stratified": self.stratified,
            "uniform": self.uniform,
            "progressive": self.progressive,
        }
        return samplers[self.cameras]
