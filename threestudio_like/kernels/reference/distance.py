"""The definition of distances to a surface and of winding numbers: every triangle against every
point."""

from __future__ import annotations

import math

import torch

from .edges import working

THIN = 1e-8
"""Twice a triangle's area over the square of its length, below which it has no plane."""
_PAIRS = 1 << 19
"""Number of pairs of a point and a triangle that are held in memory at once."""


def nearest(
    queries: torch.Tensor,  # [Q, 3]
    corners: torch.Tensor,  # [F, 3, 3]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # distance [Q], face [Q] int64, point [Q, 3]
    """The surface point nearest to every query; of equally near faces the first.

    Computed in float64 where the device has that. Within a triangle the distance is that to its
    plane, else that to the nearest of its edges; a triangle thinner than `THIN` is its edges.
    """
    a, b, c = working(corners).unbind(1)
    ab, ac = b - a, c - a
    normal = torch.linalg.cross(ab, ac)
    square = normal.square().sum(-1)
    longest = torch.maximum(ab.square().sum(-1), ac.square().sum(-1))
    flat = square > THIN**2 * longest**2
    inverse = 1 / torch.where(flat, square, torch.ones_like(square))
    distances, faces, points = [], [], []
    for q in working(queries).split(max(1, _PAIRS // max(1, len(corners)))):
        p = q[:, None]
        best, near = q.new_full((len(q), len(a)), math.inf), p.expand(-1, len(a), -1)
        for s, e in ((a, b), (a, c), (b, c)):
            d = e - s
            length = d.square().sum(-1)
            t = ((p - s) * d).sum(-1) / torch.where(length > 0, length, torch.ones_like(length))
            on = s + t.clamp(0, 1)[..., None] * d
            far = (p - on).square().sum(-1)
            near = torch.where((far < best)[..., None], on, near)
            best = torch.minimum(far, best)
        across = torch.linalg.cross(p - a, normal.expand(len(q), -1, -1))
        v, w = -(across * ac).sum(-1) * inverse, (across * ab).sum(-1) * inverse
        inside = flat & (v >= 0) & (w >= 0) & (1 - v - w >= 0)
        foot = a + v[..., None] * ab + w[..., None] * ac
        near = torch.where(inside[..., None], foot, near)
        height = ((p - a) * normal).sum(-1)
        low, face = torch.where(inside, height.square() * inverse, best).min(1)
        distances.append(low.sqrt())
        faces.append(face)
        points.append(near[torch.arange(len(q), device=q.device), face])
    return torch.cat(distances).to(queries), torch.cat(faces), torch.cat(points).to(queries)


def winding_number(
    queries: torch.Tensor,  # [Q, 3]
    corners: torch.Tensor,  # [F, 3, 3]
) -> torch.Tensor:  # [Q]
    """Generalised winding number (Jacobson et al. 2013): the sum of solid angles over 4 pi; 1
    inside, 0 outside a closed surface."""
    out = []
    for q in queries.split(max(1, (1 << 22) // max(1, len(corners)))):
        a, b, c = (corners[:, k] - q[:, None] for k in range(3))
        la, lb, lc = a.norm(dim=-1), b.norm(dim=-1), c.norm(dim=-1)
        top = (a * torch.linalg.cross(b, c)).sum(-1)
        below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
        out.append(torch.atan2(top, below).sum(1) / (2 * math.pi))
    return torch.cat(out)
