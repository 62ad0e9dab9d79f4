"""The stage that places the objects of a scene: by the composed picture, by spatially-aware
distillation of novel views, and by how things stand (METHODS 4.3 to 4.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ...engine.loop import Stage, Step
from ...engine.random import RandomStream
from ...engine.schedule import Schedule
from ...engine.schema.bounds import (
    Count,
    Degrees,
    Elevation,
    Number,
    OptionalSize,
    ScheduleText,
    Size,
    Weight,
)
from ...guidance.choice import Guidances
from ...guidance.guidance import Guidance, GuidanceInputs
from ...guidance.physical import Bond, PhysicalConfig, PhysicalTerms
from ...guidance.picture import DepthGuidance, ReferenceGuidance, at_size
from ...guidance.registry import GuidanceContext, Subject
from ...guidance.score_distillation import ScoreDistillation, check_score
from ...guidance.spatial import SpatialConfig, SpatialScoreDistillation
from ...guidance.weighted import (
    GuidanceFigures,
    WeightedGuidance,
    guidance_groups,
    guidance_modules,
    guidance_terms,
    recover_guidances,
    shrink_guidances,
)
from ...meshes.physics.settling import SettleConfig
from ...priors.diffusion import PLAIN_CAMERAS, CameraProtocol, DiffusionPrior
from ...priors.latent_rgb import show_rgb
from ...renderers import Cameras, RandomBackground, RingCameras, SceneRenderer, UniformCameras
from ...renderers.backgrounds import BackgroundSample
from ...renderers.rendering import Rendering
from ...representations.placed_scene import Along, PlacedScene
from ...stages.demand import Demand, Place, surface_demand
from ...stages.snapshots import scene_snapshot
from .layout import LayoutConfig
from .prompt import SceneText


@dataclass(frozen=True, kw_only=True)
class PlacementWeights:
    """The paper's are 1000, 1000, 1; depth is its ablation."""

    colour: Weight = 1000.0
    opacity: Weight = 1000.0
    spatial: Weight = 1.0
    depth: Weight = 0.0
    physical: Weight = 200.0
    """Of all physical terms; they must not fight the picture."""


def without_emphasis() -> SpatialConfig:
    """Score distillation at all noise, of all views at once where a prior can. Emphasis brought no
    model more relations, also none that hardly heard them (docs/results/ssds.md)."""
    plain = SpatialConfig(factor=1.0)
    return replace(plain, score=replace(plain.score, t_min="0.02", t_max="0.98", joint_views=True))


@dataclass(frozen=True, kw_only=True)
class PlacementConfig:
    """How objects are placed."""

    layout: LayoutConfig = field(default_factory=LayoutConfig)
    along: Along = "ray"
    """What the unknowns are: see `representations.placed_scene`. The paper's are "axis"."""
    guidance: Literal["ssds", "sds", "none"] = "ssds"
    guidances: Guidances = field(default_factory=Guidances)
    """More guidances of the novel views by name, each with its weight: see
    `DistillingConfig.guidances`."""
    spatial: SpatialConfig = field(default_factory=without_emphasis)
    weights: PlacementWeights = field(default_factory=PlacementWeights)
    physical: PhysicalConfig = field(default_factory=PhysicalConfig)
    stand: bool = True
    """At the end, let everything stand by the geometry itself: no penetration, no gap below,
    nothing that falls over when it is let go."""
    settle: SettleConfig = field(default_factory=SettleConfig)
    """How far things may move for that."""
    steps: Count = 100
    views: Number = 4
    """Novel views a step; the paper's are 10."""
    azimuth: tuple[Degrees, Degrees] = (-60.0, 60.0)
    """Degrees about the reference view within which novel views lie: beyond, relations like "in
    front of" turn round."""
    elevation: tuple[Elevation, Elevation] = (-10.0, 30.0)
    rate_depth: ScheduleText = "0.03->0.003"
    """Learning rate of the distance along the view; ten times the others', as published."""
    rate: ScheduleText = "0.003->0.0003"
    renderer: SceneRenderer = field(default_factory=SceneRenderer)
    resolution: OptionalSize = 0
    """Height and width of the novel views; 0 takes the prior's picture size."""
    look: Size = 128
    """Height and width at which the picture itself is compared; at least the novel views'."""

    def demand(self, place: Place) -> Demand:
        """What the placement asks of memory."""
        return surface_demand(place, self.views, 0)

    def check(self, place: Place) -> None:
        """See `DistillingConfig.check`."""
        subject = Subject(prior=place.prior, encode=True, moves="scene")
        if self.guidance != "none" and self.weights.spatial > 0:
            check_score(subject, self.spatial.score)
        self.guidances.check(subject)

    def idle(self, words: Sequence[str], place: str) -> str:
        """See `stages.idle_values`."""
        if words[0] == "spatial":
            if self.guidance == "none" or self.weights.spatial == 0:
                off = "guidance is none" if self.guidance == "none" else "weights.spatial is 0"
                return f"--{place}{off}"
            return f"--{place}guidance is sds" if self._plain(words) else ""
        if words[0] == "physical" and self.weights.physical == 0:
            return f"--{place}weights.physical is 0"
        return f"--{place}stand is False" if words[0] == "settle" and not self.stand else ""

    def _plain(self, words: Sequence[str]) -> bool:
        """Whether a value of the emphasis is meant where there is none."""
        return self.guidance == "sds" and words[1:2] != ["score"]

    @staticmethod
    def paper() -> PlacementConfig:
        """The published numbers (METHODS 4.6), and its own choice of unknowns and first placement;
        500 steps are METHODS' suggestion."""
        return PlacementConfig(
            layout=LayoutConfig(size="box", surface=False, ground=False),
            along="axis",
            spatial=SpatialConfig(),
            steps=500,
            views=10,
            azimuth=(-180.0, 180.0),
            rate_depth="0.01",
            rate="0.001",
            weights=PlacementWeights(physical=0.0),
            stand=False,
        )


