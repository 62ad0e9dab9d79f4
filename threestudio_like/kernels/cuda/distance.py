"""Distances to a surface and winding numbers in Triton: every query against every triangle, in
tiles.

No tree: on a GPU sixteen thousand queries against five thousand triangles are a few milliseconds of
plain arithmetic, and exact. Nearest points are computed in float64, as by the other backends: thin
triangles lose all their digits otherwise.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from ..distance import SurfaceTree
from ..reference.distance import THIN
from .sums import blocks

QUERIES, FACES = 64, 16


@triton.jit
def _vector(base, index, mask, corner: tl.constexpr):
    """Coordinates of a corner of triangles (F, 3, 3)."""
    place = base + index * 9 + corner * 3
    return (
        tl.load(place, mask=mask, other=0.0),
        tl.load(place + 1, mask=mask, other=0.0),
        tl.load(place + 2, mask=mask, other=0.0),
    )


@triton.jit
def _cross(ax, ay, az, bx, by, bz):
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@triton.jit
def _along(px, py, pz, dx, dy, dz):
    """Share of the segment from 0 to d at which it is nearest to p, and the squared distance."""
    length = dx * dx + dy * dy + dz * dz
    share = (px * dx + py * dy + pz * dz) / tl.where(length > 0, length, 1.0)
    share = tl.minimum(tl.maximum(share, 0.0), 1.0)
    x, y, z = px - share * dx, py - share * dy, pz - share * dz
    return share, x * x + y * y + z * z


@triton.jit
def _nearest(
    queries,
    corners,
    distance,
    face,
    point,
    count,
    faces,
    THIN: tl.constexpr,
    QUERIES: tl.constexpr,
    FACES: tl.constexpr,
):
    q = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    valid = q < count
    px = tl.load(queries + q * 3, mask=valid, other=0.0).to(tl.float64)[:, None]
    py = tl.load(queries + q * 3 + 1, mask=valid, other=0.0).to(tl.float64)[:, None]
    pz = tl.load(queries + q * 3 + 2, mask=valid, other=0.0).to(tl.float64)[:, None]
    best = tl.full([QUERIES], float("inf"), tl.float64)
    which = tl.zeros([QUERIES], tl.int32)
    for begin in range(0, faces, FACES):
        f = begin + tl.arange(0, FACES)
        some = f < faces
        x, y, z, d = _on_triangle(px, py, pz, corners, f, some, THIN)
        d = tl.where(some[None, :], d, float("inf"))
        low = tl.min(d, 1)
        # Of equally near faces the first.
        first = tl.min(tl.where(d == low[:, None], f[None, :], 2147483647), 1)
        which = tl.where(low < best, first, which)
        best = tl.minimum(low, best)
    x, y, z, d = _on_triangle(px, py, pz, corners, which[:, None], valid[:, None], THIN)
    tl.store(distance + q, tl.sqrt(best).to(tl.float32), mask=valid)
    tl.store(face + q, which.to(tl.int64), mask=valid)
    tl.store(point + q * 3, tl.sum(x, 1).to(tl.float32), mask=valid)
    tl.store(point + q * 3 + 1, tl.sum(y, 1).to(tl.float32), mask=valid)
    tl.store(point + q * 3 + 2, tl.sum(z, 1).to(tl.float32), mask=valid)


@triton.jit
def _wide(base, index, mask, corner: tl.constexpr):
    x, y, z = _vector(base, index, mask, corner)
    return x.to(tl.float64), y.to(tl.float64), z.to(tl.float64)


@triton.jit
def _on_triangle(px, py, pz, corners, f, mask, THIN: tl.constexpr):
    """The point of triangles `f` nearest to p, and its squared distance; see the reference."""
    ax, ay, az = _wide(corners, f, mask, 0)
    bx, by, bz = _wide(corners, f, mask, 1)
    cx, cy, cz = _wide(corners, f, mask, 2)
    bx, by, bz, cx, cy, cz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
    x, y, z = px - ax, py - ay, pz - az
    nx, ny, nz = _cross(bx, by, bz, cx, cy, cz)
    square = nx * nx + ny * ny + nz * nz
    longest = tl.maximum(bx * bx + by * by + bz * bz, cx * cx + cy * cy + cz * cz)
    flat = square > THIN * THIN * longest * longest
    inverse = 1.0 / tl.where(flat, square, 1.0)
    one, best = _along(x, y, z, bx, by, bz)
    two = one * 0.0
    share, d = _along(x, y, z, cx, cy, cz)
    one, two = tl.where(d < best, 0.0, one), tl.where(d < best, share, two)
    best = tl.minimum(d, best)
    share, d = _along(x - bx, y - by, z - bz, cx - bx, cy - by, cz - bz)
    one, two = tl.where(d < best, 1.0 - share, one), tl.where(d < best, share, two)
    best = tl.minimum(d, best)
    mx, my, mz = _cross(x, y, z, nx, ny, nz)
    v = -(mx * cx + my * cy + mz * cz) * inverse
    w = (mx * bx + my * by + mz * bz) * inverse
    inside = flat & (v >= 0) & (w >= 0) & (1.0 - v - w >= 0)
    one, two = tl.where(inside, v, one), tl.where(inside, w, two)
    height = x * nx + y * ny + z * nz
    return (
        ax + one * bx + two * cx,
        ay + one * by + two * cy,
        az + one * bz + two * cz,
        tl.where(inside, height * height * inverse, best),
    )


def nearest(
    queries: torch.Tensor, tree: SurfaceTree
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `kernels.nearest`."""
    q, corners = queries.contiguous(), tree.corners.to(queries).contiguous()
    distance, point = q.new_empty(len(q)), q.new_empty(len(q), 3)
    face = torch.empty(len(q), dtype=torch.int64, device=q.device)
    if len(q):
        _nearest[(blocks(len(q), QUERIES),)](
            q, corners, distance, face, point, len(q), len(corners), THIN, QUERIES, FACES
        )
    return distance, face, point


