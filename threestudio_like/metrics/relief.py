"""Measures for generators of relief: non-flatness and the entropy of weights along rays (METHODS
3.9, 3.12)."""

from __future__ import annotations

import torch


def non_flatness(depths: torch.Tensor, near: float, far: float, bins: int = 64) -> float:
    """3DGP's non-flatness score (METHODS 3.9).

    It is the mean over depth maps (N, H, W) of exp(entropy, in nats, of a histogram over [near,
    far]): 1 for a flat map, `bins` for a uniform histogram.
    """
    place = ((depths.clamp(near, far) - near) / (far - near) * bins).long().clamp_max(bins - 1)
    scores = []
    for one in place:
        share = torch.bincount(one.reshape(-1), minlength=bins).double()
        share = share / share.sum()
        share = share[share > 0]
        scores.append(torch.exp(-(share * share.log()).sum()))
    return float(torch.stack(scores).mean())


def ray_entropy(weights: torch.Tensor) -> float:
    """Mean entropy in nats of the weights (..., S) along rays, normalised to one for each ray.

    Rays that hit nothing are left out. Fog spreads its weights, and a surface does not.
    """
    total = weights.sum(-1, keepdim=True)
    share = weights / total.clamp_min(1e-9)
    entropy = -(share * share.clamp_min(1e-12).log()).sum(-1)
    hit = total[..., 0] > 0.05
    return float(entropy[hit].mean()) if bool(hit.any()) else 0.0
