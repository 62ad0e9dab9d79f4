"""Dense-grid sampling on the CPU. Backward: each task owns a slab of the grid, so any number of
threads gives the same bits."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE


@njit(nogil=True, cache=CACHE, fastmath=True)
def forward_range(x, grid, out, begin, end):
    """out (N, C) for points begin to end; x (N, 3) in [-1, 1]; grid (D, H, W, C)."""
    depth, height, width, channels = grid.shape
    half = np.float32(0.5)
    for n in range(begin, end):
        px = min(max((x[n, 0] + 1) * half * (width - 1), np.float32(0)), np.float32(width - 1))
        py = min(max((x[n, 1] + 1) * half * (height - 1), np.float32(0)), np.float32(height - 1))
        pz = min(max((x[n, 2] + 1) * half * (depth - 1), np.float32(0)), np.float32(depth - 1))
        ix, iy, iz = min(int(px), width - 2), min(int(py), height - 2), min(int(pz), depth - 2)
        fx, fy, fz = np.float32(px - ix), np.float32(py - iy), np.float32(pz - iz)
        gx, gy, gz = np.float32(1) - fx, np.float32(1) - fy, np.float32(1) - fz
        w0, w1, w2, w3 = gx * gy * gz, fx * gy * gz, gx * fy * gz, fx * fy * gz
        w4, w5, w6, w7 = gx * gy * fz, fx * gy * fz, gx * fy * fz, fx * fy * fz
        for c in range(channels):
            out[n, c] = (
                w0 * grid[iz, iy, ix, c]
                + w1 * grid[iz, iy, ix + 1, c]
                + w2 * grid[iz, iy + 1, ix, c]
                + w3 * grid[iz, iy + 1, ix + 1, c]
                + w4 * grid[iz + 1, iy, ix, c]
                + w5 * grid[iz + 1, iy, ix + 1, c]
                + w6 * grid[iz + 1, iy + 1, ix, c]
                + w7 * grid[iz + 1, iy + 1, ix + 1, c]
            )


@njit(nogil=True, cache=CACHE, fastmath=True)
def backward_slab(x, grad_out, grad, low, high):
    """Fill slices [low, high) of grad (D, H, W, C) from grad_out (N, C)."""
    depth, height, width, channels = grad.shape
    half = np.float32(0.5)
    for z in range(low, high):
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    grad[z, i, j, c] = np.float32(0)
    for n in range(x.shape[0]):
        pz = min(max((x[n, 2] + 1) * half * (depth - 1), np.float32(0)), np.float32(depth - 1))
        iz = min(int(pz), depth - 2)
        if iz + 1 < low or iz >= high:
            continue
        px = min(max((x[n, 0] + 1) * half * (width - 1), np.float32(0)), np.float32(width - 1))
        py = min(max((x[n, 1] + 1) * half * (height - 1), np.float32(0)), np.float32(height - 1))
        ix, iy = min(int(px), width - 2), min(int(py), height - 2)
        fx, fy, fz = np.float32(px - ix), np.float32(py - iy), np.float32(pz - iz)
        gx, gy, gz = np.float32(1) - fx, np.float32(1) - fy, np.float32(1) - fz
        if iz >= low:
            w0, w1, w2, w3 = gx * gy * gz, fx * gy * gz, gx * fy * gz, fx * fy * gz
            for c in range(channels):
                g = grad_out[n, c]
                grad[iz, iy, ix, c] += w0 * g
                grad[iz, iy, ix + 1, c] += w1 * g
                grad[iz, iy + 1, ix, c] += w2 * g
                grad[iz, iy + 1, ix + 1, c] += w3 * g
        if iz + 1 < high:
            w4, w5, w6, w7 = gx * gy * fz, fx * gy * fz, gx * fy * fz, fx * fy * fz
            for c in range(channels):
                g = grad_out[n, c]
                grad[iz + 1, iy, ix, c] += w4 * g
                grad[iz + 1, iy, ix + 1, c] += w5 * g
                grad[iz + 1, iy + 1, ix, c] += w6 * g
                grad[iz + 1, iy + 1, ix + 1, c] += w7 * g
