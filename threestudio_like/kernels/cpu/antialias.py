"""The search of the antialiasing pass: walk the silhouette edges over the pixels, one band of pixel
pairs an edge crosses."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE


@njit(nogil=True, cache=CACHE, inline="always")
def _to_pixels(clip, v, w, width, height):
    """Pixel coordinates of a vertex of clip-space w, a float64, in float64."""
    return (
        (clip[v, 0] / w + 1.0) * 0.5 * width - 0.5,
        (1.0 - clip[v, 1] / w) * 0.5 * height - 0.5,
    )


@njit(nogil=True, cache=CACHE)
def _side_of_faces(clip, far, ax, ay, dx, dy, width, height):
    """The side (a signed number) of the edge from (ax, ay) along (dx, dy) on which all its faces'
    far corners (2,) lie on the screen; 0 where they lie on both, or behind the camera."""
    side = 0.0
    for k in range(2):
        o = far[k]
        if o < 0:
            continue
        wo = np.float64(clip[o, 3])
        if wo <= 1e-6:
            return 0.0
        ox, oy = _to_pixels(clip, o, wo, width, height)
        turn = dx * (oy - ay) - dy * (ox - ax)
        if turn == 0.0:
            continue
        if side != 0.0 and turn * side < 0.0:
            return 0.0
        side = turn
    return side


@njit(nogil=True, cache=CACHE)
def _forget(best, pairs, count, width):
    """Set the scratch that the first `count` pairs have used back to -1."""
    for n in range(count):
        one, two = min(pairs[n, 0], pairs[n, 1]), max(pairs[n, 0], pairs[n, 1])
        direction = 0 if two - one == 1 else 1
        best[direction, one // width, one % width] = -1


@njit(nogil=True, cache=CACHE)
def silhouette_pairs(clip, edges, opposite, pixels, best, reach, pairs):
    """Pixel pairs that a silhouette edge separates, one edge a pair: the outermost.

    Args:
        clip: (V, 4) float32.
        edges, opposite: (E, 2) int32; a border edge has one opposite vertex and -1.
        pixels: (H, W, 4) from `rasterize`.
        best: (2, H, W) int32 scratch, all -1 on entry and on return.
        reach: (2, H, W) float32 scratch.
        pairs: (N, 3) int32 out: inside pixel, outside pixel (indices into H * W), edge.

    Returns:
        The number of pairs, or -1 when `pairs` is too short.
    """
    height, width, _ = pixels.shape
    touched = 0
    for e in range(edges.shape[0]):
        a, b = edges[e, 0], edges[e, 1]
        wa, wb = np.float64(clip[a, 3]), np.float64(clip[b, 3])
        if wa <= 1e-6 or wb <= 1e-6:
            continue
        ax, ay = _to_pixels(clip, a, wa, width, height)
        bx, by = _to_pixels(clip, b, wb, width, height)
        dx, dy = bx - ax, by - ay
        if max(ax, bx) < -1.0 or max(ay, by) < -1.0 or min(ax, bx) > width or min(ay, by) > height:
            continue
        side = _side_of_faces(clip, opposite[e], ax, ay, dx, dy, width, height)
        if side == 0.0:
            continue
        za, zb = clip[a, 2] / wa, clip[b, 2] / wb
        steep = abs(dy) >= abs(dx)
        # Along the main axis (rows for a steep edge, columns for a flat one), every pixel centre
        # that the edge spans.
        p0, p1, q0, q1 = (ay, by, ax, bx) if steep else (ax, bx, ay, by)
        if p0 == p1:
            continue
        low, high = min(p0, p1), max(p0, p1)
        limit, other = (height, width) if steep else (width, height)
        # The object lies at larger q when this is true. `side` is the sign of dx * (o - a).y - dy *
        # (o - a).x.
        larger = (side < 0.0) == (dy > 0.0) if steep else (side > 0.0) == (dx > 0.0)
        for p in range(max(0, int(np.ceil(low))), min(limit - 1, int(np.ceil(high)) - 1) + 1):
            s = (p - p0) / (p1 - p0)
            q = q0 + s * (q1 - q0)
            # A pixel on a left or top edge is inside, and one on a right or bottom edge is outside.
            first = int(np.ceil(q)) - 1
            if first < 0 or first + 1 >= other:
                continue
            inner, outer = (first + 1, first) if larger else (first, first + 1)
            r_in, c_in = (p, inner) if steep else (inner, p)
            r_out, c_out = (p, outer) if steep else (outer, p)
            if pixels[r_in, c_in, 3] == 0.0:
                continue
            z = za + s * (zb - za)
            if pixels[r_out, c_out, 3] > 0.0:
                z_out = pixels[r_out, c_out, 2]
                step = abs(z_out - pixels[r_in, c_in, 2])
                # The outside pixel shows the same surface, or something nearer than the edge.
                if z_out <= z + 0.25 * step or z_out <= pixels[r_in, c_in, 2]:
                    continue
            outward = first + 1 - q if larger else q - first
            direction = 0 if steep else 1
            r, c = (p, first) if steep else (first, p)
            slot = best[direction, r, c]
            if slot < 0:
                if touched >= pairs.shape[0]:
                    _forget(best, pairs, touched, width)
                    return -1
                slot = touched
                best[direction, r, c] = slot
                touched += 1
            elif outward <= reach[direction, r, c]:
                continue
            pairs[slot, 0], pairs[slot, 1] = r_in * width + c_in, r_out * width + c_out
            pairs[slot, 2] = e
            reach[direction, r, c] = np.float32(outward)
    _forget(best, pairs, touched, width)
    return touched
