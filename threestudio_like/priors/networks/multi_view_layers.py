"""The layers of `multi_view_unet`, whose tensors have the names of the published ports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from torch import nn

from ...engine.schema.bounds import Bounds, Number, Weight

GROUPS = 32
HEAD = 64
"""Numbers of an attention head of the resampler."""


@dataclass(frozen=True, kw_only=True)
class MultiViewUNetRecord:
    """Its config.json, as far as it is read, and the sizes of the resampler, which no
    configuration gives."""

    _class_name: str = "MultiViewUNetModel"
    image_size: Number = 32
    in_channels: Number = 4
    out_channels: Number = 4
    model_channels: Number = 320
    num_res_blocks: Number = 2
    attention_resolutions: tuple[int, ...] = (4, 2, 1)
    channel_mult: tuple[Number, ...] = (1, 2, 4, 4)
    num_heads: Annotated[int, Bounds(low=-1, high=1024)] = -1
    num_head_channels: Annotated[int, Bounds(low=-1, high=4096)] = 64
    transformer_depth: Number = 1
    context_dim: Number = 1024
    camera_dim: Number | None = None
    ip_dim: Annotated[int, Bounds(low=0, high=4096)] = 0
    """Tokens that a picture becomes (ImageDream); 0 for none."""
    ip_weight: Weight = 1.0
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    conv_resample: bool = True
    num_classes: int | str | None = None
    picture_width: Number = 1280
    picture_depth: Number = 4
    picture_heads: Number = 12

    def heads(self, width: int) -> tuple[int, int]:
        """Heads of a layer of so many channels, and numbers of each."""
        if self.num_head_channels > 0:
            return width // self.num_head_channels, self.num_head_channels
        return self.num_heads, width // max(1, self.num_heads)

    @property
    def unsupported(self) -> str:
        """What of it no published model has; empty where nothing."""
        odd = {
            "use_scale_shift_norm": self.use_scale_shift_norm,
            "resblock_updown": self.resblock_updown,
            "conv_resample": not self.conv_resample,
            "num_classes": self.num_classes is not None,
            "num_heads": self.num_heads <= 0 and self.num_head_channels <= 0,
        }
        return next((name for name, there in odd.items() if there), "")


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    heads: int,
    added: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of (B, T, heads * D) to (B, S, heads * D), with what is added to the scores."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, added).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Attention to the layer's own states, or to a text (B, T, D) whose last `picture` tokens are
    those of a picture, which have keys and values of their own."""

    def __init__(
        self,
        width: int,
        heads: int,
        head: int,
        *,
        context: int | None = None,
        picture: int = 0,
        picture_weight: float = 1.0,
    ) -> None:
        super().__init__()
        inner, given = heads * head, width if context is None else context
        self.is_cross_attention, self.heads = context is not None, heads
        self.scale, self.picture, self.picture_weight = head**-0.5, picture, picture_weight
        if picture:
            self.to_k_ip = nn.Linear(given, inner, bias=False)
            self.to_v_ip = nn.Linear(given, inner, bias=False)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(given, inner, bias=False)
        self.to_v = nn.Linear(given, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width))

    def forward(
        self,
        x: torch.Tensor,
        context: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B, T, C) of the same shape; the mask (B, 1, 1, S) is added to the text's scores."""
        query, text = self.to_q(x), x if context is None else context
        seen: torch.Tensor | None = None
        if self.picture:
            text, seen = text[:, : -self.picture], text[:, -self.picture :]
        out = _attend(query, self.to_k(text), self.to_v(text), self.heads, attention_mask)
        if seen is not None:
            own = _attend(query, self.to_k_ip(seen), self.to_v_ip(seen), self.heads)
            out = out + self.picture_weight * own
        return self.to_out(out)


