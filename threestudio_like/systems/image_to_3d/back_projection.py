"""Colours of a picture on a shape: laid back where the picture sees it, mirrored where the shape is
symmetric, completed elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree

from ...engine.loop import Stage, StagePlan
from ...engine.schema.bounds import Count, Share, Size
from ...guidance.image_refinement import RefinementConfig
from ...meshes.texture.atlas import Atlas
from ...priors.diffusion import DiffusionPrior
from ...priors.framing import Similarity, boxes
from ...renderers import back_project
from ...representations import TexturedMesh
from ...stages.painting import PaintingConfig, PaintRates, PaintTerms
from ...stages.painting_rounds import PaintRoundsConfig, fill_unseen
from ..texturing.latent_paint import LatentPaint
from ..texturing.request import PaintRequest
from .photo import Photo
from .pose import Pose, PoseConfig, matching_cut

if TYPE_CHECKING:
    from .relief.photos import PlacedPhoto


def _painter() -> LatentPaint:
    """Rounds of pictures around what the photograph fixes: no distillation, no light."""
    rounds = RefinementConfig(times=(0.75,), steps=6, views=8, scale=4.0, elevations=(12.0, 30.0))
    return LatentPaint(
        start=PaintRoundsConfig(
            refine=rounds,
            iterations=24,
            in_turn=True,
            rates=PaintRates(texels="0.08->0.01", offsets="0"),
            terms=PaintTerms(seam="50"),
        ),
        rgb=PaintingConfig(),
        pbr=PaintingConfig(),
    )


@dataclass(frozen=True, kw_only=True)
class ProjectionConfig:
    """How a picture's colours get on a shape and around it."""

    size: Size = 256
    """Pixels of the picture that is laid back."""
    grazing: Share = 0.25
    """Cosine below which the picture sees a texel too flatly to be believed."""
    rim: Count = 2
    """Pixels of the mask's rim that are not believed."""
    mirror: bool = True
    """Take colours from the other side of x = 0 where the shape is alike there."""
    complete: Literal["paint", "method", "neighbours"] = "paint"
    """paint: the prior paints what is left, by `texture`'s rounds, with what the picture says
    locked. method: what the method itself says of it (cisp says nothing). neighbours: nearest known
    colours."""
    paint: LatentPaint = field(default_factory=_painter)


@dataclass
class Coloured:
    """A surface with colours; seen, mirrored (R, R) bool tell where they came from."""

    surface: TexturedMesh
    seen: torch.Tensor
    mirrored: torch.Tensor


@torch.no_grad()
def lay_back(
    surface: TexturedMesh,
    photo: Photo,
    pose: Pose,
    poses: PoseConfig,
    config: ProjectionConfig,
    *,
    frame: Similarity | None = None,
    others: Sequence[PlacedPhoto] = (),
) -> Coloured:
    """Put a picture's colours on the texels that it sees, and on their mirror images.

    Args:
        frame: the square of the picture that the camera sees, where it is known; otherwise that
            whose box is the silhouette's.
        others: further photos with their cameras; a texel takes most from what sees it best.
    """
    box = boxes(torch.from_numpy(photo.pixels[None, ..., 3]), 0.5)[0]
    cut = frame or matching_cut(surface.atlas.mesh, pose, poses, box=box)
    shown = [(photo, pose, poses, cut)]
    shown += [(o.photo, o.pose, o.poses or poses, o.frame) for o in others]
    total, weight = (
        torch.zeros_like(surface.texels[0][:3]),
        surface.texels.new_zeros(surface.texels.shape[-2:]),
    )
    for one, where, search, square in shown:
        colours, alpha = one.colours(config.size, square)
        # Within the mask: its rim mixes with what was behind.
        edge = 2 * config.rim + 1
        inner = -F.max_pool2d(-alpha[:, None], edge, 1, config.rim)[:, 0]
        texels, share = back_project(
            surface,
            where.camera(search, config.size),
            colours,
            valid=inner.clamp(0, 1),
            power=2.0,
        )
        total += texels[:3] * share.square()
        weight += share.square()
    seen = weight > config.grazing**4
    texels = total / weight.clamp_min(1e-12)
    surface.texels[0].copy_(torch.where(seen, texels, surface.texels[0]))
    mirrored = torch.zeros_like(seen)
    if config.mirror:
        mirrored = _mirror(surface, seen)
    return Coloured(surface, seen, mirrored)


