"""A prior whose answer is known in closed form, as a plug-in: its data set is the views of one
ball. Whatever the prompt, the optimal denoiser knows every picture. Run:

    threestudio-like generate "anything" --plugins examples/plug_ins/prior_oracle.py \\
        --prior oracle --system dreamfusion
"""

from __future__ import annotations

import torch

from threestudio_like.priors.diffusion import CameraProtocol, Condition, DiffusionPrior
from threestudio_like.priors.loading import PriorOptions, prior
from threestudio_like.priors.oracle import OraclePrior
from threestudio_like.renderers import Cameras

RADIUS, COLOUR = 0.6, (0.8, 0.2, 0.15)


class BallPrior(OraclePrior):
    """Pictures of one shaded ball at the origin, before the grey that the condition names; a
    picture is its own latent."""

    def __init__(self, size: int = 32) -> None:
        super().__init__(3, size)
        self.facts.name, self.facts.camera = "oracle", CameraProtocol()

    def clean(self, noisy: torch.Tensor, abar: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The ball as seen by the condition's cameras, (B, 3, h, w)."""
        assert condition.cameras is not None
        level = torch.as_tensor(1.0 if condition.background is None else condition.background)
        seen = ball(condition.cameras.resized(*noisy.shape[-2:]), level.float())
        return seen.permute(0, 3, 1, 2).to(noisy)


def ball(cameras: Cameras, level: torch.Tensor) -> torch.Tensor:
    """Pictures (B, H, W, 3) of the ball before a grey, () or (B,), by intersecting every ray."""
    origins, directions = cameras.rays()
    along = -(origins * directions).sum(-1, keepdim=True)
    nearest = (origins.square().sum(-1, keepdim=True) - along.square()).clamp_min(0)
    depth = (RADIUS**2 - nearest).clamp_min(0).sqrt()
    normal = (origins + (along - depth) * directions) / RADIUS
    shade = 0.75 + 0.25 * normal[..., 1:2]
    behind = level.reshape(-1, 1, 1, 1).expand(len(origins), 1, 1, 3)
    return torch.where(nearest < RADIUS**2, shade * torch.tensor(COLOUR), behind)


@prior("oracle", "the views of one ball, known in closed form")
def load_oracle(options: PriorOptions) -> DiffusionPrior:
    """The prior; nothing is read from disk."""
    return BallPrior()
