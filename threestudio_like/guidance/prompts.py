"""View-dependent prompts (METHODS 1.5) and Perp-Neg (Armandpour et al. 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..engine.schema.bounds import Degrees
from ..priors.diffusion import DiffusionPrior
from ..renderers.cameras import Cameras

DIRECTIONS = ("front", "side", "back", "overhead", "bottom")


def view_direction(
    azimuth: float, elevation: float, front: float = 70.0, overhead: float = 30.0
) -> str:
    """The view-direction bin of a camera.

    It is overhead if the polar angle is at most `overhead`, and bottom if it is at least 180 -
    `overhead`. Otherwise it is front within +-front/2 of 0, back within +-front/2 of 180, and side
    in between.

    Args:
        azimuth, elevation: radians; azimuth 0 is the front.
        front, overhead: spans of the bins in degrees.
    """
    polar = 90.0 - math.degrees(elevation)
    if polar <= overhead + 1e-4:
        return "overhead"
    if polar >= 180.0 - overhead - 1e-4:
        return "bottom"
    turn = math.degrees(azimuth) % 360.0
    if turn <= front / 2 or turn >= 360.0 - front / 2:
        return "front"
    if 180.0 - front / 2 <= turn <= 180.0 + front / 2:
        return "back"
    return "side"


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """How the prompt depends on the camera."""

    view_dependent: bool = True
    negative: str = ""
    front_span: Degrees = 70.0
    overhead_span: Degrees = 30.0


class ViewPrompts:
    """Embeddings of "<prompt>, <direction> view" for every direction, and of the negative prompt.

    Args:
        prior: encodes the texts, once.
        prompt: describes the object.
    """

    def __init__(self, prior: DiffusionPrior, prompt: str, config: PromptConfig) -> None:
        self.config, self.prompt = config, prompt
        texts = (
            [f"{prompt}, {d} view" for d in DIRECTIONS]
            if config.view_dependent
            else [prompt] * len(DIRECTIONS)
        )
        embedded = prior.encode_text([*texts, config.negative])
        self.by_direction = dict(zip(DIRECTIONS, embedded[:-1]))
        self.negative = embedded[-1]

    def directions(self, cameras: Cameras) -> list[str]:
        """The view-direction bin of every camera."""
        spans = (self.config.front_span, self.config.overhead_span)
        return [
            view_direction(float(a), float(e), *spans)
            for a, e in zip(cameras.azimuth, cameras.elevation)
        ]

    def text(self, cameras: Cameras) -> torch.Tensor:
        """Embeddings (B, T, D) for the cameras' directions."""
        return torch.stack([self.by_direction[d] for d in self.directions(cameras)])

    def negatives(self, count: int) -> torch.Tensor:
        """Embeddings (B, T, D) of the negative prompt."""
        return self.negative.expand(count, -1, -1)

    def other_directions(self, cameras: Cameras) -> torch.Tensor:
        """Embeddings (B, 2, T, D) of the two directions that a view must not show, for Perp-Neg."""
        opposite = {
            "front": ("side", "back"),
            "side": ("front", "back"),
            "back": ("front", "side"),
            "overhead": ("front", "side"),
            "bottom": ("front", "side"),
        }
        rows = [
            torch.stack([self.by_direction[o] for o in opposite[d]])
            for d in self.directions(cameras)
        ]
        return torch.stack(rows)


def perpendicular(direction: torch.Tensor, onto: torch.Tensor) -> torch.Tensor:
    """The component of `direction` that is perpendicular to `onto`, for each sample.

    Both are (B, C, h, w); the inner product runs over all axes but the first.
    """
    axes = tuple(range(1, direction.ndim))
    along = (direction * onto).sum(axes, keepdim=True) / onto.square().sum(
        axes, keepdim=True
    ).clamp_min(1e-12)
    return direction - along * onto


def perp_neg(
    unconditional: torch.Tensor,
    positive: torch.Tensor,
    negatives: list[torch.Tensor],
    weights: list[float],
    scale: float,
) -> torch.Tensor:
    """eps_u + scale [d_pos - sum_i w_i perp(d_i, d_pos)], with d = eps - eps_u (Armandpour et al.
    2023).

    The negative directions act only perpendicular to the positive one.
    """
    main = positive - unconditional
    total = main
    for negative, weight in zip(negatives, weights):
        total = total - weight * perpendicular(negative - unconditional, main)
    return unconditional + scale * total
