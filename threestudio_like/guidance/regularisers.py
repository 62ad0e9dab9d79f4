"""Regularisers that need no prior: opacity entropy, sparsity, orientation, distortion and nearness.

The total variation of a dense field is `kernels.grid_variation`.
"""

from __future__ import annotations

import torch

from ..renderers.rendering import Samples


def opacity_entropy(opacity: torch.Tensor) -> torch.Tensor:
    """Mean binary entropy, in bits, of opacities clamped to [1e-5, 1 - 1e-5] (METHODS 1.7).

    It is 1 at an opacity of one half and 0 at both ends.
    """
    p = opacity.clamp(1e-5, 1 - 1e-5)
    return -(p * p.log2() + (1 - p) * (1 - p).log2()).mean()


def sparsity(opacity: torch.Tensor) -> torch.Tensor:
    """Mean sqrt(opacity^2 + 0.01) (METHODS 1.7, threestudio's form)."""
    return (opacity.square() + 0.01).sqrt().mean()


def orientation(
    samples: Samples, normals: torch.Tensor, directions: torch.Tensor, rays: int
) -> torch.Tensor:
    """Ref-NeRF's penalty on visible surface that faces away from the camera: mean over rays of
    sum_i w_i max(0, n_i . d)^2.

    Args:
        normals: (S, 3) outward unit normals at the samples.
        directions: (R, 3) ray directions.
        rays: number R of rays.
    """
    facing = (normals * directions[samples.ray]).sum(-1).clamp_min(0).square()
    return (samples.weights.detach() * facing).sum() / rays


def distortion(samples: Samples, rays: int) -> torch.Tensor:
    """Mip-NeRF 360's distortion (eq. 15), mean over rays: sum_ij w_i w_j |t_i - t_j| + step / 3
    sum_i w_i^2.

    Computed in linear time from running sums along each ray. Differentiable in the weights.
    """
    w, t = samples.weights, samples.t
    if len(w) == 0:
        return w.sum()
    start = samples.offsets[:-1][samples.ray]
    zero = torch.zeros(1, dtype=torch.float64, device=w.device)
    total_w = torch.cat([zero, w.double().cumsum(0)])
    total_wt = torch.cat([zero, (w * t).double().cumsum(0)])
    before_w = total_w[:-1] - total_w[start]
    before_wt = total_wt[:-1] - total_wt[start]
    pairs = 2 * (w.double() * (t.double() * before_w - before_wt)).sum()
    return ((pairs + (w.double().square() * samples.step / 3).sum()) / rays).to(w.dtype)


def nearness(depth: torch.Tensor, opacity: torch.Tensor) -> torch.Tensor:
    """Mean distance to the visible surface in scene units, weighted by opacity.

    depth (.., 1) is the composited depth, opacity (.., 1) is in [0, 1].

    Views that disagree slightly let a field carve pits, with a separate picture at the bottom for
    each view. Among all shapes that explain the pictures, this term prefers the largest. The depth
    of a ray is divided by its opacity, and the weight is a constant of the differentiation, so that
    the term does not change the density at a given place.
    """
    distance = depth / opacity.clamp_min(1e-3)
    return (opacity.detach() * distance).mean()
