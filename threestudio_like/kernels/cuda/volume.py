"""Ray marching and compositing in Triton."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from ..reference.volume import box_range
from .sums import blocks

RAYS = 32
"""Rays of a program, in step: a warp."""
SAMPLES = 64
"""Samples of a ray that are composited at once."""


@triton.jit
def _exit(middle, block, origin, direction):
    """Distance at which a ray leaves a block of the coarse grid along one axis."""
    safe = tl.where(tl.abs(direction) >= 1e-9, direction, 1e-9)
    face = (middle + tl.where(safe > 0, 1, 0)).to(tl.float32) * block - 1.0
    return (face - origin) / safe


@triton.jit
def _cell(origin, direction, t, size):
    place = tl.floor((origin + t * direction + 1.0) * (size * 0.5))
    return tl.minimum(tl.maximum(place, 0.0), size - 1.0).to(tl.int32)


@triton.jit
def _march(
    origins,
    directions,
    near,
    far,
    occupied,
    coarse,
    jitter,
    offsets,
    t_out,
    ray_out,
    step,
    count,
    size,
    blocks_count,
    ratio,
    WRITE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Count the samples of every ray into `offsets`, or write them at `offsets`."""
    r = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = r < count
    ox, oy, oz = (
        tl.load(origins + r * 3, mask=valid, other=0.0),
        tl.load(origins + r * 3 + 1, mask=valid, other=0.0),
        tl.load(origins + r * 3 + 2, mask=valid, other=0.0),
    )
    dx, dy, dz = (
        tl.load(directions + r * 3, mask=valid, other=1.0),
        tl.load(directions + r * 3 + 1, mask=valid, other=1.0),
        tl.load(directions + r * 3 + 2, mask=valid, other=1.0),
    )
    begin, end = tl.load(near + r, mask=valid, other=0.0), tl.load(far + r, mask=valid, other=-1.0)
    shift = tl.load(jitter + r, mask=valid, other=0.0)
    block = 2.0 / blocks_count
    written = tl.zeros([BLOCK], tl.int64)
    first = written
    if WRITE:
        first = tl.load(offsets + r, mask=valid, other=0)
    k = tl.zeros([BLOCK], tl.int32)
    t = begin + shift * step
    alive = valid & (t < end)
    while tl.max(alive.to(tl.int32), 0) > 0:
        cx, cy, cz = _cell(ox, dx, t, size), _cell(oy, dy, t, size), _cell(oz, dz, t, size)
        mx, my, mz = cx // ratio, cy // ratio, cz // ratio
        some = (
            tl.load(coarse + (mz * blocks_count + my) * blocks_count + mx, mask=alive, other=0) != 0
        )
        hit = tl.load(occupied + (cz * size + cy) * size + cx, mask=alive & some, other=0) != 0
        if WRITE:
            tl.store(t_out + first + written, t, mask=hit)
            tl.store(ray_out + first + written, r.to(tl.int64), mask=hit)
        written += hit.to(tl.int64)
        # Out of an empty block to the last sample that is surely still in it, then one more.
        leave = tl.minimum(
            _exit(mx, block, ox, dx), tl.minimum(_exit(my, block, oy, dy), _exit(mz, block, oz, dz))
        )
        # Within the range of integers, also for a ray along an axis.
        ahead = tl.maximum(tl.minimum((leave - begin) / step - shift - 0.01, 1e9), -1.0).to(
            tl.int32
        )
        k = tl.where(some, k + 1, tl.maximum(k + 1, ahead))
        t = begin + (k.to(tl.float32) + shift) * step
        alive = alive & (t < end)
    if not WRITE:
        tl.store(offsets + r, written, mask=valid)


