"""Where the cameras of a step stand: samplers by name, and fixed ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch

from ..engine.random import RandomStream
from ..engine.schema.bounds import Degrees, Elevation, FieldOfView, Number, Positive, Share, Weight
from ..engine.schema.former import FormerKey
from .cameras import Cameras


@dataclass(frozen=True, kw_only=True)
class UniformCameras:
    """Independent uniform draws, in degrees and scene units. The defaults are Latent-NeRF's
    (METHODS 1.4)."""

    elevation: tuple[Elevation, Elevation] = (-60.0, 90.0)
    azimuth: tuple[Degrees, Degrees] = (0.0, 360.0)
    distance: tuple[Positive, Positive] = (1.0, 1.5)
    fov_y: tuple[FieldOfView, FieldOfView] = (40.0, 70.0)
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

    elevation: tuple[Elevation, Elevation] = (-10.0, 45.0)
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

    elevation: tuple[Elevation, Elevation] = (-10.0, 45.0)
    distance: tuple[Positive, Positive] = (3.0, 3.0)
    fov_y: tuple[FieldOfView, FieldOfView] = (40.0, 40.0)
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
