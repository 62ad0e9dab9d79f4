"""ComboVerse (Chen et al. 2024): objects of one picture, reconstructed one by one, are placed by
the picture and by spatially-aware score distillation (METHODS 4.3 to 4.6)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ...engine.loop import Stage, Step
from ...engine.schedule import Schedule
from ...engine.stage import ParameterGroup
from ...guidance.guidance import Guidance, GuidanceInputs
from ...guidance.physical import Bond, PhysicalConfig, PhysicalTerms
from ...guidance.picture import DepthGuidance, ReferenceGuidance, at_size
from ...guidance.score_distillation import ScoreDistillation
from ...guidance.spatial import SpatialConfig, SpatialScoreDistillation
from ...priors.diffusion import PLAIN_CAMERAS, DiffusionPrior
from ...renderers import Cameras, RandomBackground, RingCameras, SceneRenderer, UniformCameras
from ...renderers.backgrounds import BackgroundSample
from ...representations.placed_scene import Along, PlacedScene
from ...stages.guided import (
    WeightedGuidance,
    guidance_groups,
    guidance_modules,
    recover_guidances,
    shrink_guidances,
)
from .amodal_completion import CompletionConfig
from .layout import LayoutConfig
from .prompt import SceneText
from .segmentation import DecomposeConfig


@dataclass(frozen=True, kw_only=True)
class PlacementWeights:
    """The paper's are 1000, 1000, 1; depth is its ablation."""

    colour: float = 1000.0
    opacity: float = 1000.0
    spatial: float = 1.0
    depth: float = 0.0
    physical: float = 200.0
    """Of all physical terms; they must not fight the picture."""


def heard_words() -> SpatialConfig:
    """For a prior that hears spatial words as they are, and several views at once: as the embedded
    one (docs/results/spatial_words.md)."""
    plain = SpatialConfig(factor=1.0)
    return replace(plain, score=replace(plain.score, t_min="0.02", t_max="0.98", joint_views=True))


@dataclass(frozen=True, kw_only=True)
class Comboverse:
    """How objects are placed."""

    layout: LayoutConfig = field(default_factory=LayoutConfig)
    along: Along = "ray"
    """What the unknowns are: see `representations.placed_scene`. The paper's are "axis"."""
    guidance: Literal["ssds", "sds", "none"] = "ssds"
    spatial: SpatialConfig = field(default_factory=heard_words)
    """For camera-conditioned priors; all others begin with the paper's (`open`)."""
    weights: PlacementWeights = field(default_factory=PlacementWeights)
    physical: PhysicalConfig = field(default_factory=PhysicalConfig)
    steps: int = 100
    views: int = 4
    """Novel views a step; the paper's are 10."""
    azimuth: tuple[float, float] = (-60.0, 60.0)
    """Degrees about the reference view within which novel views lie: beyond, relations like "in
    front of" turn round."""
    elevation: tuple[float, float] = (-10.0, 30.0)
    rate_depth: str = "0.03->0.003"
    """Learning rate of the distance along the view; ten times the others', as published."""
    rate: str = "0.003->0.0003"
    renderer: SceneRenderer = field(default_factory=SceneRenderer)
    resolution: int = 0
    """Height and width of the novel views; 0 takes the prior's picture size."""
    look: int = 128
    """Height and width at which the picture itself is compared; at least the novel views'."""

    @staticmethod
    def paper() -> Comboverse:
        """The published numbers (METHODS 4.6), and its own choice of unknowns and first placement;
        500 steps are METHODS' suggestion."""
        return Comboverse(
            layout=LayoutConfig(size="box", surface=False, ground=False),
            along="axis",
            spatial=SpatialConfig(),
            steps=500,
            views=10,
            azimuth=(-180.0, 180.0),
            rate_depth="0.01",
            rate="0.001",
            weights=PlacementWeights(physical=0.0),
        )


@dataclass(frozen=True, kw_only=True)
class ComposeConfig:
    """Configuration of `compose`."""

    decompose: DecomposeConfig = field(default_factory=DecomposeConfig)
    completion: CompletionConfig = field(default_factory=CompletionConfig)
    place: Comboverse = field(default_factory=Comboverse)
    depth: str = "toybox"
    """Depth estimator: the embedded one, a name or a folder."""
    starts: int = 3
    """Of a layout by text alone: first placements that are tried."""
    upright: bool = True
    """Of a layout by text alone: objects turn about the vertical and nothing else."""
    rate: str = "0.03->0.003"
    """Of a layout by text alone: learning rate of all that the picture would hold otherwise."""
    resolution: int = 0
    """Height and width of the renderings; 0 takes the prior's picture size."""

    @staticmethod
    def open() -> ComposeConfig:
        """Our placement with the paper's guidance: for priors of any text and no cameras, which
        hardly hear where things are."""
        return ComposeConfig(place=Comboverse(spatial=SpatialConfig()))

    @staticmethod
    def paper() -> ComposeConfig:
        """The published numbers."""
        return ComposeConfig(
            completion=CompletionConfig(when="always", hidden=False), place=Comboverse.paper()
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
    config: Comboverse, prior: DiffusionPrior, text: SceneText, words: list[str]
) -> Guidance | None:
    """The guidance of novel views: SSDS, plain SDS, or none. SSDS without spatial words is SDS."""
    if config.guidance == "none" or config.weights.spatial == 0:
        return None
    if config.guidance == "sds":
        return ScoreDistillation(prior, text.prompt, config.spatial.score, encode=True)
    return SpatialScoreDistillation(prior, text.prompt, words, config.spatial, encode=True)


