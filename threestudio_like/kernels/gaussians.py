"""The operations of Gaussian splatting (Kerbl et al. 2023): projection, and blending in order of
depth. `kernels.reference.gaussians` defines them."""

from __future__ import annotations

import torch

from .dispatch import implementation
from .reference import gaussians


def project_gaussians(
    means: torch.Tensor,  # [N, 3]
    scales: torch.Tensor,  # [N, 3]
    rotations: torch.Tensor,  # [N, 4] w first, of any length
    views: torch.Tensor,  # [B, 4, 4] world to camera, which looks down -Z
    focal: torch.Tensor,  # [B] pixels
    height: int,
    width: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # [B, N, 2], [B, N, 3], [B, N]
    """Centres in pixels, inverse covariances (xx, xy, yy) in pictures with 0.3 square pixels of
    blur, and depths; depth 0 marks what is left out.

    Differentiable in `means`, `scales` and `rotations`. Raises ValueError on wrong shapes.
    """
    count = len(means)
    shapes = ((count, 3), (count, 3), (count, 4), (len(focal), 4, 4))
    given = (means, scales, rotations, views)
    if any(tensor.shape != shape for tensor, shape in zip(given, shapes)):
        raise ValueError(
            "project_gaussians needs means [N, 3], scales [N, 3], rotations [N, 4] and views "
            f"[B, 4, 4], got {[list(t.shape) for t in given]}"
        )
    serve = implementation("project_gaussians", gaussians.project_gaussians, *given, focal)
    return serve(means, scales, rotations, views, focal, height, width)


def splat(
    centres: torch.Tensor,  # [B, N, 2] pixels
    conics: torch.Tensor,  # [B, N, 3] xx, xy, yy
    opacities: torch.Tensor,  # [N] in [0, 1]
    depths: torch.Tensor,  # [B, N]; 0 for what is left out
    values: torch.Tensor,  # [B, N, D]
    height: int,
    width: int,
) -> torch.Tensor:  # [B, H, W, D + 1] values, opacity
    """Projected Gaussians blended front to back, without a background.

    Differentiable in all but the depths, which give the order alone. Raises ValueError on wrong
    shapes.
    """
    views, count = depths.shape
    shapes = ((views, count, 2), (views, count, 3), (count,), (views, count, values.shape[-1]))
    given = (centres, conics, opacities, values)
    if any(tensor.shape != shape for tensor, shape in zip(given, shapes)):
        raise ValueError(
            "splat needs centres [B, N, 2], conics [B, N, 3], opacities [N] and values [B, N, D], "
            f"got {[list(t.shape) for t in given]} for depths {list(depths.shape)}"
        )
    serve = implementation("splat", gaussians.splat, *given)
    return serve(centres, conics, opacities, depths, values, height, width)
