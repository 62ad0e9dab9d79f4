"""Total variation of a dense grid and its gradient in one sweep on the CPU, by slabs."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE


@njit(nogil=True, cache=CACHE, fastmath=True)
def variation_slab(grid, first_weight, other_weight, grad, sums, slab, low, high):
    """Slices [low, high) of a grid (D, H, W, C): per-axis sums of squared differences to the next
    point into sums[slab] (first channel, others), and the gradient of the weighted means into
    grad."""
    depth, height, width, channels = grid.shape
    scale_z = np.float32(1.0) / np.float32(max(depth - 1, 1) * height * width)
    scale_y = np.float32(1.0) / np.float32(depth * max(height - 1, 1) * width)
    scale_x = np.float32(1.0) / np.float32(depth * height * max(width - 1, 1))
    others = np.float32(max(channels - 1, 1))
    first_total = np.float64(0)
    other_total = np.float64(0)
    for z in range(low, high):
        for y in range(height):
            for x in range(width):
                for c in range(channels):
                    v = grid[z, y, x, c]
                    weight = first_weight if c == 0 else other_weight / others
                    g = np.float32(0)
                    s = np.float32(0)
                    if z + 1 < depth:
                        d = grid[z + 1, y, x, c] - v
                        s += d * d * scale_z
                        g -= d * scale_z
                    if z > 0:
                        g += (v - grid[z - 1, y, x, c]) * scale_z
                    if y + 1 < height:
                        d = grid[z, y + 1, x, c] - v
                        s += d * d * scale_y
                        g -= d * scale_y
                    if y > 0:
                        g += (v - grid[z, y - 1, x, c]) * scale_y
                    if x + 1 < width:
                        d = grid[z, y, x + 1, c] - v
                        s += d * d * scale_x
                        g -= d * scale_x
                    if x > 0:
                        g += (v - grid[z, y, x - 1, c]) * scale_x
                    grad[z, y, x, c] = 2 * weight * g
                    if c == 0:
                        first_total += s
                    else:
                        other_total += s / others
    sums[slab, 0] = first_total
    sums[slab, 1] = other_total
