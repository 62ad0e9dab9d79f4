"""The stage that paints a textured mesh by distillation of its texels."""

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
from ..engine.schema.bounds import ScheduleText, Weight
from ..guidance.guidance import Guidance, GuidanceInputs
from ..guidance.registry import GuidanceContext
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
from ..priors.control.kinds import CONTROL_KINDS, ControlInputs
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
)
from ..renderers.camera_samplers import CameraSampler
from ..renderers.geometry import Shape, geometry_maps
from ..renderers.rendering import Rendering
from ..representations import TexturedMesh
from .demand import Demand, Place, surface_demand
from .distilling import DistillingConfig, sampler_of_prior
from .model import Decode
from .snapshots import surface_snapshot


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
    _shape: Shape | None = field(default=None, init=False, repr=False, compare=False)

    def shape(self) -> Shape:
        """What is drawn of the mesh's geometry, kept while no vertex moves: its normals are made in
        main memory, for which a device would be waited for at every step."""
        surface, kept = self.surface, self._shape
        if surface.offsets is not None:
            return Shape.of_surface(surface)
        if kept is None or kept.points.device != surface.points.device:
            self._shape = kept = Shape.of_surface(surface)
        return kept

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

    @torch.no_grad()
    def control_pictures(
        self, cameras: Cameras, prior: DiffusionPrior
    ) -> dict[str, torch.Tensor] | None:
        """The pictures (B, S, S, 3) of the mesh by which a prior is controlled, by kind; None
        where it is not. Raises ConfigError for `inpaint` where nothing is locked."""
        kinds = prior.facts.controls
        if not kinds:
            return None
        surface, size = self.surface, prior.facts.image_size
        maps = geometry_maps(self.shape(), cameras, size)
        colours = open_ = None
        locked = surface.charts & ~surface.unlocked.view(surface.resolution, -1)
        if any(CONTROL_KINDS.get(k).colours for k in kinds) and bool(locked.any()):
            some = cameras.resized(size, size)
            white = BackgroundSample(torch.ones(len(cameras), size, size, 3))
            colours = self.renderer.render(surface, some, white).features.clamp(0, 1)
            which = TexturedMesh(surface.atlas, 1, surface.resolution, start=locked[None].float())
            black = BackgroundSample(torch.zeros(len(cameras), size, size, 1))
            kept = self.renderer.render(which.to(surface.points.device), some, black)
            open_ = maps.hit & (kept.features[..., 0] < 0.5)
        inputs = ControlInputs(maps, colours, open_)
        return {kind: CONTROL_KINDS.get(kind).draw(inputs) for kind in kinds}

    def modules(self) -> dict[str, nn.Module]:
        """Everything that a checkpoint must hold."""
        found: dict[str, nn.Module] = {"surface": self.surface, "renderer": self.renderer}
        return found if self.background is None else {**found, "background": self.background}


OFFSET_REACH = 0.1
"""Largest displacement of a vertex, in units of the scene (an object's radius is 0.95)."""


@dataclass(frozen=True, kw_only=True)
class PaintRates:
    """Schedules of learning rates."""

    texels: ScheduleText = "1e-2"
    background: ScheduleText = "1e-2"
    offsets: ScheduleText = "1e-3->1e-4"


@dataclass(frozen=True, kw_only=True)
class PaintTerms:
    """Schedules of weights; "0" switches a term off."""

    seam: ScheduleText = "0"
    """Squared difference of the two sides of every texture seam."""
    variation: ScheduleText = "30"
    """Squared difference of neighbouring texels, in units of the texels of 256 along the edge."""
    offsets: ScheduleText = "30"
    """Squared difference of neighbouring vertices' offsets as a slope: over the length of the edge
    between them."""
    normal_consistency: ScheduleText = "0"
    """Where vertices move: 1 - cos of the angle between the normals at the ends of every edge
    (threestudio's lambda_normal_consistency)."""
    laplacian_smoothness: ScheduleText = "0"
    """Where vertices move: length of the uniform Laplacian of their positions (threestudio's
    lambda_laplacian_smoothness)."""
    material: ScheduleText = "0"
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
    variation: Weight = 0.12
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
    control: Callable[[Cameras], dict[str, torch.Tensor] | None] | None = None,
) -> Stage:
    """A stage that moves texels by a guidance.

    Args:
        guidance: the main one, whose term is called "distil".
        size: height and width of the rendering.
        light: lit surfaces show the prior what its pictures show, and keep what the light does out
            of the texels.
        weight: of the main guidance.
        guidances: more of them, with their weights.
        control: draws the pictures that control the prior.
    """
    every = [WeightedGuidance("distil", guidance, Schedule.parse(weight)), *guidances]
    weights = parsed(terms)
    guidance_figures = GuidanceFigures()
    looked: list[Cameras] = []

    def loss(step: Step) -> dict[str, torch.Tensor]:
        random = step.random
        some = cameras.sample(random, size, step.fraction)
        some = own_views(some, step, every)
        looked[:] = [some]
        sample = background.sample(some, step.microbatch_random)
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
        inputs = GuidanceInputs(
            some,
            step.fraction,
            step.microbatch_random,
            background=sample.level,
            control=None if control is None else control(some),
        )
        found = guidance_terms(every[:1], rendering, inputs, figures=guidance_figures)
        found.update(paint_terms(weights, parts.surface, step.fraction))
        found.update(guidance_terms(guidances, rendering, inputs, figures=guidance_figures))
        return found

    return Stage(
        name,
        steps,
        {**parts.modules(), **guidance_modules(every)},
        groups=[*paint_groups(parts, rates), *guidance_groups(every)],
        loss=loss,
        shared=True,
        after_step=keep_in_range(parts),
        preview=lambda: preview(parts, size),
        snapshot=lambda: surface_snapshot(parts, *looked),
        figures=guidance_figures,
        recover=lambda verdict: recover_guidances(every, verdict),
        shrink=lambda: shrink_guidances(every),
        result=tuple(parts.modules()),
    )


def keep_in_range(parts: SurfaceModel) -> Callable[[Step], None] | None:
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
    context, size = config.seen_by(context, size)
    main, guidances = config.guide(context)
    return painting_stage(
        context.stage,
        config.steps,
        parts,
        guidance=main,
        cameras=sampler_of_prior(context) or config.sampler(),
        background=background,
        size=size,
        rates=config.rates,
        terms=config.terms,
        light=config.light,
        weight=config.weight,
        guidances=guidances,
        control=lambda cameras: parts.control_pictures(cameras, context.prior),
    )
