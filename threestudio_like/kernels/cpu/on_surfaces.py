"""The Numba kernels on surfaces behind torch: differentiable functions with the reference's
signatures, for float32 on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from .. import pool
from . import antialias as antialias_kernels
from . import as_array
from . import interpolate as interpolate_kernels
from .rasterize import rasterize_backward, rasterize_band


def _draw(
    points: np.ndarray, faces: np.ndarray, height: int, width: int, beyond: np.ndarray
) -> np.ndarray:
    result = np.empty((len(points), height, width, 4), np.float32)
    bands = pool.split(height, 32) if len(points) < pool.thread_count() else [(0, height)]
    pool.run(
        rasterize_band,
        [
            (points[b], faces, result[b], beyond[b], *band)
            for b in range(len(points))
            for band in bands
        ],
    )
    return result


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, clip: torch.Tensor, tri: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        points, faces = as_array(clip), as_array(tri.to(torch.int32))
        result = _draw(points, faces, height, width, np.empty((len(points), 0, 0), np.float32))
        ctx.points, ctx.faces, ctx.result = points, faces, result
        return torch.from_numpy(result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        grad = torch.zeros(ctx.points.shape)
        target, upstream = grad.numpy(), grad_out.contiguous().numpy()
        # One view a task: every sum has one owner.
        pool.run(
            rasterize_backward,
            [
                (ctx.points[b], ctx.faces, ctx.result[b], upstream[b], target[b])
                for b in range(len(target))
            ],
        )
        return grad, None, None, None


def rasterize(clip: torch.Tensor, tri: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """See `kernels.rasterize`; clip (B, V, 4)."""
    return _Rasterize.apply(clip, tri, height, width)


def peel(
    clip: torch.Tensor, tri: torch.Tensor, height: int, width: int, beyond: torch.Tensor
) -> torch.Tensor:
    """What `kernels.rasterize` draws `beyond`; clip (B, V, 4), beyond (B, H, W)."""
    faces = as_array(tri.to(torch.int32))
    return torch.from_numpy(_draw(as_array(clip), faces, height, width, as_array(beyond)))


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, attributes: torch.Tensor, tri: torch.Tensor, pixels: torch.Tensor
    ) -> torch.Tensor:
        values, faces, hits = as_array(attributes), as_array(tri.to(torch.int32)), as_array(pixels)
        count, height, width, _ = hits.shape
        # NumPy asks for huge pages and torch does not: a fresh picture of many channels costs more
        # than its computation otherwise.
        result = np.empty((count, height, width, attributes.shape[1]), np.float32)
        bands = pool.split(height, 32) if count < pool.thread_count() else [(0, height)]
        pool.run(
            interpolate_kernels.interpolate_band,
            [(values, faces, hits[b], result[b], *band) for b in range(count) for band in bands],
        )
        ctx.values, ctx.faces, ctx.hits = values, faces, hits
        return torch.from_numpy(result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        count, wants = len(ctx.hits), bool(ctx.needs_input_grad[2])
        each = np.zeros((count, *ctx.values.shape), np.float32)
        weights = np.zeros(ctx.hits.shape if wants else (count, 1, 1, 4), np.float32)
        upstream = grad_out.contiguous().numpy()
        # One view a task and the views' sums in order: the same bytes with any number of threads.
        pool.run(
            interpolate_kernels.interpolate_backward,
            [
                (ctx.values, ctx.faces, ctx.hits[b], upstream[b], each[b], weights[b], wants)
                for b in range(count)
            ],
        )
        return (
            torch.from_numpy(each.sum(0) if count > 1 else each[0]),
            None,
            torch.from_numpy(weights) if wants else None,
        )


def interpolate(attributes: torch.Tensor, tri: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """See `kernels.interpolate`; pixels (B, H, W, 4)."""
    return _Interpolate.apply(attributes, tri, pixels)


def silhouette_pairs(
    clip: torch.Tensor, edges: torch.Tensor, opposite: torch.Tensor, pixels: torch.Tensor
) -> torch.Tensor:
    """See `kernels.silhouette_pairs`."""
    height, width, _ = pixels.shape
    points, seen, ends, far = as_array(clip), as_array(pixels), as_array(edges), as_array(opposite)
    best, reach = (
        np.full((2, height, width), -1, np.int32),
        np.empty((2, height, width), np.float32),
    )
    capacity = 4 * (height + width) + 64
    while True:
        pairs = np.empty((capacity, 3), np.int32)
        count = antialias_kernels.silhouette_pairs(points, ends, far, seen, best, reach, pairs)
        if count >= 0:
            return torch.from_numpy(pairs[:count].astype(np.int64))
        capacity *= 4
