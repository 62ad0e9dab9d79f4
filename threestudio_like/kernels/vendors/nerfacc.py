"""nerfacc (MIT): its occupancy sampling and packed rendering, with the signatures of this
package."""

from __future__ import annotations

from typing import Any

import torch

from ..reference.volume import box_range


def march(
    origins: torch.Tensor,
    directions: torch.Tensor,
    occupied: torch.Tensor,
    step: float,
    jitter: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `kernels.march`."""
    estimator = _estimator(occupied.shape[0], occupied.device)
    # nerfacc stores its cells in the order x, y, z.
    estimator.binaries = occupied.permute(2, 1, 0)[None].contiguous()
    near, far = box_range(origins, directions)
    # A sample of this package is the middle of an interval, so the first interval begins half a
    # step earlier.
    ray, begin, end = estimator.sampling(
        origins,
        directions,
        t_min=near + (jitter - 0.5) * step,
        t_max=far,
        render_step_size=step,
        early_stop_eps=0.0,
    )
    offsets = torch.zeros(len(origins) + 1, dtype=torch.int64, device=origins.device)
    offsets[1:] = torch.bincount(ray, minlength=len(origins)).cumsum(0)
    return (begin + end) / 2, ray, offsets


_made: dict[tuple[int, torch.device], Any] = {}


def _estimator(size: int, device: torch.device) -> Any:
    import nerfacc

    key = (size, device)
    if key not in _made:
        _made[key] = nerfacc.OccGridEstimator([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0], size).to(device)
    return _made[key]


def composite(
    sigma: torch.Tensor,
    features: torch.Tensor,
    t: torch.Tensor,
    offsets: torch.Tensor,
    step: float,
    stop: float = 1e-4,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `kernels.composite`."""
    import nerfacc

    rays = len(offsets) - 1
    ray = torch.repeat_interleave(torch.arange(rays, device=sigma.device), offsets.diff())
    weights, clear, _ = nerfacc.render_weight_from_density(
        t - step / 2, t + step / 2, sigma, ray_indices=ray, n_rays=rays
    )
    weights = weights * (clear.detach() >= stop)
    columns = torch.cat([features, torch.ones_like(sigma)[:, None], t[:, None]], 1)
    return nerfacc.accumulate_along_rays(weights, columns, ray_indices=ray, n_rays=rays), weights
