"""Hash-grid encoding on the CPU: one level is one task, and its slice of the table is streamed through the cache first.

Levels own disjoint slices, so the scatter of the backward pass needs no atomics and gives the same bits for any number of
threads. Indices are uint32 (no wrap-around select), points are structure of arrays, work goes in blocks of 256 points.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 256
_P1 = np.uint32(2654435761)
_P2 = np.uint32(805459861)


@njit(nogil=True, cache=True, fastmath=True)
def _touch(flat, begin, end):
    total = np.float32(0.0)
    for i in range(begin, end, 16):
        total += flat[i]
    return total


@njit(nogil=True, cache=True, fastmath=True)
def _locate(x, begin, n, scale, res, mask, dense, tiled, index, weight):
    """Corner indices (8 * BLOCK) and weights of n points from `begin`; corner c of point p stands at c * BLOCK + p."""
    r1 = np.uint32(res)
    r2 = np.uint32(res * res)
    one = np.float32(1.0)
    half = np.float32(0.5)
    xs, ys, zs = x[0, begin : begin + n], x[1, begin : begin + n], x[2, begin : begin + n]
    w0, w1, w2, w3 = weight[0:256], weight[256:512], weight[512:768], weight[768:1024]
    w4, w5, w6, w7 = weight[1024:1280], weight[1280:1536], weight[1536:1792], weight[1792:2048]
    i0, i1, i2, i3 = index[0:256], index[256:512], index[512:768], index[768:1024]
    i4, i5, i6, i7 = index[1024:1280], index[1280:1536], index[1536:1792], index[1792:2048]
    for p in range(n):
        px, py, pz = xs[p] * scale + half, ys[p] * scale + half, zs[p] * scale + half
        cx, cy, cz = np.uint32(np.int32(px)), np.uint32(np.int32(py)), np.uint32(np.int32(pz))
        fx, fy, fz = px - np.float32(np.int32(px)), py - np.float32(np.int32(py)), pz - np.float32(np.int32(pz))
        gx, gy, gz = one - fx, one - fy, one - fz
        w0[p], w1[p], w2[p], w3[p] = gx * gy * gz, fx * gy * gz, gx * fy * gz, fx * fy * gz
        w4[p], w5[p], w6[p], w7[p] = gx * gy * fz, fx * gy * fz, gx * fy * fz, fx * fy * fz
        i0[p], i1[p], i2[p] = cx, cy, cz
    if dense or tiled:
        for p in range(n):
            base = i0[p] + i1[p] * r1 + i2[p] * r2
            i0[p] = base & mask
            i1[p] = (base + np.uint32(1)) & mask
            i2[p] = (base + r1) & mask
            i3[p] = (base + r1 + np.uint32(1)) & mask
            i4[p] = (base + r2) & mask
            i5[p] = (base + r2 + np.uint32(1)) & mask
            i6[p] = (base + r2 + r1) & mask
            i7[p] = (base + r2 + r1 + np.uint32(1)) & mask
    else:
        for p in range(n):
            cx = i0[p]
            cx1 = cx + np.uint32(1)
            cy = i1[p] * _P1
            cy1 = cy + _P1
            cz = i2[p] * _P2
            cz1 = cz + _P2
            i0[p] = (cx ^ cy ^ cz) & mask
            i1[p] = (cx1 ^ cy ^ cz) & mask
            i2[p] = (cx ^ cy1 ^ cz) & mask
            i3[p] = (cx1 ^ cy1 ^ cz) & mask
            i4[p] = (cx ^ cy ^ cz1) & mask
            i5[p] = (cx1 ^ cy ^ cz1) & mask
            i6[p] = (cx ^ cy1 ^ cz1) & mask
            i7[p] = (cx1 ^ cy1 ^ cz1) & mask


@njit(nogil=True, cache=True, fastmath=True)
def forward_level(x, flat, scale, res, mask, dense, tiled, out):
    """out (2, N) of one level; `flat` is the level's slice of the table, flattened; `mask` folds indices (all ones if dense)."""
    count = x.shape[1]
    index = np.empty(8 * BLOCK, np.uint32)
    weight = np.empty(8 * BLOCK, np.float32)
    warm = _touch(flat, 0, flat.shape[0]) if count * 8 > flat.shape[0] // 16 else np.float32(0.0)
    for begin in range(0, count, BLOCK):
        n = min(BLOCK, count - begin)
        _locate(x, begin, n, scale, res, mask, dense, tiled, index, weight)
        a, b = out[0, begin : begin + n], out[1, begin : begin + n]
        for p in range(n):
            j = index[p] << np.uint32(1)
            w = weight[p]
            s0, s1 = w * flat[j], w * flat[j + np.uint32(1)]
            j, w = index[p + 256] << np.uint32(1), weight[p + 256]
            s0, s1 = s0 + w * flat[j], s1 + w * flat[j + np.uint32(1)]
            j, w = index[p + 512] << np.uint32(1), weight[p + 512]
            s0, s1 = s0 + w * flat[j], s1 + w * flat[j + np.uint32(1)]
            j, w = index[p + 768] << np.uint32(1), weight[p + 768]
            s0, s1 = s0 + w * flat[j], s1 + w * flat[j + np.uint32(1)]
            j, w = index[p + 1024] << np.uint32(1), weight[p + 1024]
            s0, s1 = s0 + w * flat[j], s1 + w * flat[j + np.uint32(1)]
            j, w = index[p + 1280] << np.uint32(1), weight[p + 1280]
            s0, s1 = s0 + w * flat[j], s1 + w * flat[j + np.uint32(1)]
            j, w = index[p + 1536] << np.uint32(1), weight[p + 1536]
            s0, s1 = s0 + w * flat[j], s1 + w * flat[j + np.uint32(1)]
            j, w = index[p + 1792] << np.uint32(1), weight[p + 1792]
            a[p], b[p] = s0 + w * flat[j], s1 + w * flat[j + np.uint32(1)]
    return warm


