"""The picture that a field is optimised for, as the field's camera should see it, and what it says
of a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from ...engine.schema.bounds import Positive, Weight
from ...guidance.guidance import GuidanceInputs
from ...guidance.picture import ClipGuidance, DepthGuidance, ReferenceGuidance, fit_scale_and_shift
from ...priors.clip import load_clip
from ...priors.depth import FRAME_HALF_WIDTH, load_depth
from ...priors.diffusion import Reference
from ...priors.framing import Similarity
from ...renderers import Cameras
from ...renderers.backgrounds import BackgroundSample
from ...renderers.gradient_scaling import DepthScaling
from ...renderers.rendering import Rendering
from ...stages.model import FieldModel
from .backs import calmed, frame_sides
from .maps import DepthMap, framed_map
from .method import Colour
from .photo import Photo
from .pose import Pose, PoseConfig
from .relief.surface import spread


@dataclass(frozen=True, kw_only=True)
class PictureTerms:
    """Weights of what the picture says."""

    colour: Weight = 20.0
    """Of the reference view's colours within the mask."""
    norm: Literal["l1", "l2"] = "l1"
    """Of the differences of colours and opacity: absolute or squared."""
    mask: Weight = 20.0
    """Of the reference view's opacity."""
    depth: Weight = 2.0
    """Of its depth, up to a scale and a shift."""
    clip: Weight = 1.0
    """Of novel views' distance to the picture in CLIP's space (1 - cosine)."""
    scale_gradients: bool = True
    """Fade the reference view's gradients away from the known surface."""
    clear: bool = True
    """Scale only gradients that would add matter, as `DepthScaling.clear` does; False as
    published."""
    spread: Positive = 1.5
    """Lengths of the fade in terms of the paper's: a guessed depth is not exact."""


@dataclass
class ReferenceView:
    """The picture as the field's camera should see it.

    picture (S, S, 3) in [0, 1], mask (S, S); depth (S, S): distances along the rays, up to a scale
    and a shift, in scene units as well as they are known.
    """

    camera: Cameras
    picture: torch.Tensor
    mask: torch.Tensor
    depth: torch.Tensor | None
    size: int

    @staticmethod
    def of(
        photo: Photo,
        frame: Similarity,
        pose: Pose,
        poses: PoseConfig,
        size: int,
        depth_model: str,
        known: DepthMap | str | None = None,
    ) -> ReferenceView:
        """Cut the picture to what the camera of `pose` sees; its depth is the known one, or guessed
        by a model, if one is given."""
        colours, alpha = photo.colours(size, frame)
        if isinstance(known, DepthMap):
            values, there = framed_map(known.values, photo, frame, size)
            values = spread(values, there).numpy() if there.any() else values
            middle = float(np.median(values[alpha[0].numpy() > 0.5]))
            scale = poses.distance / middle if known.distances else 1.0
            depth = torch.from_numpy((values * scale).astype(np.float32))
            mask = alpha[0]
            return ReferenceView(pose.camera(poses, size), colours[0], mask, depth=depth, size=size)
        depth_model = known or depth_model
        if not depth_model:
            return ReferenceView(
                pose.camera(poses, size), colours[0], alpha[0], depth=None, size=size
            )
        near = photo.colours(64, frame)
        grey = near[0] * near[1][..., None] + 0.8 * (1 - near[1][..., None])
        sides = frame_sides(grey, near[1][0], load_depth(depth_model))
        depth = calmed(sides, near[1][0]).front - 1
        # The frame is as wide as the camera sees at its distance.
        wide = poses.distance * math.tan(math.radians(poses.fov_y) / 2) / FRAME_HALF_WIDTH
        away = poses.distance + depth * wide
        away = F.interpolate(away[None, None], (size, size), mode="bilinear", align_corners=False)[
            0, 0
        ]
        return ReferenceView(pose.camera(poses, size), colours[0], alpha[0], depth=away, size=size)

    def told(self) -> Reference:
        """The picture as view-conditioned priors are told it."""
        azimuth, elevation, distance = (
            float(v[0]) for v in (self.camera.azimuth, self.camera.elevation, self.camera.distance)
        )
        return Reference(
            self.picture, self.mask, azimuth=azimuth, elevation=elevation, distance=distance
        )

    def colour_of_points(self) -> Colour:
        """Every point has the colour of its pixel."""
        matrix = self.camera.view_projection()[0]
        picture = self.picture.permute(2, 0, 1)[None]

        @torch.no_grad()
        def colour(points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
            clip = torch.cat([points, torch.ones_like(points[:, :1])], 1) @ matrix.t()
            place = clip[:, :2] / clip[:, 3:].clamp_min(1e-6)
            grid = torch.stack([place[:, 0], -place[:, 1]], -1).view(1, 1, -1, 2)
            return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)[
                0, :, 0
            ].t()

        return colour


