"""The operations on surfaces: rasterise, interpolate, look up, antialias. Four orthogonal functions and two tables.

pixels = rasterize(clip, tri, height, width)
uv = interpolate(corner_uv, tri, pixels)
colour = texture(texels, uv, texture_level(clip, tri, corner_uv, pixels, texels.shape[-1]))
picture = antialias(colour, pixels, clip, edge_table(tri))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from . import pool
from .dispatch import serves_cpu
from .ops import as_array
from .reference import raster


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, clip: torch.Tensor, tri: torch.Tensor, height: int, width: int) -> torch.Tensor:
        from .cpu.rasterize import rasterize_band

        result = np.empty((clip.shape[0], height, width, 4), np.float32)
        points, faces = as_array(clip), as_array(tri.to(torch.int32))
        bands = pool.split(height, 32) if len(points) < pool.thread_count() else [(0, height)]
        pool.run(rasterize_band, [(points[b], faces, result[b], *band) for b in range(len(points)) for band in bands])
        ctx.points, ctx.faces, ctx.result = points, faces, result
        return torch.from_numpy(result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        from .cpu.rasterize import rasterize_backward

        grad = torch.zeros(ctx.points.shape)
        target, upstream = grad.numpy(), grad_out.contiguous().numpy()
        # One view a task: every sum has one owner.
        pool.run(rasterize_backward, [
            (ctx.points[b], ctx.faces, ctx.result[b], upstream[b], target[b]) for b in range(len(target))
        ])  # fmt: skip
        return grad, None, None, None


def rasterize(
    clip: torch.Tensor,  # [V, 4] or [B, V, 4]
    tri: torch.Tensor,  # [F, 3] int32
    height: int,
    width: int,
) -> torch.Tensor:  # [H, W, 4] or [B, H, W, 4]: u, v, z/w, triangle + 1 (0 where nothing is hit)
    """The nearest triangle of every pixel centre, OpenGL convention, row 0 at the top; both sides of a triangle show.

    Triangles that cross the camera plane are cut exactly; what lies outside the near and far planes (z/w outside [-1, 1]) is not drawn.
    Differentiable in `clip` through u, v (weights of corners 0 and 1) and z/w; what is visible at all changes through `antialias`.
    """
    if clip.ndim not in (2, 3) or clip.shape[-1] != 4 or tri.ndim != 2 or tri.shape[1] != 3:
        raise ValueError(
            f"rasterize wants clip [(B,) V, 4] and tri [F, 3], got {list(clip.shape)} and {list(tri.shape)}"
        )
    if not serves_cpu("rasterize", clip):
        return raster.rasterize(clip, tri, height, width)
    out = _Rasterize.apply(clip if clip.ndim == 3 else clip[None], tri, height, width)
    # A view, not an index: its gradient needs no copy.
    return out if clip.ndim == 3 else out.squeeze(0)


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, attributes: torch.Tensor, tri: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        from .cpu import interpolate as cpu

        values, faces, hits = as_array(attributes), as_array(tri.to(torch.int32)), as_array(pixels)
        count, height, width, _ = hits.shape
        # NumPy asks for huge pages and torch does not: a fresh picture of many channels costs more than its computation otherwise.
        result = np.empty((count, height, width, attributes.shape[1]), np.float32)
        bands = pool.split(height, 32) if count < pool.thread_count() else [(0, height)]
        pool.run(cpu.interpolate_band, [
            (values, faces, hits[b], result[b], *band) for b in range(count) for band in bands
        ])  # fmt: skip
        ctx.values, ctx.faces, ctx.hits = values, faces, hits
        return torch.from_numpy(result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        from .cpu import interpolate as cpu

        count, wants = len(ctx.hits), bool(ctx.needs_input_grad[2])
        each = np.zeros((count, *ctx.values.shape), np.float32)
        weights = np.zeros(ctx.hits.shape if wants else (count, 1, 1, 4), np.float32)
        upstream = grad_out.contiguous().numpy()
        # One view a task and the views' sums in order: the same bytes with any number of threads.
        pool.run(cpu.interpolate_backward, [
            (ctx.values, ctx.faces, ctx.hits[b], upstream[b], each[b], weights[b], wants) for b in range(count)
        ])  # fmt: skip
        return (
            torch.from_numpy(each.sum(0) if count > 1 else each[0]),
            None,
            torch.from_numpy(weights) if wants else None,
        )


def interpolate(
    attributes: torch.Tensor,  # [V, C]
    tri: torch.Tensor,  # [F, 3] int32
    pixels: torch.Tensor,  # [H, W, 4] or [B, H, W, 4] from `rasterize`
) -> torch.Tensor:  # [H, W, C] or [B, H, W, C], zero where nothing is hit
    """Perspective-correct vertex attributes at every pixel; differentiable in `attributes` and in u, v of `pixels`."""
    if not serves_cpu("interpolate", attributes, pixels):
        return raster.interpolate(attributes, tri, pixels)
    out = _Interpolate.apply(attributes, tri, pixels if pixels.ndim == 4 else pixels[None])
    return out if pixels.ndim == 4 else out.squeeze(0)


@dataclass(frozen=True)
class EdgeTable:
    """The edges of a mesh: edges (E, 2) and opposite (E, 2) int32, the far corners of an edge's two faces, -1 for none.

    An edge of more than two faces has one row for every two of them.
    """

    edges: torch.Tensor
    opposite: torch.Tensor

    def __len__(self) -> int:
        return len(self.edges)


def edge_table(tri: torch.Tensor) -> EdgeTable:
    """The edges of faces (F, 3) int. Vertices on a texture seam must be one here, or every seam counts as a border."""
    faces = tri.detach().cpu().numpy().astype(np.int64)
    if len(faces) == 0:
        empty = torch.zeros(0, 2, dtype=torch.int32)
        return EdgeTable(empty, empty)
    ends = np.concatenate([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]])
    ends.sort(1)
    corner = faces.T.reshape(-1)
    order = np.argsort(ends[:, 0] * (int(faces.max()) + 1) + ends[:, 1], kind="stable")
    ends, corner = ends[order], corner[order]
    same = (ends[1:] == ends[:-1]).all(1)
    # Position of every half edge among its equals; pairs (0, 1), (2, 3), … share a row.
    start = np.concatenate([[0], np.nonzero(~same)[0] + 1])
    rank = np.arange(len(ends)) - np.repeat(start, np.diff([*start, len(ends)]))
    even = rank % 2 == 0
    follows = np.concatenate([rank[1:] % 2 == 1, [False]])
    opposite = np.stack([corner, np.where(follows, np.roll(corner, -1), -1)], 1)[even]
    return EdgeTable(torch.from_numpy(ends[even].astype(np.int32)), torch.from_numpy(opposite.astype(np.int32)))


def silhouette_pairs(
    clip: torch.Tensor,  # [V, 4]
    table: EdgeTable,
    pixels: torch.Tensor,  # [H, W, 4]
) -> torch.Tensor:  # [N, 3] int64: inside pixel, outside pixel (indices into H * W), edge
    """Neighbouring pixels that a silhouette edge separates, in the order of (direction, position). Not differentiable."""
    if not serves_cpu("antialias", clip, pixels):
        return raster.silhouette_pairs(clip.detach(), table.edges, table.opposite, pixels.detach())
    from .cpu.antialias import silhouette_pairs as search

    height, width, _ = pixels.shape
    points, seen, edges, opposite = as_array(clip), as_array(pixels), as_array(table.edges), as_array(table.opposite)
    best, reach = np.full((2, height, width), -1, np.int32), np.empty((2, height, width), np.float32)
    capacity = 4 * (height + width) + 64
    while True:
        pairs = np.empty((capacity, 3), np.int32)
        count = search(points, edges, opposite, seen, best, reach, pairs)
        if count >= 0:
            return torch.from_numpy(pairs[:count].astype(np.int64))
        capacity *= 4


def antialias(
    colour: torch.Tensor,  # [H, W, C] or [B, H, W, C]
    pixels: torch.Tensor,  # [H, W, 4] or [B, H, W, 4] from `rasterize`
    clip: torch.Tensor,  # [V, 4] or [B, V, 4]
    table: EdgeTable,  # of the faces that were rasterised, seams welded
) -> torch.Tensor:  # as `colour`
    """Blend neighbouring pixels across silhouette edges by where the edge lies between their centres.

    Differentiable in `colour` and in `clip`: this is how the shape of a silhouette gets a gradient. Silhouettes are found by walking
    the edges over the pixels, not by looking at each pixel's triangle, so the gradient is right for triangles smaller than a pixel too.
    Surfaces are opaque; a part thinner than a pixel that covers no centre is not seen.
    """
    if colour.ndim == 4:
        return torch.stack([antialias(*one, table) for one in zip(colour, pixels, clip)])
    if len(table) == 0:
        return colour
    pairs = silhouette_pairs(clip, table, pixels)
    return raster.blend(colour, clip, table.edges, pairs.to(colour.device)) if len(pairs) else colour


def texture(
    texels: torch.Tensor,  # [1, C, Ht, Wt], row 0 at v = 1
    uv: torch.Tensor,  # [..., 2], v upwards
    level: torch.Tensor | None = None,  # [...] mip level, 0 = full resolution
    mode: str = "bilinear",
) -> torch.Tensor:  # [..., C]
    """Texture lookup, clamped at the border, between two mip levels where `level` is given. "bilinear", "nearest" or "bicubic".

    Differentiable in `texels` and, but for "nearest", in `uv`. torch's own sampler serves on every device.
    """
    return raster.texture(texels, uv, level, mode)


@torch.no_grad()
def texture_level(
    clip: torch.Tensor,  # [B, V, 4]
    tri: torch.Tensor,  # [F, 3] int32
    uv: torch.Tensor,  # [V, 2]
    pixels: torch.Tensor,  # [B, H, W, 4] from `rasterize`
    resolution: int,
) -> torch.Tensor:  # [B, H, W]
    """The mip level at which a texel is about as large as a pixel: half the log2 of texels a pixel, triangle by triangle.

    Zero for triangles that cross the camera plane. Not differentiable.
    """
    faces = tri.long()
    height, width = pixels.shape[1:3]
    corner = uv[faces]
    a, b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    texels = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs() * resolution**2
    w = clip[..., 3]
    screen = clip[..., :2] / torch.where(w > 1e-6, w, torch.ones_like(w))[..., None]
    point = screen[:, faces] * torch.tensor([width / 2, height / 2])
    c, d = point[:, :, 1] - point[:, :, 0], point[:, :, 2] - point[:, :, 0]
    area = (c[..., 0] * d[..., 1] - c[..., 1] * d[..., 0]).abs()
    level = 0.5 * (texels.clamp_min(1e-12) / area.clamp_min(1e-6)).log2()
    level = torch.where((w[:, faces] > 1e-6).all(-1), level, torch.zeros_like(level)).clamp(0, math.log2(resolution))
    hit = pixels[..., 3].long() - 1
    return level.gather(1, hit.clamp_min(0).flatten(1)).view(hit.shape) * (hit >= 0)