@dataclass
class ReferencePicture:
    """The picture that is composed: picture (H, W, 3) in [0, 1], mask (H, W) of all objects, as
    `camera` sees them; depth (H, W) along the rays in scene units, if it is known."""

    picture: torch.Tensor
    mask: torch.Tensor
    camera: Cameras
    depth: torch.Tensor | None = None


class PlacementPath(nn.Module):
    """Where the objects stood during the run: rows (K, N, 8) of scale, rotation x y z w,
    translation."""

    rows: torch.Tensor

    def __init__(self, objects: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(0, objects, 8))

    def note(self, scene: PlacedScene) -> None:
        """Keep where they stand now."""
        row = [[t.scale, *t.rotation, *t.translation] for t in scene.transforms()]
        self.rows = torch.cat([self.rows, self.rows.new_tensor(row)[None]])


def bonds_of(text: SceneText) -> list[Bond]:
    """The relations of a prompt, as the physical terms take them."""
    return [Bond(r.subject, r.kind, r.object) for r in text.relations]


def distillation_of(
    config: PlacementConfig, prior: DiffusionPrior, text: SceneText, words: list[str]
) -> Guidance | None:
    """The guidance of novel views: SSDS, plain SDS, or none. SSDS without spatial words is SDS."""
    if config.guidance == "none" or config.weights.spatial == 0:
        return None
    if config.guidance == "sds":
        return ScoreDistillation(prior, text.prompt, config.spatial.score, encode=True)
    return SpatialScoreDistillation(prior, text.prompt, words, config=config.spatial, encode=True)


def scene_context(
    scene: PlacedScene, prompt: str, prior: DiffusionPrior, renderer: SceneRenderer
) -> GuidanceContext:
    """What the guidances of a scene's novel views are built for."""

    def render(cameras: Cameras, random: RandomStream | None = None) -> Rendering:
        black = torch.zeros(len(cameras), cameras.height, cameras.width, 3)
        return renderer.render(scene, cameras, BackgroundSample(black), random)

    return GuidanceContext(
        stage="place",
        prompt=prompt,
        prior=prior,
        encode=True,
        decode=show_rgb,
        representation=scene,
        render=render,
    )


class ReferenceTerms:
    """What the composed picture says of a scene: its colours, the mask of all objects, and, where
    it has a weight, its depth.

    Args:
        size: height and width of the novel views; the picture is looked at as finely at least.
    """

    def __init__(self, reference: ReferencePicture, config: PlacementConfig, size: int) -> None:
        edge = max(size, min(config.look, reference.camera.height))
        self.camera = reference.camera.resized(
            edge, round(edge * reference.camera.width / reference.camera.height)
        )
        self.shape = (self.camera.height, self.camera.width)
        self.config = config
        self.picture, self.mask = at_size(reference.picture, reference.mask, self.shape)
        self.look = ReferenceGuidance(
            self.picture,
            self.mask,
            "l1",
            colour=config.weights.colour,
            opacity=config.weights.opacity,
        )
        self.deep: DepthGuidance | None = None
        if reference.depth is not None and config.weights.depth > 0:
            self.deep = DepthGuidance(reference.depth, reference.mask, invariant=True)

    def losses(self, scene: PlacedScene, step: Step) -> dict[str, torch.Tensor]:
        """The weighted terms of a step, by name."""
        inputs = GuidanceInputs(self.camera, step.fraction, step.random)
        level = float(inputs.random.uniform("reference background")) * 0.5 + 0.4
        behind = BackgroundSample(torch.full((1, *self.shape, 3), level))
        own = self.config.renderer.render(scene, inputs.cameras, behind, inputs.random)
        mask = self.mask[..., None]
        self.look.picture = self.picture * mask + level * (1 - mask)
        terms = {"reference": self.look(own, inputs).loss}
        if self.deep is not None:
            terms["depth"] = self.config.weights.depth * self.deep(own, inputs).loss
        return terms