@njit(nogil=True, cache=True, fastmath=True)
def backward_level(x, grad_out, scale, res, mask, dense, tiled, grad, clear):
    """Add the gradient from grad_out (2, N) to `grad`, the level's slice of the table's gradient (flattened), cleared first or not."""
    count = x.shape[1]
    index = np.empty(8 * BLOCK, np.uint32)
    weight = np.empty(8 * BLOCK, np.float32)
    if clear:
        for i in range(grad.shape[0]):
            grad[i] = np.float32(0.0)
    for begin in range(0, count, BLOCK):
        n = min(BLOCK, count - begin)
        _locate(x, begin, n, scale, res, mask, dense, tiled, index, weight)
        a, b = grad_out[0, begin : begin + n], grad_out[1, begin : begin + n]
        for p in range(n):
            g0, g1 = a[p], b[p]
            j, w = index[p] << np.uint32(1), weight[p]
            grad[j] += w * g0
            grad[j + np.uint32(1)] += w * g1
            j, w = index[p + 256] << np.uint32(1), weight[p + 256]
            grad[j] += w * g0
            grad[j + np.uint32(1)] += w * g1
            j, w = index[p + 512] << np.uint32(1), weight[p + 512]
            grad[j] += w * g0
            grad[j + np.uint32(1)] += w * g1
            j, w = index[p + 768] << np.uint32(1), weight[p + 768]
            grad[j] += w * g0
            grad[j + np.uint32(1)] += w * g1
            j, w = index[p + 1024] << np.uint32(1), weight[p + 1024]
            grad[j] += w * g0
            grad[j + np.uint32(1)] += w * g1
            j, w = index[p + 1280] << np.uint32(1), weight[p + 1280]
            grad[j] += w * g0
            grad[j + np.uint32(1)] += w * g1
            j, w = index[p + 1536] << np.uint32(1), weight[p + 1536]
            grad[j] += w * g0
            grad[j + np.uint32(1)] += w * g1
            j, w = index[p + 1792] << np.uint32(1), weight[p + 1792]
            grad[j] += w * g0
            grad[j + np.uint32(1)] += w * g1
