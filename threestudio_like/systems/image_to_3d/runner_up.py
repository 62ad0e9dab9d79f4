"""Which of two poses a picture was taken from, where their silhouettes are nearly alike: colours
that a symmetric shape should have on both sides, and the depth of what is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from ...meshes.mesh import Mesh
from .fit import calibration, depth_map, measure_fit
from .method import ShapeFound
from .photo import Photo
from .pose import Pose, PoseConfig

NEAR = 0.06
"""Difference of agreement up to which a runner-up is compared by more than its silhouette."""
COLOUR, DEPTH = 0.3, 0.1
"""Weights of the colours' likeness and of the depth's correlation by that of the agreement."""
NEUTRAL = 0.85
"""Likeness of colours where both sides are never seen at once."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for a pose: agreement of the silhouettes, likeness of mirrored colours in [0, 1],
    correlation of depths in [-1, 1]."""

    agreement: float
    colour: float
    depth: float

    @property
    def total(self) -> float:
        """All of it as one number."""
        return self.agreement + COLOUR * self.colour + DEPTH * self.depth


@torch.no_grad()
def evidence_of(
    mesh: Mesh, photo: Photo, pose: Pose, poses: PoseConfig, depth: str | None
) -> Evidence:
    """What speaks for a pose of a mesh whose plane of symmetry is x = 0. Raises ModelError."""
    found = ShapeFound(mesh, pose, poses)
    seen = measure_fit(found, photo, depth=depth).depth if depth is not None else math.nan
    colour = mirrored_likeness(found, photo)
    return Evidence(
        pose.agreement,
        colour if math.isfinite(colour) else NEUTRAL,
        seen if math.isfinite(seen) else 0.0,
    )


@torch.no_grad()
def mirrored_likeness(found: ShapeFound, photo: Photo, size: int = 96) -> float:
    """1 minus twice the mean difference of the colours of visible points and of their mirror images
    at x = 0 that are visible too; nan where too few are."""
    camera = found.pose.camera(found.poses, size)
    depth = torch.from_numpy(depth_map(found.mesh, found, size)).float()
    colours, alpha = photo.colours(size, found.frame(photo))
    there = torch.isfinite(depth) & (alpha[0] > 0.9)
    if int(there.sum()) < 24:
        return math.nan
    row, column = there.nonzero().unbind(1)
    reach = math.tan(float(camera.fov_y[0]) / 2)
    away = depth[row, column]
    x = ((column + 0.5) / size * 2 - 1) * reach * away
    y = (1 - (row + 0.5) / size * 2) * reach * away
    local = torch.stack([x, y, -away, torch.ones_like(away)], 1)
    points = (local @ camera.camera_to_world[0].T)[:, :3]
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    clip = torch.cat([mirrored, torch.ones(len(mirrored), 1)], 1) @ camera.view_projection()[0].T
    place = torch.stack([clip[:, 0], -clip[:, 1]], 1) / clip[:, 3:].clamp_min(1e-6)
    index = ((place + 1) / 2 * size).long().clamp(0, size - 1)
    visible = (depth[index[:, 1], index[:, 0]] - clip[:, 3]).abs() < 0.06
    if int(visible.sum()) < 24:
        return math.nan
    other = F.grid_sample(
        colours.permute(0, 3, 1, 2), place.view(1, 1, -1, 2), align_corners=False
    )[0, :, 0].t()
    difference = (colours[0][row, column] - other).abs().mean(1)[visible]
    return 1 - min(1.0, 2 * float(difference.mean()))


def decide_turn(mesh: Mesh, photo: Photo, pose: Pose, poses: PoseConfig, depth: str | None) -> Pose:
    """The pose, or its runner-up where more speaks for that; `undecided` says it in a line where
    nothing decides. Raises ModelError."""
    second = pose.second
    if second is None or pose.agreement - second.agreement > NEAR:
        return pose
    first, other = (evidence_of(mesh, photo, p, poses, depth) for p in (pose, second))
    gap = other.total - first.total
    chosen, left = (second, pose) if gap > 0 else (pose, second)
    text = ""
    if abs(gap) < calibration().undecided and not _same_from(mesh, chosen, left, poses):
        text = (
            f"The turn is undecided: azimuth {math.degrees(chosen.azimuth):.0f}° is taken, "
            f"{math.degrees(left.azimuth):.0f}° explains the picture as well (silhouettes "
            f"{chosen.agreement:.2f} and {left.agreement:.2f}). Say --azimuths if it is wrong."
        )
    return replace(chosen, rival=left.agreement, second=replace(left, second=None), undecided=text)


def _same_from(mesh: Mesh, one: Pose, two: Pose, poses: PoseConfig) -> bool:
    """Whether both poses see the same: of a thing that is round, any turn is right."""
    depths = [depth_map(mesh, ShapeFound(mesh, p, poses), 48) for p in (one, two)]
    masks = [np.isfinite(d) for d in depths]
    both = masks[0] & masks[1]
    if both.sum() < 0.95 * (masks[0] | masks[1]).sum():
        return False
    return float(np.abs(depths[0][both] - depths[1][both]).mean()) < 0.03
