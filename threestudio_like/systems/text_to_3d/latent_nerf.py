"""Latent-NeRF (Metzer et al. 2022): a field whose colour is a Stable-Diffusion latent, moved by
score distillation.

The default configuration is tuned for camera-conditioned priors of few pixels (the embedded one):
the field starts from sampled views, distillation in latents makes them one object, and distillation
in RGB gives it its surface and its colours. `LatentNerf.paper()` has the published numbers: one
distillation stage on a tiled feature grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch

from ...engine.loop import Stage, StagePlan
from ...engine.schedule import Schedule
from ...engine.schema.bounds import Count, Greys, NoiseTime, OptionalSize, Share, Weight
from ...guidance.image_refinement import ImageRefinement, RefinementConfig
from ...guidance.score_distillation import ScoreDistillationConfig
from ...guidance.sketch_files import read_sketch
from ...guidance.sketch_shape import FollowSketch, SketchConfig, SketchField, SketchShape
from ...guidance.weighted import WeightedGuidance
from ...priors.diffusion import DiffusionPrior
from ...priors.latent_rgb import by_matrix, rgb_map, show_rgb
from ...renderers import (
    LearnedBackground,
    RandomBackground,
    SolidBackground,
    VolumeConfig,
    learned_background,
    renderer_for,
)
from ...representations import (
    Field,
    LearningRates,
    VoxelGridConfig,
)
from ...representations.config import FieldConfig
from ...stages.distillation import DistillationConfig, configured_stage
from ...stages.mesh import MeshModel, MeshStageConfig, MeshStart
from ...stages.model import AssetModel, Decode, FieldModel
from ...stages.regularisers import Regularisation
from ...stages.rounds import RoundsConfig, rounds_stage
from ..refined_mesh import mesh_plans
from ..system import Request, System, Task


@dataclass(frozen=True, kw_only=True)
class RgbConfig(DistillationConfig):
    """Distillation in RGB through the autoencoder, on a field that starts from the latent one."""

    steps: Count = 150
    guidance: ScoreDistillationConfig = field(
        default_factory=lambda: ScoreDistillationConfig(
            scale=3.0,
            rescale=0.5,
            weighting="clean",
            t_max="0.9->0.2",
            shared_time=True,
            clamp=3.5,
            joint_views=True,
            image_residual=True,
        )
    )
    rates: LearningRates = field(default_factory=lambda: LearningRates(voxels="0.1->0.01"))
    regularise: Regularisation = field(
        default_factory=lambda: Regularisation(
            opacity_entropy="0->4 @ 40..100%",
            sparsity="1",
            nearness="40->0",
            density_variation="0.05",
            feature_variation="0.3",
        )
    )
    representation: FieldConfig = field(
        default_factory=lambda: FieldConfig(voxels=VoxelGridConfig(size=64, smooth=1.2))
    )
    """A voxel field takes over the latent field's density and colours; a hash grid starts empty."""
    renderer: VolumeConfig = field(default_factory=lambda: VolumeConfig(samples=64, occupancy=40))
    levels: tuple[Share, Share] = (0.3, 1.0)
    """Grey levels of the background, drawn every step: a part that has the colour of one of them
    shows against the others."""
    close: Weight = 0.1
    """Gaps of the latent field up to twice this wide (scene units) are closed at first; what is too
    much is carved again."""


