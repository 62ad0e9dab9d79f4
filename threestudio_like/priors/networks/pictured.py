"""Attention of a denoiser that is also told pictures (IP-Adapter, Ye et al. 2023): the query
attends to the words and, apart from them, to the pictures' tokens, and both answers are added."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .attention import ViewAttention


class PicturedAttention(nn.Module):
    """Processor of a cross-attention layer whose context ends in the tokens of pictures.

    It equals diffusers' IPAdapterAttnProcessor2_0, but is given one tensor: the states of the words
    (B, T, D) with those of the pictures (B, N, D) behind them.

    Args:
        words: what attends to the words.
        to_key, to_value: the adapter's projections of the pictures' tokens.
        tokens: N.
        scale: how much the pictures count.
    """

    def __init__(
        self,
        words: ViewAttention,
        to_key: nn.Linear,
        to_value: nn.Linear,
        tokens: int,
        scale: float,
    ) -> None:
        super().__init__()
        self.words, self.tokens, self.scale = words, tokens, scale
        self.key, self.value = to_key, to_value

    def forward(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Map hidden_states (B, P, C) to the same shape."""
        context = encoder_hidden_states[:, : -self.tokens]
        pictures = encoder_hidden_states[:, -self.tokens :]

        def beside(query: torch.Tensor) -> torch.Tensor:
            """What the pictures add to the words' answer, for a query (B, heads, P, d)."""

            def split(x: torch.Tensor) -> torch.Tensor:
                return x.unflatten(-1, (query.shape[1], -1)).transpose(1, 2)

            key, value = split(self.key(pictures)), split(self.value(pictures))
            return self.scale * F.scaled_dot_product_attention(query, key, value)

        return self.words(attn, hidden_states, context, attention_mask, temb, beside=beside)
