"""The stages that systems are made of: distillation of a field, and rounds of targets that a field is fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..engine.errors import ConfigError
from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.random import RandomStream
from ..engine.schedule import Schedule
from ..guidance.contract import View
from ..guidance.image_refinement import ImageRefinement, RefinementConfig, Targets, refinement_cameras
from ..guidance.regularisers import distortion, nearness, opacity_entropy, orientation, sparsity
from ..guidance.score_distillation import ScoreDistillation, foreground_mask
from ..priors.diffusion import CameraProtocol
from ..renderers import Background, BackgroundSample, Cameras, RingCameras, VolumeRenderer
from ..renderers.rendering import Rendering
from ..representations import DecodedField, Field, HashGridField, VoxelField

Decode = Callable[[torch.Tensor], torch.Tensor]
"""Features (B, H, W, C) -> display RGB (B, H, W, 3) in [0, 1]."""


class CameraSampler(Protocol):
    """Draws the cameras of a step."""

    def sample(self, random: RandomStream, size: int, fraction: float = 0.0) -> Cameras:
        """Cameras of size x size pixels."""


@dataclass
class Regularisation:
    """Schedules of weights; "0" switches a term off. Opacity terms are means over pixels, volume terms over the grid."""

    opacity_entropy: str = "0"
    sparsity: str = "0"
    orientation: str = "0"
    distortion: str = "0"
    nearness: str = "0"
    """Mean distance of what is seen: of the shapes that explain the pictures, the largest."""
    density_variation: str = "0"
    feature_variation: str = "0"


@dataclass
class LearningRates:
    """Schedules of learning rates. Voxel fields use `voxels`, hash grids `table` and `mlp`."""

    voxels: str = "0.1->0.02"
    table: str = "1e-2"
    mlp: str = "1e-3"
    background: str = "1e-3"


@dataclass
class FieldParts:
    """A field with its renderer, the background's module if it learns, and how features are shown."""

    field: Field
    renderer: VolumeRenderer
    decode: Decode
    background: nn.Module | None = None
    distance: float = 3.0
    fov_y: float = 40.0
    modules: dict[str, nn.Module] = field(default_factory=dict)

    @staticmethod
    def of(stage: Stage, decode: Decode, protocol: CameraProtocol) -> FieldParts:
        """The field that a finished stage leaves."""
        found: Any = stage.modules
        parts = FieldParts(found["field"], found["renderer"], decode, found.get("background"))
        return parts.seen_by(protocol)

    def seen_by(self, protocol: CameraProtocol) -> FieldParts:
        """The same parts, shown by cameras of this distance and field of view."""
        self.distance, self.fov_y = protocol.distance, protocol.fov_y
        return self

    def all_modules(self) -> dict[str, nn.Module]:
        """Everything that a checkpoint must hold."""
        found: dict[str, nn.Module] = {"field": self.field, "renderer": self.renderer, **self.modules}
        if self.background is not None:
            found["background"] = self.background
        return found


def parameter_groups(parts: FieldParts, rates: LearningRates) -> list[ParameterGroup]:
    """Adam groups of a field (and its background)."""
    groups = []
    inner = parts.field
    if isinstance(inner, DecodedField):
        groups.append(ParameterGroup("decoder", [inner.matrix], rates.mlp))
        inner = inner.latent
    if isinstance(inner, VoxelField):
        groups.append(ParameterGroup("voxels", [inner.grid], rates.voxels))
    elif isinstance(inner, HashGridField):
        groups.append(ParameterGroup("table", [inner.table], rates.table))
        groups.append(ParameterGroup("mlp", inner.mlp_parameters(), rates.mlp))
    else:
        groups.append(ParameterGroup("field", list(inner.parameters()), rates.table))
    if parts.background is not None:
        groups.append(ParameterGroup("background", list(parts.background.parameters()), rates.background))
    return groups


