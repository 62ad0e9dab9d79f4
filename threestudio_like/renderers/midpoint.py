"""Stratified and importance samples along rays through a box, composited at mid-points (EG3D, G3DR;
METHODS 3.2, 3.5).

This renderer is for generators: it takes a batch of volumes, each with its own rays, which one
function evaluates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..engine.random import RandomStream
from ..engine.schema.bounds import Number, OptionalSize, Positive
from .gradient_scaling import DepthScaling

Volume = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Points (B, N, 3) -> raw density (B, N) and colours (B, N, C)."""


@dataclass(frozen=True, kw_only=True)
class MidpointConfig:
    """How rays are sampled: 32 + 32 samples for training, 64 + 64 for viewing."""

    coarse: Number = 32
    fine: OptionalSize = 32
    box: Positive = 2.0
    """Edge length of the box about the origin that contains everything."""
    comb: float = 0.4
    """Probability that the fine samples of a canonical view are a uniform comb about the known
    depth instead of importance samples."""
    comb_reach: float = 0.05
    """Half the length of the comb."""
    bias: float = -1.0
    """Value that is added to the raw density before softplus."""
    gain: float = 1.0
    """Factor of the density; a larger one lets small networks reach hard surfaces in few steps."""


@dataclass
class RayResult:
    """The result of `render_rays`.

    colour (B, R, C) without any background; depth (B, R) = sum(w t) / (sum(w) + 0.001); opacity (B,
    R); weights and t (B, R, S) of the mid-points.
    """

    colour: torch.Tensor
    depth: torch.Tensor
    opacity: torch.Tensor
    weights: torch.Tensor
    t: torch.Tensor


