"""DreamFusion (Poole et al. 2022) on a latent prior: an RGB field, score distillation through the
encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ...engine.loop import Stage, StagePlan
from ...engine.schema.bounds import OptionalSize
from ...guidance.score_distillation import ScoreDistillationConfig
from ...priors.latent_rgb import show_rgb
from ...renderers import LearnedBackground, RandomBackground, VolumeConfig, VolumeRenderer
from ...representations import LearningRates, VoxelGridConfig
from ...representations.config import FieldConfig
from ...stages.distillation import DistillationConfig, configured_stage
from ...stages.model import FieldModel
from ...stages.regularisers import Regularisation
from ..system import Request, System, Task


@dataclass(frozen=True, kw_only=True)
class DreamFusion(System[Request, FieldModel]):
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
    learned_background: bool = False

    @staticmethod
    def paper() -> DreamFusion:
        """Guidance 100, w = 1 - abar, uniform cameras, hash grid, learned background."""
        return DreamFusion(
            representation=FieldConfig(kind="hash"),
            renderer=VolumeConfig(samples=128, occupancy=128, radius=2.0),
            learned_background=True,
            distil=DistillationConfig(
                steps=10000,
                cameras="uniform",
                guidance=ScoreDistillationConfig(weighting="dreamfusion"),
                rates=LearningRates(),
                regularise=Regularisation(sparsity="5e-4", orientation="1e-2 -> 1"),
            ),
        )

    def plans(self, request: Request) -> list[StagePlan]:
        """One distillation stage."""
        return [StagePlan("distil", lambda done: self._distil(request))]

    def result(self, request: Request, stages: dict[str, Stage]) -> FieldModel:
        """The RGB field."""
        return FieldModel.of(stages["distil"], show_rgb, request.protocol)

    def _distil(self, request: Request) -> Stage:
        config = self.distil
        background = (
            LearnedBackground(3, sigmoid=True, seed=request.seed)
            if self.learned_background
            else None
        )
        field_ = self.representation.build(3, request.seed, sigmoid=True)
        parts = FieldModel(
            field_,
            VolumeRenderer(self.renderer, request.limits.samples.get("distil")),
            show_rgb,
            background=background,
        ).seen_by(request.protocol)
        context = parts.guidance_context(
            "distil", request.prompt, request.prior, seed=request.seed, encode=True
        )
        return configured_stage(
            config,
            parts,
            context,
            background=background or RandomBackground.grey(0.3, 0.7),
            size=self.resolution or request.prior.facts.image_size,
        )
