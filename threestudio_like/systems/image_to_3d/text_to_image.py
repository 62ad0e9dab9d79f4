"""Prompts to pictures: the diffusion prior before the methods that start from a picture (METHODS
3.1: text → picture → depth → triplane)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ...engine.random import RandomStream
from ...engine.schema.bounds import Degrees, Elevation, Number, Share, Weight
from ...priors.diffusion import Condition, DiffusionPrior
from ...priors.sampling import ddim
from ...priors.text.weighted import emphasis_of, parse_weighted
from ...renderers import Cameras


@dataclass(frozen=True, kw_only=True)
class ImagineConfig:
    """How a picture is sampled."""

    scale: float = 5.0
    """Classifier-free guidance."""
    rescale: Share = 0.5
    steps: Number = 30
    azimuth: Degrees = 30.0
    elevation: Elevation = 20.0
    """Degrees; of priors that know cameras: a view that shows three sides."""
    level: Share = 0.8
    """Grey of the background, for such priors."""
    clamp: Weight = 3.5


def imagine_picture(
    prompt: str, prior: DiffusionPrior, config: ImagineConfig, seed: int
) -> torch.Tensor:
    """A picture (S, S, 3) in [0, 1] of one object; an empty prompt lets the prior choose."""
    facts = prior.facts
    shape = (1, facts.channels, facts.latent_size, facts.latent_size)
    noise = RandomStream(seed, "imagine", 0).normal("noise", shape)
    cameras = None
    if facts.camera is not None and facts.single_views:
        angles = torch.tensor([[math.radians(config.azimuth)], [math.radians(config.elevation)]])
        size, protocol = facts.image_size, facts.camera
        cameras = Cameras.orbit(
            angles[0],
            angles[1],
            protocol.distance,
            fov_y=math.radians(protocol.fov_y),
            height=size,
            width=size,
        )
    words = (
        prompt
        if cameras is not None or not prompt
        else f"{prompt}, plain white background, whole object in view"
    )
    with torch.no_grad():
        plain, weights = parse_weighted(words)
        # In one call, so that both have the same length.
        texts = prior.encode_text([plain, ""])
        condition = Condition(texts[:1], cameras, config.level)
        factors = emphasis_of(prior, plain, weights, tokens=texts.shape[1])
        condition.emphasis = None if factors is None else factors[None]
        scale = config.scale if prompt else 1.0
        clean = ddim(
            prior,
            noise,
            1.0,
            steps=config.steps,
            condition=condition,
            negative=texts[1:],
            scale=scale,
            rescale=config.rescale,
            clamp=config.clamp,
        )
        return prior.decode_latents(clean)[0].clamp(0, 1)