def placement_stage(
    scene: PlacedScene,
    text: SceneText,
    words: list[str],
    prior: DiffusionPrior,
    config: Comboverse,
    reference: ReferencePicture | None = None,
    order: list[tuple[int, int]] | None = None,
    upright: bool = True,
    name: str = "placement",
) -> Stage:
    """The stage that moves the objects of a scene; nothing else changes.

    Args:
        words: spatial words of the prompt. reference: None where there is no picture (layout by
            text alone).
        order: pairs (front, back) that the picture shows. upright: see `PhysicalTerms`.
    """
    size = config.resolution or prior.facts.image_size
    protocol = prior.facts.camera or PLAIN_CAMERAS
    distil = distillation_of(config, prior, text, words)
    physics = None
    if config.weights.physical > 0:
        physics = PhysicalTerms(scene, bonds_of(text), order or [], config.physical, upright)
    sampler = UniformCameras(
        elevation=config.elevation,
        azimuth=config.azimuth,
        distance=(protocol.distance, protocol.distance),
        fov_y=(protocol.fov_y, protocol.fov_y),
        batch=config.views,
    )
    behind = RandomBackground.grey(0.4, 0.95)
    look: ReferenceGuidance | None = None
    deep: DepthGuidance | None = None
    if reference is not None:
        edge = max(size, min(config.look, reference.camera.height))
        camera = reference.camera.resized(
            edge, round(edge * reference.camera.width / reference.camera.height)
        )
        shape = (camera.height, camera.width)
        picture, mask = at_size(reference.picture, reference.mask, shape)
        look = ReferenceGuidance(picture, mask, "l1", config.weights.colour, config.weights.opacity)
        if reference.depth is not None and config.weights.depth > 0:
            deep = DepthGuidance(reference.depth, reference.mask, invariant=True)
    path = PlacementPath(len(scene))

    def loss(step: Step) -> dict[str, torch.Tensor]:
        inputs = GuidanceInputs(
            camera if reference is not None else sampler.sample(step.random, size),
            step.fraction,
            step.random,
        )
        terms: dict[str, torch.Tensor] = {}
        if look is not None:
            level = float(inputs.random.uniform("reference background")) * 0.5 + 0.4
            own = config.renderer.render(
                scene,
                inputs.cameras,
                BackgroundSample(torch.full((1, *shape, 3), level)),
                inputs.random,
            )
            look.picture = picture * mask[..., None] + level * (1 - mask[..., None])
            terms["reference"] = look(own, inputs)[0]
            if deep is not None:
                terms["depth"] = config.weights.depth * deep(own, inputs)[0]
        if distil is not None:
            cameras = sampler.sample(step.random, size, step.fraction)
            sample = behind.sample(cameras, step.random)
            seen = config.renderer.render(scene, cameras, sample, step.random)
            terms["spatial"] = (
                config.weights.spatial
                * distil(seen, GuidanceInputs(cameras, step.fraction, step.random, sample.level))[0]
            )
        if physics is not None:
            terms.update({k: config.weights.physical * v for k, v in physics.losses().items()})
        return terms

    def after(step: Step) -> None:
        if step.index % max(1, config.steps // 50) == 0 or step.index == config.steps - 1:
            path.note(scene)

    def preview() -> Any:
        cameras = (
            reference.camera
            if reference is not None
            else RingCameras(
                count=1, elevation=15.0, distance=protocol.distance, fov_y=protocol.fov_y
            ).all(size)
        )
        with torch.no_grad():
            drawn = config.renderer.render(
                scene,
                cameras.resized(128, 128),
                BackgroundSample(torch.full((1, 128, 128, 3), 0.96)),
            )
        return (drawn.features[0].clamp(0, 1) * 255).round().byte().cpu().numpy()

    groups = [
        ParameterGroup("depth", [scene.depth], config.rate_depth, (0.9, 0.99), 1e-8),
        ParameterGroup(
            "others",
            [scene.image_position, scene.size, scene.rotation_vector],
            config.rate,
            (0.9, 0.99),
            1e-8,
        ),
    ]
    every = [WeightedGuidance("spatial", distil, Schedule.parse(1))] if distil is not None else []
    return Stage(
        name,
        config.steps,
        {"scene": scene, "path": path, **guidance_modules(every)},
        [*groups, *guidance_groups(every)],
        loss,
        after_step=after,
        preview=preview,
        recover=(lambda verdict: recover_guidances(every, verdict)) if every else None,
        shrink=lambda: shrink_guidances(every),
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