def regularisation_terms(
    weights: dict[str, Schedule], parts: FieldParts, rendering: Rendering, cameras: Cameras | None, fraction: float
) -> dict[str, torch.Tensor]:
    """The weighted regularisers of a step, by name."""
    terms: dict[str, torch.Tensor] = {}

    def value(name: str) -> float:
        return weights[name](fraction)

    rays = rendering.opacity.numel()
    if value("opacity_entropy") > 0:
        terms["entropy"] = value("opacity_entropy") * opacity_entropy(rendering.opacity)
    if value("sparsity") > 0:
        terms["sparsity"] = value("sparsity") * sparsity(rendering.opacity)
    if value("nearness") > 0:
        terms["nearness"] = value("nearness") * nearness(rendering.depth, rendering.opacity)
    if value("distortion") > 0 and rendering.samples is not None:
        terms["distortion"] = value("distortion") * distortion(rendering.samples, rays)
    if value("orientation") > 0 and rendering.samples is not None and cameras is not None:
        normals = parts.renderer.normals(parts.field, rendering.samples.points)
        terms["orientation"] = value("orientation") * orientation(
            rendering.samples, normals, cameras.to(normals.device).rays()[1].reshape(-1, 3), rays
        )
    if isinstance(parts.field, VoxelField) and (value("density_variation") > 0 or value("feature_variation") > 0):
        terms["variation"] = parts.field.variation(value("density_variation"), value("feature_variation"))
    return terms


def schedules(config: Regularisation) -> dict[str, Schedule]:
    """The parsed schedules of a `Regularisation`."""
    return {name: Schedule.parse(text, f"regularise.{name}") for name, text in vars(config).items()}


@torch.no_grad()
def preview(parts: FieldParts, size: int, background: BackgroundSample | None = None) -> np.ndarray:
    """Four turns of the field and its opacity below, (2 S, 4 S, 3) uint8."""
    cameras = RingCameras(4, 15.0, parts.distance, parts.fov_y).all(size)
    sample = background or BackgroundSample(torch.zeros(4, size, size, parts.field.channels))
    rendering = parts.renderer.render(parts.field, cameras, sample)
    colour = parts.decode(rendering.features)
    opacity = rendering.opacity.expand(-1, -1, -1, 3)
    if colour.shape[1] != size:
        opacity = F.interpolate(opacity.permute(0, 3, 1, 2), colour.shape[1:3]).permute(0, 2, 3, 1)
    rows = torch.cat([torch.cat(list(colour), 1), torch.cat(list(opacity), 1)], 0)
    return (rows.clamp(0, 1) * 255).byte().cpu().numpy()


def figures(opacity: torch.Tensor) -> dict[str, float]:
    """What the watchdog looks at, of opacities (B, H, W, 1)."""
    border = torch.cat(
        [opacity[:, 0].flatten(), opacity[:, -1].flatten(), opacity[:, :, 0].flatten(), opacity[:, :, -1].flatten()]
    )
    half = ((opacity > 0.1) & (opacity < 0.9)).float().mean()
    return {"opacity": float(opacity.mean()), "half": float(half), "border": float(border.mean())}


def distillation_stage(
    name: str, steps: int, parts: FieldParts, guidance: ScoreDistillation, cameras: CameraSampler, background: Background, size: int,
    rates: LearningRates, regularise: Regularisation, weight: float = 1.0,
    extra: Callable[[Rendering, View], dict[str, torch.Tensor]] | None = None, clip_norm: float = 0.0, last: bool = True,
) -> Stage:  # fmt: skip
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
        name, steps, parts.all_modules(), parameter_groups(parts, rates), loss, shared=True, before_step=before_step,
        clip_norm=clip_norm, preview=lambda: preview(parts, size), watch=watch, recover=recover, shrink=shrink,
    )  # fmt: skip


def own_views(cameras: Cameras, step: Step, guidance: ScoreDistillation) -> Cameras:
    """The cameras of this part of a step. Raises ConfigError where they cannot be shared."""
    if step.parts > 1 and guidance.config.joint_views and guidance.prior.facts.joint_views > 1:
        raise ConfigError(
            "views that are denoised together cannot be shared", f"stage {step.stage}",
            f"Leave --ranks and --accumulate out, or add --{step.stage}.guidance.joint-views False",
        )  # fmt: skip
    return cameras[step.share(len(cameras))]