class Gated(nn.Module):
    """A linear map times the GELU of another."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(given, 2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., given) to (..., width)."""
        value, gate = self.proj(x).chunk(2, -1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Two layers with a gate between, four times as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # The published layers have a dropout between them, which has no tensors.
        self.net = nn.Sequential(
            Gated(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., width) of the same shape."""
        return self.net(x)


class TransformerBlock(nn.Module):
    """Attention over all views' states, to the text, and a perceptron."""

    def __init__(self, width: int, facts: MultiViewUNetRecord) -> None:
        super().__init__()
        heads, head = facts.heads(width)
        self.attn1 = Attention(width, heads, head)
        self.attn2 = Attention(
            *(width, heads, head),
            context=facts.context_dim,
            picture=facts.ip_dim,
            picture_weight=facts.ip_weight,
        )
        self.ff = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: torch.Tensor, context: torch.Tensor, views: int) -> torch.Tensor:
        """(B, T, C) of the same shape; runs of `views` entries attend to each other."""
        rows = self.norm1(x).unflatten(0, (-1, views)).flatten(1, 2)
        x = x + self.attn1(rows).unflatten(1, (views, -1)).flatten(0, 1)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    """Transformer blocks on the places of a feature map."""

    def __init__(self, width: int, facts: MultiViewUNetRecord) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, facts) for _ in range(facts.transformer_depth)
        )

    def forward(self, x: torch.Tensor, context: torch.Tensor, views: int) -> torch.Tensor:
        """(B, C, H, W) of the same shape."""
        rows = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            rows = block(rows, context, views)
        return x + self.proj_out(rows).transpose(1, 2).reshape(x.shape)


class Residual(nn.Module):
    """Two convolutions, with the time's embedding between them, beside the input."""

    def __init__(self, given: int, width: int, embedding: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, given), nn.SiLU(), nn.Conv2d(given, width, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, width))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Identity(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.skip_connection = nn.Identity() if given == width else nn.Conv2d(given, width, 1)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, width, H, W)."""
        inner = self.in_layers(x) + self.emb_layers(embedding)[..., None, None]
        return self.skip_connection(x) + self.out_layers(inner)


class Down(nn.Module):
    """Half the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C, H / 2, W / 2)."""
        return self.op(x)


class Up(nn.Module):
    """Twice the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C, 2 H, 2 W)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Layers(nn.Sequential):
    """Layers in a row, each given what it takes."""

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, embedding: torch.Tensor, context: torch.Tensor, views: int
    ) -> torch.Tensor:
        """(B, C, H, W) through all of them."""
        for layer in self:
            if isinstance(layer, Residual):
                x = layer(x, embedding)
            elif isinstance(layer, Transformer):
                x = layer(x, context, views)
            else:
                x = layer(x)
        return x


class PictureAttention(nn.Module):
    """Queries attend to a picture's tokens and to themselves."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q = nn.Linear(width, heads * HEAD, bias=False)
        self.to_kv = nn.Linear(width, 2 * heads * HEAD, bias=False)
        self.to_out = nn.Linear(heads * HEAD, width, bias=False)

    def forward(self, x: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        """Queries (B, Q, C) of the same shape, for a picture's (B, T, C)."""
        queries = self.norm2(queries)
        key, value = self.to_kv(torch.cat([self.norm1(x), queries], 1)).chunk(2, -1)
        return self.to_out(_attend(self.to_q(queries), key, value, self.heads))


class Resampler(nn.Module):
    """The tokens of a picture (B, T, W) as `count` tokens of the text's width."""

    def __init__(self, count: int, width: int, given: int, depth: int, heads: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, count, width) / width**0.5)
        self.proj_in, self.proj_out = nn.Linear(given, width), nn.Linear(width, width)
        self.norm_out = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PictureAttention(width, heads),
                    nn.Sequential(
                        nn.LayerNorm(width),
                        nn.Linear(width, 4 * width, bias=False),
                        nn.GELU(),
                        nn.Linear(4 * width, width, bias=False),
                    ),
                ]
            )
            for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, given) to (B, count, width)."""
        queries, x = self.latents.expand(len(x), -1, -1), self.proj_in(x)
        for layer in self.layers:
            attend, forward = cast(nn.ModuleList, layer)
            queries = queries + attend(x, queries)
            queries = queries + forward(queries)
        return self.norm_out(self.proj_out(queries))
