"""Reading dense grids and feature planes, and a grid's total variation, in Triton."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from .sums import Accumulator, add_to, blocks

BLOCK = 64
CELLS = 512


@triton.jit
def _between(value, size):
    """Lower grid point and the share of the upper one of a coordinate in [-1, 1], clamped to the
    grid's outermost points."""
    place = tl.minimum(tl.maximum((value + 1.0) * 0.5 * (size - 1), 0.0), (size - 1) * 1.0)
    low = tl.minimum(place.to(tl.int32), size - 2)
    return low, place - low.to(tl.float32)


@triton.jit
def _trilinear(
    x,
    grid,
    out,
    unit,
    count,
    depth,
    height,
    width,
    channels,
    BACKWARD: tl.constexpr,
    EXACT: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Forward: grid -> out. Backward: the same walk the other way, out's gradient -> grid's."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    ix, fx = _between(tl.load(x + n * 3, mask=inside, other=0.0), width)
    iy, fy = _between(tl.load(x + n * 3 + 1, mask=inside, other=0.0), height)
    iz, fz = _between(tl.load(x + n * 3 + 2, mask=inside, other=0.0), depth)
    c = tl.arange(0, CHANNELS)
    both = inside[:, None] & (c[None, :] < channels)
    rows = n.to(tl.int64)[:, None] * channels + c[None, :]
    if BACKWARD:
        value = tl.load(out + rows, mask=both, other=0.0)
    else:
        value = tl.zeros([BLOCK, CHANNELS], tl.float32)
    for corner in tl.static_range(8):
        i, j, k = corner & 1, (corner >> 1) & 1, corner >> 2
        weight = (fx if i else 1.0 - fx) * (fy if j else 1.0 - fy) * (fz if k else 1.0 - fz)
        cell = ((iz + k) * height + iy + j) * width + ix + i
        place = grid + cell.to(tl.int64)[:, None] * channels + c[None, :]
        if BACKWARD:
            add_to(place, weight[:, None] * value, unit, both, EXACT)
        else:
            value += weight[:, None] * tl.load(place, mask=both, other=0.0)
    if not BACKWARD:
        tl.store(out + rows, value, mask=both)


class _Trilinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        points, values, channels = (
            x.detach().contiguous(),
            grid.detach().contiguous(),
            grid.shape[3],
        )
        out = grid.new_empty(len(x), channels)
        unit = grid.new_empty(1)
        if len(x):
            _trilinear[(blocks(len(x), BLOCK),)](
                points,
                values,
                out,
                unit,
                len(x),
                *grid.shape,
                False,
                False,
                BLOCK,
                triton.next_power_of_2(channels),
            )
        ctx.points, ctx.shape = points, grid.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        count = len(ctx.points)
        if not count:
            return None, upstream.new_zeros(ctx.shape)
        upstream = upstream.contiguous()
        sums = Accumulator(ctx.shape, upstream, upstream.abs().amax(), 8 * count)
        _trilinear[(blocks(count, BLOCK),)](
            ctx.points,
            sums.buffer,
            upstream,
            sums.unit,
            count,
            *ctx.shape,
            True,
            sums.exact,
            BLOCK,
            triton.next_power_of_2(ctx.shape[3]),
        )
        return None, sums.result()


def trilinear(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """See `kernels.trilinear`."""
    return _Trilinear.apply(x, grid)


@triton.jit
def _texel(value, size):
    """Lower texel of a coordinate in [-1, 1] whose texels' centres lie half a texel inside; shares
    of it and the next, 0 outside."""
    place = tl.minimum(tl.maximum(((value + 1.0) * size - 1.0) * 0.5, -2.0), size + 1.0)
    low = tl.floor(place).to(tl.int32)
    high_share = place - low.to(tl.float32)
    low_share = tl.where((low >= 0) & (low < size), 1.0 - high_share, 0.0)
    high_share = tl.where((low >= -1) & (low + 1 < size), high_share, 0.0)
    return low, low_share, high_share


@triton.jit
def _planes(
    x,
    planes,
    out,
    unit,
    axes,
    count,
    planes_count,
    size,
    channels,
    share,
    FIRST: tl.constexpr,
    BACKWARD: tl.constexpr,
    EXACT: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """One level: share * the planes' values of points, added to `out` unless FIRST; backward as in
    `_trilinear`."""
    batch = tl.program_id(1)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    c = tl.arange(0, CHANNELS)
    both = inside[:, None] & (c[None, :] < channels)
    point = (batch.to(tl.int64) * count + n) * 3
    rows = (batch.to(tl.int64) * count + n)[:, None] * channels + c[None, :]
    if BACKWARD:
        value = tl.load(out + rows, mask=both, other=0.0) * share
    else:
        value = tl.zeros([BLOCK, CHANNELS], tl.float32)
    for plane in range(planes_count):
        one, two = tl.load(axes + plane * 2), tl.load(axes + plane * 2 + 1)
        ix, gx, fx = _texel(tl.load(x + point + one, mask=inside, other=0.0), size)
        iy, gy, fy = _texel(tl.load(x + point + two, mask=inside, other=0.0), size)
        for corner in tl.static_range(4):
            i, j = corner & 1, corner >> 1
            weight = (fx if i else gx) * (fy if j else gy)
            column, row = (
                tl.minimum(tl.maximum(ix + i, 0), size - 1),
                tl.minimum(tl.maximum(iy + j, 0), size - 1),
            )
            texel = ((batch * planes_count + plane).to(tl.int64) * size + row) * size + column
            place = planes + texel[:, None] * channels + c[None, :]
            if BACKWARD:
                add_to(place, weight[:, None] * value, unit, both, EXACT)
            else:
                value += weight[:, None] * tl.load(place, mask=both, other=0.0)
    if not BACKWARD:
        value *= share
        if not FIRST:
            value += tl.load(out + rows, mask=both, other=0.0)
        tl.store(out + rows, value, mask=both)


class _Triplane(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, axes: tuple[tuple[int, int], ...], *levels: torch.Tensor
    ) -> torch.Tensor:
        points, channels = x.detach().contiguous(), levels[0].shape[-1]
        batch, count = points.shape[:2]
        which = torch.tensor(axes, dtype=torch.int32, device=x.device)
        out, unit = x.new_empty(batch, count, channels), x.new_empty(1)
        for number, level in enumerate(levels if batch * count else ()):
            _planes[(blocks(count, BLOCK), batch)](
                points,
                level.detach().contiguous(),
                out,
                unit,
                which,
                count,
                len(axes),
                level.shape[2],
                channels,
                1 / len(axes),
                number == 0,
                False,
                False,
                BLOCK,
                triton.next_power_of_2(channels),
            )
        ctx.points, ctx.which, ctx.shapes = points, which, [level.shape for level in levels]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        batch, count = ctx.points.shape[:2]
        if not batch * count:
            return None, None, *(upstream.new_zeros(shape) for shape in ctx.shapes)
        upstream, grads = upstream.contiguous(), []
        largest = upstream.abs().amax()
        for shape in ctx.shapes:
            sums = Accumulator(shape, upstream, largest, 4 * count)
            _planes[(blocks(count, BLOCK), batch)](
                ctx.points,
                sums.buffer,
                upstream,
                sums.unit,
                ctx.which,
                count,
                shape[1],
                shape[2],
                shape[4],
                1 / shape[1],
                True,
                True,
                sums.exact,
                BLOCK,
                triton.next_power_of_2(shape[4]),
            )
            grads.append(sums.result())
        return None, None, *grads


def triplane(
    x: torch.Tensor, levels: list[torch.Tensor], axes: tuple[tuple[int, int], ...]
) -> torch.Tensor:
    """See `kernels.triplane`."""
    return _Triplane.apply(x, axes, *levels)


@triton.jit
def _step(grid, n, inside, value, place, size, stride):
    """Differences to the next and from the previous point along an axis, zero at its ends."""
    after = tl.load(grid + n + stride, mask=inside & (place + 1 < size), other=0.0) - value
    before = value - tl.load(grid + n - stride, mask=inside & (place > 0), other=0.0)
    return tl.where(place + 1 < size, after, 0.0), tl.where(place > 0, before, 0.0)


@triton.jit
def _variation(
    grid,
    grad,
    sums,
    depth,
    height,
    width,
    channels,
    scale_z,
    scale_y,
    scale_x,
    first_weight,
    other_weight,
    count,
    BLOCK: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    value = tl.load(grid + n, mask=inside, other=0.0)
    channel, x = n % channels, (n // channels) % width
    y, z = (n // (channels * width)) % height, n // (channels * width * height)
    az, bz = _step(grid, n, inside, value, z, depth, height * width * channels)
    ay, by = _step(grid, n, inside, value, y, height, width * channels)
    ax, bx = _step(grid, n, inside, value, x, width, channels)
    weight = tl.where(channel == 0, first_weight, other_weight)
    slope = (bz - az) * scale_z + (by - ay) * scale_y + (bx - ax) * scale_x
    tl.store(grad + n, 2.0 * weight * slope, mask=inside)
    square = tl.where(
        inside, weight * (az * az * scale_z + ay * ay * scale_y + ax * ax * scale_x), 0.0
    )
    tl.store(sums + tl.program_id(0), tl.sum(square, 0))


class _GridVariation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grid: torch.Tensor, first: float, others: float) -> torch.Tensor:
        values = grid.detach().contiguous()
        depth, height, width, channels = grid.shape
        programs = blocks(values.numel(), CELLS)
        grad, sums = torch.empty_like(values), values.new_empty(programs)
        _variation[(programs,)](
            values,
            grad,
            sums,
            depth,
            height,
            width,
            channels,
            1 / (max(depth - 1, 1) * height * width),
            1 / (depth * max(height - 1, 1) * width),
            1 / (depth * height * max(width - 1, 1)),
            float(first),
            float(others) / max(channels - 1, 1),
            values.numel(),
            CELLS,
        )
        ctx.grad = grad
        return sums.double().sum().float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        return ctx.grad * upstream, None, None


def grid_variation(grid: torch.Tensor, first: float, others: float) -> torch.Tensor:
    """See `kernels.grid_variation`."""
    return _GridVariation.apply(grid, first, others)
