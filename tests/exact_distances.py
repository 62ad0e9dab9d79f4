"""Distances to triangles in rational numbers, and triangles that are hard."""

import math
from fractions import Fraction

import torch


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def _minus(a, b):
    return [x - y for x, y in zip(a, b)]


def _cross(a, b):
    return [a[(k + 1) % 3] * b[(k + 2) % 3] - a[(k + 2) % 3] * b[(k + 1) % 3] for k in range(3)]


def _to_segment(p, s, e):
    d = _minus(e, s)
    length = _dot(d, d)
    t = 0 if length == 0 else min(max(_dot(_minus(p, s), d) / length, Fraction(0)), Fraction(1))
    left = _minus(p, [x + t * y for x, y in zip(s, d)])
    return _dot(left, left)


def exact_distance(query, triangle):
    """The distance from a point (3,) to a triangle (3, 3), computed in rational numbers."""
    p = [Fraction(float(v)) for v in query]
    a, b, c = ([Fraction(float(v)) for v in corner] for corner in triangle)
    best = min(_to_segment(p, a, b), _to_segment(p, b, c), _to_segment(p, c, a))
    n = _cross(_minus(b, a), _minus(c, a))
    if any(n) and all(
        _dot(_cross(_minus(e, s), _minus(p, s)), n) >= 0 for s, e in ((a, b), (b, c), (c, a))
    ):
        best = min(best, _dot(_minus(p, a), n) ** 2 / _dot(n, n))
    # A square root of rationals that are far below the range of floats too.
    return math.sqrt(best.numerator / best.denominator) if best else 0.0


def hard_triangles(seed=0):
    """Triangles (N, 3, 3) float32: random ones; slivers from a tenth to a hundred-millionth as wide
    as long; on a line; with two corners or all at one place; tiny ones; far from the origin."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.rand(*shape, generator=generator) * 2 - 1

    out = [random(6, 3, 3)]
    for width in 10.0 ** -torch.arange(1.0, 9.0):
        ends, share = random(2, 2, 3), torch.rand(2, 1, generator=generator)
        third = ends[:, 0] + share * (ends[:, 1] - ends[:, 0]) + width * random(2, 3)
        out.append(torch.cat([ends, third[:, None]], 1))
    line = random(3, 1, 3) + torch.tensor([0.0, 0.25, 1.0])[None, :, None] * torch.tensor(
        [0.5, -0.25, 1.0]
    )
    twice = random(3, 3, 3)
    twice[:, 1] = twice[:, 0]
    out += [line, twice, random(2, 1, 3).expand(2, 3, 3)]
    out += [1e-4 * random(3, 3, 3), 1e-4 * random(3, 3, 3) + 1.0]
    return torch.cat(out)


def hard_queries(triangle, seed=0):
    """Points (Q, 3) about a triangle (3, 3): anywhere, at its corners, on it up to rounding, and
    near it."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(6, 3, generator=generator)
    weights = weights / weights.sum(1, keepdim=True)
    away = torch.randn(6, 3, generator=generator)
    size = float((triangle - triangle[0]).norm(dim=1).max())
    on = weights @ triangle
    return torch.cat([2 * away, triangle, on + 1e-3 * size * away, on + size * away])


def worst_error(nearest):
    """The largest error of `nearest(corners (1, 3, 3), queries) -> distance, point`: of the
    distance, relative to it, and of the way to the point, relative to it and to what float32
    resolves of the places."""
    worst = 0.0
    for number, triangle in enumerate(hard_triangles()):
        queries = hard_queries(triangle, number)
        distance, point = nearest(triangle[None], queries)
        for query, far, place in zip(queries, distance.tolist(), point):
            wanted = exact_distance(query, triangle)
            scale = wanted + float(torch.cat([query, triangle.flatten()]).abs().max()) / 8
            reached = float((query.double() - place.double()).norm())
            wrong = abs(far - wanted) / wanted if wanted > 1e-12 else far
            worst = max(worst, wrong, abs(reached - wanted) / scale)
    return worst
