"""The operations on volumes, each differentiable as its reference says, whichever twin serves.

Every function stands next to a plain-torch function of the same name in `kernels.reference`, which defines it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from . import pool
from .dispatch import serves_cpu
from .reference import grids, volume
from .spec import HashGridSpec

_CHUNK = 4096


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A contiguous NumPy view of a CPU tensor, or a copy where it is not contiguous."""
    return tensor.detach().contiguous().numpy()


class _HashGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, table: torch.Tensor, spec: HashGridSpec) -> torch.Tensor:
        from .cpu import hashgrid as cpu

        points = as_array(x.detach().t())
        flat = as_array(table).reshape(-1).view(np.complex64)
        out = torch.empty(2 * spec.levels, x.shape[0])
        result = out.numpy()
        pool.run(cpu.forward_level, [
            (points, flat[spec.offsets[i] : spec.offsets[i + 1]], *_level(spec, i), result[2 * i : 2 * i + 2])
            for i in range(spec.levels)
        ])  # fmt: skip
        ctx.points, ctx.spec, ctx.table = points, spec, table
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        from .cpu import hashgrid as cpu

        spec: HashGridSpec = ctx.spec
        gradient = grad_out.contiguous().numpy()
        # A parameter that has a gradient buffer keeps it: allocating tens of megabytes anew costs more than the scatter itself.
        kept = ctx.table.grad if ctx.table.is_leaf and ctx.table.grad is not None else None
        grad = torch.empty(ctx.table.shape) if kept is None else kept
        flat = grad.numpy().reshape(-1).view(np.complex64)
        tasks = [
            (ctx.points, gradient[2 * i : 2 * i + 2], *_level(spec, i), flat[spec.offsets[i] : spec.offsets[i + 1]], kept is None)
            for i in range(spec.levels)
        ]  # fmt: skip
        pool.run(cpu.backward_level, tasks)
        return None, grad if kept is None else None, None


def _level(spec: HashGridSpec, level: int) -> tuple:
    dense = spec.dense[level]
    mask = np.uint32(0xFFFFFFFF) if dense else np.uint32(spec.sizes[level] - 1)
    return np.float32(spec.scales[level]), spec.resolutions[level], mask, dense, spec.tiled


def hashgrid(
    x: torch.Tensor,  # [N, 3] in [0, 1]
    table: torch.Tensor,  # [spec.entries, 2]
    spec: HashGridSpec,
) -> torch.Tensor:  # [2 * levels, N]
    """Multi-resolution grid features, channels first (take `.t()` for a Linear layer).

    Differentiable in `table`; in `x` too, then plain torch serves. Raises ValueError on wrong shapes. Where `table` is a leaf with a
    gradient already, the CPU twin adds to that gradient in place.

    Example:
        >>> spec = HashGridSpec(levels=4, log2_size=12)
        >>> table = torch.zeros(spec.entries, 2, requires_grad=True)
        >>> hashgrid(torch.rand(10, 3), table, spec).shape
        torch.Size([8, 10])
    """
    if x.ndim != 2 or x.shape[1] != 3 or table.shape != (spec.entries, 2):
        raise ValueError(
            f"hashgrid wants x [N, 3] and table [{spec.entries}, 2], got {list(x.shape)} and {list(table.shape)}"
        )
    if not x.requires_grad and serves_cpu("hashgrid", x, table):
        return _HashGrid.apply(x, table, spec)
    return grids.hashgrid(x, table, spec)


class _FieldMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, count: int, *layers: torch.Tensor) -> torch.Tensor:
        weights, biases = layers[:count], layers[count:]
        out = features.new_empty(weights[-1].shape[0], features.shape[1])
        for begin in range(0, features.shape[1], _CHUNK):
            out[:, begin : begin + _CHUNK] = _mlp_chunk(features[:, begin : begin + _CHUNK], weights, biases)[-1]
        ctx.save_for_backward(features, *layers)
        ctx.count = count
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        features, *layers = ctx.saved_tensors
        weights, biases = layers[: ctx.count], layers[ctx.count :]
        grad_weights = [torch.zeros_like(w) for w in weights]
        grad_biases = [torch.zeros_like(b) for b in biases]
        grad_features = torch.empty_like(features) if ctx.needs_input_grad[0] else None
        # Hidden activations are computed again chunk by chunk: they stay in the cache and are never kept.
        for begin in range(0, features.shape[1], _CHUNK):
            piece = slice(begin, begin + _CHUNK)
            hidden = _mlp_chunk(features[:, piece], weights, biases)
            grad = grad_out[:, piece]
            for i in range(ctx.count - 1, -1, -1):
                below = features[:, piece] if i == 0 else hidden[i - 1]
                grad_weights[i].addmm_(grad, below.t())
                grad_biases[i] += grad.sum(1)
                if i > 0:
                    grad = (weights[i].t() @ grad).mul_(below > 0)
                elif grad_features is not None:
                    grad_features[:, piece] = weights[0].t() @ grad
        return grad_features, None, *grad_weights, *grad_biases