class NovelViews:
    """What the guidances say of views about the reference one, in which the prompt is heard.

    Args:
        main: the guidance of the method; None for none.
        more: others, with their weights.
    """

    def __init__(
        self,
        config: PlacementConfig,
        protocol: CameraProtocol,
        size: int,
        main: Guidance | None,
        more: list[WeightedGuidance],
    ) -> None:
        self.renderer, self.size, self.protocol = config.renderer, size, protocol
        self.every = list(more)
        if main is not None:
            weight = Schedule.parse(config.weights.spatial)
            self.every.insert(0, WeightedGuidance("spatial", main, weight))
        self.sampler = UniformCameras(
            elevation=config.elevation,
            azimuth=config.azimuth,
            distance=(protocol.distance, protocol.distance),
            fov_y=(protocol.fov_y, protocol.fov_y),
            batch=config.views,
        )
        self.behind = RandomBackground.grey(0.4, 0.95)
        self.figures = GuidanceFigures()

    def losses(self, scene: PlacedScene, step: Step) -> dict[str, torch.Tensor]:
        """The weighted terms of a step, by name."""
        if not self.every:
            return {}
        cameras = self.sampler.sample(step.random, self.size, step.fraction)
        sample = self.behind.sample(cameras, step.random)
        seen = self.renderer.render(scene, cameras, sample, step.random)
        inputs = GuidanceInputs(cameras, step.fraction, step.random, background=sample.level)
        return guidance_terms(self.every, seen, inputs, figures=self.figures)


def novel_views(
    scene: PlacedScene,
    text: SceneText,
    words: list[str],
    prior: DiffusionPrior | None,
    config: PlacementConfig,
) -> NovelViews:
    """What the guidances say of novel views; nothing without a prior."""
    if prior is None:
        size = config.resolution or 64
        return NovelViews(config, PLAIN_CAMERAS, size, main=None, more=[])
    context = scene_context(scene, text.prompt, prior, renderer=config.renderer)
    main = config.guidances.build_main(context) or distillation_of(config, prior, text, words=words)
    return NovelViews(
        config,
        prior.facts.camera or PLAIN_CAMERAS,
        config.resolution or prior.facts.image_size,
        main=main,
        more=config.guidances.build(context),
    )


def placement_stage(
    scene: PlacedScene,
    text: SceneText,
    words: list[str],
    prior: DiffusionPrior | None,
    config: PlacementConfig,
    reference: ReferencePicture | None = None,
    order: list[tuple[int, int]] | None = None,
    upright: bool = True,
    name: str = "placement",
) -> Stage:
    """The stage that moves the objects of a scene; nothing else changes.

    Args:
        words: spatial words of the prompt.
        prior: None where no novel view is asked for: the picture and the physical terms alone.
        reference: None where there is no picture (layout by text alone).
        order: pairs (front, back) that the picture shows.
        upright: see `PhysicalTerms`.
    """
    novel = novel_views(scene, text, words, prior=prior, config=config)
    size, protocol = novel.size, novel.protocol
    own = None if reference is None else ReferenceTerms(reference, config, size)
    physics = None
    if config.weights.physical > 0:
        physics = PhysicalTerms(
            scene, bonds_of(text), order or [], config=config.physical, upright=upright
        )
    path = PlacementPath(len(scene))

    def loss(step: Step) -> dict[str, torch.Tensor]:
        terms = {} if own is None else own.losses(scene, step)
        terms.update(novel.losses(scene, step))
        if physics is not None:
            terms.update({k: config.weights.physical * v for k, v in physics.losses().items()})
        return terms

    def after(step: Step) -> None:
        if step.index % max(1, config.steps // 50) == 0 or step.index == config.steps - 1:
            path.note(scene)

    def preview() -> Any:
        ring = RingCameras(
            count=1, elevation=15.0, distance=protocol.distance, fov_y=protocol.fov_y
        )
        cameras = ring.all(size) if reference is None else reference.camera
        grey = BackgroundSample(torch.full((1, 128, 128, 3), 0.96))
        with torch.no_grad():
            drawn = config.renderer.render(scene, cameras.resized(128, 128), grey)
        return (drawn.features[0].clamp(0, 1) * 255).round().byte().cpu().numpy()

    rates = {"depth": config.rate_depth, "others": config.rate}
    return Stage(
        name,
        config.steps,
        {"scene": scene, "path": path, **guidance_modules(novel.every)},
        groups=[*scene.parameter_groups(rates), *guidance_groups(novel.every)],
        loss=loss,
        after_step=after,
        preview=preview,
        snapshot=lambda: scene_snapshot(scene, None if reference is None else reference.camera),
        figures=novel.figures,
        recover=(lambda verdict: recover_guidances(novel.every, verdict)) if novel.every else None,
        shrink=lambda: shrink_guidances(novel.every),
    )


def scene_pictures(
    scene: PlacedScene, renderer: SceneRenderer, cameras: Cameras, level: float = 0.96
) -> np.ndarray:
    """Pictures (B, H, W, 3) of a scene before a grey."""
    with torch.no_grad():
        shape = (len(cameras), cameras.height, cameras.width, 3)
        return (
            renderer.render(scene, cameras, BackgroundSample(torch.full(shape, level)))
            .features.clamp(0, 1)
            .numpy()
        )
