"""What closes a shape behind the surface that a picture shows: the back that a depth estimator has
learnt, or a guess by the visible surface alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, maximum_filter, median_filter

from ...priors.depth import FRAME_HALF_WIDTH, DepthPrior
from ...priors.framing import FILL
from .g3dr_cameras import DEPTH_NEAR, CanonicalCamera
from .relief.surface import outline_of, spread

CAMERA = CanonicalCamera()
THINNEST = 0.05
"""Thickness of what an estimator holds to be thinner, in units of the frame."""
RIM = 0.074
"""Width of the rim within which front and back of a picture's shape meet, in the same units: three
pixels of the estimator's 64, where its depths are the least sure ones."""


@dataclass(frozen=True)
class FrameSides:
    """What an estimator says of a framed picture, in the frame's units, from one before the
    object's middle to one behind it.

    front (S, S): depth of the first surface along every ray. back (S, S): of the last one, at least
    `THINNEST` behind the first; None where the estimator knows none. elevation: of the camera,
    radians; None likewise.
    """

    front: torch.Tensor
    back: torch.Tensor | None = None
    elevation: float | None = None


def frame_sides(picture: torch.Tensor, mask: torch.Tensor, prior: DepthPrior) -> FrameSides:
    """Both sides of a framed picture (1, S, S, 3) with its mask (S, S).

    The embedded estimator speaks in the frame's units. Others are stretched over the mask, as if
    the object were as deep as wide.
    """
    with torch.no_grad():
        found = prior.predict_sides(picture)
    depth = found.visible[0]
    if prior.inverse:
        depth = -depth
    if prior.framed:
        back = None if found.back is None else torch.maximum(found.back[0], depth + THINNEST)
        return FrameSides(
            depth, back, None if found.elevation is None else float(found.elevation[0])
        )
    inside = depth[mask > 0.5]
    low, high = (float(v) for v in inside.quantile(torch.tensor([0.02, 0.98])))
    half = FILL * FRAME_HALF_WIDTH
    return FrameSides(1 + half * (2 * ((depth - low) / max(high - low, 1e-6)).clamp(0, 1) - 1))


def frame_depth(picture: torch.Tensor, mask: torch.Tensor, prior: DepthPrior) -> torch.Tensor:
    """The depth (S, S) of the visible surface alone; see `frame_sides`."""
    return frame_sides(picture, mask, prior).front


def calmed(sides: FrameSides, mask: torch.Tensor) -> FrameSides:
    """Both sides without their outliers, and continued beyond the core of a mask (S, S).

    An estimator that takes a pale spot for the background says there that the object is as far
    away as the wall: a spike of the shape."""
    core = core_of(mask.numpy() > 0.5)
    if not core.any():
        return sides

    def calm(found: torch.Tensor) -> torch.Tensor:
        low, high = np.quantile(found.numpy()[core], [0.02, 0.98])
        near = median_filter(spread(found.numpy(), core).numpy(), 5)
        return torch.from_numpy(near.clip(low, high).astype(np.float32))

    front = calm(sides.front)
    back = None if sides.back is None else front + calm(sides.back - sides.front)
    return FrameSides(front, back, sides.elevation)


def core_of(inside: np.ndarray, rim: float = 3.0) -> np.ndarray:
    """Where in an outline (S, S) bool an estimator sees the object alone: `rim` pixels within, and
    in the middle of what is thinner."""
    distance = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    most = maximum_filter(distance, 2 * int(rim) + 1)
    return inside & (distance >= np.minimum(rim, 0.8 * most))


