"""Latents as colours: the affine map from a prior's latents to display RGB."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .diffusion import DiffusionPrior


def show_rgb(features: torch.Tensor) -> torch.Tensor:
    """Show an RGB field as it is, clamped to [0, 1]."""
    return features.clamp(0, 1)


def latent_to_rgb(prior: DiffusionPrior) -> tuple[torch.Tensor, torch.Tensor]:
    """The affine map from latents (.., C) to display RGB in [0, 1]: matrix (C, 3) and offset (3,).

    It is the least-squares fit over the autoencoder's own pictures of random colour patches. For
    Stable Diffusion use `STABLE_DIFFUSION_RGB` (METHODS 1.9) instead.
    """
    size = prior.facts.image_size
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(48, 6, 6, 3, generator=generator)
    images = torch.nn.functional.interpolate(
        patches.permute(0, 3, 1, 2), (size, size), mode="bilinear", align_corners=False
    )
    with torch.no_grad():
        latents = torch.cat(
            [prior.encode_image(chunk.permute(0, 2, 3, 1)) for chunk in images.split(8)]
        ).cpu()
    pooled = torch.nn.functional.adaptive_avg_pool2d(images, (latents.shape[-2], latents.shape[-1]))
    x = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1]).double()
    x = torch.cat([x, torch.ones(len(x), 1, dtype=torch.double)], 1)
    y = pooled.permute(0, 2, 3, 1).reshape(-1, 3).double()
    solution = torch.linalg.lstsq(x, y).solution.float()
    return solution[:-1], solution[-1]


STABLE_DIFFUSION_RGB = torch.tensor(
    [[0.298, 0.207, 0.208], [0.187, 0.286, 0.173], [-0.158, 0.189, 0.264], [-0.184, -0.271, -0.473]]
)
"""W of METHODS 1.9: scaled SD latents (.., 4) @ W predicts the [-1, 1] image; display = (value + 1)
/ 2."""


def rgb_map(prior: DiffusionPrior) -> tuple[torch.Tensor, torch.Tensor]:
    """`latent_to_rgb`, or the published map for a Stable Diffusion autoencoder (factor 8, four
    channels)."""
    if prior.facts.channels == 4 and prior.downscale == 8:
        return STABLE_DIFFUSION_RGB / 2, torch.full((3,), 0.5)
    return latent_to_rgb(prior)


def by_matrix(matrix: torch.Tensor, offset: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Map features (.., C) to display RGB by an affine map (see `rgb_map`), on the device of the
    features."""
    return lambda features: (features @ matrix.to(features) + offset.to(features)).clamp(0, 1)


def latents_of(rgb: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """The latents (C,) that a published map (C, 3), which predicts pictures in [-1, 1], shows in a
    colour (3,), by least squares with a small ridge."""
    wide, wanted = matrix.double(), rgb.double()
    ridge = wide @ wide.t() + 1e-2 * torch.eye(len(wide), dtype=torch.float64)
    return torch.linalg.solve(ridge, 2 * wide @ wanted / 2).float()
