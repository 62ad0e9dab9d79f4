"""A tree of boxes over triangles on the CPU: nearest point of a surface, and fast winding numbers
(Barill et al. 2018)."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..compiling import CACHE
from ..reference.distance import THIN

LEAF = 4
"""Triangles of a leaf at most."""
MOMENTS = 27
"""Numbers of a node: area vector 3, centre 3, radius, the first moment 6 and the second 10, and
their traces 1 and 3; moments with the factors of the series."""
_SUMS = 23


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


_PAIRS = np.array([[0, 0], [1, 1], [2, 2], [0, 1], [0, 2], [1, 2]])
_TRIPLES = np.array(
    [
        [0, 0, 0],
        [1, 1, 1],
        [2, 2, 2],
        [0, 0, 1],
        [0, 0, 2],
        [0, 1, 1],
        [1, 1, 2],
        [0, 2, 2],
        [1, 2, 2],
        [0, 1, 2],
    ]
)


@njit(nogil=True, cache=CACHE)
def _add_triangle(total, corners, origin):
    """Add to (23,) the integrals over a triangle (3, 3) of its normal n, of r, 1, n r and n r r,
    the last two made symmetric: only that part acts on a point."""
    p = np.empty((3, 3))
    for i in range(3):
        for k in range(3):
            p[i, k] = np.float64(corners[i, k]) - origin[k]
    n, mean = np.empty(3), np.empty(3)
    for k in range(3):
        a, b = (k + 1) % 3, (k + 2) % 3
        n[k] = 0.5 * (
            (p[1, a] - p[0, a]) * (p[2, b] - p[0, b]) - (p[1, b] - p[0, b]) * (p[2, a] - p[0, a])
        )
        mean[k] = (p[0, k] + p[1, k] + p[2, k]) / 3.0
    area = np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
    square = np.empty((3, 3))
    for a in range(3):
        total[a] += n[a]
        total[3 + a] += area * mean[a]
        for b in range(3):
            # The mean of r r over a triangle.
            square[a, b] = 9.0 * mean[a] * mean[b]
            for i in range(3):
                square[a, b] += p[i, a] * p[i, b]
            square[a, b] /= 12.0
    total[6] += area
    for m in range(6):
        a, b = _PAIRS[m]
        total[7 + m] += 0.5 * (n[a] * mean[b] + n[b] * mean[a])
    for m in range(10):
        a, b, c = _TRIPLES[m]
        total[13 + m] += (n[a] * square[b, c] + n[b] * square[a, c] + n[c] * square[a, b]) / 3.0


@njit(nogil=True, cache=CACHE)
def _about(total, centre, out):
    """The moments (27,) about a centre (3,), times their factors in `_far_node`, of sums (23,)
    about the origin."""
    first, trace = np.empty((3, 3)), np.zeros(4)
    for m in range(6):
        a, b = _PAIRS[m]
        moved = total[7 + m] - 0.5 * (total[a] * centre[b] + total[b] * centre[a])
        first[a, b] = moved
        first[b, a] = moved
        if a == b:
            trace[3] += moved
        out[7 + m] = -3.0 * moved * (1.0 if a == b else 2.0)
    for m in range(10):
        a, b, c = _TRIPLES[m]
        # n r r = n (r - s)(r - s) + 2 n (r - s) s + n s s, each made symmetric.
        mixed = first[a, b] * centre[c] + first[a, c] * centre[b] + first[b, c] * centre[a]
        plain = (
            total[a] * centre[b] * centre[c]
            + total[b] * centre[a] * centre[c]
            + total[c] * centre[a] * centre[b]
        )
        moved = total[13 + m] - (2.0 * mixed + plain) / 3.0
        if a == b:
            trace[c] += moved
        elif b == c:
            trace[a] += moved
        # How often the product of coordinates comes in the symmetric sum.
        out[13 + m] = 7.5 * moved * (1.0 if a == c else 6.0 if a != b and b != c else 3.0)
    out[23] = trace[3]
    for k in range(3):
        out[24 + k] = 4.5 * trace[k]


@njit(nogil=True, cache=CACHE)
def dipoles(corners, order, child, span, count, moments):
    """Area vector, area-weighted centre, radius and moments of every node: corners (F, 3, 3),
    moments (N, 27) float32 out, children first (Barill et al. 2018, section 3)."""
    total = np.zeros((count, _SUMS), np.float64)
    origin = np.zeros(3)
    for k in range(3):
        origin[k] = np.float64(corners[order[0], 0, k])
    for at in range(count - 1, -1, -1):
        if child[at] < 0:
            for i in range(span[at, 0], span[at, 1]):
                _add_triangle(total[at], corners[order[i]], origin)
        else:
            for k in range(_SUMS):
                total[at, k] = total[child[at], k] + total[child[at] + 1, k]
    centre = np.empty(3)
    for at in range(count):
        area = max(total[at, 6], 1e-300)
        for k in range(3):
            moments[at, k] = total[at, k]
            centre[k] = total[at, 3 + k] / area
            moments[at, 3 + k] = centre[k] + origin[k]
        _about(total[at], centre, moments[at])
        radius = 0.0
        for i in range(span[at, 0], span[at, 1]):
            for corner in range(3):
                d = 0.0
                for k in range(3):
                    d += (corners[order[i], corner, k] - moments[at, 3 + k]) ** 2
                radius = max(radius, d)
        moments[at, 6] = np.sqrt(radius)


@njit(nogil=True, cache=CACHE, inline="always")
def _along(px, py, pz, dx, dy, dz):
    """Share of the segment from 0 to d at which it is nearest to p, and the squared distance."""
    length = dx * dx + dy * dy + dz * dz
    share = 0.0
    if length > 0.0:
        share = min(max((px * dx + py * dy + pz * dz) / length, 0.0), 1.0)
    x, y, z = px - share * dx, py - share * dy, pz - share * dz
    return share, x * x + y * y + z * z


@njit(nogil=True, cache=CACHE)
def nearest_on_triangle(px, py, pz, t, enough):
    """The squared distance from p to a triangle t (9,), and the weights of corners 1 and 2 of its
    nearest point, in float64; infinity for one that is not below `enough`.

    Within the triangle the distance is that to its plane; else it is that to one of the edges that
    the point lies beyond. A triangle that is thinner than `THIN` of its length is its edges.
    """
    ax, ay, az = np.float64(t[0]), np.float64(t[1]), np.float64(t[2])
    bx, by, bz = np.float64(t[3]) - ax, np.float64(t[4]) - ay, np.float64(t[5]) - az
    cx, cy, cz = np.float64(t[6]) - ax, np.float64(t[7]) - ay, np.float64(t[8]) - az
    x, y, z = px - ax, py - ay, pz - az
    nx, ny, nz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    square = nx * nx + ny * ny + nz * nz
    longest = max(bx * bx + by * by + bz * bz, cx * cx + cy * cy + cz * cz)
    u, v, w = -1.0, -1.0, -1.0
    if square > THIN * THIN * longest * longest:
        inverse = 1.0 / square
        height = x * nx + y * ny + z * nz
        height *= height * inverse
        if height >= enough:
            return np.inf, 0.0, 0.0
        # p x n is computed once: the weights are its products with the edges.
        mx, my, mz = y * nz - z * ny, z * nx - x * nz, x * ny - y * nx
        v = -(mx * cx + my * cy + mz * cz) * inverse
        w = (mx * bx + my * by + mz * bz) * inverse
        u = 1.0 - v - w
        if u >= 0.0 and v >= 0.0 and w >= 0.0:
            return height, v, w
    best, one, two = np.inf, 0.0, 0.0
    if w <= 0.0:
        share, d = _along(x, y, z, bx, by, bz)
        best, one, two = d, share, 0.0
    if v <= 0.0:
        share, d = _along(x, y, z, cx, cy, cz)
        if d < best:
            best, one, two = d, 0.0, share
    if u <= 0.0:
        share, d = _along(x - bx, y - by, z - bz, cx - bx, cy - by, cz - bz)
        if d < best:
            best, one, two = d, 1.0 - share, share
    return best, one, two


@njit(nogil=True, cache=CACHE)
def nearest_range(queries, triangles, bounds, child, span, begin, end, distance, place, point):
    """Nearest surface point of queries [begin, end).

    Args:
        queries: (Q, 3). triangles: (F, 9) in the order of the leaves.
        distance (Q,), place (Q,) int32 (position in `triangles`), point (Q, 3): out.
    """
    stack = np.empty(128, np.int32)
    far = np.empty(128, np.float64)
    start = 0
    for n in range(begin, end):
        px, py, pz = (
            np.float64(queries[n, 0]),
            np.float64(queries[n, 1]),
            np.float64(queries[n, 2]),
        )
        # The last query's triangle is a good first guess for a neighbour.
        best, v, w = nearest_on_triangle(px, py, pz, triangles[start], np.inf)
        found = start
        stack[0], far[0] = 0, 0.0
        top = 1
        while top > 0:
            top -= 1
            if far[top] >= best:
                continue
            at = stack[top]
            if child[at] < 0:
                for i in range(span[at, 0], span[at, 1]):
                    d, one, two = nearest_on_triangle(px, py, pz, triangles[i], best)
                    if d < best:
                        best, found, v, w = d, i, one, two
                continue
            one_child = child[at]
            d0, d1 = 0.0, 0.0
            for side in range(2):
                b = bounds[one_child + side]
                dx = max(max(b[0] - px, px - b[3]), 0.0)
                dy = max(max(b[1] - py, py - b[4]), 0.0)
                dz = max(max(b[2] - pz, pz - b[5]), 0.0)
                if side == 0:
                    d0 = dx * dx + dy * dy + dz * dz
                else:
                    d1 = dx * dx + dy * dy + dz * dz
            # The nearer child on top of the stack.
            first, second = (one_child, one_child + 1) if d0 <= d1 else (one_child + 1, one_child)
            near, other = min(d0, d1), max(d0, d1)
            if other < best:
                stack[top], far[top] = second, other
                top += 1
            if near < best:
                stack[top], far[top] = first, near
                top += 1
        start = found
        distance[n] = np.float32(np.sqrt(best))
        place[n] = found
        t = triangles[found]
        for k in range(3):
            a, b, c = np.float64(t[k]), np.float64(t[3 + k]), np.float64(t[6 + k])
            point[n, k] = np.float32(a + v * (b - a) + w * (c - a))


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


@njit(nogil=True, cache=CACHE, fastmath=True, inline="always")
def _far_node(m, dx, dy, dz, square):
    """The winding number, times 4 pi, of a node with moments m (27,) at d = centre - point: the
    Taylor series of d / |d|^3 to the second order (Barill et al. 2018, equations 12 to 14)."""
    inverse = np.float32(1) / square
    xx, yy, zz = dx * dx, dy * dy, dz * dz
    dipole = m[0] * dx + m[1] * dy + m[2] * dz + m[23]
    first = (
        (m[7] * dx + m[10] * dy + m[11] * dz) * dx + (m[8] * dy + m[12] * dz) * dy + m[9] * zz
    ) - (m[24] * dx + m[25] * dy + m[26] * dz)
    second = (
        (m[13] * dx + m[16] * dy + m[17] * dz) * xx
        + (m[14] * dy + m[18] * dx + m[19] * dz) * yy
        + (m[15] * dz + m[20] * dx + m[21] * dy) * zz
        + m[22] * dx * dy * dz
    )
    return (dipole + (first + second * inverse) * inverse) * inverse / np.sqrt(square)


@njit(nogil=True, cache=CACHE, fastmath=True)
def winding_range(queries, triangles, moments, child, span, beta, begin, end, out):
    """Winding number of queries [begin, end): nodes farther than beta radii by their moments, near
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
                total += quarter * _far_node(m, dx, dy, dz, d)
            elif child[at] < 0:
                for i in range(span[at, 0], span[at, 1]):
                    total += half * solid_angle(px, py, pz, triangles[i])
            else:
                stack[top], stack[top + 1] = child[at], child[at] + 1
                top += 2
        out[n] = total