def _mlp_chunk(x: torch.Tensor, weights: Any, biases: Any) -> list[torch.Tensor]:
    hidden = []
    for i, (weight, bias) in enumerate(zip(weights, biases)):
        x = torch.addmm(bias[:, None], weight, x)
        if i + 1 < len(weights):
            x = x.relu_()
        hidden.append(x)
    return hidden


def field_mlp(
    features: torch.Tensor,  # [C, N]
    weights: list[torch.Tensor],  # [out, in] each
    biases: list[torch.Tensor],  # [out] each
) -> torch.Tensor:  # [O, N]
    """A ReLU perceptron on channels-first features, in cache-sized chunks. Differentiable in all arguments."""
    if not torch.is_grad_enabled() or serves_cpu("field_mlp", features):
        return _FieldMlp.apply(features, len(weights), *weights, *biases)
    return grids.field_mlp(features, weights, biases)


class _Trilinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        from .cpu import trilinear as cpu

        points, values = as_array(x), as_array(grid)
        out = torch.empty(x.shape[0], grid.shape[3])
        result = out.numpy()
        pool.run(cpu.forward_range, [(points, values, result, a, b) for a, b in pool.split(len(points), 2048)])
        ctx.points, ctx.shape = points, grid.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        from .cpu import trilinear as cpu

        grad = torch.empty(ctx.shape)
        target, gradient = grad.numpy(), grad_out.contiguous().numpy()
        pool.run(cpu.backward_slab, [(ctx.points, gradient, target, a, b) for a, b in pool.split(ctx.shape[0])])
        return None, grad


def trilinear(
    x: torch.Tensor,  # [N, 3] in [-1, 1]
    grid: torch.Tensor,  # [D, H, W, C], axes z, y, x
) -> torch.Tensor:  # [N, C]
    """Values of a dense grid over [-1, 1]^3. Differentiable in `grid`; in `x` too, then plain torch serves."""
    if x.ndim != 2 or x.shape[1] != 3 or grid.ndim != 4:
        raise ValueError(f"trilinear wants x [N, 3] and grid [D, H, W, C], got {list(x.shape)} and {list(grid.shape)}")
    if not x.requires_grad and serves_cpu("trilinear", x, grid):
        return _Trilinear.apply(x, grid)
    return grids.trilinear(x, grid)


class _Triplane(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, axes: tuple[tuple[int, int], ...], *levels: torch.Tensor) -> torch.Tensor:
        from .cpu import triplane as cpu

        points, values = as_array(x), [as_array(level) for level in levels]
        which, share = np.array(axes, np.int64), np.float32(1 / len(axes))
        out = torch.empty(*x.shape[:2], levels[0].shape[-1])
        result = out.numpy()

        def task(batch: int, begin: int, end: int) -> None:
            for number, level in enumerate(values):
                cpu.forward_range(points[batch], level[batch], which, share, number == 0, result[batch], begin, end)

        parts = pool.split(x.shape[1], 2048)
        pool.run(task, [(b, begin, end) for b in range(len(points)) for begin, end in parts])
        ctx.points, ctx.axes, ctx.share, ctx.shapes = points, axes, share, [level.shape for level in levels]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        from .cpu import triplane as cpu

        grads = [torch.empty(shape) for shape in ctx.shapes]
        targets, gradient = [g.numpy() for g in grads], grad_out.contiguous().numpy()
        pool.run(cpu.backward_plane, [
            (ctx.points[b], gradient[b], one, two, ctx.share, target[b, k])
            for target in targets for b in range(len(ctx.points)) for k, (one, two) in enumerate(ctx.axes)
        ])  # fmt: skip
        return None, None, *grads


def triplane(
    x: torch.Tensor,  # [B, N, 3] in [-1, 1]
    levels: list[torch.Tensor],  # [B, P, R, R, C] each
    axes: tuple[tuple[int, int], ...],
) -> torch.Tensor:  # [B, N, C]
    """Features of points on planes: each level read bilinearly, zero outside, summed over the levels, the mean over the planes.

    Plane p sees the coordinates `axes[p]`: the first one runs along its columns, the second one along its rows. Differentiable in the
    levels; in `x` too, then plain torch serves. Raises ValueError on wrong shapes.
    """
    good = x.ndim == 3 and x.shape[2] == 3 and bool(levels)
    if not good or any(v.ndim != 5 or v.shape[:2] != (len(x), len(axes)) for v in levels):
        raise ValueError(
            f"triplane wants x [B, N, 3] and levels [B, {len(axes)}, R, R, C], got {list(x.shape)} and {[list(v.shape) for v in levels]}"
        )
    if not x.requires_grad and serves_cpu("triplane", x, *levels):
        return _Triplane.apply(x, axes, *levels)
    return grids.triplane(x, levels, axes)


