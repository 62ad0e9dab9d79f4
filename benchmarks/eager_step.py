"""A Latent-NeRF step the way threestudio writes it, for comparison: eager, a half-precision UNet as
diffusers gives it, separate ray samples, tiny-cuda-nn and nerfacc where they can be imported, plain
torch where not. Sizes are those of our own paper preset."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from threestudio_like.kernels import HashGridSpec
from threestudio_like.kernels.reference import grids, volume
from threestudio_like.priors.noise_schedule import NoiseSchedule
from threestudio_like.renderers.cameras import Cameras

REFRESH = 16
"""Steps from one look at the occupancy grid to the next."""


class Encoding(nn.Module):
    """The hash grid: tiny-cuda-nn's, or plain torch."""

    def __init__(self, spec: HashGridSpec) -> None:
        super().__init__()
        self.spec, self.theirs = spec, None
        if importlib.util.find_spec("tinycudann") is not None:
            import tinycudann

            growth = (spec.finest / spec.base) ** (1 / (spec.levels - 1))
            self.theirs = tinycudann.Encoding(
                3,
                {
                    "otype": "HashGrid",
                    "n_levels": spec.levels,
                    "n_features_per_level": 2,
                    "log2_hashmap_size": spec.log2_size,
                    "base_resolution": spec.base,
                    "per_level_scale": growth,
                },
            )
        else:
            self.table = nn.Parameter((torch.rand(spec.entries, 2) * 2 - 1) * 1e-4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3) in [0, 1] -> (N, 2L)."""
        if self.theirs is not None:
            return self.theirs(x).float()
        return grids.hashgrid(x, self.table, self.spec).t()


class Geometry(nn.Module):
    """Grid, perceptron of three layers, blob, exponential density; four latent features."""

    def __init__(self, spec: HashGridSpec) -> None:
        super().__init__()
        self.encoding = Encoding(spec)
        self.network = nn.Sequential(
            nn.Linear(2 * spec.levels, 64),
            nn.ReLU(),
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Linear(64, 5),
        )

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Density (N,) and features (N, 4) at points (N, 3)."""
        out = self.network(self.encoding((points + 1) / 2))
        blob = 5 * torch.exp(-points.square().sum(-1) / (2 * 0.2**2))
        return (out[:, 0] + blob).clamp_max(11).exp(), out[:, 1:]


