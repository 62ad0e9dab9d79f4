"""Renderings of G3DR's generator in training, and the terms of its loss (METHODS 3.3 to 3.7)."""

from __future__ import annotations

from dataclasses import replace

import torch

from ...priors.clip import ImageTextPrior
from ...priors.networks.perceptual import DEEP, PerceptualPrior
from ...priors.networks.triplane_generator import TriplaneGenerator
from ...renderers.gradient_scaling import DepthScaling
from ...renderers.midpoint import MidpointConfig, RayResult, render_rays
from ...systems.image_to_3d.g3dr_cameras import (
    CanonicalCamera,
    LossWeights,
    depth_variation,
)
from .config import G3drTraining


def render_view(
    model: TriplaneGenerator,
    planes: torch.Tensor,
    camera: CanonicalCamera,
    config: MidpointConfig,
    size: int,
    random=None,
    offsets: tuple[torch.Tensor, torch.Tensor] | None = None,
    depth: torch.Tensor | None = None,
    scaling: DepthScaling | None = None,
    comb: bool = False,
) -> RayResult:
    """Render planes (B, 3, F, S, S) along rays (B, size^2)."""
    count = len(planes)
    config = replace(config, bias=model.config.bias, gain=model.config.gain)
    origins, directions = camera.rays(size) if offsets is None else camera.rays(size, *offsets)
    origins, directions = (x.to(planes.device).expand(count, -1, -1) for x in (origins, directions))
    return render_rays(
        lambda points: model.read(planes, points),
        origins,
        directions,
        config=config,
        random=random,
        depth=depth,
        scaling=scaling,
        comb=comb,
    )


def as_pictures(result: RayResult, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colours (B, S, S, 3) in [0, 1], depth and opacity (B, S, S)."""
    count = len(result.colour)
    return (
        result.colour.view(count, size, size, 3).clamp(0, 1),
        result.depth.view(count, size, size),
        result.opacity.view(count, size, size),
    )


def step_terms(
    weights: LossWeights,
    config: G3drTraining,
    result: RayResult,
    picture: torch.Tensor,
    depth: torch.Tensor,
    whole: torch.Tensor,
    perceptual: PerceptualPrior | None,
    clip: ImageTextPrior | None,
) -> dict[str, torch.Tensor]:
    """The weighted terms of a step.

    Args:
        picture: (B, R, R, 3) in [0, 1] and depth (B, R, R): the given view at the size of the
            rendering.
        whole: (B, S, S, 3), the given picture, for CLIP.
    """
    colour, found, opacity = as_pictures(result, config.render)
    terms = {}
    if weights.rgb:
        # Colours are compared in [-1, 1], as published.
        raw = result.colour.view_as(picture)
        terms["rgb"] = weights.rgb * 2 * (raw - picture).abs().mean()
    if weights.depth and config.depth_loss > 0:
        terms["depth"] = config.depth_loss * weights.depth * (found - depth).abs().mean()
    if weights.perceptual and perceptual is not None and config.perceptual > 0:
        layers = DEEP if weights.perceptual_deep else (1.0,) * 5
        terms["perceptual"] = (
            config.perceptual
            * weights.perceptual
            * perceptual.distance(colour, picture, layers).mean()
        )
    if weights.clip and clip is not None and config.clip > 0:
        with torch.no_grad():
            wanted = clip.raw_images(whole)
        terms["clip"] = config.clip * weights.clip * (clip.raw_images(colour) - wanted).abs().mean()
    if weights.smooth:
        terms["smooth"] = weights.smooth * depth_variation(found)
    if weights.opacity:
        terms["opacity"] = weights.opacity * (1 - opacity).mean()
    return terms
