"""`reconstruct --method field` by view-conditioned priors: Zero-1-to-3 (Liu et al. 2023) and Stable
Zero123 with threestudio's numbers, Zero123++ and ImageDream, and Magic123 (Qian et al. 2023), which
weights such a prior with a text-to-image model. They are presets of `PictureOptimisation`.

Nothing of the embedded world takes part: the field begins as a blob, and the picture says its
colours and its silhouette alone. Its camera is at the front, five degrees above, unless
`--start.azimuth` and `--start.elevation` say otherwise.
"""

from __future__ import annotations

from dataclasses import replace

from ...guidance.choice import Guidances
from ...guidance.score_distillation import ScoreDistillationConfig
from ...renderers import UniformCameras, VolumeConfig
from ...renderers.camera_samplers import StratifiedCameras
from ...representations import LearningRates
from ...representations.config import FieldConfig
from ...stages.distillation import DistillationConfig
from ...stages.regularisers import Regularisation
from .back_projection import ProjectionConfig
from .field_optimisation import PictureOptimisation, StartConfig
from .reference_view import PictureTerms

WHITE = (1.0, 1.0)
GREY = (127 / 255, 127 / 255)
PUBLISHED_ELEVATION = 5.0
"""Of the picture's camera, where nobody says it, degrees."""


def _picture(
    distil: DistillationConfig, terms: PictureTerms, levels: tuple[float, float]
) -> PictureOptimisation:
    """A hash grid that begins as nothing."""
    return PictureOptimisation(
        start=StartConfig(source="nothing", steps=0, elevation=PUBLISHED_ELEVATION),
        representation=FieldConfig(kind="hash"),
        renderer=VolumeConfig(samples=128, occupancy=128),
        terms=terms,
        distil=distil,
        colour=ProjectionConfig(complete="method"),
        levels=levels,
    )


def _terms(colour: float, mask: float) -> PictureTerms:
    return PictureTerms(
        colour=colour, mask=mask, norm="l2", depth=0.0, clip=0.0, scale_gradients=False
    )


def zero123() -> PictureOptimisation:
    """threestudio's zero123.yaml: 600 steps, guidance 3, w = 1 - abar, white background."""
    return _picture(
        DistillationConfig(
            steps=600,
            weight=0.1,
            cameras="uniform",
            uniform=UniformCameras(
                elevation=(-10.0, 80.0), distance=(3.0, 3.0), fov_y=(40.0, 40.0), batch=4
            ),
            guidance=ScoreDistillationConfig(
                scale=3.0,
                weighting="dreamfusion",
                t_min="0.4->0.2 @ 0..33%",
                t_max="0.85->0.5 @ 0..33%",
            ),
            rates=LearningRates(),
            regularise=Regularisation(orientation="1", sparsity="0.1", opacity_entropy="0.1"),
        ),
        _terms(500.0, 50.0),
        WHITE,
    )


def stable_zero123() -> PictureOptimisation:
    """threestudio's stable-zero123.yaml: as `zero123`, with later noise times."""
    made = zero123()
    guidance = replace(made.distil.guidance, t_min="0.7->0.3 @ 8..33%", t_max="0.98->0.8 @ 8..33%")
    regularise = replace(made.distil.regularise, sparsity="0.5", opacity_entropy="0.5")
    return replace(made, distil=replace(made.distil, guidance=guidance, regularise=regularise))


def _together(
    views: int, scale: float, elevation: tuple[float, float], levels: tuple[float, float]
) -> PictureOptimisation:
    """Views that are denoised together, towards their estimate of the clean latents."""
    return _picture(
        DistillationConfig(
            steps=600,
            weight=0.1,
            cameras="stratified",
            stratified=StratifiedCameras(elevation=elevation, batch=views, overhead=0.0),
            guidance=ScoreDistillationConfig(
                scale=scale,
                rescale=0.5,
                weighting="clean",
                t_min="0.98->0.02 @ 0..80%",
                t_max="0.98->0.5 @ 0..80%",
                shared_time=True,
                joint_views=True,
            ),
            rates=LearningRates(),
            regularise=Regularisation(sparsity="0.1", opacity_entropy="0.1"),
        ),
        _terms(500.0, 50.0),
        levels,
    )


def zero123plus() -> PictureOptimisation:
    """The six views of Zero123++, before its grey; its guidance is the published sampler's 4."""
    return _together(6, 4.0, (-10.0, 20.0), GREY)


def imagedream() -> PictureOptimisation:
    """Four views at quarter turns by ImageDream, guidance 5, times as for MVDream."""
    return _together(4, 5.0, (0.0, 30.0), WHITE)


def magic123() -> PictureOptimisation:
    """threestudio's magic123-coarse-sd.yaml: a text-to-image prior (guidance 100, weight 0.025)
    with Stable Zero123 (guidance 5, weight 1) as second prior, times from 0.2 to 0.6; all weights
    in units of the second prior's 40."""
    second = {
        "weight": "1",
        "prior": "stable-zero123",
        "distil": {"scale": 5.0, "weighting": "dreamfusion", "t_min": "0.2", "t_max": "0.6"},
    }
    return _picture(
        DistillationConfig(
            steps=10000,
            weight=0.025,
            cameras="uniform",
            # As far away as the picture's camera is for priors that know none.
            uniform=UniformCameras(
                elevation=(-45.0, 45.0), distance=(1.8, 1.8), fov_y=(55.0, 55.0), batch=1
            ),
            guidance=ScoreDistillationConfig(
                scale=100.0, weighting="dreamfusion", t_min="0.2", t_max="0.6"
            ),
            guidances=Guidances().updated({"second-prior": second}, "distil.guidances."),
            rates=LearningRates(),
            # All of them are 0 there.
            regularise=Regularisation(),
        ),
        _terms(250.0, 25.0),
        WHITE,
    )