@dataclass
class RoundsConfig:
    """A stage of rounds: each makes targets from the prior and fits the field to them."""

    refine: RefinementConfig = field(default_factory=RefinementConfig)
    iterations: int = 60
    """Optimiser steps a round."""
    rays: int = 4096
    mask_weight: float = 1.0
    """Weight of the squared difference of opacity and mask."""
    empty_weight: float = 1.0
    """Share of that weight where the mask says that nothing is there."""
    rates: LearningRates = field(default_factory=LearningRates)
    regularise: Regularisation = field(default_factory=Regularisation)


def rounds_stage(
    name: str, parts: FieldParts, refinement: ImageRefinement, config: RoundsConfig, space: Literal["latent", "rgb"],
    pictures: torch.Tensor, size: int, extra: Callable[[Rendering, View], dict[str, torch.Tensor]] | None = None,
) -> Stage:  # fmt: skip
    """A stage of image-space refinement in latent or RGB space.

    Args:
        pictures: (V, size, size, C) what lies behind the object in every target.
        size: height and width of the targets.
        extra: more weighted terms of the rendering, by name.
    """
    prior = refinement.prior
    times = config.refine.times
    cameras = refinement_cameras(config.refine, parts.distance, parts.fov_y, size)
    targets = Targets()
    parts.modules = {**parts.modules, "targets": targets}
    weights = schedules(config.regularise)
    count = len(cameras)
    behind = BackgroundSample(pictures)
    last: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def make_targets(number: int, random: RandomStream) -> None:
        time = times[number]
        latents = None
        if time < 1.0:
            rendering = parts.renderer.render(parts.field, cameras, behind)
            if space == "latent":
                latents = rendering.features.permute(0, 3, 1, 2)
            else:
                latents = torch.cat([prior.encode_image(chunk) for chunk in rendering.features.split(8)])
        steps = config.refine.steps if time < 1.0 else 2 * config.refine.steps
        noise = RandomStream(random.seed, name, 0)
        clean = refinement.denoise(latents, cameras, time, steps, noise, "round noise")
        if space == "latent":
            mask, median = foreground_mask(clean)
            # The prior's own idea of the background gives way to the true one.
            clean = clean + (1 - mask) * (pictures.permute(0, 3, 1, 2) - median)
            targets.set(clean.permute(0, 2, 3, 1), mask[:, 0])
        else:
            decoded = torch.cat([prior.decode_latents(chunk) for chunk in clean.split(8)])
            targets.set(decoded, refinement.masks(decoded))

    def loss(step: Step) -> dict[str, torch.Tensor]:
        random = step.random
        if step.index % config.iterations == 0:
            make_targets(step.index // config.iterations, random)
            parts.renderer.refresh(parts.field, random)
        elif step.index % parts.renderer.config.refresh == 0:
            parts.renderer.refresh(parts.field, random)
        total = count * size * size
        pixels = random.integers("rays", 0, total, (config.rays,)) if config.rays < total else torch.arange(total)
        rendering = parts.renderer.render(parts.field, cameras, behind, random, pixels)
        wanted = targets.pictures.view(total, -1)[pixels]
        mask = targets.masks.view(-1)[pixels]
        # Where the mask is zero the background is known exactly.
        wanted = torch.where(mask[:, None] > 0, wanted, rendering.background[0, 0])
        last["opacity"] = rendering.opacity.detach()
        certain = config.mask_weight * (config.empty_weight + (1 - config.empty_weight) * mask)
        terms = {"fit": (rendering.features[0, 0] - wanted).square().sum(-1).mean(),
                 "mask": (certain * (rendering.opacity[0, 0, :, 0] - mask).square()).mean()}  # fmt: skip
        terms.update(regularisation_terms(weights, parts, rendering, None, step.fraction))
        if extra is not None:
            terms.update(extra(rendering, View(cameras, step.fraction, random)))
        return terms

    return Stage(
        name, len(times) * config.iterations, parts.all_modules(), parameter_groups(parts, config.rates), loss,
        preview=lambda: preview(parts, size, BackgroundSample(pictures[:1].expand(4, -1, -1, -1))),
        watch=lambda: {"opacity": float(last["opacity"].mean())} if last else {},
        recover=lambda verdict: "started the stage's fit again",
    )  # fmt: skip
