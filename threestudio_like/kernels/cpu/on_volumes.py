"""The Numba kernels on volumes behind torch: differentiable functions with the reference's
signatures, for float32 on the CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from .. import pool
from ..perceptron import ChunkedPerceptron, layers_in_turn
from ..spec import HashGridSpec
from . import as_array
from . import hashgrid as grid_kernels
from . import trilinear as trilinear_kernels
from . import triplane as triplane_kernels
from . import volume as volume_kernels
from .variation import variation_slab

_CHUNK = 4096


class _HashGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, table: torch.Tensor, spec: HashGridSpec) -> torch.Tensor:
        points = as_array(x.detach().t())
        flat = as_array(table).reshape(-1).view(np.complex64)
        out = torch.empty(2 * spec.levels, x.shape[0])
        result = out.numpy()
        pool.run(
            grid_kernels.forward_level,
            [
                (
                    points,
                    flat[spec.offsets[i] : spec.offsets[i + 1]],
                    *_level(spec, i),
                    result[2 * i : 2 * i + 2],
                )
                for i in range(spec.levels)
            ],
        )
        ctx.points, ctx.spec, ctx.table = points, spec, table
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        spec: HashGridSpec = ctx.spec
        gradient = grad_out.contiguous().numpy()
        # A parameter that has a gradient buffer keeps it: allocating tens of megabytes anew costs
        # more than the scatter itself.
        kept = ctx.table.grad if ctx.table.is_leaf and ctx.table.grad is not None else None
        grad = torch.empty(ctx.table.shape) if kept is None else kept
        flat = grad.numpy().reshape(-1).view(np.complex64)
        tasks = [
            (
                ctx.points,
                gradient[2 * i : 2 * i + 2],
                *_level(spec, i),
                flat[spec.offsets[i] : spec.offsets[i + 1]],
                kept is None,
            )
            for i in range(spec.levels)
        ]
        pool.run(grid_kernels.backward_level, tasks)
        return None, grad if kept is None else None, None


def _level(spec: HashGridSpec, level: int) -> tuple:
    dense = spec.dense[level]
    mask = np.uint32(0xFFFFFFFF) if dense else np.uint32(spec.sizes[level] - 1)
    return np.float32(spec.scales[level]), spec.resolutions[level], mask, dense, spec.tiled


def hashgrid(x: torch.Tensor, table: torch.Tensor, spec: HashGridSpec) -> torch.Tensor:
    """See `kernels.hashgrid`; a gradient that `table` has is added to in place."""
    return _HashGrid.apply(x, table, spec)


def field_mlp(
    features: torch.Tensor, weights: list[torch.Tensor], biases: list[torch.Tensor]
) -> torch.Tensor:
    """See `kernels.field_mlp`; in chunks whose hidden values stay in the cache."""
    return ChunkedPerceptron.apply(
        features, len(weights), layers_in_turn, _CHUNK, *weights, *biases
    )


class _Trilinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        points, values = as_array(x), as_array(grid)
        out = torch.empty(x.shape[0], grid.shape[3])
        result = out.numpy()
        pool.run(
            trilinear_kernels.forward_range,
            [(points, values, result, a, b) for a, b in pool.split(len(points), 2048)],
        )
        ctx.points, ctx.shape = points, grid.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        grad = torch.empty(ctx.shape)
        target, gradient = grad.numpy(), grad_out.contiguous().numpy()
        pool.run(
            trilinear_kernels.backward_slab,
            [(ctx.points, gradient, target, a, b) for a, b in pool.split(ctx.shape[0])],
        )
        return None, grad


def trilinear(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """See `kernels.trilinear`."""
    return _Trilinear.apply(x, grid)


class _Triplane(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, axes: tuple[tuple[int, int], ...], *levels: torch.Tensor
    ) -> torch.Tensor:
        points, values = as_array(x), [as_array(level) for level in levels]
        which, share = np.array(axes, np.int64), np.float32(1 / len(axes))
        out = torch.empty(*x.shape[:2], levels[0].shape[-1])
        result = out.numpy()

        def task(batch: int, begin: int, end: int) -> None:
            for number, level in enumerate(values):
                triplane_kernels.forward_range(
                    points[batch],
                    level[batch],
                    which,
                    share,
                    number == 0,
                    result[batch],
                    begin,
                    end,
                )

        parts = pool.split(x.shape[1], 2048)
        pool.run(task, [(b, begin, end) for b in range(len(points)) for begin, end in parts])
        ctx.points, ctx.axes, ctx.share, ctx.shapes = (
            points,
            axes,
            share,
            [level.shape for level in levels],
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        grads = [torch.empty(shape) for shape in ctx.shapes]
        targets, gradient = [g.numpy() for g in grads], grad_out.contiguous().numpy()
        pool.run(
            triplane_kernels.backward_plane,
            [
                (ctx.points[b], gradient[b], one, two, ctx.share, target[b, k])
                for target in targets
                for b in range(len(ctx.points))
                for k, (one, two) in enumerate(ctx.axes)
            ],
        )
        return None, None, *grads


def triplane(
    x: torch.Tensor, levels: list[torch.Tensor], axes: tuple[tuple[int, int], ...]
) -> torch.Tensor:
    """See `kernels.triplane`."""
    return _Triplane.apply(x, axes, *levels)


class _GridVariation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grid: torch.Tensor, first: float, others: float) -> torch.Tensor:
        values = as_array(grid)
        grad = torch.empty(grid.shape)
        slabs = pool.split(grid.shape[0])
        sums = np.zeros((grid.shape[0], 2))
        target = grad.numpy()
        one, two = np.float32(first), np.float32(others)
        # One slice a row of sums: the total does not depend on the number of threads.
        pool.run(
            lambda low, high: [
                variation_slab(values, one, two, target, sums, z, z, z + 1)
                for z in range(low, high)
            ],
            slabs,
        )
        ctx.grad = grad
        return torch.tensor(
            first * sums[:, 0].sum() + others * sums[:, 1].sum(), dtype=torch.float32
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        return ctx.grad * grad_out, None, None


def grid_variation(grid: torch.Tensor, first: float, others: float) -> torch.Tensor:
    """See `kernels.grid_variation`."""
    return _GridVariation.apply(grid, first, others)


def _blocks(occupied: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The grid as bytes and the same in blocks of up to 8^3 cells, made once for every state of the
    tensor."""
    known = getattr(occupied, "_march_blocks", None)
    if known is not None and known[0] == occupied._version:
        return known[1], known[2]
    cells = as_array(occupied).view(np.uint8)
    size = cells.shape[0]
    ratio = next(r for r in (8, 4, 2, 1) if size % r == 0)
    blocks = size // ratio
    coarse = (
        cells.reshape(size, size, blocks, ratio).max(3).reshape(size, blocks, ratio, blocks).max(2)
    )
    coarse = np.ascontiguousarray(coarse.reshape(blocks, ratio, blocks, blocks).max(1))
    occupied._march_blocks = (occupied._version, cells, coarse)  # type: ignore[attr-defined]
    return cells, coarse


