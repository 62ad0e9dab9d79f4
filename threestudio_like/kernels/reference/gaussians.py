"""The definition of Gaussian splatting (Kerbl et al. 2023), in plain torch, on any device.

A Gaussian is seen by every pixel at whose centre its opacity reaches 1/255, and by no other: what
a picture shows does not depend on how it is divided into tiles. The published code also draws what
reaches beyond three deviations within the tiles that it visits; here that does not depend on them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

NEAR = 0.1
"""Depth in scene units in front of which a centre has to be, or its Gaussian is left out."""
BLUR = 0.3
"""Variance in square pixels that is added to every projected Gaussian: the low-pass filter."""
REACH = 1.3
"""Of the field of view: farther out, the projection is linearised at this edge."""
LEAST = 1.0 / 255.0
"""Opacity of a Gaussian at a pixel below which it is left out there."""
MOST = 0.99
"""Largest opacity of a Gaussian at a pixel."""
STOP = 1e-4
"""A pixel is finished before the Gaussian that would leave less transmittance than this."""
TILE = 16
"""Pixels along the edge of a tile."""


def rotation_matrices(quaternions: torch.Tensor) -> torch.Tensor:
    """Rotations (N, 3, 3) of quaternions (N, 4), w first, of any length but 0."""
    w, x, y, z = F.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).view(-1, 3, 3)


def project_gaussians(
    means: torch.Tensor,  # [N, 3]
    scales: torch.Tensor,  # [N, 3]
    rotations: torch.Tensor,  # [N, 4]
    views: torch.Tensor,  # [B, 4, 4] world to camera, which looks down -Z
    focal: torch.Tensor,  # [B] pixels
    height: int,
    width: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # [B, N, 2], [B, N, 3], [B, N]
    """Centres in pixels, inverse covariances (xx, xy, yy) and depths of Gaussians in pictures: the
    affine approximation of the perspective (Zwicker et al. 2001). Depth 0 marks what is left out.

    Pixel (row r, column c) has its centre at (c + 0.5, r + 0.5). Differentiable in `means`,
    `scales` and `rotations`; not through the depths.
    """
    turned = views[:, :3, :3]
    here = means[None] @ turned.transpose(1, 2) + views[:, None, :3, 3]
    x, y, depth = here[..., 0], here[..., 1], -here[..., 2]
    seen = depth > NEAR
    z = torch.where(seen, depth, torch.ones_like(depth))
    f = focal[:, None]
    centres = torch.stack([width / 2 + f * x / z, height / 2 - f * y / z], -1)
    limits = (REACH * 0.5 * width / f, REACH * 0.5 * height / f)
    slope = [torch.clamp(v / z, -limit, limit) for v, limit in zip((x, y), limits)]
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [*(f / z, zero, f * slope[0] / z), *(zero, -f / z, -f * slope[1] / z)], -1
    ).view(*z.shape, 2, 3)
    axes = rotation_matrices(rotations) * scales[:, None]
    spread = jacobian @ turned[:, None] @ axes[None]
    covariance = spread @ spread.transpose(-1, -2)
    xx, xy = covariance[..., 0, 0] + BLUR, covariance[..., 0, 1]
    yy = covariance[..., 1, 1] + BLUR
    conics = torch.stack([yy, -xy, xx], -1) / (xx * yy - xy * xy)[..., None]
    keep = seen[..., None].to(conics.dtype)
    return centres * keep, conics * keep, (depth * seen).detach()


def extents(
    centres: torch.Tensor, conics: torch.Tensor, opacities: torch.Tensor, depths: torch.Tensor
) -> torch.Tensor:
    """The box (B, N, 4) of every Gaussian, left, right, top, bottom in pixels: no point outside
    sees it. Empty boxes (right < left) for what is left out."""
    within = 2 * torch.log((opacities / LEAST).clamp_min(1e-30))
    there = (depths > 0) & (within > 0)
    determinant = conics[..., 0] * conics[..., 2] - conics[..., 1].square()
    safe = torch.where(there, determinant, torch.ones_like(determinant))
    square = within.clamp_min(0)[None].expand_as(safe) / safe
    # A hair more, for what float32 rounds.
    half = (square[..., None] * conics[..., [2, 0]]).clamp_min(0).sqrt() * (1 + 1e-5) + 1e-3
    box = torch.stack(
        [
            *(centres[..., 0] - half[..., 0], centres[..., 0] + half[..., 0]),
            *(centres[..., 1] - half[..., 1], centres[..., 1] + half[..., 1]),
        ],
        -1,
    )
    nothing = box.new_tensor([1.0, -1.0, 1.0, -1.0])
    return torch.where(there[..., None], box, nothing)


def splat(
    centres: torch.Tensor,  # [B, N, 2] pixels
    conics: torch.Tensor,  # [B, N, 3] xx, xy, yy
    opacities: torch.Tensor,  # [N]
    depths: torch.Tensor,  # [B, N]; 0 for what is left out
    values: torch.Tensor,  # [B, N, D]
    height: int,
    width: int,
) -> torch.Tensor:  # [B, H, W, D + 1] values, opacity
    """Blend projected Gaussians front to back, tile by tile, without a background.

    alpha = min(0.99, opacity exp(-0.5 d' conic d)), or 0 below 1/255; a pixel ends before the
    Gaussian that would leave a transmittance below 1e-4. Differentiable in all but the depths.
    """
    pictures = []
    boxes = extents(centres.detach(), conics.detach(), opacities.detach(), depths)
    for view in range(len(centres)):
        order = depths[view].argsort(stable=True)
        order = order[(boxes[view, order, 1] >= boxes[view, order, 0])]
        box = boxes[view, order]
        rows = []
        for top in range(0, height, TILE):
            row = []
            for left in range(0, width, TILE):
                size = (min(TILE, height - top), min(TILE, width - left))
                touch = (box[:, 1] > left) & (box[:, 0] < left + size[1])
                touch &= (box[:, 3] > top) & (box[:, 2] < top + size[0])
                own = order[touch]
                row.append(
                    _blend(
                        centres[view, own],
                        conics[view, own],
                        opacities[own],
                        values=values[view, own],
                        corner=(left, top),
                        size=size,
                    )
                )
            rows.append(torch.cat(row, 1))
        pictures.append(torch.cat(rows, 0))
    return torch.stack(pictures)


def _blend(
    centres: torch.Tensor,
    conics: torch.Tensor,
    opacities: torch.Tensor,
    values: torch.Tensor,
    corner: tuple[int, int],
    size: tuple[int, int],
) -> torch.Tensor:
    """One tile (h, w, D + 1) of G Gaussians in their order: centres (G, 2), conics (G, 3),
    opacities (G,), values (G, D)."""
    rows, columns = (torch.arange(n, device=centres.device).to(centres.dtype) + 0.5 for n in size)
    y, x = torch.meshgrid(rows + corner[1], columns + corner[0], indexing="ij")
    dx, dy = x.reshape(-1, 1) - centres[:, 0], y.reshape(-1, 1) - centres[:, 1]
    power = -0.5 * (conics[:, 0] * dx * dx + conics[:, 2] * dy * dy) - conics[:, 1] * dx * dy
    alpha = (opacities * power.exp()).clamp_max(MOST)
    alpha = torch.where(alpha >= LEAST, alpha, torch.zeros_like(alpha))
    after = (1 - alpha).cumprod(1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], 1)[:, : after.shape[1]]
    weights = before * alpha * (after.detach() >= STOP)
    out = torch.cat([weights @ values, weights.sum(1, keepdim=True)], 1)
    return out.view(*size, -1)