class EagerLatentNerf:
    """Everything of a step.

    Args:
        folder: of the prior.
        width: of the text's embeddings. size: height and width of the latents.
        cells: along an edge of the occupancy grid, and samples along the cube's edge.
    """

    def __init__(
        self,
        folder: Path,
        width: int,
        size: int,
        spec: HashGridSpec,
        dtype: torch.dtype,
        device: torch.device,
        cells: int = 128,
    ) -> None:
        from diffusers import UNet2DConditionModel

        self.device, self.size, self.dtype, self.cells = device, size, dtype, cells
        self.unet: Any = (
            UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype)
            .to(device)
            .eval()
        )
        self.unet.requires_grad_(False)
        self.geometry = Geometry(spec).to(device)
        self.background = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 4)).to(device)
        self.optimiser = torch.optim.Adam(
            [*self.geometry.parameters(), *self.background.parameters()], 1e-3, (0.9, 0.99), 1e-15
        )
        self.abar = NoiseSchedule.scaled_linear().alphas_cumprod.to(device)
        self.text = torch.randn(2, 77, width, device=device, dtype=dtype)
        self.occupied = torch.ones(
            self.cells, self.cells, self.cells, dtype=torch.bool, device=device
        )
        self.average = torch.zeros(self.cells**3, device=device)
        line = (torch.arange(self.cells, device=device) + 0.5) / self.cells * 2 - 1
        z, y, x = torch.meshgrid(line, line, line, indexing="ij")
        self.centres = torch.stack([x, y, z], -1).view(-1, 3)
        self.estimator: Any = None
        if importlib.util.find_spec("nerfacc") is not None:
            import nerfacc

            self.estimator = nerfacc.OccGridEstimator([-1.0] * 3 + [1.0] * 3, self.cells).to(device)
        self.index = 0
        self.made_of = " and ".join(
            [
                "tiny-cuda-nn"
                if self.geometry.encoding.theirs is not None
                else "plain torch's grid",
                "nerfacc" if self.estimator is not None else "plain torch's rays",
            ]
        )

    @torch.no_grad()
    def refresh(self) -> None:
        """The occupancy grid's running density."""
        if self.estimator is not None:
            self.estimator.update_every_n_steps(
                step=self.index, occ_eval_fn=lambda x: self.geometry(x)[0] * 2 / self.cells
            )
            return
        if self.index % REFRESH:
            return
        points = self.centres + (torch.rand_like(self.centres) - 0.5) * (2 / self.cells)
        density = torch.cat([self.geometry(p)[0] for p in points.split(1 << 17)])
        self.average = torch.maximum(self.average * 0.95, density)
        limit = self.average.mean().clamp_max(10.0)
        self.occupied = (self.average > limit).view(self.cells, self.cells, self.cells)

    def render(
        self, origins: torch.Tensor, directions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (R, 4) before the background, and opacity (R,)."""
        step, rays = 2 / self.cells, len(origins)
        if self.estimator is not None:
            import nerfacc

            ray, begin, end = self.estimator.sampling(
                origins, directions, render_step_size=step, stratified=True
            )
            t = (begin + end) / 2
            sigma, features = self.geometry(origins[ray] + t[:, None] * directions[ray])
            weights, _, _ = nerfacc.render_weight_from_density(
                begin, end, sigma, ray_indices=ray, n_rays=rays
            )
            columns = torch.cat([features, torch.ones_like(sigma)[:, None]], 1)
            out = nerfacc.accumulate_along_rays(weights, columns, ray_indices=ray, n_rays=rays)
        else:
            jitter = torch.rand(rays, device=self.device)
            t, ray, offsets = volume.march(origins, directions, self.occupied, step, jitter)
            sigma, features = self.geometry(
                (origins[ray] + t[:, None] * directions[ray]).clamp(-1, 1)
            )
            out, _ = volume.composite(sigma, features, t, offsets, step, 1e-4)
        colour = out[:, :4] + (1 - out[:, 4:5]) * self.background(directions)
        return colour, out[:, 4]

    def __call__(self) -> None:
        """One step."""
        self.refresh()
        azimuth, elevation = torch.rand(1) * 6.28, torch.rand(1) * 0.5
        cameras = Cameras.orbit(azimuth, elevation, 1.25, math.radians(60.0), self.size, self.size)
        origins, directions = (r.reshape(-1, 3).to(self.device) for r in cameras.rays())
        colour, opacity = self.render(origins, directions)
        latents = colour.view(1, self.size, self.size, 4).permute(0, 3, 1, 2)
        with torch.no_grad():
            t = torch.randint(20, 980, (1,), device=self.device)
            abar = self.abar[t].view(-1, 1, 1, 1)
            noise = torch.randn_like(latents)
            noisy = abar.sqrt() * latents + (1 - abar).sqrt() * noise
            both = self.unet(
                torch.cat([noisy] * 2).to(self.dtype),
                torch.cat([t] * 2),
                encoder_hidden_states=self.text,
            ).sample.float()
            conditional, unconditional = both.chunk(2)
            grad = (1 - abar) * (unconditional + 100 * (conditional - unconditional) - noise)
            target = (latents - torch.nan_to_num(grad)).detach()
        o = opacity.clamp(1e-5, 1 - 1e-5)
        entropy = -(o * o.log2() + (1 - o) * (1 - o).log2()).mean()
        loss = 0.5 * F.mse_loss(latents, target, reduction="sum") + 5e-4 * entropy
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        # What its progress bar shows.
        float(loss.detach())
        self.index += 1
