"""View-dependent prompts (METHODS 1.5) and Perp-Neg (Armandpour et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..engine.errors import ConfigError
from ..engine.schema.bounds import Degrees
from ..priors.diffusion import DiffusionPrior
from ..priors.model_folder import DIRECTIONS
from ..priors.text.weighted import emphasis_of, parse_weighted
from ..renderers.cameras import Cameras


def view_direction(
    azimuth: float,
    elevation: float,
    front: float = 70.0,
    overhead: float = 30.0,
    back: float = 0.0,
) -> str:
    """The view-direction bin of a camera.

    It is overhead if the polar angle is at most `overhead`, and bottom if it is at least 180 -
    `overhead`. Otherwise it is front within +-front/2 of 0, back within +-back/2 of 180, and side
    in between.

    Args:
        azimuth, elevation: radians; azimuth 0 is the front.
        front, overhead, back: spans of the bins in degrees; `back` is that of `front` where it is
            0.
    """
    polar = 90.0 - math.degrees(elevation)
    if polar <= overhead + 1e-4:
        return "overhead"
    if polar >= 180.0 - overhead - 1e-4:
        return "bottom"
    turn = math.degrees(azimuth) % 360.0
    if turn <= front / 2 or turn >= 360.0 - front / 2:
        return "front"
    half = (back or front) / 2
    if 180.0 - half <= turn <= 180.0 + half:
        return "back"
    return "side"


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """How the prompt depends on the camera."""

    view_dependent: bool = True
    negative: str = ""
    front_span: Degrees = 70.0
    back_span: Degrees = 0.0
    """Of views from behind, where it is another than `front_span`; 0 for the same."""
    overhead_span: Degrees = 30.0
    view_dependent_prompt_front: bool = False
    """Write the direction before the prompt: "front view of <prompt>" (threestudio)."""
    front: str = ""
    """Prompt for views from the front, instead of "<prompt>, front view"; and so on."""
    side: str = ""
    back: str = ""
    overhead: str = ""
    bottom: str = ""
    interpolate: bool = False
    """Interpolate the prompts of two neighbouring directions by the azimuth, between 0, 90 and 180
    degrees, and weight Perp-Neg's negatives by it (Armandpour et al. 2023)."""


def decaying(scale: float, rate: float, offset: float, share: torch.Tensor) -> torch.Tensor:
    """scale exp(-rate share) + offset: how the weight of a negative falls with a direction's share
    (Armandpour et al. 2023)."""
    return scale * torch.exp(-rate * share) + offset


SIDE_OR_BACK = (1.0, 0.5, -0.606)
FRONT_BEHIND = (1.0, 0.5, 0.967)
FRONT_OR_SIDE = (4.0, 0.5, -2.426)
"""threestudio's numbers of Perp-Neg's weights: of "side" between side and back, of "front" there,
and of either between front and side."""


def behind(prompt: str, direction: str) -> str:
    """The prompt with its direction behind it."""
    return f"{prompt}, {direction} view"


def before(prompt: str, direction: str) -> str:
    """The prompt with its direction before it, in threestudio's words."""
    return f"{'backside' if direction == 'back' else direction} view of {prompt}"


def check_directions(config: PromptConfig) -> None:
    """Raise ConfigError where a direction has a prompt of its own, and the prompt does not follow
    the view."""
    own_words = [d for d in DIRECTIONS if getattr(config, d)]
    if own_words and not config.view_dependent:
        raise ConfigError(
            "has a prompt of its own, and the prompt does not follow the view here",
            f"prompt.{own_words[0]}",
            "Leave it out, or set prompt.view_dependent",
        )


def tells_directions(prior: DiffusionPrior, config: PromptConfig) -> bool:
    """Whether the prior is told by words from where an object is seen."""
    return config.view_dependent and "words" not in prior.facts.untold


