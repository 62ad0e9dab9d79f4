"""Volume rendering with an occupancy grid: full-image ray bundles, jittered samples and early
termination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..engine.random import RandomStream
from ..engine.schema.bounds import Count, Number, Positive, Share, Size, Weight
from ..kernels import composite, march
from ..representations.field import Field
from .backgrounds import BackgroundSample
from .cameras import Cameras
from .gradient_scaling import DepthScaling
from .rendering import Rendering, Samples
from .shading import PointLight


@dataclass(frozen=True, kw_only=True)
class VolumeConfig:
    """How a volume is sampled (METHODS 1.3 has the paper's numbers)."""

    samples: Size = 64
    """Number of samples along the edge of the [-1, 1] cube; their spacing is 2 / samples."""
    occupancy: Size = 32
    """Number of cells along the edge of the occupancy grid."""
    refresh: Number = 16
    """Number of steps between updates of the occupancy grid."""
    decay: Share = 0.95
    threshold: Weight = 10.0
    """A cell is occupied if its density exceeds min(mean density, threshold)."""
    floor: Weight = 0.01
    """Lower limit of the threshold: a cell with less density never counts as occupied."""
    stop: Share = 1e-4
    """Transmittance at which a ray is terminated."""
    jitter: bool = True
    """Shift the samples of every ray by a random fraction of their spacing, and every ray within
    its pixel."""
    pixel_jitter: bool = True
    """With `jitter`: whether rays move within their pixels too (the published codes do not)."""
    normals: bool = False
    normal_epsilon: Positive = 1e-2
    """Distance of the points whose densities give a normal, in scene units."""
    normal_type: Literal["central", "finite_difference"] = "central"
    """central: points on both sides; finite_difference: the sample and one point on each axis."""
    alpha_threshold: Share = 0.0
    """Samples that hide less than this (at most the mean of all cells) are left out: a look at the
    densities first, less to differentiate (nerfacc; threestudio's prune_alpha_threshold is
    0.01)."""
    chunk: Count = 0
    """Number of samples that are held in memory at once, in whole rays. Gradients are the same, at
    the cost of a second evaluation; 0 holds all of them."""
    radius: Positive = 1.08
    """Radius about the origin beyond which there is nothing (2 for the whole cube)."""


class VolumeRenderer(nn.Module):
    """Renders a Field. The occupancy grid is part of its state."""

    centres: torch.Tensor
    inside: torch.Tensor
    average: torch.Tensor
    occupied: torch.Tensor

    def __init__(self, config: VolumeConfig | None = None, chunk: int | None = None) -> None:
        super().__init__()
        config = config or VolumeConfig()
        self.config = config
        self.chunk = config.chunk if chunk is None else chunk
        size = config.occupancy
        line = (torch.arange(size) + 0.5) / size * 2 - 1
        z, y, x = torch.meshgrid(line, line, line, indexing="ij")
        self.register_buffer("centres", torch.stack([x, y, z], -1).view(-1, 3), persistent=False)
        half = 3**0.5 / size
        inside = self.centres.norm(dim=-1) < config.radius + half
        self.register_buffer("inside", inside.view(size, size, size), persistent=False)
        self.register_buffer("average", torch.full((size, size, size), -1.0))
        self.register_buffer("occupied", self.inside.clone())

    @torch.no_grad()
    def refresh(self, field: Field, random: RandomStream) -> None:
        """Update the running density of every cell at a random point in it (a decaying maximum),
        and the set of occupied cells."""
        cells = self.inside.view(-1).nonzero()[:, 0]
        jitter = random.uniform("occupancy", (len(cells), 3), self.centres.device) - 0.5
        points = self.centres[cells] + jitter * (2 / self.config.occupancy)
        density = torch.cat([field.density(p.clamp(-1, 1)) for p in points.split(1 << 17)])
        flat = self.average.view(-1)
        flat[cells] = torch.maximum(flat[cells] * self.config.decay, density)
        mean = float(flat[cells].clamp_min(0).mean())
        limit = max(min(mean, self.config.threshold), self.config.floor)
        self.occupied = (self.average > limit) & self.inside

    @torch.no_grad()
    def reset(self) -> None:
        """Mark all cells as occupied."""
        self.average.fill_(-1.0)
        self.occupied = self.inside.clone()

    def normals(self, field: Field, points: torch.Tensor) -> torch.Tensor:
        """The field's normals (S, 3) at the sample points. They need six densities each, and
        `chunk` limits how many are computed at once."""
        few, config = self.chunk // 6, self.config
        how = (config.normal_epsilon, config.normal_type == "central")
        if few <= 0 or len(points) <= few:
            return field.normals(points, *how)
        if not torch.is_grad_enabled():
            return torch.cat([field.normals(batch, *how) for batch in points.split(few)])
        return torch.cat(
            [
                checkpoint(
                    field.normals, batch, *how, use_reentrant=False, preserve_rng_state=False
                )
                for batch in points.split(few)
            ]
        )

    def _shade(
        self,
        field: Field,
        points: torch.Tensor,
        t: torch.Tensor,
        offsets: torch.Tensor,
        step: float,
        distance: torch.Tensor | None,
        scaling: DepthScaling | None,
        light: PointLight | None = None,
        camera: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Composited rays (R, C + 2), weights (S,) and density (S,), in chunks that the backward
        pass computes again.

        Args:
            camera: (S,) number of every sample's camera, for the light.
        """
        how = (self.config.normal_epsilon, self.config.normal_type == "central")
        lights = None if light is None else light.positions.to(points)

        def shade(
            p: torch.Tensor,
            t: torch.Tensor,
            o: torch.Tensor,
            d: torch.Tensor | None,
            c: torch.Tensor | None,
        ) -> tuple[torch.Tensor, ...]:
            density, features = field(p)
            if light is not None and lights is not None and c is not None:
                features = light(features, p, field.normals(p, *how), lights[c])
            if scaling is not None and d is not None:
                # A sample's alpha depends on its density alone: scaling the one's gradient is
                # scaling the other's.
                density, features = scaling.apply(density, features, t, d)
            return *composite(
                density, features, t, offsets=o, step=step, stop=self.config.stop
            ), density

        if self.chunk <= 0 or len(points) <= self.chunk:
            out, weights, density = shade(points, t, offsets, d=distance, c=camera)
            return out, weights, density
        ends, pieces, first = offsets.cpu(), [], 0
        while first < len(ends) - 1:
            # As many rays as fit; one at least.
            last = int(torch.searchsorted(ends, int(ends[first]) + self.chunk, right=True)) - 1
            last = min(max(last, first + 1), len(ends) - 1)
            span = slice(int(ends[first]), int(ends[last]))
            given = (
                points[span],
                t[span],
                offsets[first : last + 1] - offsets[first],
                None if distance is None else distance[span],
                None if camera is None else camera[span],
            )
            if torch.is_grad_enabled():
                pieces.append(
                    checkpoint(shade, *given, use_reentrant=False, preserve_rng_state=False)
                )
            else:
                pieces.append(shade(*given))
            first = last
        out, weights, density = (torch.cat([piece[i] for piece in pieces]) for i in range(3))
        return out, weights, density

    def _rays(
        self, cameras: Cameras, random: RandomStream | None, pixels: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Origins and directions (R, 3) of the rays, all or those of `pixels`, and where within a
        step each begins (R,)."""
        device = self.centres.device
        if not self.config.jitter:
            random = None
        if pixels is None:
            shape: tuple[int, ...] = (len(cameras), cameras.height, cameras.width)
        else:
            shape = (len(pixels),)
        within = None
        if random is not None and self.config.pixel_jitter:
            within = random.uniform("pixels", (*shape, 2), device) - 0.5
        found = cameras.rays(within) if pixels is None else cameras.rays_at(pixels, within)
        origins, directions = (r.reshape(-1, 3).contiguous() for r in found)
        jitter = (
            torch.full((len(origins),), 0.5, device=device)
            if random is None
            else random.uniform("samples", (len(origins),), device)
        )
        return origins, directions, jitter

    @torch.no_grad()
    def _seen(self, field: Field, points: torch.Tensor, step: float) -> torch.Tensor | None:
        """Which samples (S,) hide enough to count; None where all do."""
        if self.config.alpha_threshold <= 0:
            return None
        # Sums, not a selection: nothing waits for the device.
        inside = self.inside.to(self.average)
        mean = (self.average.clamp_min(0) * inside).sum() / inside.sum()
        least = (mean * step).clamp_max(self.config.alpha_threshold)
        split = points.clamp(-1, 1).split(self.chunk or (1 << 19))
        alpha = torch.cat([-torch.expm1(-field.density(p) * step) for p in split])
        return alpha >= least

    def sample(
        self,
        field: Field | None,
        origins: torch.Tensor,
        directions: torch.Tensor,
        jitter: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Distances (S,), rays (S,), offsets (R + 1,) and points (S, 3) of the samples along rays.

        Args:
            field: whose thin samples are left out; None leaves them in.
            origins, directions: (R, 3).
            jitter: (R,) share of a step by which a ray's samples are shifted.
        """
        rays, step = len(origins), 2.0 / self.config.samples
        t, ray, offsets = march(origins, directions, self.occupied, step=step, jitter=jitter)
        points = origins[ray] + t[:, None] * directions[ray]
        seen = None if field is None else self._seen(field, points, step)
        if seen is not None:
            t, ray, points = t[seen], ray[seen], points[seen]
            offsets = _offsets(ray, rays)
        if self.config.radius < 1.7:
            # The ball, not the cube: corners never hold anything.
            keep = points.square().sum(-1) <= self.config.radius**2
            t, ray, points = t[keep], ray[keep], points[keep]
            offsets = _offsets(ray, rays)
        return t, ray, offsets, points.clamp(-1, 1)

    def render(
        self,
        field: Field,
        cameras: Cameras,
        background: BackgroundSample,
        random: RandomStream | None = None,
        pixels: torch.Tensor | None = None,
        known: tuple[torch.Tensor, DepthScaling] | None = None,
        light: PointLight | None = None,
    ) -> Rendering:
        """Render full pictures, or the rays `pixels` (P,) of the flattened (B, H, W) bundle as one
        picture (1, 1, P, C).

        Args:
            field: the field to render.
            cameras: B cameras.
            background: values (B, H, W, C).
            random: jitters the samples; None for no jitter (previews, evaluation).
            pixels: indices of rays, int64.
            known: distance (R,) to the surface along every rendered ray, not finite where it is
                unknown, and the gradient scaling away from it (METHODS 3.6).
            light: lights the samples' colours before they are composited; features as they are by
                default.
        """
        device = self.centres.device
        cameras, background = cameras.to(device), background.to(device)
        behind = background.values.reshape(-1, field.channels)
        shape = (len(cameras), cameras.height, cameras.width)
        if pixels is not None:
            pixels = pixels.to(device)
            behind, shape = behind[pixels], (1, 1, len(pixels))
        origins, directions, jitter = self._rays(cameras, random, pixels)
        rays = len(origins)
        step = 2.0 / self.config.samples
        t, ray, offsets, points = self.sample(field, origins, directions, jitter=jitter)
        distance = None if known is None else known[0].to(device)[ray]
        scaling = None if known is None else known[1]
        camera = None
        if light is not None:
            pixel = ray if pixels is None else pixels[ray]
            camera = pixel // (cameras.height * cameras.width)
        out, weights, density = self._shade(
            field,
            points,
            t,
            offsets=offsets,
            step=step,
            distance=distance,
            scaling=scaling,
            light=light,
            camera=camera,
        )
        channels = field.channels
        opacity = out[:, channels : channels + 1]
        colour = out[:, :channels] + (1 - opacity) * behind
        normals = None
        if self.config.normals:
            unit = self.normals(field, points)
            normals = (
                torch.zeros(rays, 3, device=device)
                .index_add(0, ray, weights[:, None] * unit)
                .view(*shape, 3)
            )
        samples = Samples(
            t, ray, offsets, points=points, density=density, weights=weights, step=step
        )
        return Rendering(
            colour.view(*shape, -1),
            opacity.view(*shape, 1),
            out[:, channels + 1 :].view(*shape, 1),
            background=behind.view(*shape, -1),
            normals=normals,
            samples=samples,
        )


def _offsets(ray: torch.Tensor, rays: int) -> torch.Tensor:
    """The first sample of each ray, (R + 1,), of the samples' rays in order."""
    offsets = torch.zeros(rays + 1, dtype=torch.long, device=ray.device)
    offsets[1:] = torch.bincount(ray, minlength=rays).cumsum(0)
    return offsets
