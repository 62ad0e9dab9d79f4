"""Agreement with the prompt from all sides: R-precision, view consistency and the Janus index."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..priors.clip import ImageTextPrior


@torch.no_grad()
def r_precision(
    clip: ImageTextPrior, images: torch.Tensor, captions: list[str], right: int
) -> float:
    """Share of the pictures (B, H, W, 3) whose nearest caption is number `right`."""
    similarity = clip.embed_images(images) @ clip.embed_texts(captions).t()
    return float((similarity.argmax(1) == right).float().mean())


@torch.no_grad()
def view_consistency(features: torch.Tensor) -> float:
    """Mean cosine between the features (V, D) of neighbouring views, which are in order around the
    object."""
    unit = F.normalize(features, dim=-1)
    return float((unit * unit.roll(1, 0)).sum(-1).mean())


FRONT_HALF_WIDTH = 45.0
"""Degrees on either side of a front that belong to it."""
LEAST_FRONT = 0.05
"""Front-likeness below which no view is a front."""


def _front_shares(front: torch.Tensor, azimuth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The shares (V,) of all front-likeness, and of all views, that lie within `FRONT_HALF_WIDTH`
    of each view; a view at the very border counts half. In float64."""
    value, angle = front.double(), azimuth.double()
    if not bool(torch.isfinite(value).all() & torch.isfinite(angle).all()):
        raise ValueError("front-likeness and azimuths must be finite")
    away = torch.acos(torch.cos(angle[:, None] - angle).clamp(-1, 1)).rad2deg() - FRONT_HALF_WIDTH
    near = torch.where(away.abs() < 1e-3, 0.5, (away < 0).double())
    return near @ value / value.sum(), near.mean(1)


def janus_index(front: torch.Tensor, azimuth: torch.Tensor) -> float:
    """How much of what looks like a front is not the main front: front-likeness (V,) in [0, 1] of
    views at azimuths (V,) in radians all around an object.

    1 minus the share of front-likeness within 45 degrees of the main front, divided by what that is
    where all views look alike. So it is 0 for a single front wherever it is (see
    `front_azimuth`), 2 / 3 for two opposite ones, 8 / 9 for three, and 1 for a front on every side.
    It is nan where no view looks like a front (`LEAST_FRONT`). Raises ValueError for numbers that
    are not finite.
    """
    if len(front) and float(front.max()) < LEAST_FRONT:
        return math.nan
    share, views = _front_shares(front, azimuth)
    main = int(share.argmax())
    return float(((1 - share[main]) / (1 - views[main]).clamp_min(1e-9)).clamp(0, 1))


def front_azimuth(front: torch.Tensor, azimuth: torch.Tensor) -> float:
    """The azimuth in radians, in (-pi, pi], of the main front of `janus_index`: 0 is where a front
    belongs. It is nan where no view looks like a front."""
    if len(front) and float(front.max()) < LEAST_FRONT:
        return math.nan
    main = azimuth.double()[int(_front_shares(front, azimuth)[0].argmax())]
    turn = azimuth.double() - main
    mass = front.double() * (torch.cos(turn) >= math.cos(math.radians(FRONT_HALF_WIDTH)) - 1e-9)
    off = torch.atan2((mass * turn.sin()).sum(), (mass * turn.cos()).sum())
    return float(torch.atan2((main + off).sin(), (main + off).cos()))
