"""RGB refinement of a finished Latent-NeRF (METHODS 1.9): a linear layer after the field,
distillation through the encoder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from ...engine.errors import ConfigError
from ...engine.loop import Stage, StagePlan
from ...engine.random import RandomStream
from ...engine.schema.bounds import OptionalSize
from ...guidance.score_distillation import ScoreDistillationConfig
from ...priors.diffusion import CameraProtocol
from ...priors.latent_rgb import rgb_map, show_rgb
from ...renderers import (
    Background,
    BackgroundSample,
    Cameras,
    LearnedBackground,
    RandomBackground,
    VolumeConfig,
    VolumeRenderer,
)
from ...representations import DecodedField, LearningRates
from ...stages.distillation import DistillationConfig, configured_stage
from ...stages.mesh import MeshModel, MeshStageConfig, MeshStart
from ...stages.model import AssetModel, FieldModel
from ...stages.regularisers import Regularisation
from ..refined_mesh import mesh_plans
from ..system import Request, System, Task


@dataclass(kw_only=True)
class RefinementRequest(Request):
    """A request of `refine`; `source` is what the finished run has left."""

    source: FieldModel


@dataclass(frozen=True, kw_only=True)
class RgbRefinement(System[RefinementRequest, AssetModel]):
    """Configuration of the `refine` verb."""

    task: ClassVar[Task] = "refinement"

    resolution: OptionalSize = 0
    """Height and width of the RGB rendering; 0 takes the prior's picture size."""
    renderer: VolumeConfig = field(default_factory=lambda: VolumeConfig(samples=80, occupancy=40))
    rgb: DistillationConfig = field(
        default_factory=lambda: DistillationConfig(
            steps=120,
            guidance=ScoreDistillationConfig(
                scale=3.0,
                rescale=0.5,
                weighting="clean",
                t_max="0.4->0.15",
                shared_time=True,
                clamp=3.5,
                joint_views=True,
                image_residual=True,
            ),
            rates=LearningRates(voxels="0.02->0.005", table="1e-2", mlp="1e-3"),
            regularise=Regularisation(
                opacity_entropy="1", density_variation="0.2", feature_variation="0.1"
            ),
        )
    )

    mesh: MeshStageConfig = field(default_factory=MeshStageConfig)
    """A mesh of the field, optimised at the end; switched on by --refine-mesh or its steps. With
    --rgb.steps 0 it is all that happens."""

    @staticmethod
    def magic3d() -> RgbRefinement:
        """Magic3D's second stage (Lin et al. 2023) alone, on the field of any run."""
        from .magic3d import second_stage

        plain = RgbRefinement()
        return replace(plain, rgb=replace(plain.rgb, steps=0), mesh=second_stage())

    @staticmethod
    def prolificdreamer() -> RgbRefinement:
        """ProlificDreamer's second stage (Wang et al. 2023) alone, on the field of any run."""
        from .prolificdreamer import geometry

        plain = RgbRefinement()
        return replace(plain, rgb=replace(plain.rgb, steps=0), mesh=geometry())

    @staticmethod
    def paper() -> RgbRefinement:
        """The published loss weights and guidance, 512-pixel pictures seen through a 128-pixel
        rendering."""
        return RgbRefinement(
            resolution=128,
            renderer=VolumeConfig(samples=128, occupancy=128, radius=2.0),
            rgb=DistillationConfig(
                steps=2000,
                cameras="uniform",
                guidance=ScoreDistillationConfig(),
                rates=LearningRates(),
                regularise=Regularisation(opacity_entropy="5e-4"),
            ),
        )

    def decoded(self, request: Request, source: FieldModel) -> FieldModel:
        """The source as an RGB field: latent fields get the 4 -> 3 layer, RGB fields stay."""
        if source.field.channels == 3:
            return source
        matrix, offset = rgb_map(request.prior)
        decoded = DecodedField(source.field, matrix, offset)
        renderer = VolumeRenderer(self.renderer, request.limits.samples.get("rgb"))
        return FieldModel(
            decoded,
            renderer,
            show_rgb,
            background=source.background,
            distance=source.distance,
            fov_y=source.fov_y,
        )

    def plans(self, request: RefinementRequest) -> list[StagePlan]:
        """One stage on the decoded field, and the mesh's: those with any steps. Raises ConfigError
        where there is none."""
        if self.rgb.steps == 0 and self.mesh.steps == 0:
            raise ConfigError(
                "there is nothing to do: neither rgb nor mesh has steps",
                "--rgb.steps",
                "Raise it, or add --refine-mesh",
            )

        def start(done: dict[str, Stage]) -> MeshStart:
            return MeshStart.of_field(self._field(request, done), self.mesh.extraction)

        plans = [StagePlan("rgb", lambda done: self._stage(request))] if self.rgb.steps > 0 else []
        return [*plans, *mesh_plans(self.mesh, request, start)]

    def result(self, request: RefinementRequest, stages: dict[str, Stage]) -> AssetModel:
        """The refined RGB field, or the mesh."""
        source = request.source
        if "mesh" in stages:
            return MeshModel.of(stages["mesh"], CameraProtocol(source.distance, source.fov_y))
        return self._field(request, stages)

    def _field(self, request: RefinementRequest, stages: dict[str, Stage]) -> FieldModel:
        source = request.source
        if "rgb" not in stages:
            return self.decoded(request, source)
        return FieldModel.of(stages["rgb"], show_rgb, CameraProtocol(source.distance, source.fov_y))

    def _stage(self, request: RefinementRequest) -> Stage:
        parts = self.decoded(request, request.source)
        background: Background = RandomBackground.grey(0.3, 0.7)
        if isinstance(parts.background, LearnedBackground) and isinstance(
            parts.field, DecodedField
        ):
            background = _DecodedBackground(parts.background, parts.field)
        context = parts.guidance_context(
            "rgb", request.prompt, request.prior, seed=request.seed, encode=True
        )
        size = self.resolution or request.prior.facts.image_size
        return configured_stage(self.rgb, parts, context, background=background, size=size)


class _DecodedBackground:
    """A learned latent environment seen through the field's own linear layer."""

    def __init__(self, latent: LearnedBackground, decoder: DecodedField) -> None:
        self.latent, self.decoder = latent, decoder

    def sample(self, cameras: Cameras, random: RandomStream) -> BackgroundSample:
        """RGB behind every pixel."""
        return BackgroundSample(self.decoder.to_rgb(self.latent.sample(cameras, random).values))
