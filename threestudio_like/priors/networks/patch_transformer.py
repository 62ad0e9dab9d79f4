"""Vision transformers on pictures and on voxels: DeiT (Touvron et al. 2021) and its
three-dimensional counterpart (METHODS 2.3)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from ...engine.schema.bounds import Number, Positive, Size


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Sizes of an encoder.

    With `dims` 2 it takes pictures (B, 3, S, S) in [-1, 1], with 3 voxels (B, 1, S, S, S) of 0 and
    1. `kind` "cnn" is a convolutional network of about the same size, for comparison; it uses
    `patch`, `depth` and `heads` only to match the number of parameters.
    """

    dims: Literal[2, 3] = 2
    kind: Literal["transformer", "cnn"] = "transformer"
    size: Size = 224
    patch: Size = 16
    width: Size = 768
    depth: int = 12
    heads: Number = 12
    leading: int = 2
    """Number of learned tokens in front of the patches; the first one is the result. DeiT has two
    (distillation token, class token)."""

    stem: Literal["linear", "conv", "hybrid"] = "linear"
    """linear: one linear map for each patch, as published. conv: strided convolutions of width 3
    down to the patches (Xiao et al. 2021). hybrid: two convolutions at every level down to the
    patches, with most of the network before the transformer (Dosovitskiy et al. 2021), which learns
    most from few steps."""
    init: Positive = 0.02
    """Standard deviation of the initial weights. DeiT's 0.02 suits wide models; in narrow ones the
    patches hardly influence the leading tokens."""

    @staticmethod
    def deit_base() -> EncoderConfig:
        """DeiT-B distilled, patch 16, 224 pixels."""
        return EncoderConfig()

    @staticmethod
    def deit_3d() -> EncoderConfig:
        """The released 3D-DeiT: 32^3 voxels in patches of 8^3, width 384 and 6 heads; about 21.5 M
        parameters."""
        return EncoderConfig(
            dims=3, kind="transformer", size=32, patch=8, width=384, depth=12, heads=6, leading=1
        )


