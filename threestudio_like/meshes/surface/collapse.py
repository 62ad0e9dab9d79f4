"""Decimation by edge collapses that keeps what a surface is: closed pieces stay closed, holes stay
holes, borders and seams stay where they are.

The cheapest go first, by their quadric error (`quadrics.py`). Whether one may be done is the link
condition of Dey, Edelsbrunner, Guha and Nekhayev, "Topology Preserving Edge Contraction" (1999),
and that no face turns over. Compiled, in a separate file because Numba takes long to import.

Edges are of three kinds: plain, seams (on both sides other texture coordinates or colours) and firm
(borders, borders between parts, edges of more than two faces). A vertex on such a line only goes
along it, to one of its vertices, and where lines meet or end it stays. A firm line has no
exceptions; to break a seam costs as much as to move the surface by a share of the edge's length.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
from numba import njit

from ...kernels.compiling import CACHE
from .quadrics import FIRM, SEAM, best_place, error_at, keeps_shape

__all__ = ["FIRM", "SEAM", "collapse"]

BREAK = 0.003
"""The cost of breaking a seam: the square of that share."""
AGAIN = 0.97
"""Share of the faces that are left when refused collapses are tried again."""


@njit(nogil=True, cache=CACHE)
def _copy(row, out):
    """Copy a row. A slice would say the same and take seconds to compile."""
    for k in range(out.shape[0]):
        out[k] = row[k]


@njit(nogil=True, cache=CACHE)
def _stays(u, v, flag, lines):
    """Which of two vertices stays where it is so that their lines do: 0 the first, 1 the second, 2
    either of both, 3 none need; -1 where there is no such way.

    Args:
        flag: of their edge. lines: number of flagged edges of every vertex.
    """
    if lines[u] == 0 and lines[v] == 0:
        return 3
    if lines[v] == 0:
        return 0
    if lines[u] == 0:
        return 1
    if flag == 0 or (lines[u] != 2 and lines[v] != 2):
        return -1
    if lines[u] != 2:
        return 0
    return 1 if lines[v] != 2 else 2


@njit(nogil=True, cache=CACHE)
def _plan(u, v, flag, points, quadrics, firm, lines, sum_, out):
    """The cost of joining two vertices, -1 where it may not be; in `out` the place; and whether it
    breaks a seam.

    Args:
        flag: of their edge. firm, lines: number of firm and of all flagged edges of every vertex.
    """
    one, two = points[u], points[v]
    for k in range(10):
        sum_[k] = quadrics[u, k] + quadrics[v, k]
    stays, breaks = _stays(u, v, flag & FIRM, firm), False
    if stays < 0:
        return -1.0, False
    wish = _stays(u, v, flag, lines)
    if wish < 0:
        breaks = True
    elif stays >= 2 and wish < stays:
        stays = wish
    if stays == 3:
        best_place(sum_, one, two, out)
    elif stays == 1 or (
        stays == 2
        and error_at(sum_, two[0], two[1], two[2]) < error_at(sum_, one[0], one[1], one[2])
    ):
        _copy(two, out)
    else:
        _copy(one, out)
    # The mean squared distance: a thin leg is as dear as a wide wall.
    total = sum_[0] + sum_[3] + sum_[5] + 1e-300
    moved = max(0.0, error_at(sum_, out[0], out[1], out[2])) / total
    # Where all is flat the short edges go first.
    share = BREAK if breaks else 1e-7
    return moved + share * _squared(u, v, points), breaks


@njit(nogil=True, cache=CACHE)
def _squared(u, v, points):
    """The squared length of an edge."""
    one, two = points[u], points[v]
    return (one[0] - two[0]) ** 2 + (one[1] - two[1]) ** 2 + (one[2] - two[2]) ** 2


@njit(nogil=True, cache=CACHE)
def _corner(faces, f, v):
    """Which corner of a face a vertex is, -1 if none."""
    for k in range(3):
        if faces[f, k] == v:
            return k
    return -1


@njit(nogil=True, cache=CACHE)
def _goes(i, j, net):
    """Whether a face goes from one vertex to another."""
    faces, _, alive, head, chain = net
    c = head[i]
    while c >= 0:
        f = c // 3
        if alive[f] and faces[f, (_corner(faces, f, i) + 1) % 3] == j:
            return True
        c = chain[c]
    return False


@njit(nogil=True, cache=CACHE)
def _flag(faces, flags, f, i, j):
    """The flag of a face's edge between two of its vertices."""
    k = _corner(faces, f, i)
    return flags[f, k] if faces[f, (k + 1) % 3] == j else flags[f, (k + 2) % 3]


@njit(nogil=True, cache=CACHE)
def _flag_between(u, v, net):
    """The flag of the edge between two vertices."""
    faces, flags, alive, head, chain = net
    c = head[u]
    while c >= 0:
        f = c // 3
        if alive[f] and _corner(faces, f, v) >= 0:
            return _flag(faces, flags, f, u, v)
        c = chain[c]
    return np.uint8(0)


