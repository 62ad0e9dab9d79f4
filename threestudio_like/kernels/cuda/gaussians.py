"""Blending of projected Gaussians in Triton: a program a tile, its pixels in step."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from ..reference.gaussians import LEAST, MOST, STOP, TILE, extents


def tile_lists(
    boxes: torch.Tensor, depths: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The Gaussians of all tiles of all pictures, tile by tile in order of depth: their numbers
    (P,) int32 in the flattened (B, N), and where each tile begins (B tiles + 1,) int64.

    Waits for the device once, for the number of pairs.

    Args:
        boxes: (B, N, 4) in pixels, see `reference.gaussians.extents`; depths: (B, N).
    """
    views, count = depths.shape
    tiles_x, tiles_y = triton.cdiv(width, TILE), triton.cdiv(height, TILE)
    order = depths.argsort(dim=1, stable=True)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    there = boxes[..., 1] >= boxes[..., 0]
    low = (boxes[..., ::2] / TILE).floor()
    high = (boxes[..., 1::2] / TILE).floor() + 1
    edge = boxes.new_tensor([tiles_x, tiles_y])
    low, high = (torch.minimum(v.clamp_min(0), edge).long() for v in (low, high))
    size = (high - low).clamp_min(0) * there[..., None]
    each = (size[..., 0] * size[..., 1]).view(-1)
    row = torch.repeat_interleave(torch.arange(len(each), device=boxes.device), each)
    place = torch.arange(len(row), device=boxes.device) - (each.cumsum(0) - each)[row]
    across = size[..., 0].reshape(-1)[row].clamp_min(1)
    x, y = low[..., 0].reshape(-1)[row], low[..., 1].reshape(-1)[row]
    tile = (y + place // across) * tiles_x + x + place % across
    tile += row.div(max(count, 1), rounding_mode="floor") * (tiles_x * tiles_y)
    # Pairs are in order of depth already; a stable sort keeps that within the tiles.
    tile, pair = tile.sort(stable=True)
    gaussians = (order + torch.arange(views, device=order.device)[:, None] * count).view(-1)
    bounds = torch.arange(views * tiles_x * tiles_y + 1, device=boxes.device)
    return gaussians[row[pair]].int().contiguous(), torch.searchsorted(tile, bounds)


@triton.jit
def _tile(out_height, out_width, TILE_SIZE: tl.constexpr):
    """Picture, columns and rows of the pixels of this program's tile, and which are in the
    picture."""
    tiles_x, tiles_y = tl.cdiv(out_width, TILE_SIZE), tl.cdiv(out_height, TILE_SIZE)
    tile = tl.program_id(0)
    view = tile // (tiles_x * tiles_y)
    within = tile % (tiles_x * tiles_y)
    p = tl.arange(0, TILE_SIZE * TILE_SIZE)
    x = (within % tiles_x) * TILE_SIZE + p % TILE_SIZE
    y = (within // tiles_x) * TILE_SIZE + p // TILE_SIZE
    inside = (x < out_width) & (y < out_height)
    return (view * out_height + y).to(tl.int64) * out_width + x, x, y, inside


@triton.jit
def _weights(
    centres,
    conics,
    opacities,
    g,
    n,
    x,
    y,
    clear,
    LEAST_: tl.constexpr,
    MOST_: tl.constexpr,
    STOP_: tl.constexpr,
):
    """Opacity, weight and transmittance behind a Gaussian at the pixels of a tile."""
    dx = x.to(tl.float32) + 0.5 - tl.load(centres + g * 2)
    dy = y.to(tl.float32) + 0.5 - tl.load(centres + g * 2 + 1)
    a, b = tl.load(conics + g * 3), tl.load(conics + g * 3 + 1)
    c = tl.load(conics + g * 3 + 2)
    power = -0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy
    alpha = tl.minimum(tl.load(opacities + n) * tl.exp(power), MOST_)
    alpha = tl.where(alpha >= LEAST_, alpha, 0.0)
    after = clear * (1.0 - alpha)
    alive = after >= STOP_
    return dx, dy, a, b, c, alpha, tl.where(alive, clear * alpha, 0.0), tl.where(alive, after, 0.0)


@triton.jit
def _forward(
    centres,
    conics,
    opacities,
    values,
    gaussians,
    starts,
    out,
    count,
    height,
    width,
    channels,
    LEAST_: tl.constexpr,
    MOST_: tl.constexpr,
    STOP_: tl.constexpr,
    TILE_SIZE: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    pixel, x, y, inside = _tile(height, width, TILE_SIZE)
    d = tl.arange(0, CHANNELS)
    clear = tl.where(inside, 1.0, 0.0)
    total = tl.zeros([TILE_SIZE * TILE_SIZE, CHANNELS], tl.float32)
    opacity = tl.zeros([TILE_SIZE * TILE_SIZE], tl.float32)
    k, end = tl.load(starts + tl.program_id(0)), tl.load(starts + tl.program_id(0) + 1)
    while (k < end) & (tl.max(clear, 0) > 0.0):
        g = tl.load(gaussians + k).to(tl.int64)
        _, _, _, _, _, _, weight, clear = _weights(
            centres, conics, opacities, g, g % count, x, y, clear, LEAST_, MOST_, STOP_
        )
        value = tl.load(values + g * channels + d, mask=d < channels, other=0.0)
        total += weight[:, None] * value[None, :]
        opacity += weight
        k += 1
    row = out + pixel * (channels + 1)
    both = inside[:, None] & (d[None, :] < channels)
    tl.store(row[:, None] + d[None, :], total, mask=both)
    tl.store(row + channels, opacity, mask=inside)


@triton.jit
def _backward(
    centres,
    conics,
    opacities,
    values,
    gaussians,
    starts,
    out,
    upstream,
    grads,
    count,
    height,
    width,
    channels,
    LEAST_: tl.constexpr,
    MOST_: tl.constexpr,
    STOP_: tl.constexpr,
    TILE_SIZE: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Gradients of a row for every pair of a tile and a Gaussian, (P, 6 + D): see the CPU's."""
    pixel, x, y, inside = _tile(height, width, TILE_SIZE)
    d = tl.arange(0, CHANNELS)
    both = inside[:, None] & (d[None, :] < channels)
    row = pixel * (channels + 1)
    given = tl.load(upstream + row[:, None] + d[None, :], mask=both, other=0.0)
    drawn = tl.load(out + row[:, None] + d[None, :], mask=both, other=0.0)
    last = tl.load(upstream + row + channels, mask=inside, other=0.0)
    behind = tl.sum(given * drawn, 1)
    behind += last * tl.load(out + row + channels, mask=inside, other=0.0)
    clear = tl.where(inside, 1.0, 0.0)
    k, end = tl.load(starts + tl.program_id(0)), tl.load(starts + tl.program_id(0) + 1)
    while (k < end) & (tl.max(clear, 0) > 0.0):
        g = tl.load(gaussians + k).to(tl.int64)
        n = g % count
        before = clear
        dx, dy, a, b, c, alpha, weight, clear = _weights(
            centres, conics, opacities, g, n, x, y, clear, LEAST_, MOST_, STOP_
        )
        value = tl.load(values + g * channels + d, mask=d < channels, other=0.0)
        pull = last + tl.sum(given * value[None, :], 1)
        behind -= weight * pull
        on = (before * pull - behind / (1.0 - alpha)) * alpha
        on = tl.where((clear > 0.0) & (alpha < MOST_), on, 0.0)
        sx, sy = tl.sum(on * dx, 0), tl.sum(on * dy, 0)
        mine = grads + k * (6 + channels)
        tl.store(mine, a * sx + b * sy)
        tl.store(mine + 1, b * sx + c * sy)
        tl.store(mine + 2, -0.5 * tl.sum(on * dx * dx, 0))
        tl.store(mine + 3, -tl.sum(on * dx * dy, 0))
        tl.store(mine + 4, -0.5 * tl.sum(on * dy * dy, 0))
        tl.store(mine + 5, tl.sum(on, 0) / tl.load(opacities + n))
        tl.store(mine + 6 + d, tl.sum(weight[:, None] * given, 0), mask=d < channels)
        k += 1


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        centres: torch.Tensor,
        conics: torch.Tensor,
        opacities: torch.Tensor,
        depths: torch.Tensor,
        values: torch.Tensor,
        height: int,
        width: int,
    ) -> torch.Tensor:
        given = [v.detach().contiguous() for v in (centres, conics, opacities, values)]
        views, count, channels = values.shape
        boxes = extents(centres, conics, opacities, depths)
        gaussians, starts = tile_lists(boxes, depths, height, width)
        out = centres.new_empty(views, height, width, channels + 1)
        sizes = (max(count, 1), height, width, channels)
        if len(starts) > 1:
            _forward[(len(starts) - 1,)](
                *given, gaussians, starts, out, *sizes, *_constants(channels)
            )
        ctx.save_for_backward(*given, gaussians, starts, out)
        ctx.sizes = sizes
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        centres, conics, opacities, values, gaussians, starts, out = ctx.saved_tensors
        views, count, channels = values.shape
        grads = centres.new_zeros(len(gaussians), 6 + channels)
        if len(gaussians):
            _backward[(len(starts) - 1,)](
                *(centres, conics, opacities, values, gaussians, starts, out),
                *(upstream.contiguous(), grads),
                *ctx.sizes,
                *_constants(channels),
            )
        # torch adds in a fixed order where deterministic algorithms are asked for.
        total = centres.new_zeros(views * count, 6 + channels)
        total = total.index_add(0, gaussians.long(), grads)
        total = total.view(views, count, 6 + channels)
        each = (total[..., :2], total[..., 2:5], total[..., 5].sum(0))
        return (*each, None, total[..., 6:], None, None)


def _constants(channels: int) -> tuple:
    return (LEAST, MOST, STOP, TILE, triton.next_power_of_2(channels))


def splat(
    centres: torch.Tensor,
    conics: torch.Tensor,
    opacities: torch.Tensor,
    depths: torch.Tensor,
    values: torch.Tensor,
    height: int,
    width: int,
) -> torch.Tensor:
    """See `kernels.splat`."""
    return _Splat.apply(centres, conics, opacities, depths, values, height, width)