@dataclass(frozen=True, kw_only=True)
class LatentNerf(System[Request, AssetModel]):
    """Configuration of the `latent-nerf` system."""

    task: ClassVar[Task] = "text-to-3d"
    SHAPED: ClassVar[Mapping[str, float]] = {
        "rgb.guidances.normals.weight": 0.3,
        "mesh.guidances.normals.weight": 0.3,
    }

    representation: FieldConfig = field(
        default_factory=lambda: FieldConfig(voxels=VoxelGridConfig(size=36))
    )
    renderer: VolumeConfig = field(default_factory=lambda: VolumeConfig(samples=44))
    background: Literal["random", "solid", "learned"] = "random"
    background_network: Literal["frequencies", "harmonics"] = "frequencies"
    """Of the learned background, see `renderers.learned_background`."""
    levels: tuple[Share, Share] = (0.26, 0.36)
    """Grey levels of the random background: between black and the greys of metal and white in
    shade, so that every part stands out."""
    level: Share = 0.29
    """Grey level behind the pictures of the start."""
    resolution: OptionalSize = 0
    """Height and width of the latent rendering; 0 takes the prior's latent size."""
    start: RoundsConfig = field(
        default_factory=lambda: RoundsConfig(
            refine=RefinementConfig(
                times=(1.0, 0.85), steps=10, views=8, scale=4.0, elevations=(12.0, 25.0)
            ),
            iterations=60,
            rates=LearningRates(voxels="0.2->0.05"),
            regularise=Regularisation(density_variation="0.05", feature_variation="0.05"),
        )
    )
    """The start from sampled views; no times switch it off."""
    distil: DistillationConfig = field(default_factory=DistillationConfig)
    rgb: RgbConfig = field(default_factory=RgbConfig)
    """The distillation in RGB that follows; 0 steps leave the latent field as the result."""
    refine: RoundsConfig = field(
        default_factory=lambda: RoundsConfig(
            refine=RefinementConfig(times=(), steps=6, views=24),
            iterations=60,
            rays=6144,
            empty_weight=0.3,
            rates=LearningRates(voxels="0.1->0.03"),
            regularise=Regularisation(
                density_variation="0.05", feature_variation="0.02", distortion="0.01"
            ),
        )
    )
    """Rounds of image-space refinement in RGB at the end; none by default."""
    mesh: MeshStageConfig = field(default_factory=MeshStageConfig)
    """A mesh of the field, optimised at the end; switched on by --refine-mesh or its steps."""
    sketch: SketchConfig = field(default_factory=SketchConfig)
    """A coarse shape to follow."""
    sketch_times: tuple[NoiseTime, ...] = (0.95, 0.85)
    """With a sketch the start noises its renderings to these times instead of sampling from
    nothing."""
    refine_levels: Greys = (0.29, 0.5)
    """Grey levels behind the pictures of the RGB rounds, one a group of four views in turn: what
    one of them hides another shows."""

    @staticmethod
    def paper() -> LatentNerf:
        """The published configuration (METHODS 1.2-1.8): tiled grid, 5000 steps, guidance 100,
        uniform cameras, learned background."""
        return LatentNerf(
            representation=FieldConfig(kind="hash"),
            # A step of 2 sqrt(3) / 1024.
            renderer=VolumeConfig(
                samples=591, occupancy=128, floor=0.0, pixel_jitter=False, radius=2.0
            ),
            background="learned",
            start=RoundsConfig(refine=RefinementConfig(times=())),
            distil=DistillationConfig(
                steps=5000,
                cameras="uniform",
                guidance=ScoreDistillationConfig(),
                rates=LearningRates(),
                regularise=Regularisation(opacity_entropy="5e-4"),
            ),
            rgb=RgbConfig(steps=0),
            sketch=SketchConfig(
                weight=5e-6, sigma=0.3, placement="mean", grid=0, samples=0, points=0
            ),
        )

    def idle(self, words: Sequence[str], place: str) -> str:
        """See `stages.idle_values`."""
        if words[0] == "background_network" and self.background != "learned":
            return f"--background is {self.background}"
        if words[0] == "levels" and self.background != "random":
            return f"--background is {self.background}"
        if words[0] == "level" and not self.start.refine.times:
            return "--start.refine.times is empty"
        if words[0] == "sketch_times" and not self.sketch.path:
            return "there is no --sketch"
        if words[0] == "refine_levels" and not self.refine.refine.times:
            return "--refine.refine.times is empty"
        return ""

    def encodes(self, stage: str) -> bool:
        """The first distillation is of latents."""
        return stage != "distil"

    def plans(self, request: Request) -> list[StagePlan]:
        """start (views sampled and fitted), distil (latents), rgb (through the autoencoder),
        refine, mesh: those that are switched on."""
        plans = []
        if self.start.refine.times:
            plans.append(
                StagePlan(
                    "start", lambda done: self._start(request, self._latent_parts(request, done))
                )
            )
        if self.distil.steps > 0:
            plans.append(
                StagePlan(
                    "distil", lambda done: self._distil(request, self._latent_parts(request, done))
                )
            )
        if self.rgb.steps > 0:
            plans.append(StagePlan("rgb", lambda done: self._rgb(request, done)))
        if self.refine.refine.times:
            plans.append(StagePlan("refine", lambda done: self._refine(request, done)))

        def start(done: dict[str, Stage]) -> MeshStart:
            return MeshStart.of_field(self._field(request, done), self.mesh.extraction)

        return [*plans, *mesh_plans(self.mesh, request, start)]

    def result(self, request: Request, stages: dict[str, Stage]) -> AssetModel:
        """The mesh, the RGB field of the last stage, or the latent field shown through the 4 -> 3
        map."""
        if "mesh" in stages:
            return MeshModel.of(stages["mesh"], request.protocol)
        return self._field(request, stages)

    def _field(self, request: Request, stages: dict[str, Stage]) -> FieldModel:
        if "refine" in stages or "rgb" in stages:
            return self._rgb_parts(request, stages)
        return self._latent_parts(request, stages)

    def shape(self) -> SketchShape:
        """The sketch's guidance; read and baked once."""
        return read_sketch(self.sketch)

    def _follow(self, parts: FieldModel) -> list[WeightedGuidance]:
        """The sketch's term of a step, where there is a sketch."""
        if not self.sketch.on:
            return []
        follow = FollowSketch(self.shape(), parts.field, self.sketch.chosen_weight())
        return [WeightedGuidance("sketch", follow, Schedule.parse(1))]

    def latent_size(self, prior: DiffusionPrior) -> int:
        """Height and width of the latent rendering."""
        return self.resolution or prior.facts.latent_size

    def _latent_parts(self, request: Request, done: dict[str, Stage]) -> FieldModel:
        for name in ("distil", "start"):
            if name in done:
                return FieldModel.of(done[name], self._decode(request.prior), request.protocol)
        matrix, offset = rgb_map(request.prior)
        # The latent of mid grey: neither inside nor outside stands out before the first step.
        start = (
            torch.linalg.lstsq(matrix.t().double(), (0.5 - offset).double()[:, None])
            .solution[:, 0]
            .float()
        )
        field_ = self.representation.build(request.prior.facts.channels, request.seed, start)
        if self.sketch.on and field_.resamples:
            field_.load_resampled(SketchField(self.shape(), start))
        background = (
            learned_background(
                self.background_network, request.prior.facts.channels, seed=request.seed
            )
            if self.background == "learned"
            else None
        )
        return FieldModel(
            field_,
            renderer_for(field_, self.renderer, request.limits.samples.get("distil")),
            self._decode(request.prior),
            background=background,
        ).seen_by(request.protocol)

    def _decode(self, prior: DiffusionPrior) -> Decode:
        return by_matrix(*rgb_map(prior))

    def backgrounds(
        self, prior: DiffusionPrior, parts: FieldModel
    ) -> RandomBackground | SolidBackground | LearnedBackground:
        """What lies behind the latent field."""
        if isinstance(parts.background, LearnedBackground):
            return parts.background
        levels = (
            torch.linspace(*self.levels, 12)
            if self.background == "random"
            else torch.tensor([self.level])
        )
        size = prior.facts.image_size
        with torch.no_grad():
            grey = levels.view(-1, 1, 1, 1).expand(-1, size, size, 3)
            pictures = prior.encode_image(grey).permute(0, 2, 3, 1)
        return RandomBackground(levels=levels, pictures=pictures)

    def _grey(self, prior: DiffusionPrior, level: float) -> torch.Tensor:
        """The latent picture (h, w, C) of a grey level."""
        size = prior.facts.image_size
        with torch.no_grad():
            return prior.encode_image(torch.full((1, size, size, 3), level))[0].permute(1, 2, 0)

    def _start(self, request: Request, parts: FieldModel) -> Stage:
        prior, views = request.prior, self.start.refine.views
        config = self.start
        if self.sketch.on and parts.field.resamples:
            config = replace(config, refine=replace(config.refine, times=self.sketch_times))
        refinement = ImageRefinement(
            prior, request.prompt, config.refine, levels=torch.full((views,), self.level)
        )
        behind = self._grey(prior, self.level).expand(views, -1, -1, -1)
        return rounds_stage(
            "start",
            parts,
            refinement,
            config=config,
            space="latent",
            pictures=behind,
            size=prior.facts.latent_size,
            guidances=self._follow(parts),
        )

    def _distil(self, request: Request, parts: FieldModel) -> Stage:
        context = parts.guidance_context(
            "distil", request.prompt, request.prior, seed=request.seed, encode=False
        )
        return configured_stage(
            self.distil,
            parts,
            context,
            background=self.backgrounds(request.prior, parts),
            size=self.latent_size(request.prior),
            last=self.rgb.steps == 0,
            more=self._follow(parts),
        )

    def _rgb_parts(self, request: Request, done: dict[str, Stage]) -> FieldModel:
        for name in ("refine", "rgb"):
            if name in done:
                return FieldModel.of(done[name], show_rgb, request.protocol)
        rgb = self.rgb.representation.build(3, request.seed, sigmoid=True)
        parts = FieldModel(
            rgb,
            renderer_for(rgb, self.rgb.renderer, request.limits.samples.get("rgb")),
            show_rgb,
        ).seen_by(request.protocol)
        if rgb.resamples and done:
            latent = self._latent_parts(request, done)
            rgb.load_resampled(_Shown(latent.field, latent.decode), self.rgb.close)
        return parts

    def _rgb(self, request: Request, done: dict[str, Stage]) -> Stage:
        parts = self._rgb_parts(request, done)
        context = parts.guidance_context(
            "rgb", request.prompt, request.prior, seed=request.seed, encode=True
        )
        return configured_stage(
            self.rgb,
            parts,
            context,
            background=RandomBackground.grey(*self.rgb.levels),
            size=request.prior.facts.image_size,
            more=self._follow(parts),
        )

    def _refine(self, request: Request, done: dict[str, Stage]) -> Stage:
        prior = request.prior
        parts = self._rgb_parts(request, done)
        size, views = prior.facts.image_size, self.refine.refine.views
        levels = torch.tensor(self.refine_levels)[
            torch.arange(views) // 4 % len(self.refine_levels)
        ]
        refinement = ImageRefinement(prior, request.prompt, self.refine.refine, levels=levels)
        behind = levels.view(-1, 1, 1, 1).expand(-1, size, size, 3)
        return rounds_stage(
            "refine",
            parts,
            refinement,
            config=self.refine,
            space="rgb",
            pictures=behind,
            size=size,
            guidances=self._follow(parts),
        )


class _Shown(Field):
    """A latent field seen through the map to RGB."""

    def __init__(self, latent: Field, decode: Decode) -> None:
        super().__init__()
        self.latent, self.decode, self.channels = latent, decode, 3

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        density, features = self.latent(points)
        return density, self.decode(features)
