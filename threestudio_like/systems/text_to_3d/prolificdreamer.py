"""ProlificDreamer (Wang et al. 2023): DreamFusion's field, large, moved by variational score
distillation, in the numbers of threestudio's prolificdreamer.yaml (docs/vsd.md lists them).

The published method has two stages more: a mesh whose geometry is distilled through its normals
(`refine --preset prolificdreamer`), and the texture of that mesh by variational score distillation
(`texture --preset prolificdreamer`).
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from ...engine.config import to_dict
from ...guidance.choice import Guidances
from ...guidance.prompts import PromptConfig
from ...guidance.score_distillation import ScoreDistillationConfig
from ...renderers import UniformCameras, VolumeConfig
from ...representations import HashGridConfig, LearningRates
from ...representations.config import FieldConfig
from ...representations.surfaces import SurfaceTerms
from ...stages.distillation import DistillationConfig, Milestones, OptimiserConfig
from ...stages.mesh import MeshStageConfig
from ...stages.mesh.config import MeshRates
from ...stages.regularisers import Regularisation
from .dreamfusion import DreamFusion
from .magic3d import second_stage

CAMERAS = UniformCameras(
    elevation=(-10.0, 45.0),
    azimuth=(-180.0, 180.0),
    distance=(1.0, 1.5),
    fov_y=(40.0, 70.0),
    batch=1,
    elevation_sampling="mixed",
    batch_uniform_azimuth=True,
)
"""Of all three stages."""


def variational(**values: Any) -> Guidances:
    """Variational score distillation in the place of a stage's own guidance, with the published
    scale, times (from a fifth of the run on at most 0.5) and spans of the directions.

    Args:
        values: others of `VariationalConfig`.
    """
    published = {
        "scale": 7.5,
        "t_min": "0.02",
        "t_max": "step 0.98->0.5 @ 20..100%",
        "prompt": {"front_span": 60.0, "back_span": 60.0},
        **values,
    }
    return Guidances().updated({"main": "vsd", "vsd": published}, "guidances.")


def prolificdreamer() -> DreamFusion:
    """The first stage: 25000 steps, at 64 pixels, from the 5000th on at 512."""
    made = DreamFusion.paper()
    return replace(
        made,
        representation=FieldConfig(
            kind="hash",
            hash=HashGridConfig(
                finest=4096,
                tiled=False,
                layers=2,
                separate=True,
                bias=False,
                activation="softplus",
                density_bias="blob_magic3d",
                blob_strength=10.0,
                blob_width=0.5,
            ),
        ),
        renderer=VolumeConfig(
            samples=296,
            occupancy=32,
            threshold=1.48,
            floor=0.0,
            pixel_jitter=False,
            alpha_threshold=0.01,
            radius=2.0,
        ),
        random_aug_prob=0.5,
        distil=DistillationConfig(
            steps=25000,
            cameras="uniform",
            uniform=CAMERAS,
            guidances=variational(),
            rates=LearningRates(table="1e-2", mlp="1e-3", background="1e-3"),
            regularise=Regularisation(sparsity="10", opaque="step 0->1000 @ 40..100%"),
            milestones=Milestones(resolution="step 64->512 @ 20..100%"),
            optimiser=OptimiserConfig(weight_decay=0.01),
        ),
    )


def geometry() -> MeshStageConfig:
    """The second stage (prolificdreamer-geometry.yaml): normals of a tetrahedral grid at 512 pixels
    by score distillation, at most half the noise from the 5000th of 15000 steps on."""
    plain = second_stage()
    return replace(
        plain,
        steps=15000,
        look="normals",
        move="shape",
        uniform=CAMERAS,
        guidance=ScoreDistillationConfig(
            scale=101.0,
            weighting="dreamfusion",
            t_min="0.02",
            t_max="0.98->0.5 @ 33.33333333..33.34%",
            prompt=PromptConfig(front_span=90.0, back_span=90.0),
        ),
        terms=SurfaceTerms(normal_consistency="10000", laplacian_smoothness="10000"),
        # threestudio's rate of 5e-3, in cells where it is of distances.
        rates=MeshRates(sdf="0.128", deform="0.005", voxels="0.005", table="0.005", mlp="0.005"),
    )


def as_variational(score: ScoreDistillationConfig, **values: Any) -> Guidances:
    """Variational score distillation with what a stage's own guidance says of times, weighting,
    scale and prompt, and a copy for the embedded prior: more layers, for the network has little
    attention, and a higher rate, for runs are short.

    Args:
        values: others of `VariationalConfig`.
    """
    own = {f.name: getattr(score, f.name) for f in fields(score) if f.name != "prompt"}
    copy = {"lora": {"layers": "all", "rank": 8}, "rate": "2e-3"}
    told = {"prompt": to_dict(score.prompt), **copy}
    chosen = {"main": "vsd", "vsd": {**own, **told, **values}}
    return Guidances().updated(chosen, "guidances.")


def small() -> DreamFusion:
    """The default system, which is made for the embedded prior, with variational score
    distillation: what lowers the variance of its guidance (one time a step, estimates that are
    clamped) is kept, so that a run differs from the default's by its guidance alone."""
    made = DreamFusion()
    guidances = as_variational(made.distil.guidance)
    return replace(made, distil=replace(made.distil, guidances=guidances))
