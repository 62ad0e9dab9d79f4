"""Guidance that compares a rendering with a picture or its embedding: reference view, depth, CLIP
and opacity."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F

from ..priors.clip import ImageTextPrior
from ..renderers.rendering import Rendering
from .guidance import Guidance, GuidanceInputs, GuidanceOutput


class ReferenceGuidance(Guidance):
    """Compares the rendering from the picture's own camera with the picture (L_Ref of METHODS 4.4).

    Args:
        picture: (H, W, C) in the space of the rendering, [0, 1] for RGB.
        mask: (H, W) in [0, 1], 1 on the object.
        norm: "l1" or "l2" (squared).
        colour, opacity: weights of the two parts.
    """

    def __init__(
        self,
        picture: torch.Tensor,
        mask: torch.Tensor,
        norm: Literal["l1", "l2"] = "l1",
        colour: float = 1.0,
        opacity: float = 1.0,
    ) -> None:
        self.picture, self.mask, self.norm = picture, mask, norm
        self.colour, self.opacity = colour, opacity

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """Mean difference of the colours over the mask, and of the opacity over the whole
        picture."""
        size = rendering.features.shape[1:3]
        there = rendering.features.device
        picture, mask = (v.to(there) for v in at_size(self.picture, self.mask, size))
        error = rendering.features[0] - picture
        error = error.abs() if self.norm == "l1" else error.square()
        colour = (error.mean(-1) * mask).sum() / mask.sum().clamp_min(1)
        off = rendering.opacity[0, ..., 0] - mask
        opacity = (off.abs() if self.norm == "l1" else off.square()).mean()
        total = self.colour * colour + self.opacity * opacity
        return GuidanceOutput(total, {"colour": colour.detach(), "opacity": opacity.detach()})


def at_size(
    picture: torch.Tensor, mask: torch.Tensor, size: tuple[int, int] | torch.Size
) -> tuple[torch.Tensor, torch.Tensor]:
    """Resize a picture (H, W, C) and a mask (H, W) by averaging."""
    if picture.shape[:2] == tuple(size):
        return picture, mask
    both = torch.cat([picture, mask[..., None]], -1).permute(2, 0, 1)[None]
    small = F.interpolate(both, tuple(size), mode="bilinear", align_corners=False, antialias=True)[
        0
    ].permute(1, 2, 0)
    return small[..., :-1], small[..., -1]


def fit_scale_and_shift(
    prediction: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    least: float = -math.inf,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted least-squares scale and shift with target ~ scale * prediction + shift.

    All tensors have the same shape (MiDaS, Ranftl et al. 2020). The scale is not below `least`, and
    the shift is the best one for it.
    """
    total = weight.sum().clamp_min(1e-6)
    mean_p, mean_t = (weight * prediction).sum() / total, (weight * target).sum() / total
    variance = (weight * (prediction - mean_p).square()).sum()
    covariance = (weight * (prediction - mean_p) * (target - mean_t)).sum()
    scale = (covariance / variance.clamp_min(1e-8)).clamp_min(least)
    return scale, mean_t - scale * mean_p


class DepthGuidance(Guidance):
    """Compares the rendered depth with a known depth inside its mask.

    Args:
        depth: (H, W), distance along the ray in scene units.
        mask: (H, W) in [0, 1].
        invariant: whether the known depth holds only up to a scale and a shift, as monocular depth
            does; the fit is repeated at every step and is not differentiated.
    """

    def __init__(self, depth: torch.Tensor, mask: torch.Tensor, invariant: bool = False) -> None:
        self.depth, self.mask, self.invariant = depth, mask, invariant

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """Mean absolute error over the pixels that the mask and the rendering both cover."""
        there = rendering.features.device
        known, mask = (
            v.to(there)
            for v in at_size(self.depth[..., None], self.mask, rendering.features.shape[1:3])
        )
        opacity = rendering.opacity[0, ..., 0]
        rendered = rendering.depth[0, ..., 0] / opacity.clamp_min(1e-3)
        weight = mask * opacity.detach()
        wanted = known[..., 0]
        if self.invariant:
            # A negative scale would explain the depth by turning it inside out, so it is not
            # allowed.
            scale, shift = fit_scale_and_shift(wanted, rendered.detach(), weight, least=0.0)
            wanted = scale * wanted + shift
        value = ((rendered - wanted).abs() * weight).sum() / weight.sum().clamp_min(1)
        return GuidanceOutput(value, {"depth": value.detach()})


class ClipGuidance(Guidance):
    """Distance between renderings and a picture, or a text, in CLIP's embedding space.

    Args:
        prior: the image-text model.
        target: (1, D) or (B, D) unit vectors; see `of_picture` and `of_text`.
        distance: "cosine" (1 - cos), or "l1", the mean absolute difference of the embeddings (G3DR
            compares raw embeddings; here they are unit vectors).
    """

    def __init__(
        self,
        prior: ImageTextPrior,
        target: torch.Tensor,
        distance: Literal["cosine", "l1"] = "cosine",
    ) -> None:
        self.prior, self.target, self.distance = prior, target.detach(), distance

    @staticmethod
    @torch.no_grad()
    def of_picture(
        prior: ImageTextPrior, pictures: torch.Tensor, distance: Literal["cosine", "l1"] = "cosine"
    ) -> ClipGuidance:
        """Guidance towards pictures (1, H, W, 3) in [0, 1]."""
        return ClipGuidance(prior, prior.embed_images(pictures), distance)

    @staticmethod
    @torch.no_grad()
    def of_text(prior: ImageTextPrior, text: str) -> ClipGuidance:
        """Guidance towards a text."""
        return ClipGuidance(prior, prior.embed_texts([text]))

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """Mean distance over the batch. The rendering's features are display RGB in [0, 1]."""
        embedding = self.prior.embed_images(rendering.features)
        if self.distance == "l1":
            value = (embedding - self.target.to(embedding)).abs().mean()
        else:
            value = 1 - (embedding * self.target.to(embedding)).sum(-1).mean()
        return GuidanceOutput(value, {"clip": value.detach()})


class OpacityGuidance(Guidance):
    """mean(1 - A) inside `mask` (H, W), or everywhere without a mask: every ray should end in
    matter (METHODS 3.7)."""

    def __init__(self, mask: torch.Tensor | None = None) -> None:
        self.mask = mask

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """Mean of 1 - opacity over the mask."""
        missing = 1 - rendering.opacity[..., 0]
        if self.mask is None:
            value = missing.mean()
        else:
            mask = at_size(self.mask[..., None], self.mask, missing.shape[1:3])[1].to(missing)
            value = (missing * mask).sum() / (mask.sum() * len(missing)).clamp_min(1)
        return GuidanceOutput(value, {"opacity": value.detach()})
