"""Gaussian splatting on the CPU: which tiles a Gaussian touches, and blending tile by tile.

Gaussians are drawn one after the other, over the rows of a tile that they reach, pixel by pixel.
The gradients of a tile go to rows of their own, one a Gaussian that it shows, which are then summed
for every Gaussian in a fixed order: the result does not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE

TILE = 16
ONE = np.float32(1.0)
NONE = np.float32(0.0)
HALF = np.float32(0.5)
LEAST = np.float32(1.0 / 255.0)
MOST = np.float32(0.99)
STOP = np.float32(1e-4)
LOWEST = np.float32(-8.0)
SHARE = np.float32(0.125)
MIDDLE = np.float32(0.375)
# exp(-0.375) / n!: the exponential about the middle of [-0.75, 0].
E0 = np.float32(0.6872892787909722)
E1 = np.float32(0.6872892787909722)
E2 = np.float32(0.3436446393954861)
E3 = np.float32(0.1145482131318287)
E4 = np.float32(0.0286370532829572)
E5 = np.float32(0.0057274106565914)
E6 = np.float32(0.0009545684427652)
# Where in a tile's array its pixels' values begin, behind the transmittances.
WEIGHT, BEHIND, PULL, PIXEL_X, PIXEL_Y = (np.uint64(n * TILE * TILE) for n in range(1, 6))


@njit(nogil=True, cache=CACHE)
def tile_boxes(boxes, order, tiles_x, tiles_y, spans, counts):
    """The tiles of every Gaussian that has any, and how many Gaussians every tile has.

    Args:
        boxes: (N, 4) in pixels; order: (N,) the Gaussians in order of depth.
        spans: (N, 4) int32, filled with first and last column, first and last row (exclusive).
        counts: (tiles,) int64, filled.

    Returns:
        Pairs of a Gaussian and a tile.
    """
    total = 0
    counts[:] = 0
    for n in range(order.shape[0]):
        g = order[n]
        if boxes[g, 1] < boxes[g, 0]:
            spans[g, :] = 0
            continue
        left = min(max(int(np.floor(boxes[g, 0] / TILE)), 0), tiles_x)
        right = min(max(int(np.floor(boxes[g, 1] / TILE)) + 1, 0), tiles_x)
        top = min(max(int(np.floor(boxes[g, 2] / TILE)), 0), tiles_y)
        low = min(max(int(np.floor(boxes[g, 3] / TILE)) + 1, 0), tiles_y)
        spans[g, 0], spans[g, 1], spans[g, 2], spans[g, 3] = left, right, top, low
        for row in range(top, low):
            for column in range(left, right):
                counts[row * tiles_x + column] += 1
                total += 1
    return total


@njit(nogil=True, cache=CACHE)
def tile_lists(spans, order, tiles_x, starts, cursor, gaussians, firsts, places):
    """The Gaussians of every tile, in order of depth.

    Args:
        starts: (tiles + 1,) int64; cursor: (tiles,) int64, scratch.
        gaussians: (pairs,) int32, filled: tile by tile.
        firsts: (N + 1,) int64, filled; places: (pairs,) int64, filled: where in `gaussians`
            Gaussian g stands, places[firsts[g]:firsts[g + 1]].
    """
    count = spans.shape[0]
    firsts[0] = 0
    for g in range(count):
        firsts[g + 1] = firsts[g] + (spans[g, 1] - spans[g, 0]) * (spans[g, 3] - spans[g, 2])
    cursor[:] = starts[:-1]
    for n in range(order.shape[0]):
        g = order[n]
        at = firsts[g]
        for row in range(spans[g, 2], spans[g, 3]):
            for column in range(spans[g, 0], spans[g, 1]):
                tile = row * tiles_x + column
                gaussians[cursor[tile]] = g
                places[at] = cursor[tile]
                cursor[tile] += 1
                at += 1


@njit(nogil=True, cache=CACHE)
def _pixels(x, y):
    """Where the pixels of a tile have their centres, from its corner: x, y (256,), filled."""
    for p in range(TILE * TILE):
        x[p] = np.float32(p % TILE) + HALF
        y[p] = np.float32(p // TILE) + HALF


@njit(nogil=True, cache=CACHE)
def _open(clear, rows, columns):
    """Transmittance 1 in the pixels of a tile that are in the picture, 0 beyond its edge."""
    for p in range(TILE * TILE):
        clear[p] = ONE if p // TILE < rows and p % TILE < columns else NONE


@njit(nogil=True, cache=CACHE, fastmath=True)
def _finished(clear):
    """Whether nothing passes through any pixel of a tile."""
    left = NONE
    for p in range(TILE * TILE):
        left = max(left, clear[p])
    return left == NONE


@njit(nogil=True, cache=CACHE, fastmath=True)
def _opacity(a, b, c, opacity, dx, dy):
    """Opacity of a Gaussian at a pixel; below 1/255 it is 0."""
    power = -HALF * (a * dx * dx + c * dy * dy) - b * dx * dy
    y = min(max(power, LOWEST), NONE) * SHARE + MIDDLE
    e = E0 + y * (E1 + y * (E2 + y * (E3 + y * (E4 + y * (E5 + y * E6)))))
    e = e * e
    e = e * e
    value = min(opacity * e * e, MOST)
    return value if value >= LEAST else NONE


@njit(nogil=True, cache=CACHE, fastmath=True)
def blend_tiles(
    first, last, tiles_x, starts, gaussians, boxes, centres, conics, opacities, values, out
):
    """Blend the tiles first to last of a picture.

    Args:
        out: (H, W, D + 1), filled.
    """
    height, width, planes = out.shape
    channels = planes - 1
    pixel_x, pixel_y = np.empty(TILE * TILE, np.float32), np.empty(TILE * TILE, np.float32)
    _pixels(pixel_x, pixel_y)
    clear, weight = np.empty(TILE * TILE, np.float32), np.empty(TILE * TILE, np.float32)
    total = np.empty((planes, TILE * TILE), np.float32)
    for tile in range(first, last):
        x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        rows, columns = min(TILE, height - y0), min(TILE, width - x0)
        _open(clear, rows, columns)
        total[:] = NONE
        for k in range(starts[tile], starts[tile + 1]):
            if (k - starts[tile]) % 16 == 15 and _finished(clear):
                break
            g = gaussians[k]
            a, b, c, opacity = conics[g, 0], conics[g, 1], conics[g, 2], opacities[g]
            ox, oy = np.float32(x0) - centres[g, 0], np.float32(y0) - centres[g, 1]
            top = max(int(np.floor(boxes[g, 2] - HALF)) - y0, 0)
            low = min(int(np.floor(boxes[g, 3] - HALF)) + 1 - y0, rows)
            begin, end = np.uint64(TILE * top), np.uint64(TILE * max(low, top))
            for p in range(begin, end):
                alpha = _opacity(a, b, c, opacity, pixel_x[p] + ox, pixel_y[p] + oy)
                before = clear[p]
                after = before * (ONE - alpha)
                alive = after >= STOP
                weight[p] = before * alpha if alive else NONE
                clear[p] = after if alive else NONE
            for d in range(channels):
                value, line = values[g, d], total[d]
                for p in range(begin, end):
                    line[p] += weight[p] * value
            line = total[channels]
            for p in range(begin, end):
                line[p] += weight[p]
        for r in range(rows):
            for i in range(columns):
                for d in range(planes):
                    out[y0 + r, x0 + i, d] = total[d, r * TILE + i]


# A division that may raise would keep the compiler from working on many pixels at once.
@njit(nogil=True, cache=CACHE, fastmath=True, error_model="numpy")
def blend_back(
    first,
    last,
    tiles_x,
    starts,
    gaussians,
    boxes,
    centres,
    conics,
    opacities,
    values,
    out,
    upstream,
    grads,
):
    """Gradients of `blend_tiles`: grads (pairs, 6 + D) of centre x, y, conic xx, xy, yy, opacity
    and values, a row for every pair of a tile and a Gaussian; zeros at first.

    With v_i = dL/dw_i, dL/dalpha_i = T_i v_i - sum_{j > i} w_j v_j / (1 - alpha_i); the sum behind
    i is the pixel's total less what has been passed.
    """
    height, width, planes = out.shape
    channels = planes - 1
    # One array: that its parts do not overlap is seen by the compiler, which then works on many
    # pixels at once.
    work = np.empty(6 * TILE * TILE, np.float32)
    clear, behind = work[: TILE * TILE], work[BEHIND : BEHIND + TILE * TILE]
    _pixels(work[PIXEL_X:], work[PIXEL_Y:])
    given = np.empty((planes, TILE * TILE), np.float32)
    for tile in range(first, last):
        x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        rows, columns = min(TILE, height - y0), min(TILE, width - x0)
        _open(clear, rows, columns)
        behind[:] = NONE
        given[:] = NONE
        for r in range(rows):
            for i in range(columns):
                for d in range(planes):
                    given[d, r * TILE + i] = upstream[y0 + r, x0 + i, d]
                    behind[r * TILE + i] += upstream[y0 + r, x0 + i, d] * out[y0 + r, x0 + i, d]
        for k in range(starts[tile], starts[tile + 1]):
            if (k - starts[tile]) % 16 == 15 and _finished(clear):
                break
            g = gaussians[k]
            a, b, c, opacity = conics[g, 0], conics[g, 1], conics[g, 2], opacities[g]
            ox, oy = np.float32(x0) - centres[g, 0], np.float32(y0) - centres[g, 1]
            top = max(int(np.floor(boxes[g, 2] - HALF)) - y0, 0)
            low = min(int(np.floor(boxes[g, 3] - HALF)) + 1 - y0, rows)
            begin, end = np.uint64(TILE * top), np.uint64(TILE * max(low, top))
            line = given[channels]
            for p in range(begin, end):
                work[p + PULL] = line[p]
            for d in range(channels):
                value, line = values[g, d], given[d]
                for p in range(begin, end):
                    work[p + PULL] += line[p] * value
            s, sx, sy, sxx, sxy, syy = NONE, NONE, NONE, NONE, NONE, NONE
            for p in range(begin, end):
                dx, dy = work[p + PIXEL_X] + ox, work[p + PIXEL_Y] + oy
                alpha = _opacity(a, b, c, opacity, dx, dy)
                before, pull = work[p], work[p + PULL]
                after = before * (ONE - alpha)
                alive = after >= STOP
                w = before * alpha if alive else NONE
                work[p + WEIGHT] = w
                work[p] = after if alive else NONE
                rest = work[p + BEHIND] - w * pull
                work[p + BEHIND] = rest
                on = before * pull - rest / (ONE - alpha)
                # Nothing of what is clamped, left out or finished moves.
                on = on * alpha if alive and alpha < MOST else NONE
                s += on
                sx += on * dx
                sy += on * dy
                sxx += on * dx * dx
                sxy += on * dx * dy
                syy += on * dy * dy
            grads[k, 0], grads[k, 1] = a * sx + b * sy, b * sx + c * sy
            grads[k, 2], grads[k, 3], grads[k, 4] = -HALF * sxx, -sxy, -HALF * syy
            grads[k, 5] = s / opacity
            for d in range(channels):
                shade, line = NONE, given[d]
                for p in range(begin, end):
                    shade += work[p + WEIGHT] * line[p]
                grads[k, 6 + d] = shade


@njit(nogil=True, cache=CACHE)
def gather_rows(first, last, firsts, places, grads, total):
    """Sums over the tiles of Gaussians first to last: total (N, 6 + D), filled."""
    for g in range(first, last):
        for d in range(total.shape[1]):
            total[g, d] = NONE
        for n in range(firsts[g], firsts[g + 1]):
            row = grads[places[n]]
            for d in range(total.shape[1]):
                total[g, d] += row[d]