def placed(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Places (N, 2) in the canonical picture, x right and y down in [-1, 1], and distances (N,) of
    points (N, 3)."""
    eye = torch.tensor([0.0, 0.0, CAMERA.radius])
    off = points - eye
    reach = math.tan(math.radians(CAMERA.fov) / 2) * -off[:, 2:]
    return torch.cat([off[:, :1] / reach, -off[:, 1:2] / reach], 1), off.norm(dim=-1)


def front_of(volume: torch.Tensor, size: int, steps: int = 160, level: float = 0.5) -> torch.Tensor:
    """Distances (size, size) along the rays of the canonical camera to the first matter of a volume
    (D, H, W) over [-1, 1]^3; nan where a ray meets none."""
    half = math.tan(math.radians(CAMERA.fov) / 2)
    line = ((torch.arange(size) + 0.5) / size * 2 - 1) * half
    y, x = torch.meshgrid(-line, line, indexing="ij")
    rays = F.normalize(torch.stack([x, y, -torch.ones_like(x)], -1), dim=-1)
    away = torch.linspace(CAMERA.radius - 1.2, CAMERA.radius + 1.2, steps)
    points = rays * away.view(-1, 1, 1, 1)
    points[..., 2] += CAMERA.radius
    seen = F.grid_sample(volume[None, None], points[None], align_corners=True)[0, 0] > level
    first = away[seen.int().argmax(0)]
    return torch.where(seen.any(0), first, torch.full_like(first, math.nan))


def between(
    points: torch.Tensor,
    mask: torch.Tensor,
    front: torch.Tensor,
    back: torch.Tensor,
    cell: float,
    rim: float = 0.0,
) -> torch.Tensor:
    """Shares of matter (N,) of points (N, 3) between two surfaces, within the outline.

    Args:
        mask: (E, E) of the canonical picture, in [0, 1].
        front, back: (S, S), distances along the rays; nan where unknown: what is nearest counts.
        cell: length over which the share falls from 1 to 0.
        rim: both surfaces meet at the outline, by a quarter of an ellipse that is this wide.
    """
    place, distance = placed(points)
    grid = place.view(1, 1, -1, 2)

    def read(values: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(values[None, None], grid, padding_mode="border", align_corners=False)[
            0, 0, 0
        ]

    near, far = (spread(v.numpy(), np.isfinite(v.numpy())) for v in (front, back))
    begin = read(near)
    end = torch.maximum(read(far), begin + THINNEST)
    within = read(outline_of(mask)) * CAMERA.half_width
    half = (end - begin) / 2
    if rim > 0:
        half = half * (1 - (1 - (within / rim).clamp(0, 1)) ** 2).sqrt()
    value = torch.minimum(half - (distance - (begin + end) / 2).abs(), within)
    return (0.5 + value / cell).clamp(0, 1)


def bounded(volume: torch.Tensor, mask: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """A volume (D, H, W) over [-1, 1]^3 filled from its first surface along every ray to a known
    back.

    Args:
        mask: (E, E) of the canonical picture, in [0, 1].
        back: (S, S), depth in the frame's units; see `FrameSides`.
    """
    inside = F.interpolate(mask[None, None], back.shape, mode="area")[0, 0].numpy() > 0.5
    core = torch.from_numpy(core_of(inside))
    front = front_of(volume, back.shape[0])
    # The outermost depths are the least sure ones: an outline's pixels see what is behind it too.
    known = core & torch.isfinite(front)
    if not bool(known.any()):
        return torch.zeros_like(volume)
    size = volume.shape[0]
    front = torch.where(known, front, torch.full_like(front, math.nan))
    behind = torch.where(core, DEPTH_NEAR + back, torch.full_like(back, math.nan))
    line = torch.linspace(-1, 1, size)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    points = torch.stack([x, y, z], -1).view(-1, 3)
    cell = 4 / (size - 1)
    return between(points, mask, front, behind, cell, RIM).view(volume.shape)


def closed(volume: torch.Tensor, back: str = "halfway", level: float = 0.5) -> torch.Tensor:
    """The volume (D, H, W) filled from the first surface that a viewer on +Z meets to a back.

    Args:
        back: "mirror": the surface's mirror image at the middle of the object; a convex thing turns
            away from the viewer where it is widest, and is about as deep behind as before. "flat":
            where the visible surface ends. "halfway": between the two.
        level: where matter begins.
    """
    size = volume.shape[0]
    front = volume.flip(0).cummax(0).values.flip(0)
    solid = front > level
    # Index of the front surface of every column, counted from -Z.
    top = torch.where(
        solid.any(0),
        (size - 1) - solid.flip(0).int().argmax(0),
        torch.full_like(solid[0], -1, dtype=torch.long),
    )
    known = top >= 0
    if not bool(known.any()):
        return volume
    top = without_horns(top, max(1, round(size / 24)))
    heights = top[known].float()
    index = torch.arange(size).view(-1, 1, 1).float()
    # Never thinner than a few cells.
    thin = 0.06 * size
    # The outermost depths are the estimator's least sure ones. A fifth of a ball's picture lies
    # below the root of a fifth of its height.
    share = 0.2**0.5
    middle = (float(heights.quantile(0.2)) - share * float(heights.quantile(0.98))) / (1 - share)
    mirrored = middle - (top.float() - middle).clamp(min=thin)
    flat = torch.minimum(heights.quantile(0.02), top.float() - thin)
    low = {"mirror": mirrored, "flat": flat}.get(back, (mirrored + flat) / 2)
    inside = (index <= top) & (index >= low.clamp_min(1)) & known
    return torch.where(
        inside, torch.maximum(front, front.new_tensor(0.9)), torch.zeros_like(volume)
    )


def without_horns(top: torch.Tensor, rim: int = 2) -> torch.Tensor:
    """Heights (H, W) of the visible surface, -1 where nothing is, at the outline no higher than the
    surface within: an outline's pixels see what is behind it too, and their depth is the least
    sure."""
    known = (top >= 0).float()[None, None]
    within = -F.max_pool2d(1 - known, 2 * rim + 1, 1, rim) + 1
    near = F.max_pool2d(
        torch.where(within > 0, top.float()[None, None], -1.0), 4 * rim + 1, 1, 2 * rim
    )[0, 0].long()
    return torch.where(
        (within[0, 0] == 0) & (near >= 0) & (top >= 0), torch.minimum(top, near), top
    )
