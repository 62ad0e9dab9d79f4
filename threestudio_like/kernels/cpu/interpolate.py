"""Attribute interpolation on the CPU: forward by bands of rows, backward by whole pictures."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE


@njit(nogil=True, cache=CACHE, fastmath=True)
def interpolate_band(attributes, tri, raster, out, row_begin, row_end):
    """out (H, W, C) for rows row_begin to row_end from attributes (V, C) and raster (H, W, 4)."""
    width, channels = raster.shape[1], attributes.shape[1]
    for row in range(row_begin, row_end):
        for col in range(width):
            hit = int(raster[row, col, 3]) - 1
            if hit < 0:
                for c in range(channels):
                    out[row, col, c] = np.float32(0)
                continue
            u, v = raster[row, col, 0], raster[row, col, 1]
            w = np.float32(1) - u - v
            i, j, k = tri[hit, 0], tri[hit, 1], tri[hit, 2]
            for c in range(channels):
                out[row, col, c] = (
                    u * attributes[i, c] + v * attributes[j, c] + w * attributes[k, c]
                )


@njit(nogil=True, cache=CACHE, fastmath=True)
def interpolate_backward(attributes, tri, raster, grad_out, grad, grad_raster, wants_weights):
    """Add to grad (V, C) the gradient of `interpolate_band` over one picture; write that of u and v
    to grad_raster (H, W, 4) when `wants_weights`."""
    height, width, channels = grad_out.shape
    for row in range(height):
        for col in range(width):
            hit = int(raster[row, col, 3]) - 1
            if hit < 0:
                continue
            u, v = raster[row, col, 0], raster[row, col, 1]
            w = np.float32(1) - u - v
            i, j, k = tri[hit, 0], tri[hit, 1], tri[hit, 2]
            for c in range(channels):
                g = grad_out[row, col, c]
                grad[i, c] += u * g
                grad[j, c] += v * g
                grad[k, c] += w * g
            # A loop of its own: together the two do not vectorise.
            if wants_weights:
                gu = gv = np.float32(0)
                for c in range(channels):
                    g = grad_out[row, col, c]
                    gu += g * (attributes[i, c] - attributes[k, c])
                    gv += g * (attributes[j, c] - attributes[k, c])
                grad_raster[row, col, 0] = gu
                grad_raster[row, col, 1] = gv
