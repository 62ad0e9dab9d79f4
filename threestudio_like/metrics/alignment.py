"""Agreement with the prompt from all sides: R-precision, view consistency and the Janus index."""

from __future__ import annotations

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


def janus_index(front: torch.Tensor, azimuth: torch.Tensor) -> float:
    """How far front-likeness (V,) in [0, 1] over azimuth (V,) in radians is from having a single
    peak.

    It is 0 for one front at azimuth 0, 1 if front-likeness is the same everywhere, and in between
    for two or three faces. It is 1 - |first Fourier coefficient| / mean, scaled so that an ideal
    front (1 within +-35 degrees, else 0) gives 0.
    """
    total = float(front.sum())
    if total <= 1e-9:
        return 0.0
    first = (
        torch.complex((front * azimuth.cos()).sum(), (front * azimuth.sin()).sum()).abs() / total
    )
    inside = torch.cos(azimuth) >= torch.cos(torch.tensor(35.0).deg2rad()) - 1e-6
    ideal = (
        torch.complex((inside * azimuth.cos()).sum(), (inside * azimuth.sin()).sum()).abs()
        / inside.sum()
    )
    return float((1 - first / ideal).clamp(0, 1))
