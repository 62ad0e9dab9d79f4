"""Self-attention over several views of one object at once (MVDream's layout), as a diffusers attention processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class ViewAttention:
    """Attention processor in which the self-attention of `views` consecutive batch entries is one.

    Cross-attention is left as it is. With views = 1 it equals diffusers' own processor.

    Args:
        views: how many consecutive entries of the batch are views of the same object.
    """

    def __init__(self, views: int = 1) -> None:
        self.views = views

    def __call__(
        self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None, temb: torch.Tensor | None = None, *args: Any, **kwargs: Any,
    ) -> torch.Tensor:  # fmt: skip
        """hidden_states (B, T, C) or (B, C, H, W) -> the same shape."""
        residual, image_shape = hidden_states, None
        if hidden_states.ndim == 4:
            image_shape = hidden_states.shape
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        batch, tokens, channels = hidden_states.shape
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        joint = self.views > 1 and encoder_hidden_states is None
        if joint:
            hidden_states = hidden_states.reshape(batch // self.views, self.views * tokens, channels)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        heads = attn.heads
        rows, length = hidden_states.shape[:2]

        def split(x: torch.Tensor) -> torch.Tensor:
            return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)

        query, key, value = split(attn.to_q(hidden_states)), split(attn.to_k(context)), split(attn.to_v(context))
        # Written out: torch's fused CPU kernel is slower than this in its backward pass at these sizes.
        scores = (query * attn.scale) @ key.transpose(-1, -2)
        if attention_mask is not None:
            scores = scores + attention_mask
        out = (scores.softmax(-1) @ value).transpose(1, 2).reshape(rows, length, -1)
        out = attn.to_out[1](attn.to_out[0](out))
        if joint:
            out = out.reshape(batch, tokens, -1)
        if image_shape is not None:
            out = out.transpose(1, 2).reshape(image_shape)
        if attn.residual_connection:
            out = out + residual
        return out / attn.rescale_output_factor


def install(unet: Any) -> ViewAttention:
    """Give every attention layer of a diffusers UNet one shared `ViewAttention`; returns it, for `joint_views`."""
    processor = ViewAttention()
    unet.set_attn_processor(processor)
    return processor


@contextmanager
def joint_views(processor: ViewAttention, views: int) -> Iterator[None]:
    """Within the block, each run of `views` batch entries attends jointly."""
    before, processor.views = processor.views, views
    try:
        yield
    finally:
        processor.views = before
