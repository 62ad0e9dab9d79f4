"""Pinhole cameras and their samplers. +Y up, cameras look down -Z (OpenGL), azimuth 0 is the front
(+Z)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch

from ..engine.random import RandomStream
from ..engine.schema.bounds import Degrees, Elevation, FieldOfView, Number, Positive, Share, Weight
from ..engine.schema.former import FormerKey


@dataclass
class Cameras:
    """A batch of pinhole cameras.

    camera_to_world (B, 4, 4); fov_y (B,) radians; height, width in pixels; azimuth, elevation (B,)
    radians and distance (B,) describe cameras that look at the origin and feed view-dependent
    prompts and camera-conditioned priors.
    """

    camera_to_world: torch.Tensor
    fov_y: torch.Tensor
    height: int
    width: int
    azimuth: torch.Tensor
    elevation: torch.Tensor
    distance: torch.Tensor

    def __len__(self) -> int:
        return int(self.camera_to_world.shape[0])

    @property
    def device(self) -> torch.device:
        """The device of the cameras' tensors, on which rays and matrices are created."""
        return self.camera_to_world.device

    def to(self, device: torch.device | str) -> Cameras:
        """The same cameras on another device."""
        return Cameras(
            self.camera_to_world.to(device),
            self.fov_y.to(device),
            self.height,
            width=self.width,
            azimuth=self.azimuth.to(device),
            elevation=self.elevation.to(device),
            distance=self.distance.to(device),
        )

    def __getitem__(self, index: slice | torch.Tensor | list[int]) -> Cameras:
        return Cameras(
            self.camera_to_world[index],
            self.fov_y[index],
            self.height,
            width=self.width,
            azimuth=self.azimuth[index],
            elevation=self.elevation[index],
            distance=self.distance[index],
        )

    @staticmethod
    def orbit(
        azimuth: torch.Tensor,
        elevation: torch.Tensor,
        distance: torch.Tensor | float,
        fov_y: torch.Tensor | float,
        height: int,
        width: int,
        target: torch.Tensor | None = None,
        up: torch.Tensor | None = None,
        moved: torch.Tensor | None = None,
    ) -> Cameras:
        """Cameras on a sphere about the origin that look at `target`.

        Args:
            azimuth, elevation: (B,) radians.
            distance, fov_y: (B,) or a number, in scene units and radians.
            target: (B, 3) points to look at; the origin by default.
            up: (B, 3) up vectors; +Y by default.
            moved: (B, 3) by which the eyes leave the sphere; azimuth, elevation and distance stay
                those of the sphere, as view-dependent prompts are to see them.
        """
        count = azimuth.shape[0]
        distance = torch.as_tensor(distance, dtype=torch.float32).expand(count)
        fov_y = torch.as_tensor(fov_y, dtype=torch.float32).expand(count)
        eye = distance[:, None] * torch.stack(
            [elevation.cos() * azimuth.sin(), elevation.sin(), elevation.cos() * azimuth.cos()], -1
        )
        if moved is not None:
            eye = eye + moved
        back = eye - target if target is not None else eye
        back = torch.nn.functional.normalize(back, dim=-1)
        up = torch.tensor([0.0, 1.0, 0.0]).expand(count, 3) if up is None else up
        right = torch.linalg.cross(up, back)
        # For a camera straight above the object +Y is no valid up vector, so the one that continues
        # the azimuth is used.
        pole = right.norm(dim=-1, keepdim=True) < 1e-5
        right = torch.where(
            pole, torch.stack([azimuth.cos(), azimuth * 0, -azimuth.sin()], -1), right
        )
        right = torch.nn.functional.normalize(right, dim=-1)
        matrix = torch.zeros(count, 4, 4)
        matrix[:, :3, 0], matrix[:, :3, 1], matrix[:, :3, 2], matrix[:, :3, 3] = (
            right,
            torch.linalg.cross(back, right),
            back,
            eye,
        )
        matrix[:, 3, 3] = 1
        return Cameras(
            matrix,
            fov_y,
            height,
            width=width,
            azimuth=azimuth,
            elevation=elevation,
            distance=distance,
        )

    def resized(self, height: int, width: int) -> Cameras:
        """The same cameras with a different picture size."""
        return Cameras(
            self.camera_to_world,
            self.fov_y,
            height,
            width=width,
            azimuth=self.azimuth,
            elevation=self.elevation,
            distance=self.distance,
        )

    def rays_at(
        self, pixels: torch.Tensor, jitter: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Origins and unit directions, both (P, 3), of rays given by their index in the flattened
        (B, H, W) bundle.

        Args:
            pixels: (P,) int64.
            jitter: (P, 2) offsets in pixels in [-0.5, 0.5].
        """
        camera = pixels // (self.height * self.width)
        rest = pixels % (self.height * self.width)
        point = torch.stack([rest % self.width, rest // self.width], -1) + 0.5
        if jitter is not None:
            point = point + jitter
        scale = torch.tan(self.fov_y / 2)[camera]
        x = (point[:, 0] / self.width * 2 - 1) * scale * (self.width / self.height)
        y = (1 - point[:, 1] / self.height * 2) * scale
        local = torch.stack([x, y, -torch.ones_like(x)], -1)
        frame = self.camera_to_world[camera]
        directions = torch.nn.functional.normalize(
            (frame[:, :3, :3] @ local[:, :, None])[:, :, 0], dim=-1
        )
        return frame[:, :3, 3], directions

    def rays(self, jitter: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Origins and unit directions, both (B, H, W, 3), through pixel centres.

        Args:
            jitter: (B, H, W, 2) offsets in pixels in [-0.5, 0.5].
        """
        rows, columns = (
            torch.arange(size, device=self.device) + 0.5 for size in (self.height, self.width)
        )
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        pixel = torch.stack([x, y], -1)[None].expand(len(self), -1, -1, -1)
        if jitter is not None:
            pixel = pixel + jitter
        scale = torch.tan(self.fov_y / 2)[:, None, None]
        aspect = self.width / self.height
        local = torch.stack(
            [
                (pixel[..., 0] / self.width * 2 - 1) * scale * aspect,
                (1 - pixel[..., 1] / self.height * 2) * scale,
                -torch.ones(len(self), self.height, self.width, device=self.device),
            ],
            -1,
        )
        directions = torch.nn.functional.normalize(
            torch.einsum("bij,bhwj->bhwi", self.camera_to_world[:, :3, :3], local), dim=-1
        )
        return self.camera_to_world[:, None, None, :3, 3].expand_as(directions), directions

    def view_projection(self, near: float = 0.1, far: float = 100.0) -> torch.Tensor:
        """World to clip space (B, 4, 4), OpenGL convention."""
        f = 1 / torch.tan(self.fov_y / 2)
        projection = torch.zeros(len(self), 4, 4, device=self.device)
        projection[:, 0, 0], projection[:, 1, 1] = f * self.height / self.width, f
        projection[:, 2, 2], projection[:, 2, 3] = (
            (far + near) / (near - far),
            2 * far * near / (near - far),
        )
        projection[:, 3, 2] = -1
        return projection @ torch.linalg.inv(self.camera_to_world)

    def ray_maps(self, height: int, width: int) -> torch.Tensor:
        """For every pixel of a (height, width) latent, the point of its ray that is nearest to the
        origin, and the ray's direction: (B, 6, H, W)."""
        origins, directions = self.resized(height, width).rays()
        nearest = origins - (origins * directions).sum(-1, keepdim=True) * directions
        return torch.cat([nearest, directions], -1).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True, kw_only=True)
