"""Regularisers that need no prior: opacity entropy, sparsity, orientation, distortion, nearness,
and those of threestudio with its names.

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


def opaque(opacity: torch.Tensor) -> torch.Tensor:
    """threestudio's lambda_opaque: mean binary entropy, in nats, of opacities clamped to [1e-3, 1 -
    1e-3]."""
    p = opacity.clamp(1e-3, 1 - 1e-3)
    return -(p * p.log() + (1 - p) * (1 - p).log()).mean()


def orient(
    samples: Samples, normals: torch.Tensor, directions: torch.Tensor, opacity: torch.Tensor
) -> torch.Tensor:
    """threestudio's lambda_orient: sum_i w_i max(0, n_i . d)^2 over the rays that meet anything.

    Args:
        normals: (S, 3) outward unit normals at the samples.
        directions: (R, 3) ray directions.
        opacity: (.., 1) of the R rays.
    """
    hit = (opacity > 0).sum().clamp_min(1)
    return orientation(samples, normals, directions, rays=1) / hit


def per_ray(samples: Samples, values: torch.Tensor, rays: int) -> torch.Tensor:
    """Sums (R, ...) of values (S, ...) along rays."""
    shape = (rays, *values.shape[1:])
    return torch.zeros(shape, dtype=values.dtype, device=values.device).index_add(
        0, samples.ray, values
    )


def z_variance(samples: Samples, opacity: torch.Tensor) -> torch.Tensor:
    """Mean variance of the distance along rays whose opacity (.., 1) exceeds one half, by
    normalised weights (HiFA, Zhu et al. 2023); 0 where there is no such ray."""
    flat = opacity.reshape(-1)
    share = samples.weights / flat.clamp_min(1e-5)[samples.ray]
    mean = per_ray(samples, share * samples.t, len(flat))
    spread = per_ray(samples, share * (samples.t - mean[samples.ray]).square(), len(flat))
    dense = (flat > 0.5).to(spread)
    return (spread * dense).sum() / dense.sum().clamp_min(1)


def composited_normals(
    samples: Samples, normals: torch.Tensor, opacity: torch.Tensor
) -> torch.Tensor:
    """Pictures (B, H, W, 3) of normals as threestudio shows them: (n + 1) / 2 times the opacity (B,
    H, W, 1), where n is the normalised sum of weighted normals (S, 3)."""
    total = per_ray(samples, samples.weights[:, None] * normals, opacity.numel())
    unit = torch.nn.functional.normalize(total, dim=-1).view(*opacity.shape[:-1], 3)
    return (unit + 1) / 2 * opacity


def normal_smooth(picture: torch.Tensor) -> torch.Tensor:
    """Mean squared differences of neighbouring rows and of neighbouring columns of normals (B, H,
    W, 3)."""
    rows = (picture[:, 1:] - picture[:, :-1]).square().mean()
    return rows + (picture[:, :, 1:] - picture[:, :, :-1]).square().mean()


def emptiness(samples: Samples, scale: float) -> torch.Tensor:
    """Mean of log(1 + scale w) over the samples' weights (Wang et al. 2023, score Jacobian
    chaining): it prefers one large weight to many small ones; 0 without samples."""
    if len(samples.weights) == 0:
        return samples.weights.sum()
    return torch.log1p(scale * samples.weights).mean()
