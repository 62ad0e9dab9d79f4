"""The embedded salient object network: which pixels of a picture belong to the one thing that it
shows. A small U-Net with attention over its coarsest cells, in the manner of U²-Net (Qin et al.
2020)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..registry import embedded_folder
from .contrastive import damaged, read_config
from .weights import save_weights

SIZE = 128
"""Longer edge in pixels of the pictures that it sees."""
GRAIN = 16
"""Edges of pictures are multiples of it."""


class _Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.short = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, padding=1),
            nn.GroupNorm(8, outside),
            nn.SiLU(),
            nn.Conv2d(outside, outside, 3, padding=1),
            nn.GroupNorm(8, outside),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(self.short(x) + self.body(x))


class _Attention(nn.Module):
    """Every cell looks at all others."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, width)
        self.ask, self.answer = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, width, height, length = x.shape
        parts = self.ask(self.norm(x)).view(count, 3, self.heads, width // self.heads, -1)
        q, k, v = parts.transpose(-1, -2).unbind(1)
        found = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        return x + self.answer(found.reshape(count, width, height, length))


class SalientNetwork(nn.Module):
    """The network.

    Args:
        widths: channels of the four levels, multiples of 8; the first works at half of the
            picture's edge, every other at half of the one before.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        # Where a pixel is tells something too: what is meant is seldom in a corner.
        self.begin = nn.Conv2d(5, widths[0], 3, stride=2, padding=1)
        pairs = list(zip(widths, widths[1:]))  # noqa: RUF007
        self.down = nn.ModuleList([_Residual(widths[0], widths[0])])
        self.shrink = nn.ModuleList()
        for a, b in pairs:
            self.shrink.append(nn.Conv2d(a, b, 3, stride=2, padding=1))
            self.down.append(_Residual(b, b))
        self.middle = nn.Sequential(
            _Attention(widths[-1]), _Residual(widths[-1], widths[-1]), _Attention(widths[-1])
        )
        self.up = nn.ModuleList(_Residual(a + b, a) for a, b in pairs)
        self.fine = nn.Conv2d(5, 8, 3, padding=1)
        self.end = nn.Sequential(
            nn.Conv2d(16, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1)
        )
        self.spread = nn.Sequential(nn.Conv2d(widths[0], 32, 1), nn.PixelShuffle(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, H, W) of pictures (B, H, W, 3) in [0, 1], edges multiples of `GRAIN`."""
        x = images.permute(0, 3, 1, 2) * 2 - 1
        line = [torch.linspace(-1, 1, n, device=x.device, dtype=x.dtype) for n in x.shape[2:]]
        y_x = torch.stack(torch.meshgrid(*line, indexing="ij")).expand(len(x), -1, -1, -1)
        x = torch.cat([x, y_x], 1)
        levels, h = [], self.begin(x)
        for n, block in enumerate(self.down):
            h = block(h if n == 0 else self.shrink[n - 1](h))
            levels.append(h)
        h = self.middle(h)
        for block, level in zip(reversed(self.up), reversed(levels[:-1])):
            h = block(torch.cat([level, _twice(h)], 1))
        return self.end(torch.cat([self.spread(h), self.fine(x)], 1))[:, 0]

    @torch.no_grad()
    def probability(self, picture: np.ndarray) -> np.ndarray:
        """The probability (H, W) of every pixel of a picture (H, W, 3) in [0, 1] to belong to its
        object, computed with the longer edge at `SIZE`."""
        height, width = picture.shape[:2]
        share = SIZE / max(height, width)
        edges = [max(4 * GRAIN, round(n * share / GRAIN) * GRAIN) for n in (height, width)]
        x = torch.from_numpy(np.ascontiguousarray(picture[..., :3], np.float32))
        x = F.interpolate(
            x.permute(2, 0, 1)[None], edges, mode="bilinear", antialias=True, align_corners=False
        )
        found = self(x.permute(0, 2, 3, 1)).sigmoid()[None]
        out = F.interpolate(found, (height, width), mode="bilinear", align_corners=False)
        return out[0, 0].numpy()

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors (float16). Raises OutputError."""
        config = {"kind": "salient", "widths": list(self.widths)}
        save_weights(folder, dict(self.state_dict()), config)

    @staticmethod
    def load(folder: Path) -> SalientNetwork:
        """Read a folder that `save` wrote. Raises ModelError."""
        facts = read_config(folder, "salient", "threestudio-like train salient")
        try:
            model = SalientNetwork(tuple(facts["widths"]))
            model.load_state_dict(
                {k: v.float() for k, v in load_file(str(folder / "model.safetensors")).items()}
            )
        except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
            raise damaged(folder, error) from None
        return model.eval().requires_grad_(False)


def _twice(x: torch.Tensor) -> torch.Tensor:
    """Maps (B, C, h, w) at twice the size."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


@lru_cache(maxsize=1)
def embedded_salient() -> SalientNetwork:
    """The embedded network. Raises ModelError."""
    return SalientNetwork.load(embedded_folder("salient"))