class UniformCameras:
    """Independent uniform draws, in degrees and scene units. The defaults are Latent-NeRF's
    (METHODS 1.4)."""

    elevation: tuple[float, float] = (-60.0, 90.0)
    azimuth: tuple[float, float] = (0.0, 360.0)
    distance: tuple[float, float] = (1.0, 1.5)
    fov_y: tuple[float, float] = (40.0, 70.0)
    batch: Number = 1
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """The point that every camera looks at."""
    camera_perturb: Weight = 0.0
    """Move every eye by as much as this along each axis, uniformly (the official code's option and
    threestudio's default: 0.1)."""
    center_perturb: Weight = 0.0
    """Deviation of the point that is looked at (there 0.2)."""
    up_perturb: Weight = 0.0
    """Deviation of the up vector (there 0.02)."""
    elevation_sampling: Literal["uniform", "sphere", "mixed"] = "uniform"
    """uniform in the angle; sphere: uniform in the area of the sphere; mixed: one or the other,
    drawn for every step (threestudio)."""
    batch_uniform_azimuth: bool = False
    """Draw the azimuths of a batch from equal parts of the range, one from each."""

    FORMER_KEYS: ClassVar[dict[str, FormerKey]] = {
        "jitter": FormerKey(
            kind=bool,
            now=lambda on: (
                {"camera_perturb": 0.1, "center_perturb": 0.2, "up_perturb": 0.02} if on else {}
            ),
            note="the eye moves along every axis, not in its distance alone",
        )
    }

    def sample(self, random: RandomStream, size: int, fraction: float = 0.0) -> Cameras:
        """`batch` cameras of size x size pixels at `fraction` of the run, in [0, 1]."""
        u = random.uniform("camera", (4, self.batch))
        if self.batch_uniform_azimuth:
            u[1] = (u[1] + torch.arange(self.batch)) / self.batch
        low = torch.tensor([self.elevation[0], self.azimuth[0], self.distance[0], self.fov_y[0]])[
            :, None
        ]
        high = torch.tensor([self.elevation[1], self.azimuth[1], self.distance[1], self.fov_y[1]])[
            :, None
        ]
        elevation, azimuth, distance, fov = low + (high - low) * u
        if self._on_sphere(random):
            elevation = uniform_on_sphere(u[0], *self.elevation)
        target = torch.tensor(self.target).expand(self.batch, 3) if any(self.target) else None
        up = None
        if self.center_perturb > 0:
            shake = random.normal("camera target", (self.batch, 3)) * self.center_perturb
            target = shake if target is None else target + shake
        if self.up_perturb > 0:
            shake = random.normal("camera up", (self.batch, 3)) * self.up_perturb
            up = torch.tensor([0.0, 1.0, 0.0]) + shake
        moved = None
        if self.camera_perturb > 0:
            drawn = random.uniform("camera centre", (self.batch, 3))
            moved = (drawn * 2 - 1) * self.camera_perturb
        return Cameras.orbit(
            torch.deg2rad(azimuth),
            torch.deg2rad(elevation),
            distance,
            fov_y=torch.deg2rad(fov),
            height=size,
            width=size,
            target=target,
            up=up,
            moved=moved,
        )

    def _on_sphere(self, random: RandomStream) -> bool:
        if self.elevation_sampling == "mixed":
            return float(random.uniform("elevation")) >= 0.5
        return self.elevation_sampling == "sphere"


