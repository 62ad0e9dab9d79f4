"""The search of the antialiasing pass in Triton: every edge walks over the pixels that it spans.

A pair of pixels keeps the largest of packed keys, how far out its edge lies above the edge's
number: the same in any order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .sums import blocks

EDGES = 64
_NUMBER = (1 << 30) - 1


@triton.jit
def _screen(clip, vertex, mask, height, width):
    """Pixel coordinates of vertices, their depth, and whether they are before the camera."""
    place = clip + vertex * 4
    w = tl.load(place + 3, mask=mask, other=0.0).to(tl.float64)
    front = w > 1e-6
    safe = tl.where(front, w, 1.0)
    x = (tl.load(place, mask=mask, other=0.0).to(tl.float64) / safe + 1.0) * 0.5 * width - 0.5
    y = (1.0 - tl.load(place + 1, mask=mask, other=0.0).to(tl.float64) / safe) * 0.5 * height - 0.5
    return x, y, tl.load(place + 2, mask=mask, other=0.0).to(tl.float64) / safe, front & mask


@triton.jit
def _turn(clip, vertex, mask, ax, ay, dx, dy, height, width):
    """On which side of the edge a face's far corner lies (a signed number), 0 for no face; and
    whether it is behind the camera."""
    there = mask & (vertex >= 0)
    x, y, _, front = _screen(clip, vertex, there, height, width)
    return tl.where(there, dx * (y - ay) - dy * (x - ax), 0.0), there & (front == 0)


@triton.jit
def _side(clip, opposite, e, valid, ax, ay, dx, dy, height, width):
    """The side (a signed number) of edges on which all their faces lie, and whether there is one:
    not where faces lie on both sides, or behind the camera."""
    far_one = tl.load(opposite + e * 2, mask=valid, other=-1)
    far_two = tl.load(opposite + e * 2 + 1, mask=valid, other=-1)
    one, hidden_one = _turn(clip, far_one, valid, ax, ay, dx, dy, height, width)
    two, hidden_two = _turn(clip, far_two, valid, ax, ay, dx, dy, height, width)
    side = tl.where(two != 0, two, one)
    return side, (hidden_one == 0) & (hidden_two == 0) & (one * two >= 0) & (side != 0)


@triton.jit
def _walk(
    clip,
    edges,
    opposite,
    pixels,
    best,
    count,
    height,
    width,
    NUMBER: tl.constexpr,
    BLOCK: tl.constexpr,
):
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = e < count
    a = tl.load(edges + e * 2, mask=valid, other=0)
    b = tl.load(edges + e * 2 + 1, mask=valid, other=0)
    ax, ay, az, front_a = _screen(clip, a, valid, height, width)
    bx, by, bz, front_b = _screen(clip, b, valid, height, width)
    dx, dy = bx - ax, by - ay
    side, seen = _side(clip, opposite, e, valid, ax, ay, dx, dy, height, width)
    alive = valid & front_a & front_b & seen
    steep = tl.abs(dy) >= tl.abs(dx)
    p0, p1, q0, q1 = (
        tl.where(steep, ay, ax),
        tl.where(steep, by, bx),
        tl.where(steep, ax, ay),
        tl.where(steep, bx, by),
    )
    limit, other = tl.where(steep, height, width), tl.where(steep, width, height)
    alive = alive & (p0 != p1)
    length = tl.where(p0 != p1, p1 - p0, 1.0)
    # The object lies at larger q when this is true.
    larger = tl.where(steep, (side < 0) == (dy > 0), (side > 0) == (dx > 0))
    low, high = tl.minimum(p0, p1), tl.maximum(p0, p1)
    p = tl.maximum(tl.minimum(tl.ceil(low), limit * 1.0), 0.0).to(tl.int32)
    last = tl.maximum(tl.minimum(tl.ceil(high) - 1.0, limit - 1.0), -1.0).to(tl.int32)
    alive = alive & (p <= last)
    while tl.max(alive.to(tl.int32), 0) > 0:
        s = (p - p0) / length
        q = q0 + s * (q1 - q0)
        # A pixel on a left or top edge is inside, and one on a right or bottom edge is outside.
        first = tl.maximum(tl.minimum(tl.ceil(q) - 1.0, other * 1.0), -1.0).to(tl.int32)
        here = alive & (first >= 0) & (first + 1 < other)
        inner, outer = tl.where(larger, first + 1, first), tl.where(larger, first, first + 1)
        inside = tl.where(steep, p * width + inner, inner * width + p)
        outside = tl.where(steep, p * width + outer, outer * width + p)
        here = here & (tl.load(pixels + inside * 4 + 3, mask=here, other=0.0) > 0)
        filled = tl.load(pixels + outside * 4 + 3, mask=here, other=0.0) > 0
        z_in = tl.load(pixels + inside * 4 + 2, mask=here, other=0.0).to(tl.float64)
        z_out = tl.load(pixels + outside * 4 + 2, mask=here, other=0.0).to(tl.float64)
        z = az + s * (bz - az)
        # The outside pixel shows the same surface, or something nearer than the edge.
        same = filled & ((z_out <= z + 0.25 * tl.abs(z_out - z_in)) | (z_out <= z_in))
        here = here & (same == 0)
        outward = tl.where(larger, first + 1 - q, q - first).to(tl.float32)
        bits = outward.to(tl.int32, bitcast=True).to(tl.int64)
        # Of equally far edges the first: a smaller number makes a larger key.
        key = (bits << 32) | ((NUMBER - e).to(tl.int64) * 2) | larger.to(tl.int64)
        slot = tl.where(steep, p * width + first, height * width + first * width + p)
        tl.atomic_max(best + slot, key, mask=here, sem="relaxed")
        p += 1
        alive = alive & (p <= last)


def silhouette_pairs(
    clip: torch.Tensor, edges: torch.Tensor, opposite: torch.Tensor, pixels: torch.Tensor
) -> torch.Tensor:
    """See `kernels.silhouette_pairs`."""
    height, width, _ = pixels.shape
    best = torch.full((2 * height * width,), -1, dtype=torch.int64, device=clip.device)
    if len(edges):
        ends, far = (v.to(clip.device, torch.int32).contiguous() for v in (edges, opposite))
        _walk[(blocks(len(edges), EDGES),)](
            clip.contiguous(),
            ends,
            far,
            pixels.contiguous(),
            best,
            len(edges),
            height,
            width,
            _NUMBER,
            EDGES,
        )
    slot = (best >= 0).nonzero()[:, 0]
    key = best[slot]
    larger, edge = (key & 1).bool(), _NUMBER - ((key & 0xFFFFFFFF) >> 1)
    low = slot % (height * width)
    high = low + torch.where(slot < height * width, 1, width)
    return torch.stack([torch.where(larger, high, low), torch.where(larger, low, high), edge], 1)
