"""A triangle at a pixel's centre, in float64: the rule of `reference.edges` in Triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def corner(clip, vertex, mask):
    """Clip-space x, y, z, w of vertices in float64."""
    place = clip + vertex * 4
    return (
        tl.load(place, mask=mask, other=0.0).to(tl.float64),
        tl.load(place + 1, mask=mask, other=0.0).to(tl.float64),
        tl.load(place + 2, mask=mask, other=0.0).to(tl.float64),
        tl.load(place + 3, mask=mask, other=1.0).to(tl.float64),
    )


@triton.jit
def planes(x0, y0, w0, x1, y1, w1, x2, y2, w2):
    """Cofactors of the corners' (x, y, w), one row a corner, and their determinant (Olano and Greer
    1997)."""
    a0, b0, c0 = y1 * w2 - y2 * w1, x2 * w1 - x1 * w2, x1 * y2 - x2 * y1
    a1, b1, c1 = y2 * w0 - y0 * w2, x0 * w2 - x2 * w0, x2 * y0 - x0 * y2
    a2, b2, c2 = y0 * w1 - y1 * w0, x1 * w0 - x0 * w1, x0 * y1 - x1 * y0
    return a0, b0, c0, a1, b1, c1, a2, b2, c2, w0 * c0 + w1 * c1 + w2 * c2


@triton.jit
def centre(row, col, height, width):
    """A pixel's centre, times the picture's width and height: exact."""
    return (2 * col + 1 - width).to(tl.float64), (height - 1 - 2 * row).to(tl.float64)


@triton.jit
def products(x0, y0, w0, x1, y1, w1, x2, y2, w2, x, y, height, width):
    """Of the edges opposite to the corners, the two products whose difference is the edge function
    at a pixel's centre (see `reference.edges`)."""
    u0, u1, u2 = x0 * width - x * w0, x1 * width - x * w1, x2 * width - x * w2
    v0, v1, v2 = y0 * height - y * w0, y1 * height - y * w1, y2 * height - y * w2
    return u1 * v2, u2 * v1, u2 * v0, u0 * v2, u0 * v1, u1 * v0


@triton.jit
def side(one, two, a, b):
    """The side of an edge on which a pixel lies. The products are compared and not subtracted: a
    fused multiplication would round the two sides differently."""
    owner = tl.where(a > 0, 1, tl.where(a < 0, -1, tl.where(b < 0, 1, tl.where(b > 0, -1, 0))))
    return tl.where(one > two, 1, tl.where(one < two, -1, owner))