def uniform_on_sphere(u: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Elevations in degrees of points that are uniform in the area of a sphere between two
    elevations, of u uniform in [0, 1)."""
    bottom, top = (math.sin(math.radians(edge)) for edge in (low, high))
    return torch.rad2deg(torch.asin((bottom + (top - bottom) * u).clamp(-1, 1)))


@dataclass(frozen=True, kw_only=True)
class StratifiedCameras:
    """Views at equal angles around the object with a common elevation and a random first azimuth,
    in degrees and scene units.

    With four views a step, at exact quarter turns, this is the protocol that view-consistent
    distillation needs.
    """

    elevation: tuple[float, float] = (-10.0, 45.0)
    distance: Positive = 3.0
    fov_y: FieldOfView = 40.0
    batch: Number = 4
    overhead: Share = 0.08
    """Share of steps with cameras from 60 to 80 degrees above."""

    def sample(self, random: RandomStream, size: int, fraction: float = 0.0) -> Cameras:
        """`batch` cameras of size x size pixels at equal angles."""
        u = random.uniform("camera", (3,))
        azimuth = (u[0] + torch.arange(self.batch) / self.batch) * 2 * math.pi
        low, high = (60.0, 80.0) if float(u[2]) < self.overhead else self.elevation
        elevation = torch.deg2rad(low + (high - low) * u[1]).expand(self.batch)
        return Cameras.orbit(
            azimuth,
            elevation,
            self.distance,
            fov_y=math.radians(self.fov_y),
            height=size,
            width=size,
        )


@dataclass(frozen=True, kw_only=True)
class ProgressiveCameras:
    """Uniform cameras whose range of azimuth widens from the front to the full circle during the
    first `opening` of the run."""

    elevation: tuple[float, float] = (-10.0, 45.0)
    distance: tuple[float, float] = (3.0, 3.0)
    fov_y: tuple[float, float] = (40.0, 40.0)
    batch: Number = 4
    opening: Share = 0.5
    start: Degrees = 60.0
    """Half the width of the azimuth range at the beginning, in degrees."""

    def sample(self, random: RandomStream, size: int, fraction: float = 0.0) -> Cameras:
        """`batch` cameras of size x size pixels within the range of azimuth at `fraction`."""
        half = self.start + (180.0 - self.start) * min(1.0, fraction / max(self.opening, 1e-6))
        return UniformCameras(
            elevation=self.elevation,
            azimuth=(-half, half),
            distance=self.distance,
            fov_y=self.fov_y,
            batch=self.batch,
        ).sample(random, size)


@dataclass(frozen=True, kw_only=True)
class RingCameras:
    """A fixed ring for previews and evaluation: `count` equal angles from the front, at one
    elevation in degrees."""

    count: Number = 8
    elevation: Elevation = 15.0
    distance: Positive = 3.0
    fov_y: FieldOfView = 40.0

    def all(self, size: int) -> Cameras:
        """All cameras of the ring, of size x size pixels."""
        azimuth = torch.arange(self.count) / self.count * 2 * math.pi
        elevation = torch.full((self.count,), math.radians(self.elevation))
        return Cameras.orbit(
            azimuth,
            elevation,
            self.distance,
            fov_y=math.radians(self.fov_y),
            height=size,
            width=size,
        )


@dataclass(frozen=True, kw_only=True)
class FixedCameras:
    """The same views at every step, for priors that know no others: azimuths and elevations in
    degrees, one distance and field of view."""

    views: tuple[tuple[float, float], ...]
    around: Degrees = 0.0
    """Azimuth that those of the views are counted from."""
    distance: Positive = 3.0
    fov_y: FieldOfView = 40.0

    def sample(self, random: RandomStream, size: int, fraction: float = 0.0) -> Cameras:
        """All views, of size x size pixels."""
        angles = torch.deg2rad(torch.tensor(self.views))
        return Cameras.orbit(
            angles[:, 0] + math.radians(self.around),
            angles[:, 1],
            self.distance,
            fov_y=math.radians(self.fov_y),
            height=size,
            width=size,
        )


class CameraSampler(Protocol):
    """Draws the cameras of a step."""

    def sample(self, random: RandomStream, size: int, fraction: float = 0.0) -> Cameras:
        """Cameras of size x size pixels."""
