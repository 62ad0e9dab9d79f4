"""Pictures that a mesh stage is held to: of what was there before, and given ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ...engine.random import RandomStream
from ...engine.schedule import Schedule
from ...kernels.devices import OnHost
from ...renderers import BackgroundSample, Cameras
from ...renderers.mesh import MeshRenderer
from ...renderers.rendering import Rendering
from ...representations import Field
from ...representations.surfaces import SurfaceMesh
from .config import TargetConfig

Teacher = Callable[[Cameras], Rendering]
"""Renders cameras before black: RGB features, opacity, depth and, where it knows them, normals."""
ELEVATIONS = (15.0, -15.0, 45.0)


@dataclass
class GivenView:
    """A picture that is known: camera (one), colours (S, S, 3) in [0, 1], mask (S, S); `coloured`
    says whether the colours count."""

    camera: Cameras
    colours: torch.Tensor
    mask: torch.Tensor
    coloured: bool = True


def target_cameras(config: TargetConfig, distance: float, fov_y: float) -> Cameras:
    """The cameras of a stage's own targets: equal angles, in turn at three elevations."""
    number = torch.arange(config.views)
    elevation = torch.tensor(ELEVATIONS)[number % len(ELEVATIONS)]
    return Cameras.orbit(
        number / config.views * 2 * math.pi,
        torch.deg2rad(elevation),
        distance,
        fov_y=math.radians(fov_y),
        height=config.size,
        width=config.size,
    )


class Targets(nn.Module):
    """Views of one size: colours (V, S, S, 3) over black, masks, depths (V, S, S, 1) and normals
    (V, S, S, 3), times the mask; what a view does not know counts nothing."""

    colours: torch.Tensor
    masks: torch.Tensor
    depths: torch.Tensor
    normals: torch.Tensor
    knows: torch.Tensor

    def __init__(self, cameras: Cameras, given: Sequence[GivenView] = ()) -> None:
        super().__init__()
        count, size = len(cameras), cameras.height
        self.own = count
        self.cameras = cameras
        for view in given:
            self.cameras = _joined(self.cameras, view.camera.resized(size, size))
        count += len(given)
        self.register_buffer("colours", torch.zeros(count, size, size, 3))
        self.register_buffer("masks", torch.zeros(count, size, size, 1))
        self.register_buffer("depths", torch.zeros(count, size, size, 1))
        self.register_buffer("normals", torch.zeros(count, size, size, 3))
        self.register_buffer("knows", torch.zeros(count, 4))
        # They are the same in every step, which need not wait for them.
        self._known = OnHost(lambda knows: knows.amax(0).tolist())
        for number, view in enumerate(given, self.own):
            shown = torch.cat([view.colours * view.mask[..., None], view.mask[..., None]], -1)
            fitted = nn.functional.interpolate(
                shown.permute(2, 0, 1)[None], (size, size), mode="area"
            )[0].permute(1, 2, 0)
            self.colours[number], self.masks[number] = fitted[..., :3], fitted[..., 3:]
            self.knows[number] = torch.tensor([float(view.coloured), 1.0, 0.0, 0.0])

    @torch.no_grad()
    def fill(self, teacher: Teacher, coloured: bool = True) -> None:
        """Take the views of the stage's own cameras from what was there before, whose colours count
        where it is `coloured`."""
        for number in range(self.own):
            seen = teacher(self.cameras[[number]])
            self.colours[number] = seen.features[0].clamp(0, 1)
            self.masks[number] = seen.opacity[0].clamp(0, 1)
            self.depths[number] = seen.depth[0]
            known = seen.normals is not None
            if seen.normals is not None:
                self.normals[number] = seen.normals[0]
            self.knows[number] = torch.tensor([float(coloured), 1.0, 1.0, float(known)])

    def drawn(self, config: TargetConfig, random: RandomStream) -> torch.Tensor:
        """The views of a step: some of its own in a random order, and all given ones."""
        given = torch.arange(self.own, len(self.masks))
        if not self.own:
            return given
        order = random.uniform("targets", (self.own,)).argsort()
        return torch.cat([order[: config.batch], given])

    def terms(
        self,
        config: TargetConfig,
        fraction: float,
        views: torch.Tensor,
        *,
        mesh: SurfaceMesh,
        renderer: MeshRenderer,
        appearance: Field,
    ) -> dict[str, torch.Tensor]:
        """The weighted losses of some views (N,), by name."""
        if not len(views):
            return {}
        cameras = self.cameras[views]
        size = cameras.height
        black = BackgroundSample(torch.zeros(len(views), size, size, 3))
        shown = renderer.render(mesh, cameras, black, appearance=appearance)
        views = views.to(self.masks.device)
        share = torch.where(views < self.own, 1.0, config.given)
        knows = self.knows[views] * (share / share.sum())[:, None]
        masks = self.masks[views]
        assert shown.normals is not None
        both = (masks * shown.opacity.detach()).clamp(0, 1)
        cosine = (shown.normals * self.normals[views]).sum(-1, keepdim=True)
        off = {
            "image": (shown.features - self.colours[views]).abs().sum(-1),
            "silhouettes": (shown.opacity - masks).square()[..., 0],
            "depth": ((shown.depth - self.depths[views]).abs() * (both > 0.95))[..., 0],
            "normals": ((1 - cosine) * (both > 0.95))[..., 0],
        }
        found, known = {}, self._known(self.knows)
        for number, (name, value) in enumerate(off.items()):
            weight = Schedule.parse(getattr(config, name), f"targets.{name}")(fraction)
            if weight > 0 and known[number] > 0:
                found[name] = weight * (value.mean((1, 2)) * knows[:, number]).sum()
        return found


def _joined(one: Cameras, two: Cameras) -> Cameras:
    def both(name: str) -> torch.Tensor:
        return torch.cat([getattr(one, name), getattr(two, name)])

    return Cameras(
        both("camera_to_world"),
        both("fov_y"),
        one.height,
        width=one.width,
        azimuth=both("azimuth"),
        elevation=both("elevation"),
        distance=both("distance"),
    )
