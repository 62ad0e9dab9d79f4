"""DreamFusion (Poole et al. 2022) on a latent prior: an RGB field, score distillation through the
encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch

from ...engine.loop import Stage, StagePlan
from ...engine.schema.bounds import OptionalSize, Share
from ...engine.schema.former import FormerKey
from ...guidance.prompts import PromptConfig
from ...guidance.score_distillation import ScoreDistillationConfig
from ...priors.latent_rgb import show_rgb
from ...renderers import (
    AugmentedBackground,
    Background,
    LearnedBackground,
    RandomBackground,
    ShadingConfig,
    SolidBackground,
    UniformCameras,
    VolumeConfig,
    learned_background,
    renderer_for,
)
from ...representations import HashGridConfig, LearningRates, VoxelGridConfig
from ...representations.config import FieldConfig
from ...stages.distillation import DistillationConfig, configured_stage
from ...stages.mesh import MeshModel, MeshStageConfig, MeshStart
from ...stages.model import AssetModel, FieldModel
from ...stages.regularisers import Regularisation
from ..refined_mesh import mesh_plans
from ..system import Request, System, Task


@dataclass(frozen=True, kw_only=True)
class DreamFusion(System[Request, AssetModel]):
    """Configuration of the `dreamfusion` system."""

    task: ClassVar[Task] = "text-to-3d"

    representation: FieldConfig = field(
        default_factory=lambda: FieldConfig(voxels=VoxelGridConfig(size=64, smooth=1.2))
    )
    renderer: VolumeConfig = field(default_factory=lambda: VolumeConfig(samples=64))
    resolution: OptionalSize = 0
    """Height and width of the RGB rendering; 0 takes the prior's picture size."""
    distil: DistillationConfig = field(
        default_factory=lambda: DistillationConfig(
            steps=200,
            guidance=ScoreDistillationConfig(
                scale=3.0,
                rescale=0.5,
                weighting="clean",
                t_max="0.98->0.2",
                shared_time=True,
                clamp=3.5,
                joint_views=True,
                image_residual=True,
            ),
            rates=LearningRates(voxels="0.1->0.01"),
            regularise=Regularisation(
                opacity_entropy="0->4 @ 40..100%",
                sparsity="1",
                nearness="40->0",
                density_variation="0.05",
                feature_variation="0.3",
            ),
        )
    )
    background: Literal["random", "learned", "solid"] = "random"
    background_network: Literal["frequencies", "harmonics"] = "frequencies"
    """Of the learned background: six octaves and 64 hidden values (METHODS 1.2), or spherical
    harmonics and two layers of 16 without biases (threestudio)."""
    levels: tuple[Share, Share] = (0.3, 0.7)
    """Grey levels of the random background."""
    background_color: tuple[Share, Share, Share] = (1.0, 1.0, 1.0)
    """The colour of the solid background."""
    random_aug_prob: Share = 0.0
    """Probability that a step has one random colour instead, with a learned or solid
    background."""

    mesh: MeshStageConfig = field(default_factory=MeshStageConfig)
    """A mesh of the field, optimised at the end; switched on by --refine-mesh or its steps."""

    FORMER_KEYS: ClassVar[dict[str, FormerKey]] = {
        "learned_background": FormerKey(
            kind=bool, now=lambda on: {"background": "learned"} if on else {}
        )
    }

    @staticmethod
    def paper() -> DreamFusion:
        """The published method in the numbers of threestudio's dreamfusion-sd.yaml, which it was
        reproduced with on open weights (docs/dreamfusion.md lists them)."""
        # threestudio's cube reaches to 2 scene units: lengths are half of its numbers.
        return DreamFusion(
            representation=FieldConfig(
                kind="hash",
                hash=HashGridConfig(
                    finest=4096,
                    tiled=False,
                    layers=2,
                    separate=True,
                    bias=False,
                    open_levels="8->16 @ 20..60%",
                    activation="softplus",
                    density_scale=2.0,
                    density_bias="blob_magic3d",
                    blob_strength=10.0,
                    blob_width=0.25,
                ),
            ),
            renderer=VolumeConfig(
                samples=296,
                occupancy=32,
                threshold=1.48,
                floor=0.0,
                pixel_jitter=False,
                normal_epsilon=5e-3,
                alpha_threshold=0.01,
                radius=2.0,
            ),
            resolution=64,
            background="learned",
            background_network="harmonics",
            distil=DistillationConfig(
                steps=10000,
                cameras="uniform",
                uniform=UniformCameras(
                    elevation=(-10.0, 45.0),
                    azimuth=(-180.0, 180.0),
                    distance=(0.75, 1.0),
                    camera_perturb=0.05,
                    center_perturb=0.1,
                    up_perturb=0.02,
                    elevation_sampling="mixed",
                    batch_uniform_azimuth=True,
                ),
                guidance=ScoreDistillationConfig(
                    scale=101.0,
                    weighting="dreamfusion",
                    prompt=PromptConfig(front_span=90.0),
                ),
                shading=ShadingConfig(
                    diffuse_prob=0.75,
                    ambient_only=0.2001,
                    light_position_perturb=0.5,
                    light_distance=(0.4, 0.75),
                ),
                rates=LearningRates(table="1e-2", mlp="1e-2", background="1e-3"),
                regularise=Regularisation(sparsity="1", orient="10->1000 @ 0..50%"),
            ),
        )

    def plans(self, request: Request) -> list[StagePlan]:
        """One distillation stage, and the mesh's."""

        def start(done: dict[str, Stage]) -> MeshStart:
            return MeshStart.of_field(self._field(request, done), self.mesh.extraction)

        distil = StagePlan("distil", lambda done: self._distil(request))
        return [distil, *mesh_plans(self.mesh, request, start)]

    def result(self, request: Request, stages: dict[str, Stage]) -> AssetModel:
        """The RGB field, or the mesh."""
        if "mesh" in stages:
            return MeshModel.of(stages["mesh"], request.protocol)
        return self._field(request, stages)

    def _field(self, request: Request, stages: dict[str, Stage]) -> FieldModel:
        return FieldModel.of(stages["distil"], show_rgb, request.protocol)

    def _distil(self, request: Request) -> Stage:
        config = self.distil
        learned = (
            learned_background(self.background_network, 3, sigmoid=True, seed=request.seed)
            if self.background == "learned"
            else None
        )
        field_ = self.representation.build(3, request.seed, sigmoid=True)
        parts = FieldModel(
            field_,
            renderer_for(field_, self.renderer, request.limits.samples.get("distil")),
            show_rgb,
            background=learned,
        ).seen_by(request.protocol)
        context = parts.guidance_context(
            "distil", request.prompt, request.prior, seed=request.seed, encode=True
        )
        return configured_stage(
            config,
            parts,
            context,
            background=self._behind(learned),
            size=self.resolution or request.prior.facts.image_size,
        )

    def _behind(self, learned: LearnedBackground | None) -> Background:
        """What lies behind the field."""
        if self.background == "random":
            return RandomBackground.grey(*self.levels)
        inner: Background = learned or SolidBackground(value=torch.tensor(self.background_color))
        if self.random_aug_prob <= 0:
            return inner
        return AugmentedBackground(inner=inner, random_aug_prob=self.random_aug_prob)
