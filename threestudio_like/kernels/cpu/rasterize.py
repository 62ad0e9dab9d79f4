"""Z-buffer rasteriser in homogeneous coordinates (Olano and Greer 1997), a Numba kernel over a band
of rows.

The edge functions of a triangle are linear in the pixel, so no near-plane clipping is needed: a
triangle that crosses the camera plane is rasterised exactly. Everything is computed in float64
(`np.float64`: Numba reads `float` of a float32 as a float32). Where an edge function is too near to
zero for its rounding, the same decision as of the definition is taken: see
`threestudio_like.kernels.reference.edges`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE

_DOUBT = 1e-15
"""Rounding of an edge function a X + b Y + c, X and Y in [-1, 1], at most, over |a| + |b| + |c|: a
few times 2^-53."""


@njit(nogil=True, cache=CACHE, inline="always")
def _corner(clip, v):
    """A vertex' x, y, z, w in float64."""
    return (
        np.float64(clip[v, 0]),
        np.float64(clip[v, 1]),
        np.float64(clip[v, 2]),
        np.float64(clip[v, 3]),
    )


@njit(nogil=True, cache=CACHE, inline="always")
def _edge(x0, y0, w0, x1, y1, w1):
    """Coefficients of the edge function from vertex 0 to vertex 1, and its doubt. The other way
    round they are exactly the negative ones: products of float32 are exact."""
    a, b, c = y0 * w1 - y1 * w0, x1 * w0 - x0 * w1, x0 * y1 - x1 * y0
    return a, b, c, _DOUBT * (abs(a) + abs(b) + abs(c))


@njit(nogil=True, cache=CACHE)
def _side(ux, vx, uy, vy, a, b):
    """The side of an edge between two vertices, given relative to the pixel, on which the pixel
    lies: 1 or -1, for one on the edge that of the edge's left, else of its top; 0 for no edge."""
    one, two = ux * vy, uy * vx
    if one != two:
        return 1 if one > two else -1
    if a != 0.0:
        return 1 if a > 0.0 else -1
    return 0 if b == 0.0 else 1 if b < 0.0 else -1


@njit(nogil=True, cache=CACHE)
def _covers(clip, i, j, k, col, row, width, height):
    """Whether the pixel lies in the triangle, decided without a sum that is rounded: 1 or -1 by the
    triangle's turn, 0 outside."""
    x0, y0, _, w0 = _corner(clip, i)
    x1, y1, _, w1 = _corner(clip, j)
    x2, y2, _, w2 = _corner(clip, k)
    x, y = np.float64(2 * col + 1 - width), np.float64(height - 1 - 2 * row)
    u0, u1, u2 = x0 * width - x * w0, x1 * width - x * w1, x2 * width - x * w2
    v0, v1, v2 = y0 * height - y * w0, y1 * height - y * w1, y2 * height - y * w2
    side = _side(u1, v1, u2, v2, y1 * w2 - y2 * w1, x2 * w1 - x1 * w2)
    if side == 0 or _side(u2, v2, u0, v0, y2 * w0 - y0 * w2, x0 * w2 - x2 * w0) != side:
        return 0
    return side if _side(u0, v0, u1, v1, y0 * w1 - y1 * w0, x1 * w0 - x0 * w1) == side else 0


@njit(nogil=True, cache=CACHE)
def _span(p0, p1, p2, first, end, step):
    """The pixels [begin, end) of a line, within [first, end), that a triangle with corners at p0,
    p1, p2 in [-1, 1] can touch; pixels are `step` apart."""
    low, high = min(p0, p1, p2), max(p0, p1, p2)
    if high < -1.0 or low > 1.0:
        return 0, 0
    begin = max(first, int(np.floor((low + 1.0) / step - 0.5)))
    return begin, min(end, int(np.ceil((high + 1.0) / step - 0.5)) + 1)


