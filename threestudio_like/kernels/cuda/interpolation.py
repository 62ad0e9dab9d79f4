"""Interpolation of attributes over the pixels of a rasterised picture, in Triton."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from .sums import Accumulator, add_to, blocks

BLOCK = 64


@triton.jit
def _interpolate(
    attributes,
    tri,
    pixels,
    out,
    grad,
    grad_pixels,
    unit,
    count,
    channels,
    BACKWARD: tl.constexpr,
    WANTS: tl.constexpr,
    EXACT: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Forward: attributes -> out. Backward: `out` holds the gradient that goes to `grad`, and to u,
    v of `grad_pixels` if WANTS."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    f = tl.load(pixels + n * 4 + 3, mask=inside, other=0.0).to(tl.int32) - 1
    hit = inside & (f >= 0)
    u, v = (
        tl.load(pixels + n * 4, mask=hit, other=0.0),
        tl.load(pixels + n * 4 + 1, mask=hit, other=0.0),
    )
    w = 1.0 - u - v
    c = tl.arange(0, CHANNELS)
    both = hit[:, None] & (c[None, :] < channels)
    i = tl.load(tri + f * 3, mask=hit, other=0)[:, None] * channels + c[None, :]
    j = tl.load(tri + f * 3 + 1, mask=hit, other=0)[:, None] * channels + c[None, :]
    k = tl.load(tri + f * 3 + 2, mask=hit, other=0)[:, None] * channels + c[None, :]
    rows = n[:, None] * channels + c[None, :]
    if BACKWARD:
        g = tl.load(out + rows, mask=both, other=0.0)
        add_to(grad + i, u[:, None] * g, unit, both, EXACT)
        add_to(grad + j, v[:, None] * g, unit, both, EXACT)
        add_to(grad + k, w[:, None] * g, unit, both, EXACT)
        if WANTS:
            last = tl.load(attributes + k, mask=both, other=0.0)
            gu = tl.sum(g * (tl.load(attributes + i, mask=both, other=0.0) - last), 1)
            gv = tl.sum(g * (tl.load(attributes + j, mask=both, other=0.0) - last), 1)
            tl.store(grad_pixels + n * 4, gu, mask=inside)
            tl.store(grad_pixels + n * 4 + 1, gv, mask=inside)
    else:
        value = u[:, None] * tl.load(attributes + i, mask=both, other=0.0)
        value += v[:, None] * tl.load(attributes + j, mask=both, other=0.0)
        value += w[:, None] * tl.load(attributes + k, mask=both, other=0.0)
        tl.store(out + rows, value, mask=inside[:, None] & (c[None, :] < channels))


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, attributes: torch.Tensor, tri: torch.Tensor, pixels: torch.Tensor
    ) -> torch.Tensor:
        values, hits = attributes.detach().contiguous(), pixels.detach().contiguous()
        faces, channels = tri.to(values.device, torch.int32).contiguous(), values.shape[1]
        out = values.new_empty(*hits.shape[:3], channels)
        count, none = out[..., 0].numel(), values.new_empty(1)
        if count and len(faces):
            _interpolate[(blocks(count, BLOCK),)](
                values,
                faces,
                hits,
                out,
                none,
                none,
                none,
                count,
                channels,
                False,
                False,
                False,
                BLOCK,
                triton.next_power_of_2(channels),
            )
        ctx.save_for_backward(values, faces, hits)
        return out if len(faces) else out.zero_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        values, faces, hits = ctx.saved_tensors
        wants, channels = bool(ctx.needs_input_grad[2]), values.shape[1]
        weights = torch.zeros_like(hits) if wants else None
        count = hits[..., 0].numel()
        if not count or not len(faces):
            return torch.zeros_like(values), None, weights
        upstream = upstream.contiguous()
        # No weight is above one, but for rounding.
        sums = Accumulator(values.shape, values, 1.01 * upstream.abs().amax(), 3 * count)
        _interpolate[(blocks(count, BLOCK),)](
            values,
            faces,
            hits,
            upstream,
            sums.buffer,
            values if weights is None else weights,
            sums.unit,
            count,
            channels,
            True,
            wants,
            sums.exact,
            BLOCK,
            triton.next_power_of_2(channels),
        )
        return sums.result(), None, weights


def interpolate(attributes: torch.Tensor, tri: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """See `kernels.interpolate`; pixels (B, H, W, 4)."""
    return _Interpolate.apply(attributes, tri, pixels)