def march(
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3] unit
    occupied: torch.Tensor,  # [G, G, G] bool, axes z, y, x
    step: float,
    jitter: torch.Tensor,  # [R] in [0, 1)
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # t [S], ray [S] int64, offsets [R + 1] int64
    """See `kernels.march`."""
    cells, coarse = _blocks(occupied)
    o, d, j = as_array(origins), as_array(directions), as_array(jitter)
    counts = np.zeros(len(o), np.int64)
    longest = math.ceil(2 * math.sqrt(3.0) / step) + 2

    def chunk(begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        capacity = max(1024, (end - begin) * longest // 4)
        while True:
            t, ray = np.empty(capacity, np.float32), np.empty(capacity, np.int64)
            written = volume_kernels.march_range(
                o, d, cells, coarse, np.float32(step), j, begin, end, t, ray, counts
            )
            if written >= 0:
                return t[:written], ray[:written]
            capacity *= 4

    pieces = pool.run(chunk, pool.split(len(o), 64)) if len(o) else []
    offsets = torch.zeros(len(o) + 1, dtype=torch.long)
    offsets[1:] = torch.from_numpy(counts).cumsum(0)
    t = torch.from_numpy(np.concatenate([p[0] for p in pieces])) if pieces else torch.zeros(0)
    ray = (
        torch.from_numpy(np.concatenate([p[1] for p in pieces]))
        if pieces
        else torch.zeros(0, dtype=torch.long)
    )
    return t, ray, offsets


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
        # The exponential in torch: pip's Numba has no vectorised one.
        alpha = as_array(-torch.expm1(sigma.detach() * -step))
        values, distance, starts = as_array(features), as_array(t), as_array(offsets)
        rays = len(starts) - 1
        out, weights = torch.empty(rays, features.shape[1] + 2), torch.empty(sigma.shape[0])
        o, w = out.numpy(), weights.numpy()
        limit = np.float32(stop)
        pool.run(
            volume_kernels.composite_forward,
            [
                (alpha, values, distance, starts, limit, a, b, o, w)
                for a, b in pool.split(rays, 256)
            ],
        )
        ctx.kept = (alpha, values, distance, starts, w, np.float32(step), limit)
        ctx.set_materialize_grads(False)
        return out, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor | None, grad_weights: torch.Tensor | None) -> Any:
        alpha, values, distance, starts, weights, step, limit = ctx.kept
        rays = len(starts) - 1
        go = (
            np.zeros((rays, values.shape[1] + 2), np.float32)
            if grad_out is None
            else grad_out.contiguous().numpy()
        )
        gw = weights if grad_weights is None else grad_weights.contiguous().numpy()
        grad_sigma, grad_features = torch.empty(len(alpha)), torch.empty(values.shape)
        gs, gf = grad_sigma.numpy(), grad_features.numpy()
        has = grad_weights is not None
        pool.run(
            volume_kernels.composite_backward,
            [
                (alpha, values, distance, starts, weights, go, gw, has, step, limit, a, b, gs, gf)
                for a, b in pool.split(rays, 256)
            ],
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
