"""Hash-grid encoding in Triton: one program a block of points and level.

Programs of a level are launched together, so that one level's slice of the table at a time lives in
the second-level cache.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from ..spec import HashGridSpec
from .sums import Accumulator, add_to, blocks

BLOCK = 256


@triton.jit
def _axis(x, n, inside, axis: tl.constexpr, scale):
    """Lower grid point and the share of the upper one, of points' coordinate `axis`."""
    position = tl.load(x + n * 3 + axis, mask=inside, other=0.0) * scale + 0.5
    low = position.to(tl.int32)
    return low, position - low.to(tl.float32)


@triton.jit
def _locate(x, n, inside, scales, shape, level):
    """Lower grid points of points at a level, the shares of the upper ones, and the level's
    resolution, fold, hashing and offset."""
    scale = tl.load(scales + level)
    resolution, fold = tl.load(shape + level * 4), tl.load(shape + level * 4 + 1)
    hashed, offset = tl.load(shape + level * 4 + 2), tl.load(shape + level * 4 + 3)
    cx, fx = _axis(x, n, inside, 0, scale)
    cy, fy = _axis(x, n, inside, 1, scale)
    cz, fz = _axis(x, n, inside, 2, scale)
    return cx, cy, cz, fx, fy, fz, resolution, fold, hashed, offset


@triton.jit
def _corner(cx, cy, cz, resolution, fold, hashed):
    """The entry of a grid point: dense or folded by `fold`, or hashed (Müller et al. 2022, eq. 4;
    the primes as 32-bit integers)."""
    dense = cx + cy * resolution + cz * (resolution * resolution)
    mixed = cx ^ (cy * -1640531535) ^ (cz * 805459861)
    return tl.where(hashed != 0, mixed, dense) & fold


@triton.jit
def _pair(table, entry, inside):
    """The two features of entries, read as one 64-bit number."""
    both = tl.load(table + entry, mask=inside, other=0)
    low, high = (both & 0xFFFFFFFF).to(tl.int32), (both >> 32).to(tl.int32)
    return low.to(tl.float32, bitcast=True), high.to(tl.float32, bitcast=True)


@triton.jit
def _forward(x, table, out, scales, shape, count, BLOCK: tl.constexpr):
    level = tl.program_id(1)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    cx, cy, cz, fx, fy, fz, resolution, fold, hashed, offset = _locate(
        x, n, inside, scales, shape, level
    )
    a = tl.zeros([BLOCK], tl.float32)
    b = tl.zeros([BLOCK], tl.float32)
    for corner in tl.static_range(8):
        i, j, k = corner & 1, (corner >> 1) & 1, corner >> 2
        weight = (fx if i else 1.0 - fx) * (fy if j else 1.0 - fy) * (fz if k else 1.0 - fz)
        one, two = _pair(
            table, offset + _corner(cx + i, cy + j, cz + k, resolution, fold, hashed), inside
        )
        a += weight * one
        b += weight * two
    row = (2 * level).to(tl.int64) * count
    tl.store(out + row + n, a, mask=inside)
    tl.store(out + row + count + n, b, mask=inside)


@triton.jit
def _backward(
    x, upstream, grad, unit, scales, shape, count, BLOCK: tl.constexpr, EXACT: tl.constexpr
):
    level = tl.program_id(1)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    cx, cy, cz, fx, fy, fz, resolution, fold, hashed, offset = _locate(
        x, n, inside, scales, shape, level
    )
    row = (2 * level).to(tl.int64) * count
    a = tl.load(upstream + row + n, mask=inside, other=0.0)
    b = tl.load(upstream + row + count + n, mask=inside, other=0.0)
    for corner in tl.static_range(8):
        i, j, k = corner & 1, (corner >> 1) & 1, corner >> 2
        weight = (fx if i else 1.0 - fx) * (fy if j else 1.0 - fy) * (fz if k else 1.0 - fz)
        entry = (offset + _corner(cx + i, cy + j, cz + k, resolution, fold, hashed)) * 2
        add_to(grad + entry, weight * a, unit, inside, EXACT)
        add_to(grad + entry + 1, weight * b, unit, inside, EXACT)


@lru_cache(maxsize=16)
def _levels(spec: HashGridSpec, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales (L,) float32; resolution, fold, whether hashed, and offset (L, 4) int32."""
    rows = [
        (
            spec.resolutions[i],
            -1 if spec.dense[i] else spec.sizes[i] - 1,
            int(not (spec.dense[i] or spec.tiled)),
            spec.offsets[i],
        )
        for i in range(spec.levels)
    ]
    return torch.tensor(spec.scales, device=device), torch.tensor(
        rows, dtype=torch.int32, device=device
    )


class _HashGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, table: torch.Tensor, spec: HashGridSpec) -> torch.Tensor:
        points, count = x.detach().contiguous(), len(x)
        out = table.new_empty(2 * spec.levels, count)
        scales, shape = _levels(spec, x.device)
        if count:
            pairs = table.detach().contiguous().view(torch.int64)
            _forward[(blocks(count, BLOCK), spec.levels)](
                points, pairs, out, scales, shape, count, BLOCK
            )
        ctx.points, ctx.spec, ctx.entries = points, spec, table.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        count, spec = len(ctx.points), ctx.spec
        if not count:
            return None, upstream.new_zeros(ctx.entries), None
        upstream = upstream.contiguous()
        sums = Accumulator(ctx.entries, upstream, upstream.abs().amax(), 8 * count)
        scales, shape = _levels(spec, upstream.device)
        _backward[(blocks(count, BLOCK), spec.levels)](
            ctx.points, upstream, sums.buffer, sums.unit, scales, shape, count, BLOCK, sums.exact
        )
        return None, sums.result(), None


def hashgrid(x: torch.Tensor, table: torch.Tensor, spec: HashGridSpec) -> torch.Tensor:
    """See `kernels.hashgrid`."""
    return _HashGrid.apply(x, table, spec)