def _mirror(surface: TexturedMesh, seen: torch.Tensor, reach: float = 0.06) -> torch.Tensor:
    """Colour unseen texels from seen ones at (-x, y, z) whose normal is mirrored too; returns
    which."""
    geometry = surface.texel_geometry()
    known = seen[geometry.rows, geometry.columns]
    out = torch.zeros_like(seen)
    if not bool(known.any()) or bool(known.all()):
        return out
    flip = torch.tensor([-1.0, 1.0, 1.0])
    # The middle of the shape need not be x = 0 to the last digit.
    middle = (geometry.points[:, 0].amin() + geometry.points[:, 0].amax()) / 2
    points = geometry.points - torch.tensor([1.0, 0.0, 0.0]) * middle
    place = torch.cat([points, 0.2 * geometry.normals], 1)
    source = known.nonzero()[:, 0]
    source = source[:: max(1, len(source) // 40000)]
    lost = (~known).nonzero()[:, 0]
    wanted = torch.cat([points[lost] * flip, 0.2 * geometry.normals[lost] * flip], 1)
    distance, index = cKDTree(place[source].numpy()).query(
        wanted.numpy(), distance_upper_bound=reach
    )
    found = torch.from_numpy(np.isfinite(distance))
    target, origin = lost[found], source[torch.from_numpy(index[np.isfinite(distance)])]
    surface.texels[0][:, geometry.rows[target], geometry.columns[target]] = surface.texels[0][
        :, geometry.rows[origin], geometry.columns[origin]
    ]
    out[geometry.rows[target], geometry.columns[target]] = True
    return out


def completion_plans(
    coloured: Coloured,
    atlas: Atlas,
    prompt: str,
    prior: DiffusionPrior,
    config: ProjectionConfig,
    seed: int,
) -> tuple[list[StagePlan], PaintRequest]:
    """The stages that paint what no picture told; what it told is locked."""
    known = coloured.seen | coloured.mirrored
    with torch.no_grad():
        texels = fill_unseen(coloured.surface, known)
    request = PaintRequest(
        prompt=prompt,
        prior=prior,
        seed=seed,
        atlas=atlas,
        texture=texels,
        locked=known,
        begin=True,
    )
    return config.paint.plans(request), request


def completed(
    coloured: Coloured,
    config: ProjectionConfig,
    request: PaintRequest | None,
    stages: dict[str, Stage],
    colour: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> TexturedMesh:
    """The surface after the stages of `completion_plans`; without any, what `colour` says of points
    and normals, or their neighbours."""
    known = coloured.seen | coloured.mirrored
    if request is None and colour is not None and config.complete == "method":
        with torch.no_grad():
            geometry = coloured.surface.texel_geometry()
            lost = ~known[geometry.rows, geometry.columns]
            values = colour(geometry.points[lost], geometry.normals[lost])
            coloured.surface.texels[0][:, geometry.rows[lost], geometry.columns[lost]] = values.t()
        return coloured.surface
    if request is None:
        with torch.no_grad():
            coloured.surface.texels[0].copy_(fill_unseen(coloured.surface, known))
        return coloured.surface
    parts = config.paint.result(request, stages)
    visible = config.paint.seen(parts.surface, request) > 0.05
    with torch.no_grad():
        parts.surface.texels[0].copy_(fill_unseen(parts.surface, visible, known))
    return parts.surface
