"""A perceptron with ReLU in Triton: a program takes a block of points through all layers, hidden
values never leave the chip.

Widths are padded to powers of two of at least 16, what a matrix unit takes. Products are those of
three TF32 numbers a factor, as
exact as float32: densities span many orders of magnitude. The backward pass is left to the vendor's
    matrix products: fused, the sums of a
64-wide layer's gradients do not fit the registers (2.7 KB a thread are spilled).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..perceptron import ChunkedPerceptron, Layers
from ..reference import grids
from .sums import blocks

BLOCK = 32
CHUNK = 1 << 16
"""Points of the backward pass at once."""
WIDEST = 128
"""Channels of a layer up to which its weights fit on the chip."""


@triton.jit
def _matrix(base, rows, columns, R: tl.constexpr, C: tl.constexpr):
    """A row-major matrix (rows, columns) padded with zeros to (R, C)."""
    r, c = tl.arange(0, R), tl.arange(0, C)
    return tl.load(
        base + r[:, None] * columns + c[None, :],
        mask=(r[:, None] < rows) & (c[None, :] < columns),
        other=0.0,
    )


@triton.jit
def _layer(x, weight, bias, rows, columns, RELU: tl.constexpr, R: tl.constexpr, C: tl.constexpr):
    r = tl.arange(0, R)
    y = tl.dot(_matrix(weight, rows, columns, R, C), x, input_precision="tf32x3")
    y += tl.load(bias + r, mask=r < rows, other=0.0)[:, None]
    return tl.maximum(y, 0.0) if RELU else y


@triton.jit
def _forward(
    x,
    out,
    w0,
    b0,
    w1,
    b1,
    w2,
    b2,
    count,
    inputs,
    hidden,
    outputs,
    LAYERS: tl.constexpr,
    BLOCK: tl.constexpr,
    I: tl.constexpr,
    H: tl.constexpr,
    O: tl.constexpr,
):
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i = tl.arange(0, I)
    value = tl.load(
        x + i[:, None].to(tl.int64) * count + n[None, :],
        mask=(i[:, None] < inputs) & (n[None, :] < count),
        other=0.0,
    )
    value = _layer(value, w0, b0, hidden, inputs, True, H, I)
    if LAYERS == 3:
        value = _layer(value, w1, b1, hidden, hidden, True, H, H)
    value = _layer(value, w2, b2, outputs, hidden, False, O, H)
    o = tl.arange(0, O)
    tl.store(
        out + o[:, None].to(tl.int64) * count + n[None, :],
        value,
        mask=(o[:, None] < outputs) & (n[None, :] < count),
    )


def _padded(width: int) -> int:
    return max(16, triton.next_power_of_2(width))


def _fused(features: torch.Tensor, weights: Layers, biases: Layers, chunk: int) -> torch.Tensor:
    values = features.contiguous()
    w, b = [v.contiguous() for v in weights], [v.contiguous() for v in biases]
    inputs, count, hidden, outputs = *values.shape, w[0].shape[0], w[-1].shape[0]
    out = values.new_empty(outputs, count)
    if count:
        _forward[(blocks(count, BLOCK),)](
            values,
            out,
            w[0],
            b[0],
            w[1],
            b[1],
            w[-1],
            b[-1],
            count,
            inputs,
            hidden,
            outputs,
            len(w),
            BLOCK,
            _padded(inputs),
            _padded(hidden),
            _padded(outputs),
        )
    return out


def field_mlp(
    features: torch.Tensor, weights: list[torch.Tensor], biases: list[torch.Tensor]
) -> torch.Tensor:
    """See `kernels.field_mlp`; two or three layers of one hidden width up to `WIDEST` are fused,
    others are plain torch."""
    hidden = weights[0].shape[0]
    fits = len(weights) in (2, 3) and max(features.shape[0], hidden, weights[-1].shape[0]) <= WIDEST
    if not fits or any(w.shape[0] != hidden for w in weights[:-1]):
        return grids.field_mlp(features, weights, biases)
    return ChunkedPerceptron.apply(features, len(weights), _fused, CHUNK, *weights, *biases)
