"""Magic3D (Lin et al. 2023) in the numbers of threestudio's configurations: DreamFusion's field at
64 pixels, and then its mesh at 512."""

from __future__ import annotations

from dataclasses import replace

from ...guidance.prompts import PromptConfig
from ...guidance.score_distillation import ScoreDistillationConfig
from ...renderers import UniformCameras
from ...representations import HashGridConfig
from ...representations.config import FieldConfig
from ...representations.surfaces import ShapeConfig, SurfaceTerms, TetrahedraConfig
from ...stages.mesh import MeshStageConfig, TargetConfig
from ...stages.mesh.config import MeshRates
from .dreamfusion import DreamFusion


def second_stage() -> MeshStageConfig:
    """The second stage (magic3d-refine-sd.yaml): a tetrahedral grid at 512 pixels, no noise beyond
    half, normals that agree, nothing of the field but its shape."""
    # threestudio's cube reaches to 2 scene units: lengths are half of its numbers.
    return MeshStageConfig(
        steps=5000,
        shape=ShapeConfig(kind="tetrahedra", tetrahedra=TetrahedraConfig(size=51)),
        colours=FieldConfig(
            kind="hash", hash=HashGridConfig(finest=4096, tiled=False, layers=2, bias=False)
        ),
        resolution=512,
        cameras="uniform",
        uniform=UniformCameras(
            elevation=(-10.0, 45.0),
            azimuth=(-180.0, 180.0),
            distance=(0.75, 1.0),
            fov_y=(30.0, 45.0),
            camera_perturb=0.05,
            center_perturb=0.1,
            up_perturb=0.02,
            elevation_sampling="mixed",
            batch_uniform_azimuth=True,
        ),
        guidance=ScoreDistillationConfig(
            weighting="dreamfusion", t_max="0.5", prompt=PromptConfig(front_span=90.0)
        ),
        targets=TargetConfig(views=1, image="0", silhouettes="0", depth="0", normals="0"),
        terms=SurfaceTerms(normal_consistency="10000"),
        colour_variation="0",
        rates=MeshRates(sdf="0.3", deform="0.03", table="1e-2", mlp="1e-2"),
    )


def magic3d() -> DreamFusion:
    """Both stages; the first is magic3d-coarse-sd.yaml."""
    coarse = DreamFusion.paper()
    guidance = ScoreDistillationConfig(weighting="uniform", prompt=PromptConfig(front_span=90.0))
    distil = replace(
        coarse.distil,
        guidance=guidance,
        shading=replace(coarse.distil.shading, soft_shading=True, light_sample_strategy="magic3d"),
    )
    return replace(coarse, distil=distil, mesh=second_stage())