def box_bounds(
    origins: torch.Tensor, directions: torch.Tensor, edge: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances (B, R, 1) at which rays (B, R, 3) enter and leave the box. A ray that misses the
    box gets the bounds of the batch."""
    inverse = 1 / torch.where(
        directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions
    )
    one, two = (-edge / 2 - origins) * inverse, (edge / 2 - origins) * inverse
    near, far = (
        torch.minimum(one, two).amax(-1, keepdim=True),
        torch.maximum(one, two).amin(-1, keepdim=True),
    )
    hit = near < far
    if bool(hit.any()) and not bool(hit.all()):
        near = torch.where(hit, near, near[hit].min())
        far = torch.where(hit, far, far[hit].max())
    return near.clamp_min(0), far


def render_rays(
    volume: Volume,
    origins: torch.Tensor,
    directions: torch.Tensor,
    config: MidpointConfig,
    random: RandomStream | None = None,
    depth: torch.Tensor | None = None,
    scaling: DepthScaling | None = None,
    comb: bool = False,
) -> RayResult:
    """Render rays (B, R, 3).

    Args:
        volume: see `Volume`.
        random: jitters the samples within their strata; None for no jitter.
        depth: (B, R) known distance to the surface, for `comb` and `scaling`.
        scaling: scales the gradients of alpha and colour down away from the known depth (METHODS
            3.6); values are unchanged.
        comb: take the fine samples about the known depth.
    """
    batch, rays = origins.shape[:2]
    near, far = box_bounds(origins, directions, config.box)
    step = (far - near) / config.coarse
    middle = (torch.arange(config.coarse, device=origins.device) + 0.5).view(1, 1, -1)
    if random is not None:
        middle = (
            middle + random.uniform("strata", (batch, rays, config.coarse), origins.device) - 0.5
        )
    t = near + step * middle
    density, colour = _read(volume, origins, directions, t=t)
    if config.fine > 0:
        if comb and depth is not None:
            line = torch.linspace(-1, 1, config.fine, device=origins.device) * config.comb_reach
            t_fine = depth[..., None] + line
        else:
            with torch.no_grad():
                weights = _composite(
                    density, colour, t, config=config, depth=None, scaling=None
                ).weights
                t_fine = _importance(t, weights, config.fine, random=random)
        density_fine, colour_fine = _read(volume, origins, directions, t=t_fine)
        t, order = torch.cat([t, t_fine], -1).sort(-1)
        density = torch.cat([density, density_fine], -1).gather(-1, order)
        colour = torch.cat([colour, colour_fine], -2).gather(
            -2, order[..., None].expand(-1, -1, -1, colour.shape[-1])
        )
    return _composite(density, colour, t, config=config, depth=depth, scaling=scaling)


def _read(
    volume: Volume, origins: torch.Tensor, directions: torch.Tensor, t: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    batch, rays, count = t.shape
    points = origins[:, :, None] + t[..., None] * directions[:, :, None]
    density, colour = volume(points.reshape(batch, rays * count, 3))
    return density.view(batch, rays, count), colour.view(batch, rays, count, -1)


def _composite(
    density: torch.Tensor,
    colour: torch.Tensor,
    t: torch.Tensor,
    config: MidpointConfig,
    depth: torch.Tensor | None,
    scaling: DepthScaling | None,
) -> RayResult:
    """The mid-point rule: density, colour and distance are averaged over neighbouring samples, and
    sigma = gain softplus(density + bias)."""
    length = t[..., 1:] - t[..., :-1]
    t_mid = (t[..., 1:] + t[..., :-1]) / 2
    density_mid, colour_mid = (
        (density[..., 1:] + density[..., :-1]) / 2,
        (colour[..., 1:, :] + colour[..., :-1, :]) / 2,
    )
    alpha = -torch.expm1(-config.gain * F.softplus(density_mid + config.bias) * length)
    if scaling is not None and depth is not None:
        alpha, colour_mid = scaling.apply(
            alpha, colour_mid, t_mid, depth[..., None].expand_as(t_mid)
        )
    clear = torch.cat(
        [torch.ones_like(alpha[..., :1]), (1 - alpha + 1e-10).cumprod(-1)[..., :-1]], -1
    )
    weights = alpha * clear
    opacity = weights.sum(-1)
    expected = (weights * t_mid).sum(-1) / (opacity + 0.001)
    return RayResult(
        (weights[..., None] * colour_mid).sum(-2), expected, opacity, weights=weights, t=t_mid
    )


def _importance(
    t: torch.Tensor, weights: torch.Tensor, count: int, random: RandomStream | None
) -> torch.Tensor:
    """Draw `count` distances (B, R, count) in proportion to the weights (B, R, S - 1) of the coarse
    mid-points, smoothed as in EG3D."""
    flat = weights.reshape(-1, 1, weights.shape[-1])
    # The larger of two neighbours, then their mean, so that samples also fall slightly beyond the
    # surface.
    smooth = F.avg_pool1d(F.max_pool1d(flat, 2, 1, padding=1), 2, 1)[:, 0] + 0.01
    edges = ((t[..., 1:] + t[..., :-1]) / 2).reshape(len(smooth), -1)
    edges = torch.cat(
        [t.reshape(len(smooth), -1)[:, :1], edges, t.reshape(len(smooth), -1)[:, -1:]], 1
    )
    # There is one weight for every interval between two edges.
    share = F.pad(smooth, (0, edges.shape[1] - 1 - smooth.shape[1]), mode="constant", value=0.01)
    total = (share / share.sum(1, keepdim=True)).cumsum(1)
    total = torch.cat([torch.zeros_like(total[:, :1]), total], 1)
    if random is None:
        u = (
            ((torch.arange(count, device=t.device) + 0.5) / count)
            .expand(len(smooth), count)
            .contiguous()
        )
    else:
        u = random.uniform("importance", (len(smooth), count), t.device)
    above = torch.searchsorted(total, u, right=True).clamp(1, total.shape[1] - 1)
    low, high = total.gather(1, above - 1), total.gather(1, above)
    part = (u - low) / (high - low).clamp_min(1e-8)
    start, end = edges.gather(1, above - 1), edges.gather(1, above)
    return (start + part * (end - start)).view(*t.shape[:2], count)
