"""Terms that hold a rendering against a picture or its embedding: reference view, depth, CLIP,
opacity."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from ..priors.clip import ImageTextPrior
from ..renderers.rendering import Rendering
from .guidance import Guidance, GuidanceInputs, GuidanceOutput


class ReferenceGuidance(Guidance):
    """The rendering from the picture's own camera looks like the picture (METHODS 4.4's L_Ref).

    Args:
        picture: (H, W, C) in the rendering's space. mask: (H, W) in [0, 1].
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
        """Mean over pixels of the mask (colour) and of the picture (opacity)."""
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
    """A picture (H, W, C) and mask (H, W) averaged to another size."""
    if picture.shape[:2] == tuple(size):
        return picture, mask
    both = torch.cat([picture, mask[..., None]], -1).permute(2, 0, 1)[None]
    small = F.interpolate(both, tuple(size), mode="bilinear", align_corners=False, antialias=True)[
        0
    ].permute(1, 2, 0)
    return small[..., :-1], small[..., -1]


def fit_scale_and_shift(
    prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Least-squares scale and shift with target ~ scale * prediction + shift, over weights; all of
    one shape (MiDaS, Ranftl et al. 2020)."""
    total = weight.sum().clamp_min(1e-6)
    mean_p, mean_t = (weight * prediction).sum() / total, (weight * target).sum() / total
    variance = (weight * (prediction - mean_p).square()).sum()
    covariance = (weight * (prediction - mean_p) * (target - mean_t)).sum()
    scale = covariance / variance.clamp_min(1e-8)
    return scale, mean_t - scale * mean_p


class DepthGuidance(Guidance):
    """The rendered depth agrees with a known one on its mask.

    Args:
        depth: (H, W), distance along the ray. mask: (H, W) in [0, 1].
        invariant: up to a scale and a shift of the known depth, as monocular depth is; the fit is
            made anew at every step and is not differentiated.
    """

    def __init__(self, depth: torch.Tensor, mask: torch.Tensor, invariant: bool = False) -> None:
        self.depth, self.mask, self.invariant = depth, mask, invariant

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """Mean absolute error over the pixels that both show."""
        there = rendering.features.device
        known, mask = (
            v.to(there)
            for v in at_size(self.depth[..., None], self.mask, rendering.features.shape[1:3])
        )
        opacity = rendering.opacity[0, ..., 0]
        found = rendering.depth[0, ..., 0] / opacity.clamp_min(1e-3)
        weight = mask * opacity.detach()
        wanted = known[..., 0]
        if self.invariant:
            scale, shift = fit_scale_and_shift(wanted, found.detach(), weight)
            # A depth that runs backwards is no explanation.
            wanted = scale.clamp_min(0) * wanted + shift
        value = ((found - wanted).abs() * weight).sum() / weight.sum().clamp_min(1)
        return GuidanceOutput(value, {"depth": value.detach()})


class ClipGuidance(Guidance):
    """Renderings lie near a picture, or a text, in CLIP's space.

    Args:
        prior: the image-text model.
        target: (1, D) or (B, D) unit vectors; see `of_picture` and `of_text`.
        distance: "cosine" (1 - cos), or "l1", the mean absolute difference of embeddings (G3DR
            compares raw ones; unit ones here).
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
        """Towards pictures (1, H, W, 3) in [0, 1]."""
        return ClipGuidance(prior, prior.embed_images(pictures), distance)

    @staticmethod
    @torch.no_grad()
    def of_text(prior: ImageTextPrior, text: str) -> ClipGuidance:
        """Towards a text."""
        return ClipGuidance(prior, prior.embed_texts([text]))

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """Mean distance over the batch; features are display RGB in [0, 1]."""
        found = self.prior.embed_images(rendering.features)
        if self.distance == "l1":
            value = (found - self.target.to(found)).abs().mean()
        else:
            value = 1 - (found * self.target.to(found)).sum(-1).mean()
        return GuidanceOutput(value, {"clip": value.detach()})


class OpacityGuidance(Guidance):
    """mean(1 - A): rays end in something (METHODS 3.7), where `mask` (H, W) says so; everywhere
    without one."""

    def __init__(self, mask: torch.Tensor | None = None) -> None:
        self.mask = mask

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """Mean over the mask."""
        missing = 1 - rendering.opacity[..., 0]
        if self.mask is None:
            value = missing.mean()
        else:
            mask = at_size(self.mask[..., None], self.mask, missing.shape[1:3])[1].to(missing)
            value = (missing * mask).sum() / (mask.sum() * len(missing)).clamp_min(1)
        return GuidanceOutput(value, {"opacity": value.detach()})