@njit(nogil=True, cache=CACHE)
def rasterize_band(clip, tri, out, beyond, row_begin, row_end):
    """Fill rows [row_begin, row_end) of `out`.

    Args:
        clip: (V, 4) float32 clip-space positions, OpenGL convention.
        tri: (F, 3) int32.
        out: (H, W, 4) float32 (u, v, z/w, triangle + 1); u and v weigh vertices 0 and 1.
            Overwritten.
        beyond: (H, W) float32 z/w that a triangle has to lie behind; (0, 0) where all are drawn.
    """
    height, width, _ = out.shape
    behind = beyond.shape[0] > 0
    for row in range(row_begin, row_end):
        for col in range(width):
            out[row, col, 0] = 0.0
            out[row, col, 1] = 0.0
            out[row, col, 2] = np.float32(2.0)
            out[row, col, 3] = 0.0
    sx = 2.0 / width
    sy = 2.0 / height
    for f in range(tri.shape[0]):
        i, j, k = tri[f, 0], tri[f, 1], tri[f, 2]
        x0, y0, z0, w0 = _corner(clip, i)
        x1, y1, z1, w1 = _corner(clip, j)
        x2, y2, z2, w2 = _corner(clip, k)
        if w0 <= 0.0 and w1 <= 0.0 and w2 <= 0.0:
            continue
        col_begin, col_end, top, bottom = 0, width, row_begin, row_end
        if w0 > 1e-6 and w1 > 1e-6 and w2 > 1e-6:
            col_begin, col_end = _span(x0 / w0, x1 / w1, x2 / w2, 0, width, sx)
            top, bottom = _span(-(y0 / w0), -(y1 / w1), -(y2 / w2), row_begin, row_end, sy)
            if col_begin >= col_end or top >= bottom:
                continue
        a0, b0, c0, t0 = _edge(x1, y1, w1, x2, y2, w2)
        a1, b1, c1, t1 = _edge(x2, y2, w2, x0, y0, w0)
        a2, b2, c2, t2 = _edge(x0, y0, w0, x1, y1, w1)
        det = w0 * c0 + w1 * c1 + w2 * c2
        turn = 1 if det > 0.0 else -1
        if turn < 0:
            a0, b0, c0, a1, b1, c1, a2, b2, c2 = -a0, -b0, -c0, -a1, -b1, -c1, -a2, -b2, -c2
        # A triangle so thin that its turn is not known: no pixel is decided by edge functions.
        terms = abs(w0 * c0) + abs(w1 * c1) + abs(w2 * c2)
        thin, fat, inv = abs(det) <= _DOUBT * terms, abs(det) > 1e-6 * terms, 0.0
        if fat:
            inv = 1.0 / abs(det)
        if thin:
            t0, t1, t2 = np.inf, np.inf, np.inf
        for row in range(top, bottom):
            y = 1.0 - (row + 0.5) * sy
            r0, r1, r2 = b0 * y + c0, b1 * y + c1, b2 * y + c2
            for col in range(col_begin, col_end):
                x = (col + 0.5) * sx - 1.0
                e0 = a0 * x + r0
                e1 = a1 * x + r1
                e2 = a2 * x + r2
                if not (e0 >= -t0 and e1 >= -t1 and e2 >= -t2):
                    continue
                if e0 <= t0 or e1 <= t1 or e2 <= t2:
                    side = _covers(clip, i, j, k, col, row, width, height)
                    if side == 0 or (side != turn and not thin):
                        continue
                    if thin:
                        e0, e1, e2 = side * turn * e0, side * turn * e1, side * turn * e2
                    e0, e1, e2 = max(e0, 0.0), max(e1, 0.0), max(e2, 0.0)
                    if e0 + e1 + e2 == 0.0:
                        e0, e1, e2 = 1.0, 1.0, 1.0
                # z/w is e . z / e . w, and e . w the same everywhere: the determinant, whose
                # rounding matters where a triangle is thin.
                depth = e0 * z0 + e1 * z1 + e2 * z2
                if fat:
                    z = np.float32(depth * inv)
                else:
                    below = e0 * w0 + e1 * w1 + e2 * w2
                    if below <= 0.0:
                        continue
                    z = np.float32(depth / below)
                if z < -1.0 or z > 1.0 or z >= out[row, col, 2]:
                    continue
                if behind and z <= beyond[row, col]:
                    continue
                scale = 1.0 / (e0 + e1 + e2)
                out[row, col, 0] = np.float32(e0 * scale)
                out[row, col, 1] = np.float32(e1 * scale)
                out[row, col, 2] = z
                out[row, col, 3] = np.float32(f + 1)
    for row in range(row_begin, row_end):
        for col in range(width):
            if out[row, col, 3] == 0.0:
                out[row, col, 2] = 0.0


@njit(nogil=True, cache=CACHE, fastmath=True)
def rasterize_backward(clip, tri, pixels, grad_out, grad):
    """Add to grad (V, 4) the gradient of u, v and z/w (channels 0 to 2 of `pixels`) over one
    picture.

    With the corners' (x, y, w) as the rows of A, the weights q solve A^T q = (X, Y, 1); an adjoint
    g of q gives dL/dA = -q (A^-1 g)^T.
    """
    height, width, _ = pixels.shape
    sx, sy = 2.0 / width, 2.0 / height
    for row in range(height):
        y = 1.0 - (row + 0.5) * sy
        for col in range(width):
            f = int(pixels[row, col, 3]) - 1
            if f < 0:
                continue
            gu, gv, gz = (
                np.float64(grad_out[row, col, 0]),
                np.float64(grad_out[row, col, 1]),
                np.float64(grad_out[row, col, 2]),
            )
            if gu == 0.0 and gv == 0.0 and gz == 0.0:
                continue
            x0, y0, z0, w0 = _corner(clip, tri[f, 0])
            x1, y1, z1, w1 = _corner(clip, tri[f, 1])
            x2, y2, z2, w2 = _corner(clip, tri[f, 2])
            a0, b0, c0, _ = _edge(x1, y1, w1, x2, y2, w2)
            a1, b1, c1, _ = _edge(x2, y2, w2, x0, y0, w0)
            a2, b2, c2, _ = _edge(x0, y0, w0, x1, y1, w1)
            det = w0 * c0 + w1 * c1 + w2 * c2
            if det == 0.0:
                continue
            inv = 1.0 / det
            x = (col + 0.5) * sx - 1.0
            q0, q1, q2 = (
                (a0 * x + b0 * y + c0) * inv,
                (a1 * x + b1 * y + c1) * inv,
                (a2 * x + b2 * y + c2) * inv,
            )
            total = q0 + q1 + q2
            common = (gu * q0 + gv * q1) / (total * total)
            g0, g1, g2 = (
                gu / total - common + gz * z0,
                gv / total - common + gz * z1,
                gz * z2 - common,
            )
            lx = (g0 * a0 + g1 * a1 + g2 * a2) * inv
            ly = (g0 * b0 + g1 * b1 + g2 * b2) * inv
            lw = (g0 * c0 + g1 * c1 + g2 * c2) * inv
            for corner in range(3):
                q = q0 if corner == 0 else q1 if corner == 1 else q2
                vertex = tri[f, corner]
                grad[vertex, 0] -= np.float32(q * lx)
                grad[vertex, 1] -= np.float32(q * ly)
                grad[vertex, 2] += np.float32(q * gz)
                grad[vertex, 3] -= np.float32(q * lw)