class ViewPrompts:
    """Embeddings of "<prompt>, <direction> view" for every direction, and of the negative prompt.

    Args:
        prior: encodes the texts, once.
        prompt: describes the object; words may be weighted, `(red:1.3)`.

    Attributes:
        directed: whether not all directions have the same embedding.

    Raises:
        ConfigError: a direction has a prompt of its own, and the prompt does not follow the view.
    """

    def __init__(self, prior: DiffusionPrior, prompt: str, config: PromptConfig) -> None:
        self.config, self.prompt = config, prompt
        plain, weights = parse_weighted(prompt)
        words = before if config.view_dependent_prompt_front else behind
        parsed = {d: (plain, weights) for d in DIRECTIONS}
        check_directions(config)
        if tells_directions(prior, config):
            for d in DIRECTIONS:
                own = str(getattr(config, d))
                parsed[d] = parse_weighted(own) if own else (words(plain, d), weights)
        texts = [parsed[d][0] for d in DIRECTIONS]
        embedded = prior.encode_text([*texts, config.negative])
        self.by_direction = dict(zip(DIRECTIONS, embedded[:-1]))
        self.directed = not bool((embedded[:-1] == embedded[:1]).all())
        self.negative = prior.negative_text(embedded[-1])
        self.factors = {
            d: emphasis_of(prior, *parsed[d], tokens=embedded.shape[1]) for d in DIRECTIONS
        }

    def directions(self, cameras: Cameras) -> list[str]:
        """The view-direction bin of every camera."""
        spans = (self.config.front_span, self.config.overhead_span, self.config.back_span)
        return [
            view_direction(float(a), float(e), *spans)
            for a, e in zip(cameras.azimuth, cameras.elevation)
        ]

    def text(self, cameras: Cameras) -> torch.Tensor:
        """Embeddings (B, T, D) for the cameras' directions."""
        rows = []
        for azimuth, direction in zip(cameras.azimuth, self.directions(cameras)):
            begin, end, share = self._between(float(azimuth), direction)
            near, far = self.by_direction[begin], self.by_direction[end]
            rows.append(near if share == 1.0 else share * near + (1 - share) * far)
        return torch.stack(rows)

    def emphasis(self, cameras: Cameras) -> torch.Tensor | None:
        """Factors (B, T) of the words that the prompt weights, or None where it weights none."""
        if all(factors is None for factors in self.factors.values()):
            return None
        ones = torch.ones(len(self.negative))
        rows = [self.factors[d] for d in self.directions(cameras)]
        return torch.stack([ones if row is None else row for row in rows])

    def _between(self, azimuth: float, direction: str) -> tuple[str, str, float]:
        """The two directions that an azimuth (radians) lies between, and the share of the first."""
        if not self.config.interpolate or direction in ("overhead", "bottom"):
            return direction, direction, 1.0
        turn = abs((math.degrees(azimuth) + 180.0) % 360.0 - 180.0)
        if turn <= 90.0:
            return "front", "side", 1.0 - turn / 90.0
        return "side", "back", 2.0 - turn / 90.0

    def negatives(self, count: int) -> torch.Tensor:
        """Embeddings (B, T, D) of the negative prompt."""
        return self.negative.expand(count, -1, -1)

    def other_directions(self, cameras: Cameras) -> torch.Tensor:
        """Embeddings (B, 2, T, D) of the two directions that a view must not show, for Perp-Neg:
        where prompts are interpolated, those of `other_weights`."""
        opposite = {
            "front": ("side", "back"),
            "side": ("front", "back"),
            "back": ("front", "side"),
            "overhead": ("front", "side"),
            "bottom": ("front", "side"),
        }
        rows = []
        for azimuth, direction in zip(cameras.azimuth, self.directions(cameras)):
            begin, end, _ = self._between(float(azimuth), direction)
            others = opposite[direction]
            if begin != end:
                others = ("front", "side") if begin == "front" else ("side", "front")
            rows.append(torch.stack([self.by_direction[o] for o in others]))
        return torch.stack(rows)

    def other_weights(self, cameras: Cameras) -> torch.Tensor:
        """Weights (B, 2) of `other_directions`: ones, and with interpolation the published ones, by
        which a direction counts the less the more of it a view shows."""
        rows = []
        for azimuth, direction in zip(cameras.azimuth, self.directions(cameras)):
            begin, end, share = self._between(float(azimuth), direction)
            first = torch.tensor(share)
            if begin == end:
                rows.append(torch.ones(2))
            elif begin == "front":
                near = decaying(*FRONT_OR_SIDE, share=first)
                rows.append(torch.stack([near, decaying(*FRONT_OR_SIDE, share=1 - first)]))
            else:
                side = decaying(*SIDE_OR_BACK, share=first)
                rows.append(torch.stack([side, decaying(*FRONT_BEHIND, share=first)]))
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
    weights: Sequence[float | torch.Tensor],
    scale: float,
) -> torch.Tensor:
    """eps_u + scale [d_pos - sum_i w_i perp(d_i, d_pos)], with d = eps - eps_u (Armandpour et al.
    2023).

    The negative directions act only perpendicular to the positive one. A weight is one number, or
    one for each sample (B, 1, 1, 1).
    """
    main = positive - unconditional
    total = main
    for negative, weight in zip(negatives, weights):
        total = total - weight * perpendicular(negative - unconditional, main)
    return unconditional + scale * total
