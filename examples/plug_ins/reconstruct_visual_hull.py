"""The visual hull of one cut-out picture, as a plug-in: a system for `reconstruct` in one file. The
silhouette is carved out of a block as the picture's camera sees it, and the block is as deep as the
outline is wide at every height, with round sides. Run:

    threestudio-like reconstruct photo.png --plugins examples/plug_ins/reconstruct_visual_hull.py \\
        --method visual-hull
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from threestudio_like.engine.errors import CollapseError
from threestudio_like.engine.loop import Stage, StagePlan
from threestudio_like.meshes.surface.simplify import decimate
from threestudio_like.meshes.surface.voxels import cell_centres, to_mesh
from threestudio_like.systems.image_to_3d.back_projection import ProjectionConfig
from threestudio_like.systems.image_to_3d.method import PictureRequest, PictureSystem, ShapeFound
from threestudio_like.systems.image_to_3d.pose import PoseConfig, seen_from
from threestudio_like.systems.registry import system


@system("visual-hull", "the hull of one silhouette, as deep as it is wide", task="image-to-3d")
@dataclass(frozen=True, kw_only=True)
class VisualHull(PictureSystem):
    """What the command line reaches as --size, --thickness, …"""

    size: int = 48
    """Cells along an edge."""
    thickness: float = 1.0
    """How deep the object is, by how wide it is."""
    faces: int = 4000
    """Face budget."""
    pose: PoseConfig = field(default_factory=PoseConfig)
    colour: ProjectionConfig = field(
        default_factory=lambda: ProjectionConfig(complete="neighbours")
    )

    @property
    def wants_prior(self) -> bool:
        """It asks no prior anything."""
        return False

    def plans(self, request: PictureRequest) -> list[StagePlan]:
        """Nothing is optimised."""
        return []

    def result(self, request: PictureRequest, stages: dict[str, Stage]) -> ShapeFound:
        """The hull, seen from the front. Raises CollapseError."""
        mask = request.photo.mask(self.size * 2)
        centres = cell_centres(self.size)
        camera_distance, reach = self.pose.distance, math.tan(math.radians(self.pose.fov_y) / 2)
        # Where every cell is in the picture of a camera on +Z.
        place = centres[:, :2] / (reach * (camera_distance - centres[:, 2:]))
        place[:, 1] = -place[:, 1]
        inside = F.grid_sample(mask[None, None], place.view(1, 1, -1, 2), align_corners=False)
        front = inside.view(self.size, self.size, self.size)
        # Of every height: the middle and half the width of the silhouette at z = 0.
        across = front[:, :, self.size // 2] > 0.5
        x = torch.linspace(-1, 1, self.size)[:, None].expand_as(across)
        low = torch.where(across, x, torch.inf).amin(0)
        high = torch.where(across, x, -torch.inf).amax(0)
        half = ((high - low) / 2).clamp_min(0)
        middle = torch.where(half > 0, (high + low) / 2, torch.zeros_like(half))
        side = (x - middle)[:, :, None]
        z = torch.linspace(-1, 1, self.size)[None, None]
        round_ = (side.square() + (z / self.thickness).square()) < half.square()[
            None, :, None
        ] + 1e-4
        volume = (front * round_).numpy().astype(np.float32)
        mesh = to_mesh(volume)
        if mesh is None:
            raise CollapseError(
                "the silhouette leaves nothing", "visual hull", "Cut the object out of the picture"
            )
        mesh = decimate(mesh, self.faces) if len(mesh.faces) > self.faces else mesh
        pose = seen_from(mesh, request.photo.mask(self.pose.size), self.pose, 0.0, 0.0)
        return ShapeFound(mesh, pose, self.pose, voxels=volume)
