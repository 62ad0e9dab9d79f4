"""A stage that fits Gaussians to views that are known: of a mesh, of photographs, of another
renderer."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..engine.loop import Stage, Step
from ..engine.schema.bounds import Count, Number, Weight
from ..meshes.io.splats.ply import write_splat_ply
from ..renderers import BackgroundSample, Cameras, SplatRenderer
from ..representations import GaussianCloud
from ..representations.gaussian_files import splats_of


@dataclass(frozen=True, kw_only=True)
class SplatFitConfig:
    """How Gaussians are fitted to views."""

    steps: Count = 600
    batch: Number = 4
    """Views a step."""
    opacity: Weight = 1.0
    """Weight of the difference of the opacities."""
    normals: Weight = 0.1
    """Weight of the difference of the normals, where they are known."""


@dataclass(frozen=True)
class KnownViews:
    """cameras of V views; pictures (V, H, W, C) over nothing (multiplied by the opacity); opacity
    (V, H, W, 1); normals (V, H, W, 3) in the world, multiplied by the opacity, or None."""

    cameras: Cameras
    pictures: torch.Tensor
    opacity: torch.Tensor
    normals: torch.Tensor | None = None


def splat_fit_stage(
    name: str, cloud: GaussianCloud, views: KnownViews, config: SplatFitConfig | None = None
) -> Stage:
    """A stage that fits Gaussians to views.

    Every step draws a grey level to lie behind them, so that neither a white nor a black hole can
    pass for an object.
    """
    config = config or SplatFitConfig()
    renderer = SplatRenderer()
    count = len(views.cameras)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        random = step.random
        drawn = random.whole.uniform("views", (count,)).argsort()[: config.batch]
        pick = drawn[step.microbatch_views(len(drawn))]
        grey = float(random.whole.uniform("grey"))
        shape = (len(pick), views.cameras.height, views.cameras.width, cloud.channels)
        behind = BackgroundSample(torch.full(shape, grey, device=cloud.device))
        rendering = renderer.render(cloud, views.cameras[pick], behind)
        opacity = views.opacity[pick].to(cloud.device)
        wanted = views.pictures[pick].to(cloud.device) + (1 - opacity) * grey
        terms = {
            "colour": (rendering.features - wanted).abs().mean(),
            "opacity": config.opacity * (rendering.opacity - opacity).abs().mean(),
        }
        if views.normals is not None and config.normals > 0:
            assert rendering.normals is not None
            off = rendering.normals - views.normals[pick].to(cloud.device)
            terms["normals"] = config.normals * off.abs().mean()
        return terms

    return Stage(
        name,
        config.steps,
        {"field": cloud, "renderer": renderer},
        groups=cloud.parameter_groups(),
        loss=loss,
        shared=True,
        before_step=cloud.before_step,
        after_step=cloud.after_step,
        result=("field",),
        snapshot=lambda: {".ply": write_splat_ply(splats_of(cloud))} if cloud.channels == 3 else {},
    )
