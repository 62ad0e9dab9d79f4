"""DreamGaussian (Tang et al. 2023): Gaussians are distilled from the prior, their density becomes a
mesh, and the mesh's texture is refined.

The default is tuned for camera-conditioned priors of few pixels (the embedded one);
`DreamGaussian.paper()` has the published numbers for text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ...engine.loop import Stage, StagePlan
from ...engine.schema.bounds import OptionalSize, Share
from ...guidance.prompts import PromptConfig
from ...guidance.score_distillation import ScoreDistillationConfig
from ...priors.latent_rgb import show_rgb
from ...renderers import RandomBackground, SplatConfig, SplatRenderer, UniformCameras
from ...renderers.camera_samplers import StratifiedCameras
from ...representations import GaussianConfig
from ...representations.config import FieldConfig
from ...representations.gaussian_rules import DensifyConfig
from ...representations.gaussians import GaussianRates
from ...stages.distillation import DistillationConfig, Milestones, configured_stage
from ...stages.mesh_texture import KeptSurface, TextureConfig, texture_stage
from ...stages.model import FieldModel
from ...stages.painting import PaintRates
from ...stages.regularisers import Regularisation
from ..system import Request, System, Task


@dataclass(frozen=True, kw_only=True)
class DreamGaussian(System[Request, FieldModel]):
    """Configuration of the `dreamgaussian` system."""

    task: ClassVar[Task] = "text-to-3d"

    representation: FieldConfig = field(
        default_factory=lambda: FieldConfig(
            kind="gaussians",
            gaussians=GaussianConfig(
                capacity=6000,
                start=2000,
                rates=GaussianRates(positions="1e-2->1e-3", scales="2e-2->5e-3", colours="3e-2"),
                densify=DensifyConfig(every=25, gradient=1e-2, until=0.8, largest=0.25),
            ),
        )
    )
    renderer: SplatConfig = field(default_factory=lambda: SplatConfig(normals=False))
    resolution: OptionalSize = 0
    """Height and width of the RGB rendering; 0 takes the prior's picture size."""
    levels: tuple[Share, Share] = (0.3, 0.9)
    """Grey levels of the background, drawn every step."""
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
            regularise=Regularisation(
                opacity_entropy="0->4 @ 40..100%", sparsity="1", nearness="40->0"
            ),
        )
    )
    texture: TextureConfig = field(default_factory=TextureConfig)

    @staticmethod
    def paper() -> DreamGaussian:
        """The published configuration for text: 1000 Gaussians in a ball of 0.5, 500 steps with
        densification every 50 at 0.01, cameras 2.5 away with 49 degrees, and 50 steps of
        texture."""
        cameras = UniformCameras(
            elevation=(-30.0, 30.0),
            azimuth=(-180.0, 180.0),
            distance=(2.5, 2.5),
            fov_y=(49.1, 49.1),
            batch=4,
        )
        guidance = ScoreDistillationConfig(
            scale=100.0, weighting="dreamfusion", prompt=PromptConfig(front_span=90.0)
        )
        return DreamGaussian(
            representation=FieldConfig(
                kind="gaussians",
                gaussians=GaussianConfig(
                    capacity=100000,
                    start=1000,
                    radius=0.5,
                    opacity=0.1,
                    rates=GaussianRates(),
                    densify=DensifyConfig(
                        every=50, since=0.2, until=1.0, gradient=0.01, reset_every=700
                    ),
                ),
            ),
            resolution=512,
            levels=(0.0, 1.0),
            distil=DistillationConfig(
                steps=500,
                cameras="uniform",
                uniform=cameras,
                guidance=guidance,
                regularise=Regularisation(),
                milestones=Milestones(resolution="128; step 128->256 @ 30..100%"),
            ),
            texture=TextureConfig(
                steps=50,
                guidance=ScoreDistillationConfig(
                    scale=7.5, weighting="clean", t_max="0.8", image_residual=True
                ),
                texels=1024,
                cameras=StratifiedCameras(elevation=(-30.0, 30.0), batch=4, overhead=0.0),
                rates=PaintRates(texels="0.1"),
            ),
        )

    def plans(self, request: Request) -> list[StagePlan]:
        """distil (Gaussians), texture (the mesh of them), if it has steps."""
        plans = [StagePlan("distil", lambda done: self._distil(request))]
        if self.texture.steps > 0:
            plans.append(StagePlan("texture", lambda done: self._texture(request, done)))
        return plans

    def result(self, request: Request, stages: dict[str, Stage]) -> FieldModel:
        """The Gaussians, with the refined mesh where there is one."""
        last = stages["texture" if "texture" in stages else "distil"]
        parts = FieldModel.of(last, show_rgb, request.protocol)
        kept = last.modules.get("surface")
        if isinstance(kept, KeptSurface):
            parts.surface = kept.textured
        return parts

    def _parts(self, request: Request, done: dict[str, Stage]) -> FieldModel:
        if "distil" in done:
            return FieldModel.of(done["distil"], show_rgb, request.protocol)
        cloud = self.representation.build(3, request.seed, sigmoid=True)
        renderer = SplatRenderer(self.renderer, request.limits.samples.get("distil"))
        return FieldModel(cloud, renderer, show_rgb).seen_by(request.protocol)

    def _size(self, request: Request) -> int:
        return self.resolution or request.prior.facts.image_size

    def _distil(self, request: Request) -> Stage:
        parts = self._parts(request, {})
        context = parts.guidance_context(
            "distil", request.prompt, request.prior, seed=request.seed, encode=True
        )
        return configured_stage(
            self.distil,
            parts,
            context,
            background=RandomBackground.grey(*self.levels),
            size=self._size(request),
        )

    def _texture(self, request: Request, done: dict[str, Stage]) -> Stage:
        parts = self._parts(request, done)
        context = parts.guidance_context(
            "texture", request.prompt, request.prior, seed=request.seed, encode=True
        )
        return texture_stage(
            self.texture,
            KeptSurface(self.texture.texels),
            parts,
            context,
            background=RandomBackground.grey(*self.levels),
            size=self._size(request),
            pieces=request.objects,
        )
