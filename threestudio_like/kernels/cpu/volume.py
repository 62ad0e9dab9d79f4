"""Occupancy-grid ray marching and compositing on the CPU, in ranges of rays."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE


@njit(nogil=True, cache=CACHE)
def march_range(
    origins, directions, occupied, coarse, step, jitter, begin, end, t_out, ray_out, counts
):
    """March rays begin to end into chunk buffers; returns the number of samples, or -1 when the
    buffers are too small.

    Args:
        occupied: (G, G, G) uint8; coarse: (M, M, M) uint8, 1 where any cell of the block is
            occupied.
        t_out, ray_out: buffers; counts: (R,) int64, filled per ray.
    """
    size, blocks = occupied.shape[0], coarse.shape[0]
    capacity = t_out.shape[0]
    half = np.float32(size * 0.5)
    ratio = size // blocks
    block = np.float32(2.0 / blocks)
    one = np.float32(1.0)
    written = 0
    for r in range(begin, end):
        ox, oy, oz = origins[r, 0], origins[r, 1], origins[r, 2]
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        tiny = np.float32(1e-9)
        sx, sy, sz = (
            dx if abs(dx) >= tiny else tiny,
            dy if abs(dy) >= tiny else tiny,
            dz if abs(dz) >= tiny else tiny,
        )
        ax, bx = (-one - ox) / sx, (one - ox) / sx
        ay, by = (-one - oy) / sy, (one - oy) / sy
        az, bz = (-one - oz) / sz, (one - oz) / sz
        near = max(max(min(ax, bx), min(ay, by)), max(min(az, bz), np.float32(0.0)))
        far = min(min(max(ax, bx), max(ay, by)), max(az, bz))
        first = written
        k = 0
        while True:
            t = near + (np.float32(k) + jitter[r]) * step
            if not t < far:
                break
            px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
            cx = min(max(int(np.floor((px + one) * half)), 0), size - 1)
            cy = min(max(int(np.floor((py + one) * half)), 0), size - 1)
            cz = min(max(int(np.floor((pz + one) * half)), 0), size - 1)
            mx, my, mz = cx // ratio, cy // ratio, cz // ratio
            if coarse[mz, my, mx] == 0:
                # On to the last sample that is surely still in this empty block, then one more.
                ex = ((mx + (1 if sx > 0 else 0)) * block - one - ox) / sx
                ey = ((my + (1 if sy > 0 else 0)) * block - one - oy) / sy
                ez = ((mz + (1 if sz > 0 else 0)) * block - one - oz) / sz
                leave = min(ex, min(ey, ez))
                skip = int((leave - near) / step - jitter[r] - np.float32(0.01))
                k = max(k + 1, skip)
                continue
            if occupied[cz, cy, cx] != 0:
                if written >= capacity:
                    return -1
                t_out[written] = t
                ray_out[written] = r
                written += 1
            k += 1
        counts[r] = written - first
    return written


@njit(nogil=True, cache=CACHE, fastmath=True)
def composite_forward(alpha, features, t, offsets, stop, begin, end, out, weights):
    """out (R, C + 2) and weights (S,) for rays begin to end; alpha (S,) = 1 - exp(-sigma step)."""
    channels = features.shape[1]
    for r in range(begin, end):
        low, high = offsets[r], offsets[r + 1]
        for c in range(channels + 2):
            out[r, c] = np.float32(0)
        transmittance = np.float32(1)
        for i in range(low, high):
            if transmittance < stop:
                for j in range(i, high):
                    weights[j] = np.float32(0)
                break
            w = transmittance * alpha[i]
            weights[i] = w
            for c in range(channels):
                out[r, c] += w * features[i, c]
            out[r, channels] += w
            out[r, channels + 1] += w * t[i]
            transmittance -= w


@njit(nogil=True, cache=CACHE, fastmath=True)
def composite_backward(
    alpha,
    features,
    t,
    offsets,
    weights,
    grad_out,
    grad_weights,
    has_weights,
    step,
    stop,
    begin,
    end,
    grad_sigma,
    grad_features,
):
    """Gradients of `composite_forward` by one forward and one backward sweep along each ray; no
    division.

    With v_i = dL/dw_i, dL/dsigma_i = step * (T_i (1 - alpha_i) v_i - sum_{j > i} w_j v_j).
    """
    channels = features.shape[1]
    longest = 1
    for r in range(begin, end):
        longest = max(longest, offsets[r + 1] - offsets[r])
    pull = np.empty(longest, np.float32)
    beyond = np.empty(longest, np.float32)
    for r in range(begin, end):
        low, high = offsets[r], offsets[r + 1]
        transmittance = np.float32(1)
        last = high
        on_opacity, on_depth = grad_out[r, channels], grad_out[r, channels + 1]
        for i in range(low, high):
            if transmittance < stop:
                last = i
                break
            w = weights[i]
            v = on_opacity + on_depth * t[i]
            for c in range(channels):
                g = grad_out[r, c]
                v += g * features[i, c]
                grad_features[i, c] = w * g
            if has_weights:
                v += grad_weights[i]
            transmittance -= w
            pull[i - low] = v
            beyond[i - low] = transmittance
        for i in range(last, high):
            grad_sigma[i] = np.float32(0)
            for c in range(channels):
                grad_features[i, c] = np.float32(0)
        after = np.float32(0)
        for i in range(last - 1, low - 1, -1):
            v = pull[i - low]
            grad_sigma[i] = step * (beyond[i - low] * v - after)
            after += weights[i] * v
