"""The definition of distances to a surface and of winding numbers: every triangle against every
point."""

from __future__ import annotations

import math

import torch


def nearest(
    queries: torch.Tensor,  # [Q, 3]
    corners: torch.Tensor,  # [F, 3, 3]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # distance [Q], face [Q] int64, point [Q, 3]
    """The surface point nearest to every query; of equally near faces the first."""
    a, b, c = corners.unbind(1)
    distances, faces, points = [], [], []
    for q in queries.split(max(1, (1 << 22) // max(1, len(corners)))):
        p = q[:, None]
        # Within the triangle, or on one of its edges.
        normal = torch.linalg.cross(b - a, c - a)
        length = normal.square().sum(-1).clamp_min(1e-30)
        foot = p - ((p - a) * normal).sum(-1, keepdim=True) / length[:, None] * normal
        inside = torch.ones(foot.shape[:2], dtype=torch.bool, device=queries.device)
        best = queries.new_full(foot.shape[:2], math.inf)
        near = foot
        for s, e in ((a, b), (b, c), (c, a)):
            inside &= (torch.linalg.cross((e - s).expand_as(foot), foot - s) * normal).sum(-1) >= 0
            t = ((p - s) * (e - s)).sum(-1) / (e - s).square().sum(-1).clamp_min(1e-30)
            on = s + t.clamp(0, 1)[..., None] * (e - s)
            d = (p - on).square().sum(-1)
            near = torch.where((d < best)[..., None], on, near)
            best = torch.minimum(d, best)
        flat = (p - foot).square().sum(-1)
        inside &= length > 1e-30
        near = torch.where(inside[..., None], foot, near)
        best = torch.where(inside, flat, best)
        low, face = best.min(1)
        distances.append(low.sqrt())
        faces.append(face)
        points.append(near[torch.arange(len(q), device=q.device), face])
    return torch.cat(distances), torch.cat(faces), torch.cat(points)


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