@njit(nogil=True, cache=CACHE)
def _allowed(u, v, place, points, net, mark, number):
    """Whether two vertices may become one at a place: the surface stays what it is, and no face
    turns over or becomes a line. 0 no, 1 yes, 2 where two seams would become one. `mark` (V,) takes
    numbers from number - 1 to number + 1."""
    faces, flags, alive, head, chain = net
    beside, both, shared, kept, answer = number, number + 1, 0, 0, 1
    c = head[u]
    while c >= 0:
        if alive[c // 3]:
            for k in range(3):
                mark[faces[c // 3, k]] = beside
        c = chain[c]
    mark[u] = number - 1
    common = 0
    c = head[v]
    while c >= 0:
        f = c // 3
        if alive[f]:
            has_u = _corner(faces, f, u) >= 0
            for k in range(3):
                w = faces[f, k]
                if w != u and w != v:
                    if mark[w] == beside:
                        mark[w] = both
                        common += 1
                    if has_u:
                        shared += 1
                        merged = _flag(faces, flags, f, u, w) & _flag(faces, flags, f, v, w)
                        if merged & FIRM:
                            return 0
                        if _flag(faces, flags, f, u, w) and _flag(faces, flags, f, v, w):
                            answer = 2
        c = chain[c]
    if shared == 0 or common != shared:
        return 0
    for this, other in ((u, v), (v, u)):
        c = head[this]
        while c >= 0:
            f = c // 3
            if alive[f] and _corner(faces, f, other) < 0:
                kept += 1
                k = _corner(faces, f, this)
                x, y = faces[f, (k + 1) % 3], faces[f, (k + 2) % 3]
                # A face over an edge over which the other vertex has one too would come twice.
                if this == u and mark[x] == both and mark[y] == both:
                    d = head[v]
                    while d >= 0:
                        g = d // 3
                        if alive[g] and _corner(faces, g, x) >= 0 and _corner(faces, g, y) >= 0:
                            return 0
                        d = chain[d]
                if not keeps_shape(this, x, y, place, points):
                    return 0
            c = chain[c]
    return answer if kept > 0 else 0


@njit(nogil=True, cache=CACHE)
def _lines(v, net, mask, mark, number):
    """Number of flagged edges at a vertex."""
    faces, flags, alive, head, chain = net
    count = 0
    c = head[v]
    while c >= 0:
        f = c // 3
        if alive[f]:
            k = _corner(faces, f, v)
            for step in (1, 2):
                w = faces[f, (k + step) % 3]
                flag = flags[f, k] if step == 1 else flags[f, (k + 2) % 3]
                if flag & mask and mark[w] != number:
                    mark[w] = number
                    count += 1
        c = chain[c]
    return count


@njit(nogil=True, cache=CACHE)
def _join(u, v, net, tail, weight):
    """Make v of all faces u; those that have both are gone, and their weight is returned. Edges
    that become one have the flags of both."""
    faces, flags, alive, head, chain = net
    gone = 0
    c = head[v]
    while c >= 0:
        f = c // 3
        if alive[f] and _corner(faces, f, u) >= 0:
            w = faces[f, 0] + faces[f, 1] + faces[f, 2] - u - v
            flag = _flag(faces, flags, f, u, w) | _flag(faces, flags, f, v, w)
            alive[f] = False
            gone += weight[f]
            for this in (u, v):
                d = head[this]
                while d >= 0:
                    g = d // 3
                    if alive[g]:
                        k, m = _corner(faces, g, this), _corner(faces, g, w)
                        if m >= 0:
                            flags[g, k if (k + 1) % 3 == m else m] |= flag
                    d = chain[d]
        c = chain[c]
    c = head[v]
    while c >= 0:
        if alive[c // 3]:
            faces[c // 3, _corner(faces, c // 3, v)] = u
        c = chain[c]
    chain[tail[u]] = head[v]
    tail[u] = tail[v]
    head[v] = -1
    return gone


@njit(nogil=True, cache=CACHE)
def _chains(faces, alive, n):
    """The corners of every vertex as a chain: first (n,), last (n,), next (3F,); -1 for none."""
    head, tail = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    chain = np.full(3 * faces.shape[0], -1, np.int64)
    for f in range(faces.shape[0]):
        if alive[f]:
            for k in range(3):
                v = faces[f, k]
                if head[v] < 0:
                    head[v] = 3 * f + k
                else:
                    chain[tail[v]] = 3 * f + k
                tail[v] = 3 * f + k
    return head, tail, chain


@njit(nogil=True, cache=CACHE)
def _offers(points, net, quadrics, firm, lines, age, sum_, place):
    """A heap of all edges that may be tried: cost, both vertices, the sum of their ages, whether a
    seam breaks."""
    faces, flags, alive, _, _ = net
    heap = [(0.0, np.int64(0), np.int64(0), np.int64(0), False)]
    heap.clear()
    for f in range(faces.shape[0]):
        if not alive[f]:
            continue
        for k in range(3):
            u, v = np.int64(faces[f, k]), np.int64(faces[f, (k + 1) % 3])
            # Of an edge's two faces one will do, if they go round it as neighbours do.
            if u < v or not _goes(v, u, net):
                cost, breaks = _plan(u, v, flags[f, k], points, quadrics, firm, lines, sum_, place)
                if cost >= 0.0:
                    heap.append((cost, u, v, age[u] + age[v], breaks))
    heapify(heap)
    return heap


@njit(nogil=True, cache=CACHE)
def _renew(u, heap, points, net, quadrics, firm, lines, age, mark, number, sum_, place):
    """Offer the edges of a vertex that has changed. `mark` (V,) takes `number`."""
    faces, flags, alive, head, chain = net
    c = head[u]
    while c >= 0:
        f = c // 3
        if alive[f]:
            for k in range(3):
                w = np.int64(faces[f, k])
                if w != u and mark[w] != number:
                    mark[w] = number
                    flag = _flag(faces, flags, f, u, w)
                    cost, breaks = _plan(u, w, flag, points, quadrics, firm, lines, sum_, place)
                    if cost >= 0.0:
                        heappush(heap, (cost, u, w, age[u] + age[w], breaks))
        c = chain[c]


@njit(nogil=True, cache=CACHE)
def _recount(u, net, firm, lines, mark, number):
    """Count the lines at a vertex and its neighbours anew, after a seam was broken; returns the
    number up to which `mark` (V,) is taken."""
    faces, _, alive, head, chain = net
    c = head[u]
    while c >= 0:
        if alive[c // 3]:
            for k in range(3):
                w = faces[c // 3, k]
                firm[w] = _lines(w, net, FIRM, mark, number)
                lines[w] = _lines(w, net, FIRM | SEAM, mark, number + 1)
                number += 2
        c = chain[c]
    return number


@njit(nogil=True, cache=CACHE)
def collapse(points, faces, flags, quadrics, alive, weight, wanted):
    """Join vertices, the cheapest first, until at most `wanted` faces are left or nothing may be
    joined any more. The arrays are changed.

    Args:
        points: (V, 3) float64. faces: (F, 3) int32, three vertices each; no two have the same.
        flags: (F, 3) uint8, SEAM and FIRM, of the edge from a corner to the next.
        quadrics: (V, 10) float64, of `quadrics_of`.
        alive: (F,) bool, which faces are there. weight: (F,) int32, how many faces each stands for.

    Returns: the number of faces that are left, by their weights.
    """
    n = points.shape[0]
    head, tail, chain = _chains(faces, alive, n)
    net = (faces, flags, alive, head, chain)
    left = 0
    for f in range(faces.shape[0]):
        left += weight[f] if alive[f] else 0
    mark, number = np.full(n, -1, np.int64), 1
    firm, lines, age = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for v in range(n):
        firm[v] = _lines(v, net, FIRM, mark, number)
        lines[v] = _lines(v, net, FIRM | SEAM, mark, number + 1)
        number += 2
    sum_, place = np.empty(10), np.empty(3)
    heap = _offers(points, net, quadrics, firm, lines, age, sum_, place)
    refused, tried = heap[:0], left
    while left > wanted and len(heap):
        cost, u, v, then, known = heappop(heap)
        # Ages only rise, so that an old sum says that one of the two has changed.
        if age[u] + age[v] == then:
            flag = _flag_between(u, v, net)
            _plan(u, v, flag, points, quadrics, firm, lines, sum_, place)
            number += 3
            answer = _allowed(u, v, place, points, net, mark, number)
            number += 3
            if answer == 0:
                refused.append((cost, u, v, then, known))
            elif answer == 2 and not known:
                cost += BREAK * _squared(u, v, points)
                heappush(heap, (cost, u, v, then, True))
            else:
                left -= _join(u, v, net, tail, weight)
                _copy(place, points[u])
                _copy(sum_, quadrics[u])
                age[u] += 1
                age[v] += 1
                if known:
                    number = _recount(u, net, firm, lines, mark, number)
                else:
                    firm[u] = _lines(u, net, FIRM, mark, number)
                    lines[u] = _lines(u, net, FIRM | SEAM, mark, number + 1)
                    number += 2
                _renew(u, heap, points, net, quadrics, firm, lines, age, mark, number, sum_, place)
                number += 1
        # What neighbours forbade they may allow now, before dearer ones have to go.
        if left < AGAIN * tried or (not len(heap) and left < tried):
            tried = left
            for offer in refused:
                if age[offer[1]] + age[offer[2]] == offer[3]:
                    heappush(heap, offer)
            refused.clear()
    return left
