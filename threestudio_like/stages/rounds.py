"""Rounds of targets that the prior makes and a field is fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from ..engine.loop import Stage, Step
from ..engine.random import RandomStream
from ..engine.schedule import Schedule
from ..engine.schema.bounds import Count, Number, Weight
from ..guidance.guidance import GuidanceInputs
from ..guidance.image_refinement import (
    ImageRefinement,
    RefinementConfig,
    Targets,
    refinement_cameras,
)
from ..guidance.score_distillation import foreground_mask
from ..guidance.weighted import (
    GuidanceFigures,
    WeightedGuidance,
    guidance_groups,
    guidance_modules,
    guidance_terms,
)
from ..renderers import BackgroundSample, Cameras
from ..renderers.rendering import Rendering
from ..representations import LearningRates
from .model import FieldModel, parameter_groups, preview
from .regularisers import Regularisation, regularisation_terms, schedules
from .snapshots import field_snapshot

RECOVERED_RATES = 0.3
"""Share of the learning rates that is left after a collapse."""


@dataclass(frozen=True, kw_only=True)
class RoundsConfig:
    """A stage of rounds: each makes targets from the prior and fits the field to them."""

    refine: RefinementConfig = field(default_factory=RefinementConfig)
    iterations: Count = 60
    """Optimiser steps a round."""
    rays: Number = 4096
    mask_weight: Weight = 1.0
    """Weight of the squared difference of opacity and mask."""
    empty_weight: Weight = 1.0
    """Share of that weight where the mask says that nothing is there."""
    rates: LearningRates = field(default_factory=LearningRates)
    regularise: Regularisation = field(default_factory=Regularisation)

    def idle(self, words: Sequence[str], place: str) -> str:
        """See `stages.idle_values`: no times switch the rounds off."""
        on = self.refine.times or list(words) == ["refine", "times"]
        return "" if on else f"--{place}refine.times is empty"


@torch.no_grad()
def make_targets(
    name: str,
    number: int,
    seed: int,
    parts: FieldModel,
    refinement: ImageRefinement,
    config: RoundsConfig,
    space: Literal["latent", "rgb"],
    cameras: Cameras,
    pictures: torch.Tensor,
    targets: Targets,
) -> None:
    """Fill the targets of round `number`: the field's views, noised to its time and denoised."""
    prior, behind = refinement.prior, BackgroundSample(pictures)
    time = config.refine.times[number]
    latents = None
    if time < 1.0:
        rendering = parts.renderer.render(parts.field, cameras, behind)
        if space == "latent":
            latents = rendering.features.permute(0, 3, 1, 2)
        else:
            latents = torch.cat(
                [prior.encode_image(chunk) for chunk in rendering.features.split(8)]
            )
    steps = config.refine.steps if time < 1.0 else 2 * config.refine.steps
    noise = RandomStream(seed, name, 0)
    clean = refinement.denoise(
        latents, cameras, time, steps=steps, random=noise, purpose="round noise"
    )
    if space == "latent":
        mask, median = foreground_mask(clean)
        # The prior's own idea of the background gives way to the true one.
        clean = clean + (1 - mask) * (pictures.permute(0, 3, 1, 2) - median)
        targets.set(clean.permute(0, 2, 3, 1), mask[:, 0])
    else:
        decoded = torch.cat([prior.decode_latents(chunk) for chunk in clean.split(8)])
        targets.set(decoded, refinement.masks(decoded))


def fit_terms(
    targets: Targets, rendering: Rendering, pixels: torch.Tensor, *, config: RoundsConfig
) -> dict[str, torch.Tensor]:
    """How far rendered rays (1, 1, P, C) are from the targets at `pixels` (P,), indices of the
    flattened views: in colour, and in opacity from the mask."""
    wanted = targets.pictures.flatten(0, -2)[pixels]
    mask = targets.masks.view(-1)[pixels]
    # Where the mask is zero the background is known exactly.
    wanted = torch.where(mask[:, None] > 0, wanted, rendering.background[0, 0])
    certain = config.mask_weight * (config.empty_weight + (1 - config.empty_weight) * mask)
    return {
        "fit": (rendering.features[0, 0] - wanted).square().sum(-1).mean(),
        "mask": (certain * (rendering.opacity[0, 0, :, 0] - mask).square()).mean(),
    }


def rounds_stage(
    name: str,
    parts: FieldModel,
    refinement: ImageRefinement,
    config: RoundsConfig,
    space: Literal["latent", "rgb"],
    pictures: torch.Tensor,
    size: int,
    guidances: Sequence[WeightedGuidance] = (),
) -> Stage:
    """A stage of image-space refinement in latent or RGB space.

    Args:
        pictures: (V, size, size, C) what lies behind the object in every target.
        size: height and width of the targets.
        guidances: of the rendering, with their weights.
    """
    times = config.refine.times
    cameras = refinement_cameras(config.refine, parts.distance, parts.fov_y, size=size)
    targets = Targets()
    parts.modules = {**parts.modules, "targets": targets}
    weights = schedules(config.regularise)
    count = len(cameras)
    behind = BackgroundSample(pictures)
    last: dict[str, torch.Tensor] = {}
    guidance_figures = GuidanceFigures()

    def new_targets(number: int, random: RandomStream) -> None:
        make_targets(
            name,
            number,
            random.seed,
            parts=parts,
            refinement=refinement,
            config=config,
            space=space,
            cameras=cameras,
            pictures=pictures,
            targets=targets,
        )

    def loss(step: Step) -> dict[str, torch.Tensor]:
        random = step.random
        if step.index % config.iterations == 0:
            new_targets(step.index // config.iterations, random)
            parts.renderer.refresh(parts.field, random)
        elif step.index % parts.renderer.config.refresh == 0:
            parts.renderer.refresh(parts.field, random)
        total = count * size * size
        pixels = (
            random.integers("rays", 0, total, shape=(config.rays,))
            if config.rays < total
            else torch.arange(total)
        )
        rendering = parts.renderer.render(parts.field, cameras, behind, random, pixels)
        last["opacity"] = rendering.opacity.detach()
        terms = fit_terms(targets, rendering, pixels, config=config)
        terms.update(
            regularisation_terms(weights, parts, rendering, cameras=None, fraction=step.fraction)
        )
        inputs = GuidanceInputs(cameras, step.fraction, random)
        terms.update(guidance_terms(guidances, rendering, inputs, figures=guidance_figures))
        return terms

    def recover(verdict: str) -> str:
        stage.rate_factor = RECOVERED_RATES
        if verdict != "empty":
            return "lowered the learning rates"
        weights["sparsity"] = Schedule.parse("0")
        return "lowered the learning rates and switched sparsity off"

    stage = Stage(
        name,
        len(times) * config.iterations,
        {**parts.all_modules(), **guidance_modules(guidances)},
        groups=[*parameter_groups(parts, config.rates), *guidance_groups(guidances)],
        loss=loss,
        preview=lambda: preview(parts, size, BackgroundSample(pictures[:1].expand(4, -1, -1, -1))),
        snapshot=lambda: field_snapshot(parts, cameras),
        figures=guidance_figures,
        watch=lambda: {"opacity": float(last["opacity"].mean())} if last else {},
        recover=recover,
    )
    return stage