class Block(nn.Module):
    """A pre-norm transformer block, MLP ratio 4, LayerNorm eps 1e-6."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Map x (B, T, W) to (B, T, W); mask (B, 1, 1, T) is added to the scores."""
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm_1(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        # Explicit attention: at these sizes, the backward pass of torch's fused CPU kernel is
        # slower.
        scores = (query * (width // self.heads) ** -0.5) @ key.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.out(mixed)
        return x + self.mlp(self.norm_2(x))


def initialise(module: nn.Module, deviation: float = 0.02) -> None:
    """Initialise weights from a truncated normal distribution, and biases with zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=deviation)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _levels(
    conv: type[nn.Conv2d] | type[nn.Conv3d], channels: int, config: EncoderConfig
) -> nn.Sequential:
    """Convolutions from full size down to one cell for each patch, with the width doubled at every
    level."""
    steps = config.patch.bit_length() - 1
    widths = [max(16, config.width >> (steps - i)) for i in range(steps)] + [config.width]
    layers: list[nn.Module] = [conv(channels, widths[0], 3, padding=1), nn.GELU()]
    for a, b in itertools.pairwise(widths):
        layers += [conv(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.GELU()]
        layers += [conv(b, b, 3, padding=1), nn.GroupNorm(8, b), nn.GELU()]
    return nn.Sequential(*layers)


class PatchTransformer(nn.Module):
    """A transformer of pre-norm blocks over the patches of a picture or a volume and learned
    leading tokens.

    Args:
        config: sizes; see `EncoderConfig`.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        count = (config.size // config.patch) ** config.dims
        kind = nn.Conv2d if config.dims == 2 else nn.Conv3d
        channels = 3 if config.dims == 2 else 1
        if config.stem == "linear":
            self.patches: nn.Module = kind(
                channels, config.width, config.patch, stride=config.patch
            )
        elif config.stem == "hybrid":
            self.patches = _levels(kind, channels, config)
        else:
            steps = config.patch.bit_length() - 1
            widths = [channels, *(max(16, config.width >> (steps - 1 - i)) for i in range(steps))]
            layers: list[nn.Module] = []
            for a, b in itertools.pairwise(widths):
                layers += [kind(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.GELU()]
            self.patches = nn.Sequential(*layers, kind(widths[-1], config.width, 1))
        self.leading = nn.Parameter(torch.zeros(1, config.leading, config.width))
        self.position = nn.Parameter(torch.zeros(1, config.leading + count, config.width))
        self.blocks = nn.ModuleList(
            [Block(config.width, config.heads) for _ in range(config.depth)]
        )
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        initialise(self, config.init)
        for tokens in (self.leading, self.position):
            nn.init.trunc_normal_(tokens, std=0.02)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Patch tokens (B, N, W) without positions, in row-major order."""
        return self.patches(x).flatten(2).transpose(1, 2)

    def tokens(self, x: torch.Tensor) -> torch.Tensor:
        """All tokens (B, leading + N, W) after the final normalisation."""
        patches = self.embed(x)
        y = torch.cat([self.leading.expand(len(x), -1, -1).to(patches), patches], 1) + self.position
        for block in self.blocks:
            y = block(y)
        return self.norm(y)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The first token (B, W)."""
        return self.tokens(x)[:, 0]


class ConvEncoder(nn.Module):
    """A plain convolutional encoder of pictures or volumes. Its width is chosen so that it has
    about as many parameters as the transformer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        conv = nn.Conv2d if config.dims == 2 else nn.Conv3d
        wanted = config.depth * 12 * config.width**2
        levels = 4 if config.dims == 2 else 3
        base, kernel = 8, 3**config.dims

        def parameters(base: int) -> int:
            widths = [base * 2**level for level in range(levels + 1)]
            return sum(kernel * (a * b + b * b) for a, b in itertools.pairwise(widths))

        while parameters(base + 4) <= wanted:
            base += 4
        widths = [base * 2**level for level in range(levels + 1)]
        layers: list[nn.Module] = [
            conv(3 if config.dims == 2 else 1, base, 3, padding=1),
            nn.GELU(),
        ]
        for a, b in itertools.pairwise(widths):
            layers += [conv(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.GELU()]
            layers += [conv(b, b, 3, padding=1), nn.GroupNorm(8, b), nn.GELU()]
        self.body = nn.Sequential(*layers)
        self.out = nn.Linear(widths[-1], config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The embedding (B, W)."""
        y = self.body(x).flatten(2).mean(-1)
        return self.out(y)


class TextEncoder(nn.Module):
    """Maps token ids (B, T) to (B, W): the state of the last token of the text, as in CLIP.

    Args:
        vocabulary: number of token ids.
        tokens: length of the longest text.
        end: id of the token that ends a text (and pads it).
    """

    def __init__(
        self,
        vocabulary: int,
        tokens: int,
        end: int,
        width: int,
        depth: int,
        heads: int,
        init: float = 0.02,
    ) -> None:
        super().__init__()
        self.end = end
        self.table = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(1, tokens, width))
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        initialise(self, init)
        nn.init.normal_(self.table.weight, std=0.02)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The state (B, W) at the first end token; later tokens have no influence."""
        last = (ids == self.end).int().argmax(1)
        hidden = torch.arange(ids.shape[1], device=ids.device) > last[:, None]
        mask = torch.zeros(ids.shape, device=ids.device).masked_fill(hidden, -1e4)[:, None, None]
        x = self.table(ids) + self.position[:, : ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask.to(x))
        return self.norm(x)[torch.arange(len(ids), device=ids.device), last]


def build_encoder(config: EncoderConfig) -> nn.Module:
    """The encoder of a configuration."""
    return PatchTransformer(config) if config.kind == "transformer" else ConvEncoder(config)


def resized(pictures: torch.Tensor, size: int) -> torch.Tensor:
    """Resize pictures (B, 3, H, W) to (B, 3, size, size)."""
    if pictures.shape[-1] == size and pictures.shape[-2] == size:
        return pictures
    return F.interpolate(
        pictures,
        (size, size),
        mode="bilinear",
        align_corners=False,
        antialias=pictures.shape[-1] > size,
    )
