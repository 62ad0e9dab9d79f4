"""ProlificDreamer (Wang et al. 2023): DreamFusion's field, large, moved by variational score
distillation, in the numbers of threestudio's prolificdreamer.yaml (docs/vsd.md lists them).

The published method has two stages more: a mesh whose geometry is distilled through its normals,
and the texture of that mesh by variational score distillation. The second is `texture --system
latent-paint --preset prolificdreamer`; the first is not made here, and the mesh is the field's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...guidance.choice import Guidances
from ...renderers import UniformCameras, VolumeConfig
from ...representations import HashGridConfig, LearningRates
from ...representations.config import FieldConfig
from ...stages.distillation import DistillationConfig, Milestones, OptimiserConfig
from ...stages.regularisers import Regularisation
from .dreamfusion import DreamFusion


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
            uniform=UniformCameras(
                elevation=(-10.0, 45.0),
                azimuth=(-180.0, 180.0),
                distance=(1.0, 1.5),
                fov_y=(40.0, 70.0),
                batch=1,
                elevation_sampling="mixed",
                batch_uniform_azimuth=True,
            ),
            guidances=variational(),
            rates=LearningRates(table="1e-2", mlp="1e-3", background="1e-3"),
            regularise=Regularisation(sparsity="10", opaque="step 0->1000 @ 40..100%"),
            milestones=Milestones(resolution="step 64->512 @ 20..100%"),
            optimiser=OptimiserConfig(weight_decay=0.01),
        ),
    )


def small() -> DreamFusion:
    """The same distillation for the embedded prior: the default system's field, cameras and
    background, and a copy with more layers, for the network has little attention. What of the
    default lowers the variance of its guidance (one time a step, estimates that are clamped) is
    kept, so that a run differs from the default's by its guidance alone."""
    made = DreamFusion()
    score = made.distil.guidance
    guidances = variational(
        scale=score.scale,
        rescale=score.rescale,
        weighting=score.weighting,
        t_max=score.t_max,
        shared_time=score.shared_time,
        clamp=score.clamp,
        joint_views=score.joint_views,
        image_residual=score.image_residual,
        prompt={},
        lora={"layers": "all", "rank": 8},
        rate="2e-3",
    )
    return replace(made, distil=replace(made.distil, guidances=guidances))
