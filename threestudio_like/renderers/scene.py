"""Renders placed objects in one rasterisation, so that they occlude each other, with unlit colours
and antialiased silhouettes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..engine.random import RandomStream
from ..engine.schema.bounds import Number
from ..kernels import antialias, interpolate, rasterize
from ..representations.placed_scene import PlacedScene
from .backgrounds import BackgroundSample
from .cameras import Cameras
from .rendering import Rendering


@dataclass(frozen=True, kw_only=True)
class SceneRenderer:
    """Renders a PlacedScene. Differentiable in the objects' transforms, through colours, depths and
    silhouettes."""

    supersample: Number = 2
    """Number of samples along the edge of a pixel."""
    jitter: bool = False
    """Shift the picture by a random fraction of a pixel at every step."""

    def render(
        self,
        scene: PlacedScene,
        cameras: Cameras,
        background: BackgroundSample,
        random: RandomStream | None = None,
    ) -> Rendering:
        """Render the pictures of all cameras. The `labels` of the rendering give the object of each
        pixel.

        Args:
            background: values (B, H, W, 3).
            random: shifts the picture, if `jitter` is set.
        """
        many = self.supersample
        cameras, background = cameras.to(scene.points.device), background.to(scene.points.device)
        height, width = cameras.height * many, cameras.width * many
        points = scene.vertices()
        clip = torch.cat(
            [points, torch.ones_like(points[:, :1])], 1
        ) @ cameras.view_projection().transpose(1, 2)
        if random is not None and self.jitter:
            drawn = random.uniform("pixels", (len(cameras), 1, 2), cameras.device) - 0.5
            shift = drawn * drawn.new_tensor([2 / cameras.width, 2 / cameras.height])
            clip = torch.cat([clip[..., :2] + shift * clip[..., 3:], clip[..., 2:]], -1)
        pixels = rasterize(clip, scene.tri, height, width=width)
        hit = pixels[..., 3].detach() > 0
        local = interpolate(torch.cat([scene.attributes, points], 1), scene.tri, pixels)
        values, where = local[..., :-3], local[..., -3:]
        face = pixels[..., 3].detach().long() - 1
        colour = torch.zeros_like(where)
        for look, first, last, _ in scene.looks:
            mine = (face >= first) & (face < last)
            if not bool(mine.any()):
                continue
            count = 0 if look.attributes is None else look.attributes.shape[1]
            shown = look.colour(values[mine][:, :count] if count else None).to(values)
            colour = colour.masked_scatter(mine[..., None], shown.expand(int(mine.sum()), 3))
        behind = background.values.expand(len(cameras), -1, -1, -1)
        large = behind
        if many > 1:
            large = F.interpolate(
                behind.permute(0, 3, 1, 2), (height, width), mode="bilinear", align_corners=False
            )
            large = large.permute(0, 2, 3, 1)
        solid = hit[..., None].float()
        depth = (cameras.camera_to_world[:, None, None, :3, 3] - where).norm(
            dim=-1, keepdim=True
        ) * solid
        whole = torch.cat([colour * solid + (1 - solid) * large, solid, depth], -1)
        whole = antialias(whole, pixels, clip, table=scene.edges())
        if many > 1:
            whole = F.avg_pool2d(whole.permute(0, 3, 1, 2), many).permute(0, 2, 3, 1)
        labels = torch.where(hit, scene.face_owner[face.clamp_min(0)] + 1, 0)
        # Labels cannot be averaged, so the first sample of a pixel decides.
        return Rendering(
            whole[..., :3],
            whole[..., 3:4],
            whole[..., 4:],
            background=behind,
            labels=labels[:, ::many, ::many],
        )
