"""The result of a renderer."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class Samples:
    """Samples along rays, packed ray by ray.

    t (S,) is the distance along the ray; ray (S,) int64 its number; offsets (R + 1,) int64 the
    first sample of each ray; points (S, 3); density (S,); weights (S,); step their common spacing.
    """

    t: torch.Tensor
    ray: torch.Tensor
    offsets: torch.Tensor
    points: torch.Tensor
    density: torch.Tensor
    weights: torch.Tensor
    step: float


@dataclass
class Rendering:
    """The pictures of a batch of cameras.

    features (B, H, W, C) over the background; opacity and depth (B, H, W, 1); background (B, H, W,
    C); normals (B, H, W, 3); labels (B, H, W) int64, one plus the number of the object that a pixel
    shows, or 0 for none.

    The depth is the opacity-weighted distance along the ray in scene units, not divided by the
    opacity.
    """

    features: torch.Tensor
    opacity: torch.Tensor
    depth: torch.Tensor
    background: torch.Tensor
    normals: torch.Tensor | None = None
    samples: Samples | None = None
    labels: torch.Tensor | None = None
