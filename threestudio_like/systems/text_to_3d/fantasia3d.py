"""Fantasia3D (Chen et al. 2023): geometry by itself, seen as normals, and then its appearance.

Both halves are mesh stages: the first begins with a sphere, looks at normals, and in its first
steps shows normals and mask as latents; the second keeps the shape and distils colours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from ...engine.loop import Stage, StagePlan
from ...guidance.prompts import PromptConfig
from ...guidance.score_distillation import ScoreDistillationConfig
from ...renderers import UniformCameras
from ...representations import HashGridConfig
from ...representations.config import FieldConfig
from ...representations.surfaces import ShapeConfig, SurfaceTerms, TetrahedraConfig
from ...stages.mesh import MeshModel, MeshStageConfig, MeshStart, TargetConfig, mesh_stage
from ...stages.mesh.config import MeshRates
from ...stages.mesh.stage import sphere
from ..system import Request, System, Task

NO_TARGETS = TargetConfig(views=1, image="0", silhouettes="0", depth="0", normals="0")
"""Nothing was there before."""


def _geometry() -> MeshStageConfig:
    return MeshStageConfig(
        steps=200,
        begin="sphere",
        move="shape",
        look="normals",
        latent_share=0.1,
        targets=NO_TARGETS,
        rates=MeshRates(sdf="0.1->0.02"),
    )


def _appearance() -> MeshStageConfig:
    return MeshStageConfig(
        steps=150,
        move="colours",
        targets=NO_TARGETS,
        guidance=replace(MeshStageConfig().guidance, t_max="0.9->0.2"),
    )


@dataclass(frozen=True, kw_only=True)
class Fantasia3D(System[Request, MeshModel]):
    """Configuration of the `fantasia3d` system."""

    task: ClassVar[Task] = "text-to-3d"

    geometry: MeshStageConfig = field(default_factory=_geometry)
    appearance: MeshStageConfig = field(default_factory=_appearance)

    @staticmethod
    def paper() -> Fantasia3D:
        """The numbers of threestudio's fantasia3d.yaml and fantasia3d-texture.yaml: normals at 512
        pixels, latents in the first tenth, 10000 and 5000 steps (docs/mesh-stage.md lists them)."""
        cameras = UniformCameras(
            elevation=(-10.0, 45.0),
            azimuth=(-180.0, 180.0),
            distance=(3.0, 3.0),
            fov_y=(25.0, 45.0),
            elevation_sampling="mixed",
            batch_uniform_azimuth=True,
        )
        shared = MeshStageConfig(
            shape=ShapeConfig(kind="tetrahedra", tetrahedra=TetrahedraConfig(size=51)),
            resolution=512,
            cameras="uniform",
            uniform=cameras,
            targets=NO_TARGETS,
            terms=SurfaceTerms(),
            colour_variation="0",
        )
        prompt = PromptConfig(front_span=90.0)
        return Fantasia3D(
            geometry=replace(
                shared,
                steps=10000,
                begin="sphere",
                move="shape",
                look="normals",
                latent_share=0.1,
                guidance=ScoreDistillationConfig(
                    weighting="latent-nerf", t_max="0.5", prompt=prompt
                ),
                # A value of the network moves by about its rate in scene units; ours are cells.
                rates=MeshRates(sdf="0.03", deform="0.03"),
            ),
            appearance=replace(
                shared,
                steps=5000,
                move="colours",
                colours=FieldConfig(
                    kind="hash", hash=HashGridConfig(finest=4096, tiled=False, layers=2, bias=False)
                ),
                guidance=ScoreDistillationConfig(
                    weighting="dreamfusion", t_max="0.5", prompt=prompt
                ),
                rates=MeshRates(table="1e-2", mlp="1e-2"),
            ),
        )

    @property
    def leaves_mesh(self) -> bool:
        """See `System.leaves_mesh`."""
        return True

    def plans(self, request: Request) -> list[StagePlan]:
        """Geometry, and appearance; a stage without steps is left out."""
        plans = [StagePlan("geometry", lambda done: self._geometry(request))]
        if self.appearance.steps > 0:
            plans.append(StagePlan("appearance", lambda done: self._appearance(request, done)))
        return plans

    def result(self, request: Request, stages: dict[str, Stage]) -> MeshModel:
        """The surface with the colours of the last stage."""
        last = "appearance" if "appearance" in stages else "geometry"
        return MeshModel.of(stages[last], request.protocol)

    def _start(self, request: Request) -> MeshStart:
        protocol = request.protocol
        return MeshStart(
            lambda: sphere(self.geometry.radius),
            distance=protocol.distance,
            fov_y=protocol.fov_y,
        )

    def _geometry(self, request: Request) -> Stage:
        return mesh_stage(
            "geometry",
            self.geometry,
            self._start(request),
            prompt=request.prompt,
            prior=request.prior,
            seed=request.seed,
        )

    def _appearance(self, request: Request, done: dict[str, Stage]) -> Stage:
        model = MeshModel.of(done["geometry"], request.protocol)
        return mesh_stage(
            "appearance",
            self.appearance,
            self._start(request),
            prompt=request.prompt,
            prior=request.prior,
            seed=request.seed,
            before=model.surface,
        )
