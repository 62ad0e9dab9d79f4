"""The denoiser of IC3D (Sbrolli et al. 2022): a GLIDE-like U-Net on voxels that is conditioned on
an embedding by its time path and its attention (METHODS 2.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ...engine.schema.bounds import Count, Number, Size


@dataclass(frozen=True, kw_only=True)
class VoxelUNetConfig:
    """Sizes of the network. The defaults are the paper's; `toybox()` has those of the embedded
    model."""

    resolution: Size = 32
    patch: Size = 1
    """Edge length in voxels of the cells that the first convolution takes as patch^3 channels; 1 in
    the paper."""
    width: Size = 32
    multipliers: tuple[int, ...] = (1, 2, 4, 8)
    blocks: Number = 5
    """Number of residual blocks at each level of the encoder; the decoder has one more."""
    attention: tuple[int, ...] = (8, 4)
    """Resolutions, in cells, at which voxels attend to each other and to the embedding's tokens.
    The middle of the network always has attention."""
    groups: Number = 32
    heads: Number = 1
    embedding: Number = 256
    """Dimension of the conditioning vector."""
    tokens: Number = 4
    """Number of tokens that the embedding is mapped to for attention."""
    token_width: Number = 256
    time_width: Number = 128
    classes: Count = 0
    """Number of classes that a sample can be conditioned on instead of an embedding."""

    @staticmethod
    def toybox(embedding: int = 128, classes: int = 20) -> VoxelUNetConfig:
        """32^3 voxels in cells of 2^3 and three levels, for two cores."""
        return VoxelUNetConfig(
            resolution=32,
            patch=2,
            width=16,
            multipliers=(2, 3, 3),
            blocks=1,
            attention=(4,),
            groups=8,
            heads=4,
            embedding=embedding,
            tokens=4,
            token_width=64,
            time_width=96,
            classes=classes,
        )


def time_features(t: torch.Tensor, width: int) -> torch.Tensor:
    """Sinusoids (B, width) of times (B,), with wavelengths from 2 pi to 10000 * 2 pi."""
    half = width // 2
    frequency = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / half)
    angle = t[:, None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], 1)


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU and a 3^3 convolution, twice; the time embedding scales and shifts in
    between, and the last convolution is initially zero."""

    def __init__(self, inside: int, outside: int, time: int, groups: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(groups, inside), nn.GroupNorm(groups, outside)
        self.conv_1, self.conv_2 = (
            nn.Conv3d(inside, outside, 3, padding=1),
            nn.Conv3d(outside, outside, 3, padding=1),
        )
        self.film = nn.Linear(time, 2 * outside)
        self.skip = nn.Conv3d(inside, outside, 1) if inside != outside else nn.Identity()
        nn.init.zeros_(self.conv_2.weight)
        nn.init.zeros_(self.conv_2.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Map x (B, C, d, d, d) and the time embedding (B, T) to (B, C', d, d, d)."""
        scale, shift = self.film(F.silu(time))[..., None, None, None].chunk(2, 1)
        y = self.conv_1(F.silu(self.norm_1(x)))
        return self.skip(x) + self.conv_2(F.silu(self.norm_2(y) * (1 + scale) + shift))


class VoxelAttention(nn.Module):
    """Attention in which voxels query the embedding's tokens, which are put in front, and the
    voxels."""

    def __init__(self, channels: int, token_width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.token_kv = nn.Conv1d(token_width, 2 * channels, 1)
        self.out = nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Map x (B, C, d, d, d) and tokens (B, token_width, K) to (B, C, d, d, d)."""
        batch, channels = x.shape[:2]
        flat = self.norm(x).flatten(2)
        query, key, value = self.qkv(flat).chunk(3, 1)
        key_t, value_t = self.token_kv(tokens).chunk(2, 1)
        key, value = torch.cat([key_t, key], 2), torch.cat([value_t, value], 2)

        def split(y: torch.Tensor) -> torch.Tensor:
            return y.reshape(batch, self.heads, channels // self.heads, -1)

        query, key, value = split(query), split(key), split(value)
        scores = query.transpose(2, 3) @ key * (channels // self.heads) ** -0.5
        mixed = value @ scores.softmax(-1).transpose(2, 3)
        return x + self.out(mixed.reshape(batch, channels, -1)).view_as(x)


class VoxelUNet(nn.Module):
    """Maps noisy voxels, a time and an embedding to a prediction of the same shape.

    The null embedding is learned, and each class, if there are any, has an embedding of its own.
    """

    def __init__(self, config: VoxelUNetConfig) -> None:
        super().__init__()
        self.config = config
        time, groups = config.time_width, config.groups
        channels = config.patch**3
        widths = [config.width * m for m in config.multipliers]
        self.time = nn.Sequential(nn.Linear(config.width, time), nn.SiLU(), nn.Linear(time, time))
        self.pooled = nn.Linear(config.embedding, time)
        self.to_tokens = nn.Linear(config.embedding, config.tokens * config.token_width)
        self.null = nn.Parameter(torch.zeros(config.embedding))
        self.class_table = (
            nn.Embedding(config.classes, config.embedding) if config.classes else None
        )
        self.stem = nn.Conv3d(channels, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, inside, cells = [widths[0]], widths[0], config.resolution // config.patch

        def attention(width: int) -> nn.Module:
            return VoxelAttention(width, config.token_width, config.heads, groups=groups)

        for level, width in enumerate(widths):
            for _ in range(config.blocks):
                entry = nn.ModuleList([ResidualBlock(inside, width, time, groups=groups)])
                if cells in config.attention:
                    entry.append(attention(width))
                self.down.append(entry)
                inside = width
                skips.append(width)
            if level + 1 < len(widths):
                self.down.append(nn.ModuleList([nn.Conv3d(width, width, 3, stride=2, padding=1)]))
                skips.append(width)
                cells //= 2
        self.middle = nn.ModuleList(
            [
                ResidualBlock(inside, inside, time, groups=groups),
                attention(inside),
                ResidualBlock(inside, inside, time, groups=groups),
            ]
        )
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                entry = nn.ModuleList(
                    [ResidualBlock(inside + skips.pop(), width, time, groups=groups)]
                )
                if cells in config.attention:
                    entry.append(attention(width))
                self.up.append(entry)
                inside = width
            if level > 0:
                self.up.append(nn.ModuleList([nn.Conv3d(width, width, 3, padding=1)]))
                cells *= 2
        self.norm, self.out = (
            nn.GroupNorm(groups, inside),
            nn.Conv3d(inside, channels, 3, padding=1),
        )
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def condition(
        self, embedding: torch.Tensor | None, keep: torch.Tensor | None, count: int
    ) -> torch.Tensor:
        """The condition (B, D) of each sample: its embedding where `keep` (B,) bool is set, else
        the null vector."""
        null = self.null.expand(count, -1)
        if embedding is None:
            return null
        return embedding if keep is None else torch.where(keep[:, None], embedding, null)

    def forward(
        self,
        noisy: torch.Tensor,
        t: torch.Tensor,
        embedding: torch.Tensor | None = None,
        keep: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict (B, 1, R, R, R) from noisy (B, 1, R, R, R), t (B,) in [0, 1000) and embedding (B,
        D), or None for the null embedding."""
        config, p = self.config, self.config.patch
        e = self.condition(embedding, keep, len(noisy))
        time = self.time(time_features(t, config.width)) + self.pooled(e)
        tokens = (
            self.to_tokens(e).view(len(noisy), config.tokens, config.token_width).transpose(1, 2)
        )
        x = noisy
        if p > 1:
            x = fold(x, p)
        x = self.stem(x)
        skips = [x]
        for entry in self.down:
            x = self._run(entry, x, time, tokens=tokens)
            skips.append(x)
        x = self.middle[2](self.middle[1](self.middle[0](x, time), tokens), time)
        for entry in self.up:
            if isinstance(entry[0], ResidualBlock):  # type: ignore[index]
                x = self._run(entry, torch.cat([x, skips.pop()], 1), time, tokens=tokens)
            else:
                x = entry[0](F.interpolate(x, scale_factor=2, mode="nearest"))  # type: ignore[index]
        x = self.out(F.silu(self.norm(x)))
        return unfold(x, p) if p > 1 else x

    @staticmethod
    def _run(
        entry: nn.Module, x: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor
    ) -> torch.Tensor:
        for part in entry.children():
            if isinstance(part, ResidualBlock):
                x = part(x, time)
            elif isinstance(part, VoxelAttention):
                x = part(x, tokens)
            else:
                x = part(x)
        return x


def fold(x: torch.Tensor, p: int) -> torch.Tensor:
    """Map (B, C, D, H, W) to (B, C p^3, D/p, H/p, W/p): the voxels of a cell become its
    channels."""
    b, c, d, h, w = x.shape
    y = x.view(b, c, d // p, p, h // p, p, w // p, p)
    return y.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * p**3, d // p, h // p, w // p)


def unfold(x: torch.Tensor, p: int) -> torch.Tensor:
    """The inverse of `fold`."""
    b, c, d, h, w = x.shape
    y = x.view(b, c // p**3, p, p, p, d, h, w)
    return y.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // p**3, d * p, h * p, w * p)
