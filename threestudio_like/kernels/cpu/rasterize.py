"""Z-buffer rasteriser in homogeneous coordinates (Olano and Greer 1997), a Numba kernel over a band
of rows.

The three edge functions of a triangle are linear in the pixel position when divided by w, so no
near-plane clipping is
needed: a triangle that crosses the camera plane is rasterised exactly. See
    `threestudio_like.kernels.rasterize`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE


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
        a, b, c = tri[f, 0], tri[f, 1], tri[f, 2]
        x0, y0, z0, w0 = float(clip[a, 0]), float(clip[a, 1]), float(clip[a, 2]), float(clip[a, 3])
        x1, y1, z1, w1 = float(clip[b, 0]), float(clip[b, 1]), float(clip[b, 2]), float(clip[b, 3])
        x2, y2, z2, w2 = float(clip[c, 0]), float(clip[c, 1]), float(clip[c, 2]), float(clip[c, 3])
        if w0 <= 0.0 and w1 <= 0.0 and w2 <= 0.0:
            continue
        col_begin, col_end, top, bottom = 0, width, row_begin, row_end
        if w0 > 1e-6 and w1 > 1e-6 and w2 > 1e-6:
            px0, px1, px2 = x0 / w0, x1 / w1, x2 / w2
            py0, py1, py2 = y0 / w0, y1 / w1, y2 / w2
            low_x, high_x = min(px0, px1, px2), max(px0, px1, px2)
            low_y, high_y = min(py0, py1, py2), max(py0, py1, py2)
            if high_x < -1.0 or low_x > 1.0 or high_y < -1.0 or low_y > 1.0:
                continue
            col_begin = max(0, int(np.floor((low_x + 1.0) / sx - 0.5)))
            col_end = min(width, int(np.ceil((high_x + 1.0) / sx - 0.5)) + 1)
            top = max(row_begin, int(np.floor((1.0 - high_y) / sy - 0.5)))
            bottom = min(row_end, int(np.ceil((1.0 - low_y) / sy - 0.5)) + 1)
            if col_begin >= col_end or top >= bottom:
                continue
        # Rows of the inverse transpose of [x y w]: q_i(X, Y) = barycentric_i / w at the pixel (X,
        # Y).
        a0, b0, c0 = y1 * w2 - y2 * w1, x2 * w1 - x1 * w2, x1 * y2 - x2 * y1
        a1, b1, c1 = y2 * w0 - y0 * w2, x0 * w2 - x2 * w0, x2 * y0 - x0 * y2
        a2, b2, c2 = y0 * w1 - y1 * w0, x1 * w0 - x0 * w1, x0 * y1 - x1 * y0
        det = w0 * c0 + w1 * c1 + w2 * c2
        if abs(det) < 1e-14:
            continue
        inv = 1.0 / det
        a0, b0, c0 = a0 * inv, b0 * inv, c0 * inv
        a1, b1, c1 = a1 * inv, b1 * inv, c1 * inv
        a2, b2, c2 = a2 * inv, b2 * inv, c2 * inv
        for row in range(top, bottom):
            y = 1.0 - (row + 0.5) * sy
            r0, r1, r2 = b0 * y + c0, b1 * y + c1, b2 * y + c2
            for col in range(col_begin, col_end):
                x = (col + 0.5) * sx - 1.0
                q0 = a0 * x + r0
                q1 = a1 * x + r1
                q2 = a2 * x + r2
                if q0 < 0.0 or q1 < 0.0 or q2 < 0.0:
                    continue
                total = q0 + q1 + q2
                if total <= 0.0:
                    continue
                z = np.float32(q0 * z0 + q1 * z1 + q2 * z2)
                if z < -1.0 or z > 1.0 or z >= out[row, col, 2]:
                    continue
                if behind and z <= beyond[row, col]:
                    continue
                out[row, col, 0] = np.float32(q0 / total)
                out[row, col, 1] = np.float32(q1 / total)
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
                float(grad_out[row, col, 0]),
                float(grad_out[row, col, 1]),
                float(grad_out[row, col, 2]),
            )
            if gu == 0.0 and gv == 0.0 and gz == 0.0:
                continue
            i, j, k = tri[f, 0], tri[f, 1], tri[f, 2]
            x0, y0, z0, w0 = (
                float(clip[i, 0]),
                float(clip[i, 1]),
                float(clip[i, 2]),
                float(clip[i, 3]),
            )
            x1, y1, z1, w1 = (
                float(clip[j, 0]),
                float(clip[j, 1]),
                float(clip[j, 2]),
                float(clip[j, 3]),
            )
            x2, y2, z2, w2 = (
                float(clip[k, 0]),
                float(clip[k, 1]),
                float(clip[k, 2]),
                float(clip[k, 3]),
            )
            a0, b0, c0 = y1 * w2 - y2 * w1, x2 * w1 - x1 * w2, x1 * y2 - x2 * y1
            a1, b1, c1 = y2 * w0 - y0 * w2, x0 * w2 - x2 * w0, x2 * y0 - x0 * y2
            a2, b2, c2 = y0 * w1 - y1 * w0, x1 * w0 - x0 * w1, x0 * y1 - x1 * y0
            inv = 1.0 / (w0 * c0 + w1 * c1 + w2 * c2)
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
