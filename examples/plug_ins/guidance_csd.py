"""Classifier score distillation (Yu et al. 2023, "Text-to-3D with Classifier Score Distillation")
as a plug-in: a guidance in one file. Run:

    threestudio-like generate "a red chair" --guidance csd \\
        --plugins examples/plug_ins/guidance_csd.py

Or weigh it into the stages beside score distillation: --guidance.csd.weight 0.2
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from threestudio_like.engine.schedule import Schedule
from threestudio_like.guidance import (
    Guidance,
    GuidanceInputs,
    GuidanceOutput,
    PromptConfig,
    ViewPrompts,
)
from threestudio_like.guidance.registry import GuidanceContext, guidance
from threestudio_like.guidance.score_distillation import Weighting, weight
from threestudio_like.priors.diffusion import Condition
from threestudio_like.renderers.rendering import Rendering


@dataclass(frozen=True, kw_only=True)
class CsdConfig:
    """What the command line reaches as --guidance.csd.…"""

    scale: float = 5.0
    weighting: Weighting = "clean"
    """w(t); see `ScoreDistillationConfig`."""
    t_min: str = "0.02"
    t_max: str = "0.7->0.2"
    """Schedules of the smallest and largest noise time, fractions of T."""
    joint_views: bool = True
    """Let the prior denoise the views of a step together, where it can."""
    prompt: PromptConfig = field(default_factory=PromptConfig)


@guidance("csd", "classifier score distillation (Yu et al. 2023)", config=CsdConfig)
class ClassifierScoreDistillation(Guidance):
    """Moves a rendering along the implicit classifier alone: the gradient at its latents is
    ``w(t) scale (eps(z_t; y) - eps(z_t))``, which is ``-w(t) scale sqrt(1 - abar)`` times the
    gradient of ``log p(y | z_t)``."""

    def __init__(self, context: GuidanceContext, config: CsdConfig) -> None:
        self.prior, self.encode, self.config = context.prior, context.encode, config
        self.prompts = ViewPrompts(context.prior, context.prompt, config.prompt)
        self.t_min, self.t_max = Schedule.parse(config.t_min), Schedule.parse(config.t_max)
        self.scale = config.scale

    @property
    def wants_all_views(self) -> bool:
        """Views that are denoised together stay together."""
        return self.config.joint_views and self.prior.facts.joint_views > 1

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """0.5 |z - stopgrad(z - g)|^2 over the batch: its gradient in z is g / B."""
        latents = self.latents(rendering)
        gradient = self.gradient(latents.detach(), inputs)
        target = (latents - gradient).detach()
        loss = 0.5 * F.mse_loss(latents, target, reduction="sum") / len(latents)
        return GuidanceOutput(loss, {"gradient": gradient.square().mean().sqrt()})

    def latents(self, rendering: Rendering) -> torch.Tensor:
        """The rendering as latents (B, C, h, w)."""
        picture = rendering.features.permute(0, 3, 1, 2)
        if not self.encode:
            return picture
        size = self.prior.facts.image_size
        if picture.shape[-1] != size:
            picture = F.interpolate(picture, (size, size), mode="bilinear", align_corners=False)
        return self.prior.encode_image(picture.permute(0, 2, 3, 1))

    @torch.no_grad()
    def gradient(self, latents: torch.Tensor, inputs: GuidanceInputs) -> torch.Tensor:
        """The gradient (B, C, h, w) at latents (B, C, h, w)."""
        count, last = len(latents), len(self.prior.schedule)
        low = int(self.t_min(inputs.fraction) * last)
        high = max(low + 1, int(self.t_max(inputs.fraction) * last) + 1)
        drawn = inputs.random.whole.integers("csd time", low, high, (1,))
        t = drawn.clamp(0, last - 1).expand(count)
        noise = inputs.random.normal("csd noise", tuple(latents.shape), latents.device)
        noisy = self.prior.schedule.add_noise(latents, noise, t)
        condition = Condition(
            text=torch.cat([self.prompts.text(inputs.cameras), self.prompts.negatives(count)]),
            cameras=inputs.cameras[torch.arange(2 * count) % count],
            background=inputs.background,
            views=count if self.config.joint_views else 1,
        )
        said, unsaid = self.prior.epsilon(noisy.repeat(2, 1, 1, 1), t.repeat(2), condition).chunk(2)
        abar = self.prior.schedule.abar(t, latents)
        return weight(self.config.weighting, abar) * self.scale * (said - unsaid)

    def recover(self, verdict: str) -> str:
        """Halve the scale."""
        self.scale *= 0.5
        return f"halved the scale of csd to {self.scale:g}"

    def shrink(self) -> str:
        """Let the prior do less at once."""
        return self.prior.shrink()