class _GridVariation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grid: torch.Tensor, first: float, others: float) -> torch.Tensor:
        from .cpu.variation import variation_slab

        values = as_array(grid)
        grad = torch.empty(grid.shape)
        slabs = pool.split(grid.shape[0])
        sums = np.zeros((grid.shape[0], 2))
        target = grad.numpy()
        one, two = np.float32(first), np.float32(others)
        # One slice a row of sums: the total does not depend on the number of threads.
        pool.run(
            lambda low, high: [variation_slab(values, one, two, target, sums, z, z, z + 1) for z in range(low, high)],
            slabs,
        )
        ctx.grad = grad
        return torch.tensor(first * sums[:, 0].sum() + others * sums[:, 1].sum(), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        return ctx.grad * grad_out, None, None


def grid_variation(
    grid: torch.Tensor,  # [D, H, W, C]
    first: float,
    others: float,
) -> torch.Tensor:  # []
    """first * V(channel 0) + others * V(the rest), V the mean squared difference of neighbours, summed over the axes.

    Differentiable in `grid`.
    """
    if serves_cpu("grid_variation", grid):
        return _GridVariation.apply(grid, first, others)
    return grids.grid_variation(grid, first, others)


def _blocks(occupied: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The grid as bytes and the same in blocks of up to 8^3 cells, made once for every state of the tensor."""
    known = getattr(occupied, "_march_blocks", None)
    if known is not None and known[0] == occupied._version:
        return known[1], known[2]
    cells = as_array(occupied).view(np.uint8)
    size = cells.shape[0]
    ratio = next(r for r in (8, 4, 2, 1) if size % r == 0)
    blocks = size // ratio
    coarse = cells.reshape(size, size, blocks, ratio).max(3).reshape(size, blocks, ratio, blocks).max(2)
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
    """Samples of rays through [-1, 1]^3 that lie in occupied cells, packed ray by ray. Not differentiable."""
    if not serves_cpu("march", origins, directions, jitter):
        return volume.march(origins, directions, occupied, step, jitter)
    from .cpu import volume as cpu

    cells, coarse = _blocks(occupied)
    o, d, j = as_array(origins), as_array(directions), as_array(jitter)
    counts = np.zeros(len(o), np.int64)
    longest = math.ceil(2 * math.sqrt(3.0) / step) + 2

    def chunk(begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        capacity = max(1024, (end - begin) * longest // 4)
        while True:
            t, ray = np.empty(capacity, np.float32), np.empty(capacity, np.int64)
            written = cpu.march_range(o, d, cells, coarse, np.float32(step), j, begin, end, t, ray, counts)
            if written >= 0:
                return t[:written], ray[:written]
            capacity *= 4

    pieces = pool.run(chunk, pool.split(len(o), 64)) if len(o) else []
    offsets = torch.zeros(len(o) + 1, dtype=torch.long)
    offsets[1:] = torch.from_numpy(counts).cumsum(0)
    t = torch.from_numpy(np.concatenate([p[0] for p in pieces])) if pieces else torch.zeros(0)
    ray = torch.from_numpy(np.concatenate([p[1] for p in pieces])) if pieces else torch.zeros(0, dtype=torch.long)
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
        from .cpu import volume as cpu

        # The exponential in torch: pip's Numba has no vectorised one.
        alpha = as_array(-torch.expm1(sigma.detach() * -step))
        values, distance, starts = as_array(features), as_array(t), as_array(offsets)
        rays = len(starts) - 1
        out, weights = torch.empty(rays, features.shape[1] + 2), torch.empty(sigma.shape[0])
        o, w = out.numpy(), weights.numpy()
        limit = np.float32(stop)
        pool.run(
            cpu.composite_forward,
            [(alpha, values, distance, starts, limit, a, b, o, w) for a, b in pool.split(rays, 256)],
        )
        ctx.kept = (alpha, values, distance, starts, w, np.float32(step), limit)
        ctx.set_materialize_grads(False)
        return out, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor | None, grad_weights: torch.Tensor | None) -> Any:
        from .cpu import volume as cpu

        alpha, values, distance, starts, weights, step, limit = ctx.kept
        rays = len(starts) - 1
        go = np.zeros((rays, values.shape[1] + 2), np.float32) if grad_out is None else grad_out.contiguous().numpy()
        gw = weights if grad_weights is None else grad_weights.contiguous().numpy()
        grad_sigma, grad_features = torch.empty(len(alpha)), torch.empty(values.shape)
        gs, gf = grad_sigma.numpy(), grad_features.numpy()
        has = grad_weights is not None
        pool.run(cpu.composite_backward, [
            (alpha, values, distance, starts, weights, go, gw, has, step, limit, a, b, gs, gf) for a, b in pool.split(rays, 256)
        ])  # fmt: skip
        return grad_sigma, grad_features, None, None, None, None


def composite(
    sigma: torch.Tensor,  # [S]
    features: torch.Tensor,  # [S, C]
    t: torch.Tensor,  # [S]
    offsets: torch.Tensor,  # [R + 1] int64
    step: float,
    stop: float = 1e-4,
) -> tuple[torch.Tensor, torch.Tensor]:  # [R, C + 2] features, opacity, depth; weights [S]
    """Emission-absorption compositing of packed samples; differentiable in `sigma` and `features`.

    A ray ends where its transmittance falls under `stop`. Depth is the expected distance, not divided by the opacity.
    """
    if serves_cpu("composite", sigma, features, t):
        return _Composite.apply(sigma, features, t, offsets, step, stop)
    return volume.composite(sigma, features, t, offsets, step, stop)
