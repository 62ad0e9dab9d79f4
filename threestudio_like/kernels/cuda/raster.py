"""The z-buffer rasteriser in Triton.

A pixel keeps the smallest of packed keys, depth above triangle: the minimum is the same in any
order, so pictures are the same bytes every time. Triangles of few pixels take one program each;
larger ones are listed and shared by all programs of a second launch. Everything is computed in
float64, and the pixels of a triangle are those of the rule of `reference.edges`: no seams between
neighbours.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from .edges import centre, corner, planes, products, side
from .sums import Accumulator, add_to, blocks

BLOCK = 64
SMALL = 1024
"""Candidate pixels up to which one program draws a triangle."""
SHARED = 256
"""Programs that share the large triangles of a picture."""
NOTHING = (1 << 63) - 1


@triton.jit
def _span(p0, p1, p2, size):
    """Pixels from the first to the one after the last that normalised coordinates (growing with the
    pixel) may cover."""
    low, high = tl.minimum(p0, tl.minimum(p1, p2)), tl.maximum(p0, tl.maximum(p1, p2))
    half = size * 0.5
    # Far outside the picture: within the range of integers.
    begin = tl.maximum(tl.minimum((low + 1.0) * half - 0.5, size * 1.0), 0.0)
    end = tl.maximum(tl.minimum((high + 1.0) * half + 1.5, size * 1.0), 0.0)
    return begin.to(tl.int32), tl.minimum(end.to(tl.int32) + 1, size)


@triton.jit
def _box(x0, y0, w0, x1, y1, w1, x2, y2, w2, height, width):
    """Columns and rows that a triangle may cover; the whole picture if it crosses the camera plane,
    nothing if it is behind."""
    front = (w0 > 1e-6) & (w1 > 1e-6) & (w2 > 1e-6)
    behind = (w0 <= 0) & (w1 <= 0) & (w2 <= 0)
    s0, s1, s2 = tl.where(front, w0, 1.0), tl.where(front, w1, 1.0), tl.where(front, w2, 1.0)
    left, right = _span(x0 / s0, x1 / s1, x2 / s2, width)
    top, bottom = _span(-y0 / s0, -y1 / s1, -y2 / s2, height)
    left, top = tl.where(front, left, 0), tl.where(front, top, 0)
    right, bottom = tl.where(front, right, width), tl.where(front, bottom, height)
    return left, tl.where(behind, left, right), top, bottom


@triton.jit
def _draw(clip, tri, keys, f, first, stride, chunks, height, width, BLOCK: tl.constexpr):
    """Put one triangle's keys into the picture: chunks `first`, `first + stride`, … of its box, at
    most `chunks` in all."""
    i, j, k = tl.load(tri + f * 3), tl.load(tri + f * 3 + 1), tl.load(tri + f * 3 + 2)
    x0, y0, z0, w0 = corner(clip, i, True)
    x1, y1, z1, w1 = corner(clip, j, True)
    x2, y2, z2, w2 = corner(clip, k, True)
    left, right, top, bottom = _box(x0, y0, w0, x1, y1, w1, x2, y2, w2, height, width)
    a0, b0, c0, a1, b1, c1, a2, b2, c2, det = planes(x0, y0, w0, x1, y1, w1, x2, y2, w2)
    columns = tl.maximum(right - left, 0)
    count = columns * tl.maximum(bottom - top, 0)
    for begin in range(first * BLOCK, tl.minimum(count, chunks * BLOCK), stride * BLOCK):
        n = begin + tl.arange(0, BLOCK)
        row, col = top + n // tl.maximum(columns, 1), left + n % tl.maximum(columns, 1)
        x, y = centre(row, col, height, width)
        p0, m0, p1, m1, p2, m2 = products(x0, y0, w0, x1, y1, w1, x2, y2, w2, x, y, height, width)
        turn = side(p0, m0, a0, b0)
        inside = (n < count) & (turn != 0)
        inside = inside & (side(p1, m1, a1, b1) == turn) & (side(p2, m2, a2, b2) == turn)
        e0, e1, e2 = (p0 - m0) * turn, (p1 - m1) * turn, (p2 - m2) * turn
        below = e0 * w0 + e1 * w1 + e2 * w2
        inside = inside & (below > 0)
        z = ((e0 * z0 + e1 * z1 + e2 * z2) / tl.where(inside, below, 1.0)).to(tl.float32)
        hit = inside & (z >= -1) & (z <= 1)
        bits = z.to(tl.int32, bitcast=True)
        # Bits of floating-point numbers in the order of the numbers, also of negative ones.
        ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64)
        tl.atomic_min(
            keys + row * width + col, (ordered << 32) | f.to(tl.int64), mask=hit, sem="relaxed"
        )


@triton.jit
def _draw_small(
    clip,
    tri,
    keys,
    listed,
    faces,
    vertices,
    height,
    width,
    SMALL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    f, view = tl.program_id(0), tl.program_id(1)
    here, mine = clip + view.to(tl.int64) * vertices * 4, listed + view.to(tl.int64) * (faces + 1)
    i, j, k = tl.load(tri + f * 3), tl.load(tri + f * 3 + 1), tl.load(tri + f * 3 + 2)
    x0, y0, z0, w0 = corner(here, i, True)
    x1, y1, z1, w1 = corner(here, j, True)
    x2, y2, z2, w2 = corner(here, k, True)
    left, right, top, bottom = _box(x0, y0, w0, x1, y1, w1, x2, y2, w2, height, width)
    if tl.maximum(right - left, 0) * tl.maximum(bottom - top, 0) > SMALL:
        tl.store(mine + 1 + tl.atomic_add(mine, 1, sem="relaxed"), f)
    else:
        _draw(
            here,
            tri,
            keys + view.to(tl.int64) * height * width,
            f,
            0,
            1,
            SMALL // BLOCK + 1,
            height,
            width,
            BLOCK,
        )


@triton.jit
def _draw_large(
    clip,
    tri,
    keys,
    listed,
    faces,
    vertices,
    height,
    width,
    SHARED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    first, view = tl.program_id(0), tl.program_id(1)
    here, mine = clip + view.to(tl.int64) * vertices * 4, listed + view.to(tl.int64) * (faces + 1)
    for n in range(0, tl.load(mine)):
        f = tl.load(mine + 1 + n)
        everything = (height * width + BLOCK - 1) // BLOCK
        _draw(
            here,
            tri,
            keys + view.to(tl.int64) * height * width,
            f,
            first,
            SHARED,
            everything,
            height,
            width,
            BLOCK,
        )


@triton.jit
def _weights(clip, tri, f, mask, n, height, width):
    """Of the pixels n: weights q of the corners of triangles f, the pixel's planes, and the
    corners' depths and indices."""
    i = tl.load(tri + f * 3, mask=mask, other=0)
    j = tl.load(tri + f * 3 + 1, mask=mask, other=0)
    k = tl.load(tri + f * 3 + 2, mask=mask, other=0)
    x0, y0, z0, w0 = corner(clip, i, mask)
    x1, y1, z1, w1 = corner(clip, j, mask)
    x2, y2, z2, w2 = corner(clip, k, mask)
    a0, b0, c0, a1, b1, c1, a2, b2, c2, det = planes(x0, y0, w0, x1, y1, w1, x2, y2, w2)
    inv = 1.0 / tl.where(det == 0, 1.0, det)
    x, y = centre(n // width, n % width, height, width)
    x, y = x / width, y / height
    q0, q1, q2 = (
        (a0 * x + b0 * y + c0) * inv,
        (a1 * x + b1 * y + c1) * inv,
        (a2 * x + b2 * y + c2) * inv,
    )
    return (
        q0,
        q1,
        q2,
        a0 * inv,
        b0 * inv,
        c0 * inv,
        a1 * inv,
        b1 * inv,
        c1 * inv,
        a2 * inv,
        b2 * inv,
        c2 * inv,
        z0,
        z1,
        z2,
        i,
        j,
        k,
    )


@triton.jit
def _resolve(
    clip, tri, keys, out, vertices, height, width, NOTHING: tl.constexpr, BLOCK: tl.constexpr
):
    """Keys -> (u, v, z/w, triangle + 1)."""
    view = tl.program_id(1)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = n < height * width
    base = view.to(tl.int64) * height * width
    key = tl.load(keys + base + n, mask=inside, other=NOTHING)
    hit = inside & (key != NOTHING)
    f = tl.where(hit, key & 0xFFFFFFFF, 0).to(tl.int32)
    here = clip + view.to(tl.int64) * vertices * 4
    i = tl.load(tri + f * 3, mask=hit, other=0)
    j = tl.load(tri + f * 3 + 1, mask=hit, other=0)
    k = tl.load(tri + f * 3 + 2, mask=hit, other=0)
    x0, y0, z0, w0 = corner(here, i, hit)
    x1, y1, z1, w1 = corner(here, j, hit)
    x2, y2, z2, w2 = corner(here, k, hit)
    x, y = centre(n // width, n % width, height, width)
    p0, m0, p1, m1, p2, m2 = products(x0, y0, w0, x1, y1, w1, x2, y2, w2, x, y, height, width)
    q0, q1, q2 = p0 - m0, p1 - m1, p2 - m2
    total = tl.where(hit, q0 + q1 + q2, 1.0)
    depth = (q0 * z0 + q1 * z1 + q2 * z2) / tl.where(hit, q0 * w0 + q1 * w1 + q2 * w2, 1.0)
    place = out + (base + n) * 4
    tl.store(place, tl.where(hit, (q0 / total).to(tl.float32), 0.0), mask=inside)
    tl.store(place + 1, tl.where(hit, (q1 / total).to(tl.float32), 0.0), mask=inside)
    tl.store(place + 2, tl.where(hit, depth.to(tl.float32), 0.0), mask=inside)
    tl.store(place + 3, tl.where(hit, (f + 1).to(tl.float32), 0.0), mask=inside)


@triton.jit
def _add_corner(grad, unit, vertex, q, lx, ly, lw, gz, mask, EXACT: tl.constexpr):
    add_to(grad + vertex * 4, (-q * lx).to(tl.float32), unit, mask, EXACT)
    add_to(grad + vertex * 4 + 1, (-q * ly).to(tl.float32), unit, mask, EXACT)
    add_to(grad + vertex * 4 + 2, (q * gz).to(tl.float32), unit, mask, EXACT)
    add_to(grad + vertex * 4 + 3, (-q * lw).to(tl.float32), unit, mask, EXACT)


@triton.jit
def _pixel_gradient(clip, tri, pixels, upstream, n, inside, height, width):
    """Weights of a pixel's corners, and what a corner's x, y, z, w get of the pixel's gradient a
    weight (see `rasterize_backward` of
    the CPU backend: with A^T q = (X, Y, 1) and an adjoint g of q, dL/dA = -q (A^-1 g)^T)."""
    f = tl.load(pixels + n * 4 + 3, mask=inside, other=0.0).to(tl.int32) - 1
    hit = inside & (f >= 0)
    gu = tl.load(upstream + n * 4, mask=hit, other=0.0).to(tl.float64)
    gv = tl.load(upstream + n * 4 + 1, mask=hit, other=0.0).to(tl.float64)
    gz = tl.load(upstream + n * 4 + 2, mask=hit, other=0.0).to(tl.float64)
    q0, q1, q2, a0, b0, c0, a1, b1, c1, a2, b2, c2, z0, z1, z2, i, j, k = _weights(
        clip, tri, f, hit, n, height, width
    )
    total = tl.where(hit, q0 + q1 + q2, 1.0)
    common = (gu * q0 + gv * q1) / (total * total)
    g0, g1, g2 = gu / total - common + gz * z0, gv / total - common + gz * z1, gz * z2 - common
    lx, ly, lw = (
        g0 * a0 + g1 * a1 + g2 * a2,
        g0 * b0 + g1 * b1 + g2 * b2,
        g0 * c0 + g1 * c1 + g2 * c2,
    )
    return hit, q0, q1, q2, lx, ly, lw, gz, i, j, k


@triton.jit
def _raster_largest(clip, tri, pixels, upstream, out, vertices, height, width, BLOCK: tl.constexpr):
    """The largest term that `_raster_backward` will add, a program."""
    view = tl.program_id(1)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    base = view.to(tl.int64) * height * width * 4
    inside = n < height * width
    here = clip + view.to(tl.int64) * vertices * 4
    hit, q0, q1, q2, lx, ly, lw, gz, i, j, k = _pixel_gradient(
        here, tri, pixels + base, upstream + base, n, inside, height, width
    )
    q = tl.maximum(tl.abs(q0), tl.maximum(tl.abs(q1), tl.abs(q2)))
    most = tl.maximum(tl.maximum(tl.abs(lx), tl.abs(ly)), tl.maximum(tl.abs(lw), tl.abs(gz)))
    found = tl.where(hit, q * most, 0.0)
    tl.store(out + view * tl.num_programs(0) + tl.program_id(0), tl.max(found, 0).to(tl.float32))


@triton.jit
def _raster_backward(
    clip,
    tri,
    pixels,
    upstream,
    grad,
    unit,
    vertices,
    height,
    width,
    BLOCK: tl.constexpr,
    EXACT: tl.constexpr,
):
    view = tl.program_id(1)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    base = view.to(tl.int64) * height * width * 4
    inside = n < height * width
    mine = view.to(tl.int64) * vertices * 4
    hit, q0, q1, q2, lx, ly, lw, gz, i, j, k = _pixel_gradient(
        clip + mine, tri, pixels + base, upstream + base, n, inside, height, width
    )
    _add_corner(grad + mine, unit, i, q0, lx, ly, lw, gz, hit, EXACT)
    _add_corner(grad + mine, unit, j, q1, lx, ly, lw, gz, hit, EXACT)
    _add_corner(grad + mine, unit, k, q2, lx, ly, lw, gz, hit, EXACT)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, clip: torch.Tensor, tri: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        points, faces = clip.detach().contiguous(), tri.to(clip.device, torch.int32).contiguous()
        views, vertices, count = len(points), points.shape[1], len(faces)
        keys = torch.full((views, height, width), NOTHING, dtype=torch.int64, device=clip.device)
        out = clip.new_empty(views, height, width, 4)
        if count and views:
            # A picture's large triangles: how many, and which.
            listed = torch.zeros(views, count + 1, dtype=torch.int32, device=clip.device)
            common = (points, faces, keys, listed, count, vertices, height, width)
            _draw_small[(count, views)](*common, SMALL, BLOCK, num_warps=1)
            _draw_large[(SHARED, views)](*common, SHARED, 256)
        if views:
            source = faces if count else faces.new_zeros(1, 3)
            _resolve[(blocks(height * width, 128), views)](
                points, source, keys, out, vertices, height, width, NOTHING, 128
            )
        ctx.save_for_backward(points, faces, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        points, faces, pixels = ctx.saved_tensors
        views, vertices = points.shape[:2]
        height, width = pixels.shape[1:3]
        if not len(faces) or not views:
            return torch.zeros_like(points), None, None, None
        upstream, grid = upstream.contiguous(), (blocks(height * width, 128), views)
        largest = points.new_zeros(grid[0] * views)
        if torch.are_deterministic_algorithms_enabled():
            _raster_largest[grid](
                points, faces, pixels, upstream, largest, vertices, height, width, 128
            )
        sums = Accumulator(points.shape, points, largest.amax(), 3 * height * width)
        _raster_backward[grid](
            points,
            faces,
            pixels,
            upstream,
            sums.buffer,
            sums.unit,
            vertices,
            height,
            width,
            128,
            sums.exact,
        )
        return sums.result(), None, None, None


def rasterize(clip: torch.Tensor, tri: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """See `kernels.rasterize`; clip (B, V, 4)."""
    return _Rasterize.apply(clip, tri, height, width)
