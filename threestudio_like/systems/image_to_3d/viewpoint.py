"""From where a picture was taken, as a camera-conditioned diffusion prior sees it: under the right
camera it denoises the picture best.

The idea of diffusion classifiers (Li et al. 2023, "Your diffusion model is secretly a zero-shot
classifier"), over cameras in place of classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F

from ...engine.random import RandomStream
from ...engine.schema.bounds import Elevations, NoiseTime, NotEmpty, Number, Share
from ...priors.diffusion import Condition, DiffusionPrior
from ...renderers import Cameras


@dataclass(frozen=True, kw_only=True)
class ViewpointConfig:
    """The search: all directions and sizes at a few noise levels, then the best ones again with
    more noise samples."""

    azimuths: Number = 12
    elevations: Elevations = (0.0, 20.0, 40.0)
    """Degrees."""
    fills: Annotated[tuple[Share, ...], NotEmpty()] = (0.72, 0.8, 0.88)
    """Shares of the frame that the object may take: the prior knows its objects' sizes, the picture
    does not tell them."""
    times: Annotated[tuple[NoiseTime, ...], NotEmpty()] = (0.35, 0.6)
    """Noise levels as shares of the schedule."""
    keep: Number = 10
    repeats: Number = 3
    """Noise samples for the directions that are kept."""
    batch: Number = 36


@dataclass
class Viewpoint:
    """azimuth and elevation in radians; fill: the share of the frame under which the prior knows
    the object; margin: how much worse the best direction more than 60 degrees away denoises, in
    deviations over all directions."""

    azimuth: float
    elevation: float
    fill: float
    margin: float


class _Denoising:
    """Errors of the prior's predicted noise for one picture under many cameras."""

    def __init__(
        self,
        picture: torch.Tensor,
        level: float,
        prompt: str,
        prior: DiffusionPrior,
        config: ViewpointConfig,
        seed: int,
    ) -> None:
        self.prior, self.config, self.level, self.seed = prior, config, level, seed
        size = prior.facts.image_size
        small = F.interpolate(
            picture.permute(0, 3, 1, 2), (size, size), mode="bilinear", antialias=True
        )
        self.latent = prior.encode_image(small.permute(0, 2, 3, 1))
        self.text = prior.encode_text([prompt])

    def __call__(self, directions: torch.Tensor, repeats: range) -> torch.Tensor:
        """Mean squared errors (N,) for azimuths and elevations (N, 2)."""
        total = torch.zeros(len(directions))
        for repeat in repeats:
            for number, time in enumerate(self.config.times):
                random = RandomStream(self.seed, "viewpoint", repeat)
                noise = random.normal(
                    f"noise {number}", tuple(self.latent.shape), self.latent.device
                )
                t = torch.full((1,), round(time * (len(self.prior.schedule) - 1)))
                noisy = self.prior.schedule.add_noise(self.latent, noise, t)
                errors = []
                for some in directions.split(self.config.batch):
                    count = len(some)
                    condition = Condition(
                        self.text.expand(count, -1, -1), _cameras(some, self.prior), self.level
                    )
                    found = self.prior.epsilon(
                        noisy.expand(count, -1, -1, -1), t.expand(count), condition
                    )
                    errors.append((found - noise).square().mean((1, 2, 3)).cpu())
                total += torch.cat(errors)
        return total / (len(repeats) * len(self.config.times))


@torch.no_grad()
def find_viewpoint(
    picture: Callable[[float], torch.Tensor],
    level: float,
    prompt: str,
    prior: DiffusionPrior,
    config: ViewpointConfig,
    seed: int = 0,
    elevation: float | None = None,
) -> Viewpoint:
    """The direction from which a picture shows an object.

    Args:
        picture: by the share of the frame that the object takes, (1, S, S, 3) in [0, 1], grey of
            `level` behind it.
        prompt: what it shows.
        prior: knows cameras (`facts.camera`).
        elevation: in radians, where it is known and not searched for.
    """
    step = 2 * math.pi / config.azimuths
    tried = [math.radians(e) for e in config.elevations] if elevation is None else [elevation]
    grid = torch.tensor([(a * step, e) for e in tried for a in range(config.azimuths)])
    rows = []
    for fill in config.fills:
        denoise = _Denoising(picture(fill), level, prompt, prior=prior, config=config, seed=seed)
        errors = denoise(grid, range(1))
        # A larger object is harder to denoise under any camera: sizes are compared by how far the
        # right camera stands out.
        rows.append((fill, denoise, errors, errors / errors.mean()))
    fill, denoise, errors, _ = min(rows, key=lambda row: float(row[3].min()))
    kept = errors.argsort()[: config.keep]
    again = denoise(grid[kept], range(config.repeats))
    azimuth, height = grid[kept[int(again.argmin())]].tolist()
    for part in (3, 6):
        near = torch.tensor(
            [
                (azimuth + i * step / part, height + math.radians(20 / part * j))
                for i in (-1, 0, 1)
                for j in ((-1, 0, 1) if elevation is None else (0,))
            ]
        )
        azimuth, height = near[int(denoise(near, range(config.repeats)).argmin())].tolist()
    turn = (grid[:, 0] - azimuth + math.pi) % (2 * math.pi) - math.pi
    rival = errors[turn.abs() > math.radians(60)].min()
    margin = float((rival - errors.min()) / errors.std().clamp_min(1e-9))
    return Viewpoint(azimuth % (2 * math.pi), height, fill, margin=margin)


def _cameras(directions: torch.Tensor, prior: DiffusionPrior) -> Cameras:
    protocol = prior.facts.camera
    assert protocol is not None
    size = prior.facts.image_size
    return Cameras.orbit(
        directions[:, 0],
        directions[:, 1],
        protocol.distance,
        fov_y=math.radians(protocol.fov_y),
        height=size,
        width=size,
    )