def _coarse(cells: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The grid (G, G, G) in blocks of up to 8^3 cells: 1 where any cell is occupied, and the cells
    along a block."""
    size = cells.shape[0]
    ratio = next(r for r in (8, 4, 2, 1) if size % r == 0)
    n = size // ratio
    return cells.view(n, ratio, n, ratio, n, ratio).amax((1, 3, 5)).contiguous(), ratio


def march(
    origins: torch.Tensor,
    directions: torch.Tensor,
    occupied: torch.Tensor,
    step: float,
    jitter: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `kernels.march`; two passes, the first counts. Waits for the device once, for the number
    of samples."""
    rays = len(origins)
    offsets = torch.zeros(rays + 1, dtype=torch.int64, device=origins.device)
    if not rays:
        return origins.new_zeros(0), offsets[:0].clone(), offsets
    cells = occupied.to(torch.uint8).contiguous()
    coarse, ratio = _coarse(cells)
    o, d, j = origins.detach().contiguous(), directions.detach().contiguous(), jitter.contiguous()
    near, far = (edge.contiguous() for edge in box_range(o, d))
    counts = torch.zeros(rays, dtype=torch.int64, device=origins.device)
    none = o.new_empty(1)
    grid, sizes = (blocks(rays, RAYS),), (float(step), rays, cells.shape[0], coarse.shape[0], ratio)
    _march[grid](o, d, near, far, cells, coarse, j, counts, none, counts, *sizes, False, RAYS)
    offsets[1:] = counts.cumsum(0)
    total = int(offsets[-1])
    t, ray = o.new_empty(total), counts.new_empty(total)
    if total:
        _march[grid](o, d, near, far, cells, coarse, j, offsets, t, ray, *sizes, True, RAYS)
    return t, ray, offsets


@triton.jit
def _alpha(thickness):
    """1 - exp(-x) without the loss of digits at small x."""
    x = thickness
    series = x * (1.0 - x * (0.5 - x * (1.0 / 6 - x * (1.0 / 24 - x * (1.0 / 120 - x / 720)))))
    return tl.where(x < 0.25, series, 1.0 - tl.exp(-x))


@triton.jit
def _composite_forward(
    sigma,
    features,
    t,
    offsets,
    out,
    weights,
    step,
    stop,
    channels,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    ray = tl.program_id(0)
    low, high = tl.load(offsets + ray), tl.load(offsets + ray + 1)
    c = tl.arange(0, CHANNELS)
    total = tl.zeros([CHANNELS], tl.float32)
    opacity, distance, optical = 0.0, 0.0, 0.0
    for begin in range(low, high, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        inside = i < high
        thickness = tl.load(sigma + i, mask=inside, other=0.0) * step
        clear = tl.exp(-(optical + tl.cumsum(thickness, 0) - thickness))
        w = tl.where(inside & (clear >= stop), clear * _alpha(thickness), 0.0)
        tl.store(weights + i, w, mask=inside)
        both = inside[:, None] & (c[None, :] < channels)
        values = tl.load(features + i[:, None] * channels + c[None, :], mask=both, other=0.0)
        total += tl.sum(w[:, None] * values, 0)
        opacity += tl.sum(w, 0)
        distance += tl.sum(w * tl.load(t + i, mask=inside, other=0.0), 0)
        optical += tl.sum(thickness, 0)
    row = out + ray.to(tl.int64) * (channels + 2)
    tl.store(row + c, total, mask=c < channels)
    tl.store(row + channels, opacity)
    tl.store(row + channels + 1, distance)


@triton.jit
def _pull(upstream, on_weights, features, t, i, inside, c, channels, HAS_WEIGHTS: tl.constexpr):
    """dL/dw of a block of samples, and the upstream gradient of the ray's features."""
    along = tl.load(upstream + c, mask=c < channels, other=0.0)
    both = inside[:, None] & (c[None, :] < channels)
    values = tl.load(features + i[:, None] * channels + c[None, :], mask=both, other=0.0)
    v = tl.sum(values * along[None, :], 1) + tl.load(upstream + channels)
    v += tl.load(upstream + channels + 1) * tl.load(t + i, mask=inside, other=0.0)
    if HAS_WEIGHTS:
        v += tl.load(on_weights + i, mask=inside, other=0.0)
    return v, along, both


@triton.jit
def _composite_backward(
    sigma,
    features,
    t,
    offsets,
    weights,
    upstream,
    on_weights,
    grad_sigma,
    grad_features,
    step,
    stop,
    channels,
    HAS_WEIGHTS: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """With v_i = dL/dw_i, dL/dsigma_i = step * (T_i (1 - alpha_i) v_i - sum_{j > i} w_j v_j); the
    sum beyond i as total less prefix."""
    ray = tl.program_id(0)
    low, high = tl.load(offsets + ray), tl.load(offsets + ray + 1)
    c = tl.arange(0, CHANNELS)
    mine = upstream + ray.to(tl.int64) * (channels + 2)
    total = 0.0
    for begin in range(low, high, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        inside = i < high
        v, _, _ = _pull(mine, on_weights, features, t, i, inside, c, channels, HAS_WEIGHTS)
        total += tl.sum(tl.load(weights + i, mask=inside, other=0.0) * v, 0)
    optical = 0.0
    for begin in range(low, high, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        inside = i < high
        v, along, both = _pull(mine, on_weights, features, t, i, inside, c, channels, HAS_WEIGHTS)
        w = tl.load(weights + i, mask=inside, other=0.0)
        thickness = tl.load(sigma + i, mask=inside, other=0.0) * step
        through = optical + tl.cumsum(thickness, 0)
        passed = tl.cumsum(w * v, 0)
        alive = tl.exp(thickness - through) >= stop
        grad = step * (tl.exp(-through) * v - (total - passed))
        tl.store(grad_sigma + i, tl.where(alive, grad, 0.0), mask=inside)
        tl.store(
            grad_features + i[:, None] * channels + c[None, :],
            w[:, None] * along[None, :],
            mask=both,
        )
        optical += tl.sum(thickness, 0)
        total -= tl.sum(tl.where(inside, w * v, 0.0), 0)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        sigma: torch.Tensor,
        features: torch.Tensor,
        t: torch.Tensor,
        offsets: torch.Tensor,
        step: float,
        stop: float,
    ) -> Any:
        kept = [v.detach().contiguous() for v in (sigma, features, t, offsets)]
        rays, channels = len(offsets) - 1, features.shape[1]
        out, weights = sigma.new_empty(rays, channels + 2), torch.empty_like(kept[0])
        if rays:
            _composite_forward[(rays,)](
                *kept,
                out,
                weights,
                float(step),
                float(stop),
                channels,
                SAMPLES,
                triton.next_power_of_2(channels),
                num_warps=2,
            )
        ctx.save_for_backward(*kept, weights)
        ctx.step, ctx.stop = float(step), float(stop)
        ctx.set_materialize_grads(False)
        return out, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor | None, on_weights: torch.Tensor | None) -> Any:
        sigma, features, t, offsets, weights = ctx.saved_tensors
        rays, channels = len(offsets) - 1, features.shape[1]
        if upstream is None:
            upstream = sigma.new_zeros(rays, channels + 2)
        grad_sigma, grad_features = torch.zeros_like(sigma), torch.zeros_like(features)
        if rays:
            _composite_backward[(rays,)](
                sigma,
                features,
                t,
                offsets,
                weights,
                upstream.contiguous(),
                weights if on_weights is None else on_weights.contiguous(),
                grad_sigma,
                grad_features,
                ctx.step,
                ctx.stop,
                channels,
                on_weights is not None,
                SAMPLES,
                triton.next_power_of_2(channels),
                num_warps=2,
            )
        return grad_sigma, grad_features, None, None, None, None


def composite(
    sigma: torch.Tensor,
    features: torch.Tensor,
    t: torch.Tensor,
    offsets: torch.Tensor,
    step: float,
    stop: float = 1e-4,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `kernels.composite`."""
    return _Composite.apply(sigma, features, t, offsets, step, stop)
