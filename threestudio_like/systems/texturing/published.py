"""Presets of other publications for the texture of a given mesh."""

from __future__ import annotations

from dataclasses import replace

from ...guidance.image_refinement import RefinementConfig
from ...guidance.score_distillation import ScoreDistillationConfig
from ...renderers import SurfaceConfig, UniformCameras
from ...stages.painting import PaintingConfig, PaintRates, PaintTerms
from ...stages.painting_rounds import PaintRoundsConfig
from ..text_to_3d.prolificdreamer import CAMERAS, variational
from .latent_paint import LatentPaint


def paper() -> LatentPaint:
    """Latent-Paint as it was published, see `LatentPaint.paper`."""
    return LatentPaint(
        renderer=SurfaceConfig(
            supersample=1, lookup="nearest", mip=False, jitter=False, grazing=0.0
        ),
        background="sphere",
        placement="mean",
        decode="autoencoder",
        start=PaintRoundsConfig(refine=RefinementConfig(times=())),
        latent=PaintingConfig(
            steps=5000,
            cameras="uniform",
            uniform=UniformCameras(fov_y=(60.0, 60.0), target=(0.0, 0.25, 0.0)),
            guidance=ScoreDistillationConfig(),
            terms=PaintTerms(variation="0"),
        ),
        rgb=PaintingConfig(),
        pbr=PaintingConfig(),
    )


def prolificdreamer() -> LatentPaint:
    """The last stage of ProlificDreamer (Wang et al. 2023) in the numbers of threestudio's
    prolificdreamer-texture.yaml: 30000 steps of variational score distillation at 512 pixels.

    Texels take the place of its hash grid, at its rate.
    """
    return replace(
        LatentPaint(),
        resolution=512,
        start=PaintRoundsConfig(refine=RefinementConfig(times=())),
        rgb=PaintingConfig(
            steps=30000,
            cameras="uniform",
            uniform=replace(CAMERAS, batch_uniform_azimuth=False),
            guidances=variational(t_max="step 0.98->0.5 @ 16.6666667..100%"),
            rates=PaintRates(texels="1e-2"),
            terms=PaintTerms(variation="0", offsets="0"),
        ),
        pbr=PaintingConfig(),
    )
