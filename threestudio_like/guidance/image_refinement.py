"""Annealed refinement in image space: render, add noise, denoise over several steps, and fit the
field to the pictures.

This is SDEdit (Meng et al. 2021) on all views at once, as a stage that alternates between making
targets and fitting them. Started from pure noise (time 1) it samples the views that distillation
starts from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from ..engine.random import RandomStream
from ..engine.schema.bounds import Elevations, NoiseTime, Number, Share, Weight
from ..priors.diffusion import Condition, DiffusionPrior
from ..priors.sampling import ddim
from ..renderers.cameras import Cameras
from .prompts import PromptConfig, ViewPrompts


@dataclass(frozen=True, kw_only=True)
class RefinementConfig:
    """Each entry of `times` is one round: add noise up to that fraction of T, denoise in `steps`,
    and fit."""

    times: tuple[NoiseTime, ...] = (0.5, 0.35, 0.25)
    steps: Number = 6
    scale: float = 4.0
    rescale: Share = 0.3
    clamp: Weight = 3.5
    views: Number = 24
    """Number of views of a round, in groups of four at quarter turns on rings of different
    elevation. A last group of fewer is denoised view by view."""
    elevations: Elevations = (0.0, 15.0, 30.0, -8.0, 42.0, 20.0)
    """Elevation in degrees of each group of four. The azimuths of successive groups start at
    different fractions of a quarter turn."""
    batch: Number = 8
    """Views that are denoised at once; whole groups of four where these are denoised together."""
    joint_views: bool = True
    prompt: PromptConfig = field(default_factory=PromptConfig)


def refinement_cameras(
    config: RefinementConfig, distance: float, fov_y: float, size: int
) -> Cameras:
    """The fixed cameras of all rounds: groups of four consecutive views at quarter turns; the last
    one may be shorter."""
    groups = -(-config.views // 4)
    azimuth, elevation = [], []
    for group in range(groups):
        # Halton's sequence in base 2 spreads the starting azimuths evenly for any number of groups.
        offset, digit, n = 0.0, 0.5, group
        while n:
            offset, digit, n = offset + digit * (n & 1), digit / 2, n >> 1
        for k in range(4):
            azimuth.append((offset + k) * torch.pi / 2)
            elevation.append(config.elevations[group % len(config.elevations)] * torch.pi / 180)
    return Cameras.orbit(
        torch.tensor(azimuth[: config.views]),
        torch.tensor(elevation[: config.views]),
        distance,
        fov_y=fov_y * torch.pi / 180,
        height=size,
        width=size,
    )


class Targets(nn.Module):
    """Pictures (V, H, W, C) and masks (V, H, W) that a field is fitted to. They are buffers, so
    that checkpoints contain them."""

    pictures: torch.Tensor
    masks: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pictures", torch.zeros(0))
        self.register_buffer("masks", torch.zeros(0))

    def set(self, pictures: torch.Tensor, masks: torch.Tensor) -> None:
        """Replace all targets."""
        self.pictures, self.masks = pictures.contiguous(), masks.contiguous()


class ImageRefinement:
    """Makes target pictures for all views with a prior.

    Args:
        prior: the diffusion prior.
        prompt: describes the object.
        config: rounds and steps.
        levels: grey level (V,) of the background behind every view.
    """

    def __init__(
        self, prior: DiffusionPrior, prompt: str, config: RefinementConfig, levels: torch.Tensor
    ) -> None:
        self.prior, self.config, self.levels = prior, config, levels
        self.prompts = ViewPrompts(prior, prompt, config.prompt)

    @torch.no_grad()
    def denoise(
        self,
        latents: torch.Tensor | None,
        cameras: Cameras,
        time: float,
        steps: int,
        random: RandomStream,
        purpose: str,
        known: tuple[torch.Tensor, torch.Tensor] | None = None,
        control: dict[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Add noise to latents (V, C, h, w) up to `time` and denoise them; None starts from pure
        noise. Returns clean latents (V, C, h, w).

        The noise of a view depends only on `purpose`, so that rounds with the same purpose share
        it.

        Args:
            known: latents (V, C, h, w) and a weight (V, 1, h, w) in [0, 1] of how certain they are.
                They are put into every estimate, for instance as the background outside of a fixed
                silhouette.
            control: pictures (V, H, W, 3) of the views' geometry by kind.
        """
        facts = self.prior.facts
        shape = (len(cameras), facts.channels, facts.latent_size, facts.latent_size)
        noise = random.normal(purpose, shape, self.prior.device)
        last = len(self.prior.schedule) - 1
        out = []
        for part in self._parts(len(cameras)):
            group = cameras[part]
            noisy = noise[part]
            if latents is not None:
                noisy = self.prior.schedule.add_noise(
                    latents[part], noisy, torch.full((len(part),), round(time * last))
                )
            views = 4 if self.config.joint_views and len(part) % 4 == 0 else 1
            condition = Condition(self.prompts.text(group), group, self.levels[part], views=views)
            condition.emphasis = self.prompts.emphasis(group)
            if control is not None:
                condition.control = {kind: shown[part] for kind, shown in control.items()}
            negative = self.prompts.negatives(len(part))
            project = None
            if known is not None:
                values, sure = known[0][part], known[1][part]

                def project(
                    clean: torch.Tensor, values: torch.Tensor = values, sure: torch.Tensor = sure
                ) -> torch.Tensor:
                    return clean + sure * (values - clean)

            out.append(
                ddim(
                    self.prior,
                    noisy,
                    time,
                    steps=steps,
                    condition=condition,
                    negative=negative,
                    scale=self.config.scale,
                    rescale=self.config.rescale,
                    clamp=self.config.clamp,
                    project=project,
                )
            )
        return torch.cat(out)

    def _parts(self, count: int) -> list[torch.Tensor]:
        """The views that are denoised at once; what is left of whole groups is a part of its
        own."""
        whole = count - count % 4 if self.config.joint_views else count
        batch = self.config.batch
        if self.config.joint_views and self.prior.facts.joint_views > 1:
            # Views that are denoised together are not parted.
            batch = max(4, batch - batch % 4)
        return [
            torch.arange(begin, min(begin + batch, end))
            for first, end in ((0, whole), (whole, count))
            for begin in range(first, end, batch)
        ]

    def masks(self, pictures: torch.Tensor, low: float = 0.045, high: float = 0.12) -> torch.Tensor:
        """Soft masks (V, H, W) of pictures (V, H, W, C), from the distance to the median of each
        picture's border."""
        border = torch.cat(
            [pictures[:, 0], pictures[:, -1], pictures[:, 1:-1, 0], pictures[:, 1:-1, -1]], 1
        )
        median = border.median(1).values[:, None, None]
        distance = (pictures - median).abs().amax(-1)
        x = ((distance - low) / (high - low)).clamp(0, 1)
        return x * x * (3 - 2 * x)