@triton.jit
def _turn(y, x):
    """atan2(y, x) to float32's precision: a polynomial of the smaller over the larger."""
    high, low = tl.maximum(tl.abs(x), tl.abs(y)), tl.minimum(tl.abs(x), tl.abs(y))
    a = low / tl.maximum(high, 1e-30)
    # Beyond tan(pi / 8) reduce once more: atan(a) = pi / 4 + atan((a - 1) / (a + 1)).
    large = a > 0.41421356
    b = tl.where(large, (a - 1.0) / (a + 1.0), a)
    s = b * b
    series = b + b * s * (
        -0.333329491539 + s * (0.199777106478 + s * (-0.138776856032 + s * 0.0805374449538))
    )
    angle = tl.where(large, 0.7853981633974483 + series, series)
    angle = tl.where(tl.abs(y) > tl.abs(x), 1.5707963267948966 - angle, angle)
    angle = tl.where(x < 0, 3.141592653589793 - angle, angle)
    return tl.where(y < 0, -angle, angle)


@triton.jit
def _winding(queries, corners, out, count, faces, QUERIES: tl.constexpr, FACES: tl.constexpr):
    q = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    valid = q < count
    px = tl.load(queries + q * 3, mask=valid, other=0.0)[:, None]
    py = tl.load(queries + q * 3 + 1, mask=valid, other=0.0)[:, None]
    pz = tl.load(queries + q * 3 + 2, mask=valid, other=0.0)[:, None]
    total = tl.zeros([QUERIES], tl.float32)
    for begin in range(0, faces, FACES):
        f = begin + tl.arange(0, FACES)
        some = f < faces
        ax, ay, az = _vector(corners, f, some, 0)
        bx, by, bz = _vector(corners, f, some, 1)
        cx, cy, cz = _vector(corners, f, some, 2)
        ax, ay, az = ax[None, :] - px, ay[None, :] - py, az[None, :] - pz
        bx, by, bz = bx[None, :] - px, by[None, :] - py, bz[None, :] - pz
        cx, cy, cz = cx[None, :] - px, cy[None, :] - py, cz[None, :] - pz
        ux, uy, uz = _cross(bx, by, bz, cx, cy, cz)
        la, lb = tl.sqrt(ax * ax + ay * ay + az * az), tl.sqrt(bx * bx + by * by + bz * bz)
        lc = tl.sqrt(cx * cx + cy * cy + cz * cz)
        top = ax * ux + ay * uy + az * uz
        below = la * lb * lc + (ax * bx + ay * by + az * bz) * lc
        below += (bx * cx + by * cy + bz * cz) * la + (cx * ax + cy * ay + cz * az) * lb
        total += tl.sum(tl.where(some[None, :], _turn(top, below), 0.0), 1)
    tl.store(out + q, total, mask=valid)


def winding_number(queries: torch.Tensor, tree: SurfaceTree, beta: float) -> torch.Tensor:
    """See `kernels.winding_number`; exact, so `beta` changes nothing."""
    q, corners = queries.contiguous(), tree.corners.to(queries).contiguous()
    out = q.new_empty(len(q))
    if len(q):
        _winding[(blocks(len(q), QUERIES),)](q, corners, out, len(q), len(corners), QUERIES, FACES)
    return out / (2 * math.pi)