def picture_terms(
    weights: PictureTerms, reference: ReferenceView, parts: FieldModel, clip_model: str
) -> Callable[[Rendering, GuidanceInputs], dict[str, torch.Tensor]]:
    """What the picture says of a step: the weighted terms of its own view, and of the novel ones by
    CLIP."""
    look = ReferenceGuidance(
        reference.picture,
        reference.mask,
        weights.norm,
        colour=weights.colour,
        opacity=weights.mask,
    )
    deep = (
        DepthGuidance(reference.depth, reference.mask, invariant=True)
        if reference.depth is not None
        else None
    )
    clip: ClipGuidance | None = None
    if weights.clip > 0:
        shown = reference.picture * reference.mask[..., None] + 0.8 * (
            1 - reference.mask[..., None]
        )
        clip = ClipGuidance.of_picture(load_clip(clip_model), shown[None])
    size = (reference.size, reference.size)
    known: tuple[torch.Tensor, DepthScaling] | None = None
    if weights.scale_gradients and reference.depth is not None:
        with torch.no_grad():
            own = parts.renderer.render(
                parts.field, reference.camera, BackgroundSample(torch.zeros(1, *size, 3))
            )
        distance = known_distance(reference, own.depth[0, ..., 0], own.opacity[0, ..., 0])
        known = (distance.reshape(-1), DepthScaling(unit=weights.spread, clear=weights.clear))

    def extra(rendering: Rendering, inputs: GuidanceInputs) -> dict[str, torch.Tensor]:
        level = inputs.random.uniform("reference background")
        behind = BackgroundSample(torch.full((1, *size, 3), float(level)))
        own = parts.renderer.render(
            parts.field, reference.camera, behind, inputs.random, known=known
        )
        # What is half transparent shows the background: the picture before the same one.
        mask = reference.mask[..., None]
        look.picture = reference.picture * mask + level * (1 - mask)
        terms = {"reference": look(own, inputs)[0]}
        if deep is not None and weights.depth > 0:
            terms["depth"] = weights.depth * deep(own, inputs)[0]
        if clip is not None:
            terms["clip"] = weights.clip * clip(rendering, inputs)[0]
        return terms

    return extra


def known_distance(
    reference: ReferenceView, rendered: torch.Tensor, opacity: torch.Tensor
) -> torch.Tensor:
    """The known depth (S, S), fitted to where a field has its surface (rendered depth and opacity
    (S, S)) if it has one; infinite off the mask."""
    assert reference.depth is not None
    inside, depth = reference.mask > 0.5, reference.depth
    weight = (inside & (opacity > 0.5)).float()
    found = rendered / opacity.clamp_min(1e-3)
    if float(weight.sum()) > 0.2 * float(inside.sum()):
        scale, shift = fit_scale_and_shift(depth, found, weight)
        if 0.5 < float(scale) < 2.0:
            depth = scale * depth + shift
        else:
            depth = depth + (found - depth)[weight > 0].mean()
    return torch.where(inside, depth, torch.full_like(depth, float("inf")))
