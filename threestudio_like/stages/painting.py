"""The stages that a textured mesh is painted by: distillation of its texels, and rounds of pictures
that they are fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import nn

from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.random import RandomStream
from ..engine.schedule import Schedule
from ..guidance.guidance import Guidance, GuidanceInputs
from ..guidance.image_refinement import (
    ImageRefinement,
    RefinementConfig,
    Targets,
    refinement_cameras,
)
from ..guidance.registry import GuidanceContext
from ..guidance.weighted import (
    WeightedGuidance,
    guidance_groups,
    guidance_modules,
    guidance_terms,
    own_views,
    recover_guidances,
    shrink_guidances,
)
from ..priors.diffusion import CameraProtocol, DiffusionPrior
from ..renderers import (
    Background,
    BackgroundSample,
    Cameras,
    EnvironmentLight,
    RingCameras,
    StratifiedCameras,
    SurfaceRenderer,
    UniformCameras,
    back_project,
)
from ..renderers.cameras import CameraSampler
from ..renderers.rendering import Rendering
from ..representations import TexturedMesh
from .demand import Demand, Place, surface_demand
from .distilling import DistillingConfig
from .model import Decode


@dataclass
class SurfaceModel:
    """A textured mesh with its renderer, how its texels are shown, the background's module if it
    learns, and the light on it."""

    surface: TexturedMesh
    renderer: SurfaceRenderer
    decode: Decode
    background: nn.Module | None = None
    light: EnvironmentLight | None = None
    protocol: CameraProtocol = field(default_factory=CameraProtocol)

    def guidance_context(
        self, stage: str, prompt: str, prior: DiffusionPrior, seed: int, encode: bool
    ) -> GuidanceContext:
        """What the guidances of a stage are built for; `encode` where the texels are RGB."""

        def render(cameras: Cameras, random: RandomStream | None = None) -> Rendering:
            channels = 3 if self.surface.channels == 5 else self.surface.channels
            shape = (len(cameras), cameras.height, cameras.width, channels)
            behind = BackgroundSample(torch.zeros(shape))
            return self.renderer.render(self.surface, cameras, behind, random, self.light)

        return GuidanceContext(
            stage=stage,
            prompt=prompt,
            prior=prior,
            encode=encode,
            decode=self.decode,
            representation=self.surface,
            render=render,
            seed=seed,
        )

    def modules(self) -> dict[str, nn.Module]:
        """Everything that a checkpoint must hold."""
        found: dict[str, nn.Module] = {"surface": self.surface, "renderer": self.renderer}
        return found if self.background is None else {**found, "background": self.background}


OFFSET_REACH = 0.1
"""Largest displacement of a vertex, in units of the scene (an object's radius is 0.95)."""


@dataclass(frozen=True, kw_only=True)
class PaintRates:
    """Schedules of learning rates."""

    texels: str = "1e-2"
    background: str = "1e-2"
    offsets: str = "1e-3->1e-4"


@dataclass(frozen=True, kw_only=True)
class PaintTerms:
    """Schedules of weights; "0" switches a term off."""

    seam: str = "0"
    """Squared difference of the two sides of every texture seam."""
    variation: str = "30"
    """Squared difference of neighbouring texels, in units of the texels of 256 along the edge."""
    offsets: str = "30"
    """Squared difference of neighbouring vertices' offsets as a slope: over the length of the edge
    between them."""
    material: str = "0"
    """Squared distance of roughness from 0.9 and of metallic from 0: what pictures of matt things
    cannot tell."""


def paint_groups(parts: SurfaceModel, rates: PaintRates) -> list[ParameterGroup]:
    """Adam groups of a surface (and its background)."""
    groups = parts.surface.parameter_groups(vars(rates))
    if parts.background is not None:
        groups.append(
            ParameterGroup("background", list(parts.background.parameters()), rates.background)
        )
    return groups


def paint_terms(
    weights: dict[str, Schedule], surface: TexturedMesh, fraction: float
) -> dict[str, torch.Tensor]:
    """The weighted regularisers of a step, by name."""
    return surface.regularisation({name: weight(fraction) for name, weight in weights.items()})


def parsed(terms: PaintTerms) -> dict[str, Schedule]:
    """The schedules of a `PaintTerms`."""
    return {name: Schedule.parse(text, f"terms.{name}") for name, text in vars(terms).items()}


@torch.no_grad()
def preview(parts: SurfaceModel, size: int) -> np.ndarray:
    """Four turns above, the atlas below, (H, 4 S, 3) uint8."""
    size = max(size, 96)
    cameras = RingCameras(
        count=4, elevation=15.0, distance=parts.protocol.distance, fov_y=parts.protocol.fov_y
    ).all(size)
    channels = 3 if parts.surface.channels == 5 else parts.surface.channels
    behind = BackgroundSample(torch.zeros(4, size, size, channels))
    rendering = parts.renderer.render(parts.surface, cameras, behind, light=parts.light)
    shown = parts.decode(rendering.features) * rendering.opacity + 0.96 * (1 - rendering.opacity)
    atlas = parts.surface.padded()[0].permute(1, 2, 0)
    atlas = parts.decode(atlas if channels == parts.surface.channels else atlas[..., :3])
    small = nn.functional.interpolate(
        atlas.permute(2, 0, 1)[None], (4 * size, 4 * size), mode="area"
    )[0].permute(1, 2, 0)
    return (torch.cat([torch.cat(list(shown), 1), small], 0).clamp(0, 1) * 255).byte().cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class LightConfig:
    """The light under which a surface is distilled."""

    kind: Literal["none", "known"] = "none"
    """known: the prior's own light (ambient where it has none), varied every step."""
    variation: float = 0.12
    """Deviation of the gradient that is added to the light, in display values."""


def painting_stage(
    name: str,
    steps: int,
    parts: SurfaceModel,
    guidance: Guidance,
    cameras: CameraSampler,
    background: Background,
    size: int,
    rates: PaintRates,
    terms: PaintTerms,
    light: LightConfig,
    weight: float = 1.0,
    guidances: Sequence[WeightedGuidance] = (),
) -> Stage:
    """A stage that moves texels by a guidance.

    Args:
        guidance: the main one, whose term is called "distil".
        size: height and width of the rendering.
        light: lit surfaces show the prior what its pictures show, and keep what the light does out
            of the texels.
        weight: of the main guidance.
        guidances: more of them, with their weights.
    """
    every = [WeightedGuidance("distil", guidance, Schedule.parse(weight)), *guidances]
    weights = parsed(terms)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        random = step.random
        some = cameras.sample(random, size, step.fraction)
        some = own_views(some, step, every)
        sample = background.sample(some, random)
        shone = None
        if light.kind == "known" and parts.light is not None:
            shone = (
                parts.light.varied(random, light.variation) if light.variation > 0 else parts.light
            )
        rendering = parts.renderer.render(
            parts.surface, some, sample, step.microbatch_random, shone
        )
        if parts.surface.offsets is None:
            # On the silhouette mesh and background mix, and the prior's silhouette is seldom the
            # mesh's: nothing is learnt there.
            solid = (rendering.opacity > 0.99).float()
            rendering.features = (
                solid * rendering.features + (1 - solid) * rendering.features.detach()
            )
        inputs = GuidanceInputs(some, step.fraction, step.microbatch_random, sample.level)
        found = {"distil": weight * guidance(rendering, inputs).loss}
        found.update(paint_terms(weights, parts.surface, step.fraction))
        found.update(guidance_terms(guidances, rendering, inputs))
        return found

    return Stage(
        name,
        steps,
        {**parts.modules(), **guidance_modules(every)},
        [*paint_groups(parts, rates), *guidance_groups(every)],
        loss,
        shared=True,
        after_step=_keep_in_range(parts),
        preview=lambda: preview(parts, size),
        recover=lambda verdict: recover_guidances(every, verdict),
        shrink=lambda: shrink_guidances(every),
    )


def _keep_in_range(parts: SurfaceModel) -> Callable[[Step], None] | None:
    """RGB and PBR texels stay in [0, 1], latents go where they want; vertices stay near where they
    were."""
    coloured = parts.surface.channels != 4
    if not coloured and parts.surface.offsets is None:
        return None

    def clamp(step: Step) -> None:
        with torch.no_grad():
            if coloured:
                # Locked texels may hold what they like.
                inside = parts.surface.unlocked.view(parts.surface.resolution, -1)
                texels = parts.surface.texels
                texels.copy_(torch.where(inside, texels.clamp(0, 1), texels))
            if parts.surface.offsets is not None:
                parts.surface.offsets.clamp_(-OFFSET_REACH, OFFSET_REACH)

    return clamp


@dataclass(frozen=True, kw_only=True)
class PaintRoundsConfig:
    """Rounds of image-space refinement: render, add noise, denoise over several steps within the
    known silhouette, fit the texels."""

    refine: RefinementConfig = field(default_factory=RefinementConfig)
    iterations: int = 40
    """Optimiser steps a round."""
    batch: int = 8
    """Views a step."""
    in_turn: bool = False
    """Sample four views at a time, each four keeping what those before them have painted
    (Richardson et al. 2023, "TEXTure"), rather than
    all at once and apart: patterns then agree between views."""
    rates: PaintRates = field(default_factory=lambda: PaintRates(texels="0.05->0.01", offsets="0"))
    """The pictures of the rounds keep the mesh's silhouette, so its vertices rest."""
    terms: PaintTerms = field(default_factory=PaintTerms)


@torch.no_grad()
def targets_in_turn(
    parts: SurfaceModel,
    refinement: ImageRefinement,
    cameras: Cameras,
    behind: BackgroundSample,
    light: EnvironmentLight | None,
    time: float,
    noise: RandomStream,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (V, H, W, 3) of four views at a time around what is painted already, and the
    surface's opacity (V, H, W)."""
    prior, steps = refinement.prior, refinement.config.steps
    surface, scene = (
        parts.surface,
        parts.renderer.render(parts.surface, cameras, behind, light=light),
    )
    channels = 3 if surface.channels == 5 else surface.channels
    partial = TexturedMesh(surface.atlas, channels + 1, surface.resolution).to(
        surface.points.device
    )
    # What is locked is painted already.
    weight = (surface.charts & ~surface.unlocked.view(surface.resolution, -1)).float()
    partial.texels[0, :channels] = surface.texels[0, :channels]
    partial.texels[0, channels] = weight
    pictures = []
    for begin in range(0, len(cameras), 4):
        some = cameras[torch.arange(begin, min(begin + 4, len(cameras)))]
        drawn = parts.renderer.render(
            partial,
            some,
            BackgroundSample(torch.cat([behind.values, behind.values[..., :1] * 0], -1)),
        )
        here, opacity = scene.features[begin : begin + 4], scene.opacity[begin : begin + 4]
        sure = drawn.features[..., channels:]
        here = torch.where(sure > 0.5, drawn.features[..., :channels] / sure.clamp_min(0.5), here)
        latents = torch.cat([prior.encode_image(chunk) for chunk in here.split(8)])
        empty = prior.encode_image(behind.values).expand_as(latents)
        covered = nn.functional.max_pool2d(opacity.permute(0, 3, 1, 2), prior.downscale)
        outside = 1 - nn.functional.max_pool2d(covered, 3, 1, 1).ceil()
        # A latent is known where the whole surface under it is painted.
        open_ = (opacity * (1 - sure)).permute(0, 3, 1, 2)
        painted = (nn.functional.max_pool2d(open_, prior.downscale) < 0.5).float() * (1 - outside)
        values = torch.where(outside > 0, empty, latents)
        clean = refinement.denoise(
            latents,
            some,
            time,
            steps,
            noise,
            "round noise",
            (values, torch.maximum(outside, painted)),
        )
        picture = prior.decode_latents(clean)
        pictures.append(picture)
        colours, seen = back_project(surface, some, picture, opacity[..., 0])
        fresh = (weight == 0) & (seen > 0.3**6)
        weight = torch.where(fresh, seen, weight)
        partial.texels[0, :channels] = torch.where(fresh, colours, partial.texels[0, :channels])
        partial.texels[0, channels] = (weight > 0).float()
    return torch.cat(pictures), scene.opacity[..., 0]


def paint_rounds_stage(
    name: str,
    parts: SurfaceModel,
    refinement: ImageRefinement,
    config: PaintRoundsConfig,
    size: int,
    grey: float,
    lit: bool,
) -> Stage:
    """A stage of image-space refinement in RGB: every target keeps the mesh's silhouette, its depth
    order and the background.

    Args:
        grey: level of the background.
        lit: whether targets are compared with the surface under its light.
    """
    prior, times = refinement.prior, config.refine.times
    cameras = refinement_cameras(config.refine, parts.protocol.distance, parts.protocol.fov_y, size)
    targets = Targets()
    weights = parsed(config.terms)
    behind = BackgroundSample(torch.full((1, size, size, 3), grey))
    light = parts.light if lit else None

    @torch.no_grad()
    def make_targets(number: int, random: RandomStream) -> None:
        if config.in_turn:
            noise = RandomStream(random.seed, name, 0)
            pictures, opacity = targets_in_turn(
                parts, refinement, cameras, behind, light, times[number], noise
            )
            targets.set(pictures, opacity)
            return
        rendering = parts.renderer.render(parts.surface, cameras, behind, light=light)
        latents = torch.cat([prior.encode_image(chunk) for chunk in rendering.features.split(8)])
        empty = prior.encode_image(behind.values).expand_as(latents)
        # A latent is background for certain where no pixel under it, nor next to it, shows the
        # mesh.
        covered = nn.functional.max_pool2d(rendering.opacity.permute(0, 3, 1, 2), prior.downscale)
        outside = 1 - nn.functional.max_pool2d(covered, 3, 1, 1).ceil()
        noise = RandomStream(random.seed, name, 0)
        clean = refinement.denoise(
            latents,
            cameras,
            times[number],
            config.refine.steps,
            noise,
            "round noise",
            (empty, outside),
        )
        targets.set(
            torch.cat([prior.decode_latents(chunk) for chunk in clean.split(8)]),
            rendering.opacity[..., 0],
        )

    def loss(step: Step) -> dict[str, torch.Tensor]:
        random = step.random
        if step.index % config.iterations == 0:
            make_targets(step.index // config.iterations, random)
        picked = torch.randperm(len(cameras), generator=random.generator("views"))[: config.batch]
        rendering = parts.renderer.render(parts.surface, cameras[picked], behind, light=light)
        # A pixel on the silhouette mixes mesh and background in both pictures, but seldom alike.
        solid = (targets.masks[picked] > 0.99).float()[..., None]
        error = (rendering.features - targets.pictures[picked]).square() * solid
        found = {"fit": error.sum() / (3 * solid.sum()).clamp_min(1)}
        found.update(paint_terms(weights, parts.surface, step.fraction))
        return found

    return Stage(
        name,
        len(times) * config.iterations,
        {**parts.modules(), "targets": targets},
        paint_groups(parts, config.rates),
        loss,
        after_step=_keep_in_range(parts),
        preview=lambda: preview(parts, size),
    )


@torch.no_grad()
def fill_unseen(
    surface: TexturedMesh,
    seen: torch.Tensor,
    locked: torch.Tensor | None = None,
    neighbours: int = 8,
) -> torch.Tensor:
    """The atlas (C, R, R) with texels of the surface that no camera sees taken from the nearest
    ones that one does.

    Args:
        seen: (R, R) bool. locked: (R, R) bool, texels that the user keeps as they are.
        neighbours: texels that are averaged, nearer ones counting more.
    """
    from scipy.spatial import cKDTree

    texels = surface.texels[0].clone()
    geometry = surface.texel_geometry()
    known = seen[geometry.rows, geometry.columns]
    if locked is not None:
        known = known | locked[geometry.rows, geometry.columns]
    if bool(known.all()) or not bool(known.any()):
        return texels
    # Normals count a little: the inside of a wall takes its colour from the inside's rim rather
    # than from the outside.
    place = torch.cat([geometry.points, 0.1 * geometry.normals], 1).numpy()
    source = known.nonzero()[:, 0]
    source = source[:: max(1, len(source) // 60000)]
    lost = (~known).nonzero()[:, 0]
    distance, index = cKDTree(place[source.numpy()]).query(
        place[lost.numpy()], k=min(neighbours, len(source))
    )
    distance, index = distance.reshape(len(lost), -1), index.reshape(len(lost), -1)
    share = 1 / np.maximum(distance, 1e-4)
    share = torch.from_numpy((share / share.sum(1, keepdims=True)).astype(np.float32))
    near = source[torch.from_numpy(index)]
    values = texels[:, geometry.rows[near], geometry.columns[near]]
    texels[:, geometry.rows[lost], geometry.columns[lost]] = (values * share).sum(-1)
    return texels


@dataclass(frozen=True, kw_only=True)
class PaintingConfig(DistillingConfig):
    """One stage of distillation of a mesh's texels."""

    cameras: Literal["stratified", "uniform"] = "stratified"
    stratified: StratifiedCameras = field(
        default_factory=lambda: StratifiedCameras(elevation=(-10.0, 50.0), overhead=0.12)
    )
    uniform: UniformCameras = field(default_factory=UniformCameras)
    rates: PaintRates = field(default_factory=PaintRates)
    terms: PaintTerms = field(default_factory=PaintTerms)
    light: LightConfig = field(default_factory=LightConfig)

    def demand(self, place: Place) -> Demand:
        """See `DistillingConfig.demand`."""
        views = len(self.sampler().sample(RandomStream(0, "rehearsal", 0), 1))
        if place.encode:
            return surface_demand(place, views, getattr(place.holder, "texels", 512))
        return surface_demand(place, views, getattr(place.holder, "latent_texels", place.size))

    def sampler(self) -> CameraSampler:
        """The camera sampler that is switched on."""
        return self.stratified if self.cameras == "stratified" else self.uniform

    def elevations(self) -> tuple[float, float]:
        """Lowest and highest elevation that the sampler may draw, degrees."""
        if self.cameras == "uniform":
            return self.uniform.elevation
        return self.stratified.elevation[0], max(
            self.stratified.elevation[1], 80.0 if self.stratified.overhead > 0 else 0.0
        )


def configured_painting(
    config: PaintingConfig,
    parts: SurfaceModel,
    context: GuidanceContext,
    background: Background,
    size: int,
) -> Stage:
    """The stage of a configuration, with the guidances that it names; see `painting_stage`."""
    main, guidances = config.guide(context)
    return painting_stage(
        context.stage,
        config.steps,
        parts,
        main,
        config.sampler(),
        background,
        size,
        config.rates,
        config.terms,
        config.light,
        config.weight,
        guidances,
    )
