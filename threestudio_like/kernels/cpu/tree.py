"""A tree of boxes over triangles on the CPU: nearest point of a surface, and fast winding numbers
(Barill et al. 2018)."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE

LEAF = 4
"""Triangles of a leaf at most."""


@njit(nogil=True, cache=CACHE)
def build_tree(low, high, centre, order, bounds, child, span):
    """Split by the middle of the widest axis of the centres, breadth first; returns the number of
    nodes.

    Args:
        low, high, centre: (F, 3) float32 of every triangle.
        order: (F,) int32, 0 to F - 1 on entry; triangles in the order of the leaves on return.
        bounds: (N, 6) float32 out: lowest and highest corner of every node.
        child: (N,) int32 out: first child (the second follows), or -1 for a leaf.
        span: (N, 2) int32 out: range of `order`.
    """
    count = 1
    span[0, 0], span[0, 1] = 0, len(order)
    at = 0
    while at < count:
        begin, end = span[at, 0], span[at, 1]
        for k in range(3):
            bounds[at, k], bounds[at, 3 + k] = np.float32(np.inf), np.float32(-np.inf)
        cl = np.full(3, np.inf, np.float32)
        ch = np.full(3, -np.inf, np.float32)
        for i in range(begin, end):
            f = order[i]
            for k in range(3):
                bounds[at, k] = min(bounds[at, k], low[f, k])
                bounds[at, 3 + k] = max(bounds[at, 3 + k], high[f, k])
                cl[k] = min(cl[k], centre[f, k])
                ch[k] = max(ch[k], centre[f, k])
        child[at] = -1
        if end - begin > LEAF:
            axis = 0
            for k in range(1, 3):
                if ch[k] - cl[k] > ch[axis] - cl[axis]:
                    axis = k
            middle = np.float32(0.5) * (cl[axis] + ch[axis])
            i, j = begin, end - 1
            while i <= j:
                if centre[order[i], axis] < middle:
                    i += 1
                else:
                    order[i], order[j] = order[j], order[i]
                    j -= 1
            if i in (begin, end):
                # All centres at one place, or nearly: halves.
                i = (begin + end) // 2
            child[at] = count
            span[count, 0], span[count, 1] = begin, i
            span[count + 1, 0], span[count + 1, 1] = i, end
            count += 2
        at += 1
    return count


@njit(nogil=True, cache=CACHE)
def dipoles(corners, order, child, span, count, moments):
    """Area vector, area-weighted centre and radius of every node: corners (F, 3, 3), moments (N, 7)
    float32 out, children first."""
    total = np.zeros((count, 7), np.float64)
    for at in range(count - 1, -1, -1):
        if child[at] < 0:
            for i in range(span[at, 0], span[at, 1]):
                a, b, c = corners[order[i], 0], corners[order[i], 1], corners[order[i], 2]
                ux, uy, uz = float(b[0] - a[0]), float(b[1] - a[1]), float(b[2] - a[2])
                vx, vy, vz = float(c[0] - a[0]), float(c[1] - a[1]), float(c[2] - a[2])
                nx, ny, nz = (
                    0.5 * (uy * vz - uz * vy),
                    0.5 * (uz * vx - ux * vz),
                    0.5 * (ux * vy - uy * vx),
                )
                area = np.sqrt(nx * nx + ny * ny + nz * nz)
                total[at, 0] += nx
                total[at, 1] += ny
                total[at, 2] += nz
                total[at, 6] += area
                for k in range(3):
                    total[at, 3 + k] += area * (a[k] + b[k] + c[k]) / 3.0
        else:
            for k in range(7):
                total[at, k] = total[child[at], k] + total[child[at] + 1, k]
    for at in range(count):
        area = max(total[at, 6], 1e-30)
        for k in range(3):
            moments[at, k] = total[at, k]
            moments[at, 3 + k] = total[at, 3 + k] / area
        radius = 0.0
        for i in range(span[at, 0], span[at, 1]):
            for corner in range(3):
                d = 0.0
                for k in range(3):
                    d += (corners[order[i], corner, k] - moments[at, 3 + k]) ** 2
                radius = max(radius, d)
        moments[at, 6] = np.sqrt(radius)


@njit(nogil=True, cache=CACHE, fastmath=True)
def _nearest_on_triangle(px, py, pz, t):
    """Weights (v, w) of corners 1 and 2 of the point of triangle t (9,) nearest to p (Ericson 2004,
    section 5.1.5)."""
    zero, one = np.float32(0), np.float32(1)
    abx, aby, abz = t[3] - t[0], t[4] - t[1], t[5] - t[2]
    acx, acy, acz = t[6] - t[0], t[7] - t[1], t[8] - t[2]
    apx, apy, apz = px - t[0], py - t[1], pz - t[2]
    d1, d2 = abx * apx + aby * apy + abz * apz, acx * apx + acy * apy + acz * apz
    if d1 <= zero and d2 <= zero:
        return zero, zero
    bpx, bpy, bpz = px - t[3], py - t[4], pz - t[5]
    d3, d4 = abx * bpx + aby * bpy + abz * bpz, acx * bpx + acy * bpy + acz * bpz
    if d3 >= zero and d4 <= d3:
        return one, zero
    vc = d1 * d4 - d3 * d2
    if vc <= zero and d1 >= zero and d3 <= zero:
        return d1 / max(d1 - d3, np.float32(1e-30)), zero
    cpx, cpy, cpz = px - t[6], py - t[7], pz - t[8]
    d5, d6 = abx * cpx + aby * cpy + abz * cpz, acx * cpx + acy * cpy + acz * cpz
    if d6 >= zero and d5 <= d6:
        return zero, one
    vb = d5 * d2 - d1 * d6
    if vb <= zero and d2 >= zero and d6 <= zero:
        return zero, d2 / max(d2 - d6, np.float32(1e-30))
    va = d3 * d6 - d5 * d4
    if va <= zero and d4 - d3 >= zero and d5 - d6 >= zero:
        w = (d4 - d3) / max((d4 - d3) + (d5 - d6), np.float32(1e-30))
        return one - w, w
    scale = one / max(va + vb + vc, np.float32(1e-30))
    return vb * scale, vc * scale


@njit(nogil=True, cache=CACHE, fastmath=True)
def nearest_range(queries, triangles, bounds, child, span, begin, end, distance, place, point):
    """Nearest surface point of queries [begin, end).

    Args:
        queries: (Q, 3). triangles: (F, 9) in the order of the leaves.
        distance (Q,), place (Q,) int32 (position in `triangles`), point (Q, 3): out.
    """
    stack = np.empty(128, np.int32)
    far = np.empty(128, np.float32)
    start = 0
    for n in range(begin, end):
        px, py, pz = queries[n, 0], queries[n, 1], queries[n, 2]
        # The last query's triangle is a good first guess for a neighbour.
        t = triangles[start]
        v, w = _nearest_on_triangle(px, py, pz, t)
        u = np.float32(1) - v - w
        qx, qy, qz = (
            u * t[0] + v * t[3] + w * t[6],
            u * t[1] + v * t[4] + w * t[7],
            u * t[2] + v * t[5] + w * t[8],
        )
        best = (px - qx) ** 2 + (py - qy) ** 2 + (pz - qz) ** 2
        found, bx, by, bz = start, qx, qy, qz
        stack[0], far[0] = 0, np.float32(0)
        top = 1
        while top > 0:
            top -= 1
            if far[top] >= best:
                continue
            at = stack[top]
            if child[at] < 0:
                for i in range(span[at, 0], span[at, 1]):
                    t = triangles[i]
                    v, w = _nearest_on_triangle(px, py, pz, t)
                    u = np.float32(1) - v - w
                    qx, qy, qz = (
                        u * t[0] + v * t[3] + w * t[6],
                        u * t[1] + v * t[4] + w * t[7],
                        u * t[2] + v * t[5] + w * t[8],
                    )
                    d = (px - qx) ** 2 + (py - qy) ** 2 + (pz - qz) ** 2
                    if d < best:
                        best, found, bx, by, bz = d, i, qx, qy, qz
                continue
            one = child[at]
            d0, d1 = np.float32(0), np.float32(0)
            for side in range(2):
                b = bounds[one + side]
                dx = max(max(b[0] - px, px - b[3]), np.float32(0))
                dy = max(max(b[1] - py, py - b[4]), np.float32(0))
                dz = max(max(b[2] - pz, pz - b[5]), np.float32(0))
                if side == 0:
                    d0 = dx * dx + dy * dy + dz * dz
                else:
                    d1 = dx * dx + dy * dy + dz * dz
            # The nearer child on top of the stack.
            first, second = (one, one + 1) if d0 <= d1 else (one + 1, one)
            near, other = min(d0, d1), max(d0, d1)
            if other < best:
                stack[top], far[top] = second, other
                top += 1
            if near < best:
                stack[top], far[top] = first, near
                top += 1
        start = found
        distance[n] = np.sqrt(best)
        place[n] = found
        point[n, 0], point[n, 1], point[n, 2] = bx, by, bz


@njit(nogil=True, cache=CACHE, fastmath=True)
def solid_angle(px, py, pz, t):
    """Solid angle / 2 of triangle t (9,) seen from p (van Oosterom and Strackee 1983), positive
    from behind its front."""
    ax, ay, az = t[0] - px, t[1] - py, t[2] - pz
    bx, by, bz = t[3] - px, t[4] - py, t[5] - pz
    cx, cy, cz = t[6] - px, t[7] - py, t[8] - pz
    la, lb, lc = (
        np.sqrt(ax * ax + ay * ay + az * az),
        np.sqrt(bx * bx + by * by + bz * bz),
        np.sqrt(cx * cx + cy * cy + cz * cz),
    )
    top = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    below = (
        la * lb * lc
        + (ax * bx + ay * by + az * bz) * lc
        + (bx * cx + by * cy + bz * cz) * la
        + (cx * ax + cy * ay + cz * az) * lb
    )
    return np.arctan2(top, below)


@njit(nogil=True, cache=CACHE, fastmath=True)
def winding_range(queries, triangles, moments, child, span, beta, begin, end, out):
    """Winding number of queries [begin, end): nodes farther than beta radii as dipoles, near
    triangles exactly."""
    stack = np.empty(128, np.int32)
    quarter, half = np.float32(1 / (4 * np.pi)), np.float32(1 / (2 * np.pi))
    for n in range(begin, end):
        px, py, pz = queries[n, 0], queries[n, 1], queries[n, 2]
        total = np.float32(0)
        stack[0] = 0
        top = 1
        while top > 0:
            top -= 1
            at = stack[top]
            m = moments[at]
            dx, dy, dz = m[3] - px, m[4] - py, m[5] - pz
            d = dx * dx + dy * dy + dz * dz
            reach = beta * m[6]
            if d > reach * reach:
                total += quarter * (m[0] * dx + m[1] * dy + m[2] * dz) / (d * np.sqrt(d))
            elif child[at] < 0:
                for i in range(span[at, 0], span[at, 1]):
                    total += half * solid_angle(px, py, pz, triangles[i])
            else:
                stack[top], stack[top + 1] = child[at], child[at] + 1
                top += 2
        out[n] = total
