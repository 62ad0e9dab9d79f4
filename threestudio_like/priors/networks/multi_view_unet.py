"""The UNet of MVDream (Shi et al. 2023) and ImageDream (Wang and Shi 2023): Stable Diffusion 2's,
whose self-attention runs over all views of an object, with the views' cameras beside the time.

Its tensors have the names of the published ports, so that their safetensors are read as they are.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from .multi_view_layers import (
    GROUPS,
    Down,
    Layers,
    MultiViewUNetRecord,
    Resampler,
    Residual,
    Transformer,
    Up,
)

__all__ = ["MultiViewUNet", "MultiViewUNetRecord"]


def sines(t: torch.Tensor, width: int) -> torch.Tensor:
    """Cosines, then sines (B, width) of times (B,), at rates from 1 to nearly 1/10000."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=t.device) * (-math.log(10000.0) / half))
    angles = t.float()[:, None] * rates
    return F.pad(torch.cat([angles.cos(), angles.sin()], -1), (0, width % 2))


def _mlp(given: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(given, width), nn.SiLU(), nn.Linear(width, width))


class MultiViewUNet(nn.Module):
    """The network; see the module."""

    def __init__(self, facts: MultiViewUNetRecord) -> None:
        super().__init__()
        self.config, width = facts, facts.model_channels
        embedding = 4 * width
        self.time_embed = _mlp(width, embedding)
        if facts.camera_dim is not None:
            self.camera_embed = _mlp(facts.camera_dim, embedding)
        if facts.ip_dim:
            self.image_embed = Resampler(
                *(facts.ip_dim, facts.context_dim, facts.picture_width),
                depth=facts.picture_depth,
                heads=facts.picture_heads,
            )
        first = nn.Conv2d(facts.in_channels, width, 3, padding=1)
        self.input_blocks = nn.ModuleList([Layers(first)])
        channels, sizes, scale, last = width, [width], 1, len(facts.channel_mult) - 1
        for level, factor in enumerate(facts.channel_mult):
            for _ in range(facts.num_res_blocks):
                self.input_blocks.append(self._row(channels, factor * width, scale))
                channels = factor * width
                sizes.append(channels)
            if level < last:
                self.input_blocks.append(Layers(Down(channels)))
                sizes.append(channels)
                scale *= 2
        self.middle_block = Layers(
            Residual(channels, channels, embedding),
            Transformer(channels, facts),
            Residual(channels, channels, embedding),
        )
        self.output_blocks = nn.ModuleList()
        for level, factor in reversed(list(enumerate(facts.channel_mult))):
            for number in range(facts.num_res_blocks + 1):
                row = self._row(channels + sizes.pop(), factor * width, scale)
                channels = factor * width
                if level and number == facts.num_res_blocks:
                    row.append(Up(channels))
                    scale //= 2
                self.output_blocks.append(row)
        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, facts.out_channels, 3, padding=1),
        )

    def _row(self, given: int, width: int, scale: int) -> Layers:
        facts = self.config
        layers: list[nn.Module] = [Residual(given, width, 4 * facts.model_channels)]
        if scale in facts.attention_resolutions:
            layers.append(Transformer(width, facts))
        return Layers(*layers)

    @staticmethod
    def from_config(config: MultiViewUNetRecord) -> MultiViewUNet:
        """A network with random weights."""
        return MultiViewUNet(config)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights."""
        return next(self.parameters()).dtype

    def forward(
        self,
        x: torch.Tensor,
        time: torch.Tensor,
        text: torch.Tensor,
        camera: torch.Tensor | None = None,
        views: int = 1,
        picture: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The predicted noise (B, C, h, w).

        Args:
            x: noisy latents (B, C, h, w), runs of `views` of one object.
            time: (B,). text: (B, T, D). camera: (B, camera_dim), or None where it is not known.
            picture: tokens (B, P, picture_width) of the reference, where the network takes one.
        """
        embedding = self.time_embed(sines(time, self.config.model_channels).to(x.dtype))
        if camera is not None:
            embedding = embedding + self.camera_embed(camera.to(x.dtype))
        if picture is not None:
            text = torch.cat([text, self.image_embed(picture)], 1)
        kept = []
        for row in self.input_blocks:
            x = row(x, embedding, text, views)
            kept.append(x)
        x = self.middle_block(x, embedding, text, views)
        for row in self.output_blocks:
            x = row(torch.cat([x, kept.pop()], 1), embedding, text, views)
        return self.out(x)
