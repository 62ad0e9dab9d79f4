"""Reading three feature planes on the CPU. Backward: each task owns one plane of one level, so any
number of threads gives the same bits."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE


@njit(nogil=True, cache=CACHE, fastmath=True, inline="always")
def _place(value, size):
    """Lower texel, and the weights of it and of the next one; 0 outside of the plane, whose texels'
    centres lie half a texel inside."""
    p = ((value + np.float32(1)) * size - np.float32(1)) * np.float32(0.5)
    # Far outside nothing is read: stay within the range of integers.
    p = min(max(p, np.float32(-2)), np.float32(size + 1))
    low = int(np.floor(p))
    high_share = np.float32(p - low)
    low_share = np.float32(1) - high_share
    if low < 0 or low >= size:
        low_share = np.float32(0)
    if low + 1 < 0 or low + 1 >= size:
        high_share = np.float32(0)
    return min(max(low, 0), size - 1), min(max(low + 1, 0), size - 1), low_share, high_share


@njit(nogil=True, cache=CACHE, fastmath=True)
def forward_range(x, planes, axes, share, first, out, begin, end):
    """Add share * the planes' values to out (N, C) (or set it, if `first`) for points begin to end;
    x (N, 3), planes (P, R, R, C)."""
    count, size, _, channels = planes.shape
    for n in range(begin, end):
        if first:
            for c in range(channels):
                out[n, c] = np.float32(0)
        for k in range(count):
            ix, jx, gx, fx = _place(x[n, axes[k, 0]], size)
            iy, jy, gy, fy = _place(x[n, axes[k, 1]], size)
            w0, w1, w2, w3 = share * gx * gy, share * fx * gy, share * gx * fy, share * fx * fy
            for c in range(channels):
                out[n, c] += (
                    w0 * planes[k, iy, ix, c]
                    + w1 * planes[k, iy, jx, c]
                    + w2 * planes[k, jy, ix, c]
                    + w3 * planes[k, jy, jx, c]
                )


@njit(nogil=True, cache=CACHE, fastmath=True)
def backward_plane(x, grad_out, one, two, share, grad):
    """Fill grad (R, R, C) of one plane, which sees coordinates `one` and `two`, from grad_out (N,
    C)."""
    size, _, channels = grad.shape
    for i in range(size):
        for j in range(size):
            for c in range(channels):
                grad[i, j, c] = np.float32(0)
    for n in range(x.shape[0]):
        ix, jx, gx, fx = _place(x[n, one], size)
        iy, jy, gy, fy = _place(x[n, two], size)
        w0, w1, w2, w3 = share * gx * gy, share * fx * gy, share * gx * fy, share * fx * fy
        for c in range(channels):
            g = grad_out[n, c]
            grad[iy, ix, c] += w0 * g
            grad[iy, jx, c] += w1 * g
            grad[jy, ix, c] += w2 * g
            grad[jy, jx, c] += w3 * g
