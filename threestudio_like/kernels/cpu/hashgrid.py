"""Hash-grid encoding on the CPU: one level is one task.

Levels own disjoint slices, so the scatter of the backward pass needs no atomics and gives the same
bits for any number of threads. Indices are uint32 (no wrap-around select), points are structure of
arrays, work goes in blocks of 256 points, the two features of an entry are moved as one complex
number. Where a slice is larger than the near caches, the corners of the next block are prefetched
while a block is worked on.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..compiling import CACHE

BLOCK = 256
NEAR = 1 << 16
"""Entries of a slice that fit into the near caches (512 KB)."""
_P1 = np.uint32(2654435761)
_P2 = np.uint32(805459861)


@intrinsic
def _prefetch(typing_context, array, index):
    """Ask for the cache line of array[index] (one-dimensional, contiguous) without waiting for
    it."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.gep(data, [builder.zext(arguments[1], ir.IntType(64))])
        word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, word, word, word]),
            "llvm.prefetch.p0i8",
        )
        # For writing (0 would be reading), into the nearest cache, data.
        builder.call(
            function,
            [
                builder.bitcast(address, byte),
                ir.Constant(word, 1),
                ir.Constant(word, 3),
                ir.Constant(word, 1),
            ],
        )
        return context.get_dummy_value()

    return types.void(array, index), generate


@njit(nogil=True, cache=CACHE, fastmath=True)
def _prefetch_corners(pairs, index, n):
    for c in range(0, 8 * BLOCK, BLOCK):
        for p in range(n):
            _prefetch(pairs, index[c + p])  # type: ignore[call-arg]


@njit(nogil=True, cache=CACHE, fastmath=True)
def _locate(x, begin, n, scale, res, mask, dense, tiled, index, weight):
    """Corner indices (8 * BLOCK) and weights of n points from `begin`; corner c of point p stands
    at c * BLOCK + p."""
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
        fx, fy, fz = (
            px - np.float32(np.int32(px)),
            py - np.float32(np.int32(py)),
            pz - np.float32(np.int32(pz)),
        )
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


@njit(nogil=True, cache=CACHE, fastmath=True)
def _gather(pairs, index, weight, a, b, n):
    for p in range(n):
        v, w = pairs[index[p]], weight[p]
        s0, s1 = w * v.real, w * v.imag
        v, w = pairs[index[p + 256]], weight[p + 256]
        s0, s1 = s0 + w * v.real, s1 + w * v.imag
        v, w = pairs[index[p + 512]], weight[p + 512]
        s0, s1 = s0 + w * v.real, s1 + w * v.imag
        v, w = pairs[index[p + 768]], weight[p + 768]
        s0, s1 = s0 + w * v.real, s1 + w * v.imag
        v, w = pairs[index[p + 1024]], weight[p + 1024]
        s0, s1 = s0 + w * v.real, s1 + w * v.imag
        v, w = pairs[index[p + 1280]], weight[p + 1280]
        s0, s1 = s0 + w * v.real, s1 + w * v.imag
        v, w = pairs[index[p + 1536]], weight[p + 1536]
        s0, s1 = s0 + w * v.real, s1 + w * v.imag
        v, w = pairs[index[p + 1792]], weight[p + 1792]
        a[p], b[p] = s0 + w * v.real, s1 + w * v.imag


@njit(nogil=True, cache=CACHE, fastmath=True)
def _scatter(pairs, index, weight, a, b, n):
    for p in range(n):
        g0, g1 = a[p], b[p]
        j, w = index[p], weight[p]
        v = pairs[j]
        pairs[j] = complex(v.real + w * g0, v.imag + w * g1)
        j, w = index[p + 256], weight[p + 256]
        v = pairs[j]
        pairs[j] = complex(v.real + w * g0, v.imag + w * g1)
        j, w = index[p + 512], weight[p + 512]
        v = pairs[j]
        pairs[j] = complex(v.real + w * g0, v.imag + w * g1)
        j, w = index[p + 768], weight[p + 768]
        v = pairs[j]
        pairs[j] = complex(v.real + w * g0, v.imag + w * g1)
        j, w = index[p + 1024], weight[p + 1024]
        v = pairs[j]
        pairs[j] = complex(v.real + w * g0, v.imag + w * g1)
        j, w = index[p + 1280], weight[p + 1280]
        v = pairs[j]
        pairs[j] = complex(v.real + w * g0, v.imag + w * g1)
        j, w = index[p + 1536], weight[p + 1536]
        v = pairs[j]
        pairs[j] = complex(v.real + w * g0, v.imag + w * g1)
        j, w = index[p + 1792], weight[p + 1792]
        v = pairs[j]
        pairs[j] = complex(v.real + w * g0, v.imag + w * g1)


@njit(nogil=True, cache=CACHE, fastmath=True)
def forward_level(x, pairs, scale, res, mask, dense, tiled, out):
    """out (2, N) of one level; `pairs` is the level's slice of the table as complex64; `mask` folds
    indices (all ones if dense)."""
    count = x.shape[1]
    index, later = np.empty(8 * BLOCK, np.uint32), np.empty(8 * BLOCK, np.uint32)
    weight, later_weight = np.empty(8 * BLOCK, np.float32), np.empty(8 * BLOCK, np.float32)
    far = pairs.shape[0] > NEAR
    _locate(x, 0, min(BLOCK, count), scale, res, mask, dense, tiled, index, weight)
    for begin in range(0, count, BLOCK):
        n, following = min(BLOCK, count - begin), min(BLOCK, count - begin - BLOCK)
        if following > 0:
            _locate(
                x, begin + BLOCK, following, scale, res, mask, dense, tiled, later, later_weight
            )
            if far:
                _prefetch_corners(pairs, later, following)
        _gather(pairs, index, weight, out[0, begin : begin + n], out[1, begin : begin + n], n)
        index, later = later, index
        weight, later_weight = later_weight, weight


@njit(nogil=True, cache=CACHE, fastmath=True)
def backward_level(x, grad_out, scale, res, mask, dense, tiled, pairs, clear):
    """Add the gradient from grad_out (2, N) to `pairs`, the level's slice of the table's gradient
    (complex64), cleared first or not."""
    count = x.shape[1]
    index, later = np.empty(8 * BLOCK, np.uint32), np.empty(8 * BLOCK, np.uint32)
    weight, later_weight = np.empty(8 * BLOCK, np.float32), np.empty(8 * BLOCK, np.float32)
    # Clearing brings the slice into the cache already.
    far = pairs.shape[0] > NEAR and not clear
    if clear:
        for i in range(pairs.shape[0]):
            pairs[i] = np.complex64(0.0)
    _locate(x, 0, min(BLOCK, count), scale, res, mask, dense, tiled, index, weight)
    for begin in range(0, count, BLOCK):
        n, following = min(BLOCK, count - begin), min(BLOCK, count - begin - BLOCK)
        if following > 0:
            _locate(
                x, begin + BLOCK, following, scale, res, mask, dense, tiled, later, later_weight
            )
            if far:
                _prefetch_corners(pairs, later, following)
        _scatter(
            pairs, index, weight, grad_out[0, begin : begin + n], grad_out[1, begin : begin + n], n
        )
        index, later = later, index
        weight, later_weight = later_weight, weight
