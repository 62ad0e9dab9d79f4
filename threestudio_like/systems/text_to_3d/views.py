"""`generate` by several views: the text-to-3D systems with views that are denoised together, four
by MVDream (Shi et al. 2023), with the numbers of its threestudio configuration, or six by
MV-Adapter (Huang et al. 2024)."""

from __future__ import annotations

from dataclasses import replace

from ...guidance.prompts import PromptConfig
from ...guidance.score_distillation import ScoreDistillationConfig
from ...renderers.camera_samplers import StratifiedCameras
from ...stages.distillation import DistillationConfig
from ...stages.regularisers import Regularisation
from .dreamfusion import DreamFusion
from .latent_nerf import LatentNerf

NEGATIVE = (
    "ugly, bad anatomy, blurry, pixelated obscure, unnatural colors, poor lighting, dull, unclear, "
    "cropped, lowres, low quality, artifacts, duplicate, deformed, bad proportions"
)


def _together(distil: DistillationConfig) -> DistillationConfig:
    """Guidance 50 towards the estimated clean latents, noise times from 0.98 down to 0.02 and 0.5
    during the first four fifths, no word of direction: the cameras say it."""
    return replace(
        distil,
        cameras="stratified",
        stratified=StratifiedCameras(elevation=(0.0, 30.0), batch=4, overhead=0.0),
        guidance=ScoreDistillationConfig(
            scale=50.0,
            rescale=0.5,
            weighting="clean",
            t_min="0.98->0.02 @ 0..80%",
            t_max="0.98->0.5 @ 0..80%",
            shared_time=True,
            joint_views=True,
            prompt=PromptConfig(view_dependent=False, negative=NEGATIVE),
        ),
    )


def _six(distil: DistillationConfig) -> DistillationConfig:
    """Six views around the object by MV-Adapter, which takes the place of the cameras; its guidance
    is the published sampler's 7."""
    made = _together(distil)
    return replace(
        made,
        stratified=StratifiedCameras(elevation=(0.0, 0.0), batch=6, overhead=0.0),
        guidance=replace(made.guidance, scale=7.0),
    )


def dreamfusion_by_six() -> DreamFusion:
    """DreamFusion's field, with MV-Adapter's guidance."""
    made = DreamFusion.paper()
    return replace(made, distil=replace(_six(made.distil), regularise=Regularisation()))


def latent_nerf_by_six() -> LatentNerf:
    """Latent-NeRF's field, with MV-Adapter's guidance."""
    made = LatentNerf.paper()
    return replace(made, distil=_six(made.distil))


def dreamfusion() -> DreamFusion:
    """DreamFusion's field, with MVDream's guidance."""
    made = DreamFusion.paper()
    return replace(made, distil=replace(_together(made.distil), regularise=Regularisation()))


def latent_nerf() -> LatentNerf:
    """Latent-NeRF's field, with MVDream's guidance."""
    made = LatentNerf.paper()
    return replace(made, distil=_together(made.distil))
