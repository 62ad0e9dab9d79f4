"""Everything that a family's denoiser is told of a prompt in one tensor.

A prompt's embedding is (T, D) for guidance, stores and bundles, which stack, repeat and interpolate
it. Families that want more than hidden states pack it in: a mask of the tokens as one more column,
a pooled vector as further rows at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Text:
    """What a denoiser is told: states (B, T, D), pooled (B, P) or None, mask (B, T) of ones for
    tokens and zeros for padding, or None, and the tokens of pictures (B, N, D), or None."""

    states: torch.Tensor
    pooled: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    pictures: torch.Tensor | None = None

    @property
    def context(self) -> torch.Tensor:
        """The states with the tokens of pictures behind them (B, T + N, D)."""
        return self.states if self.pictures is None else torch.cat([self.states, self.pictures], 1)


@dataclass(frozen=True)
class TextLayout:
    """What a family packs: numbers of the pooled vector (0 for none), whether it has a mask, and
    how many tokens of pictures a prior has put behind all of it (`personal.pictures`)."""

    pooled: int = 0
    masked: bool = False
    pictures: int = 0

    def pack(self, text: Text) -> torch.Tensor:
        """One tensor (B, T + rows, D + columns)."""
        packed = text.states
        if self.masked:
            mask = torch.ones(packed.shape[:2]) if text.mask is None else text.mask
            packed = torch.cat([packed, mask.to(packed)[..., None]], -1)
        if self.pooled:
            assert text.pooled is not None
            width = packed.shape[-1]
            rows = -(-self.pooled // width)
            filled = F.pad(text.pooled.to(packed), (0, rows * width - self.pooled))
            packed = torch.cat([packed, filled.view(len(packed), rows, width)], 1)
        return packed

    def unpack(self, packed: torch.Tensor) -> Text:
        """What `pack` was given."""
        pooled = mask = pictures = None
        if self.pictures:
            packed, pictures = packed[:, : -self.pictures], packed[:, -self.pictures :]
        if self.pooled:
            rows = -(-self.pooled // packed.shape[-1])
            pooled = packed[:, -rows:].flatten(1)[:, : self.pooled]
            packed = packed[:, :-rows]
        if self.masked:
            # Interpolated prompts have masks between zero and one.
            mask = (packed[..., -1] > 0).to(packed)
            packed = packed[..., :-1]
        return Text(packed, pooled, mask, pictures)

    def joined(self, rows: list[torch.Tensor]) -> torch.Tensor:
        """Embeddings (T_i, D) of prompts as one tensor (B, T, D). Shorter ones are filled up with
        padding in front of their pooled rows, which only a mask can tell from tokens."""
        longest = max(len(row) for row in rows)
        width = rows[0].shape[-1]
        last = -(-self.pooled // width) if self.pooled else 0
        filled = []
        for row in rows:
            missing = longest - len(row)
            head, tail = row[: len(row) - last], row[len(row) - last :]
            filled.append(
                torch.cat([head, row.new_zeros(missing, width), tail]) if missing else row
            )
        return torch.stack(filled)
