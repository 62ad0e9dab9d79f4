"""Modified attention of a denoiser: joint self-attention over several views (MVDream's layout), and
emphasis on words.

Emphasis multiplies columns of the cross-attention maps after the softmax (ComboVerse, METHODS 4.5).
A column of the map M is only multiplied by its own row of the values v, as in M v = sum_j M_j v_j,
so that scaling M_j by c equals scaling v_j by c. Therefore the values are scaled by a hook on their
projection. This works with any attention processor (fused, sliced or joint), and leaves nothing
behind when the hook is removed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from ...engine.errors import ModelError

WRITTEN_OUT = 1 << 21
"""Size of a head's attention map up to which it is computed explicitly on a CPU."""


class ViewAttention:
    """Attention processor in which `views` consecutive batch entries share their self-attention.

    Cross-attention is unchanged. With views = 1 it equals diffusers' own processor.

    Args:
        views: number of consecutive batch entries that are views of the same object.
        fused: whether attention maps are never stored; None decides by the device and the size.
    """

    def __init__(self, views: int = 1, fused: bool | None = None) -> None:
        self.views, self.fused = views, fused

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        *args: Any,
        beside: Callable[[torch.Tensor], torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Map hidden_states (B, T, C) or (B, C, H, W) to the same shape; `beside` gives what is
        added to the heads' answers, for their queries (B, heads, T, d)."""
        residual, image_shape = hidden_states, None
        if hidden_states.ndim == 4:
            image_shape = hidden_states.shape
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        batch, tokens, channels = hidden_states.shape
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        joint = self.views > 1 and encoder_hidden_states is None
        if joint:
            hidden_states = hidden_states.reshape(
                batch // self.views, self.views * tokens, channels
            )
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        heads = attn.heads
        rows, length = hidden_states.shape[:2]

        def split(x: torch.Tensor) -> torch.Tensor:
            return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)

        query, key, value = (
            split(attn.to_q(hidden_states)),
            split(attn.to_k(context)),
            split(attn.to_v(context)),
        )
        fused = query.device.type != "cpu" if self.fused is None else self.fused
        if not fused and length * key.shape[2] <= WRITTEN_OUT:
            # Explicit attention: at these sizes, the backward pass of torch's fused CPU kernel is
            # slower.
            scores = (query * attn.scale) @ key.transpose(-1, -2)
            if attention_mask is not None:
                scores = scores + attention_mask
            out = scores.softmax(-1) @ value
        else:
            # Fused attention: the map, a third of a gigabyte for each entry at Stable Diffusion's
            # first level, is never stored.
            out = F.scaled_dot_product_attention(
                query, key, value, attention_mask, scale=attn.scale
            )
        if beside is not None:
            out = out + beside(query)
        out = out.transpose(1, 2).reshape(rows, length, -1)
        out = attn.to_out[1](attn.to_out[0](out))
        if joint:
            out = out.reshape(batch, tokens, -1)
        if image_shape is not None:
            out = out.transpose(1, 2).reshape(image_shape)
        if attn.residual_connection:
            out = out + residual
        return out / attn.rescale_output_factor


def install(unet: Any, fused: bool | None = None) -> ViewAttention:
    """Give all attention layers of a diffusers UNet one shared `ViewAttention`; returns it, for
    `joint_views`."""
    processor = ViewAttention(fused=fused)
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


def text_values(model: Any) -> dict[str, Any]:
    """The projections that make values of the text, by the name of their attention layer.

    They are those of diffusers' cross-attention (U-Nets and transformers) and of its joint
    attention (in which text and picture attend to each other with separate projections).

    Raises:
        ModelError: the model has none.
    """
    projections = {}
    for name, module in model.named_modules():
        joint = getattr(module, "add_v_proj", None)
        if joint is not None:
            projections[name] = joint
        elif (
            getattr(module, "is_cross_attention", False)
            and getattr(module, "to_v", None) is not None
        ):
            if getattr(module, "fused_projections", False):
                raise ModelError(
                    "its attention projections are fused",
                    name,
                    "Call unfuse_qkv_projections() first",
                )
            projections[name] = module.to_v
    if not projections:
        raise ModelError(
            "has no attention to the words of the prompt that could be weighted",
            type(model).__name__,
            "Use a model with cross-attention",
        )
    return projections


@contextmanager
def emphasised(
    model: Any, emphasis: torch.Tensor | None, normalised: bool = False
) -> Iterator[None]:
    """Within the block, and only in this thread, every column of the text's attention maps is
    multiplied by its factor after the softmax.

    Self-attention is unchanged, and factors of one change no bit.

    Args:
        emphasis: (B, T) factors, one row for each entry of the batch that the model will be given;
            None for none.
        normalised: whether every row of a map is then divided by its sum. The published method
            does not (METHODS 4.5), so that the text as a whole is heard louder.

    Raises:
        ModelError: see `text_values`; joint attention cannot be normalised.

    Example:
        >>> with emphasised(unet, factors):              # doctest: +SKIP
        ...     unet(latents, t, states)
    """
    if emphasis is None:
        yield
        return
    with ExitStack() as hooks:
        for name, projection in text_values(model).items():
            if normalised:
                layer = model.get_submodule(name)
                if not getattr(layer, "is_cross_attention", False):
                    raise ModelError(
                        "its text and picture attend together, which cannot be normalised",
                        name,
                        "Leave out the normalising of emphasis",
                    )
                hook = _Louder(emphasis)
                handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
            else:
                handle = projection.register_forward_hook(_Scaled(emphasis))
            hooks.callback(handle.remove)
        yield


class _Emphasis:
    """A hook that acts in the thread that made it alone."""

    def __init__(self, emphasis: torch.Tensor) -> None:
        self.emphasis, self.owner = emphasis, threading.get_ident()

    def here(self, shape: torch.Size) -> bool:
        """Whether it acts on values of the text of a shape (B, T). Raises ValueError."""
        if threading.get_ident() != self.owner:
            return False
        if shape != self.emphasis.shape:
            raise ValueError(
                f"emphasis is {list(self.emphasis.shape)}, the text's values are {list(shape)}"
            )
        return True


class _Scaled(_Emphasis):
    """Multiplies the values of the text."""

    def __call__(self, module: Any, inputs: Any, values: torch.Tensor) -> torch.Tensor | None:
        if not self.here(values.shape[:2]):
            return None
        return values * self.emphasis.to(values)[..., None]


class _Louder(_Emphasis):
    """Adds the factors' logarithms to the scores of a cross-attention, whose softmax then has rows
    that were multiplied and divided by their sums."""

    def __call__(self, module: Any, inputs: Any, given: dict[str, Any]) -> Any:
        text = given["encoder_hidden_states"] if "encoder_hidden_states" in given else inputs[1]
        # Pictures stand beside the text, or behind it, and have scores of their own.
        text = text[0] if isinstance(text, tuple) else text
        if not self.here(text[:, : self.emphasis.shape[1]].shape[:2]):
            return None
        added = self.emphasis.to(text).log()[:, None, None]
        mask = given.get("attention_mask")
        if mask is not None:
            added = added + (mask[:, None] if mask.ndim == 3 else mask)
        return inputs, {**given, "attention_mask": added}


@contextmanager
def attention_maps(model: Any) -> Iterator[dict[str, torch.Tensor]]:
    """Within the block, keeps the cross-attention maps of the latest call by layer.

    A map is (B, P, T), the mean over heads, after the softmax and before any emphasis. P are the
    positions of the layer's feature map, row by row.

    Raises:
        ModelError: see `text_values`; joint attention has no separate maps.
    """
    maps: dict[str, torch.Tensor] = {}
    with ExitStack() as hooks:
        for name in text_values(model):
            layer = model.get_submodule(name)
            if not getattr(layer, "is_cross_attention", False):
                continue
            seen: dict[str, torch.Tensor] = {}

            def keep_query(module: Any, inputs: Any, out: torch.Tensor, seen: Any = seen) -> None:
                seen["query"] = out.detach()

            def keep_map(
                module: Any,
                inputs: Any,
                key: torch.Tensor,
                seen: Any = seen,
                name: str = name,
                layer: Any = layer,
            ) -> None:
                split = [
                    x.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
                    for x in (seen["query"], key.detach())
                ]
                maps[name] = (
                    (split[0] @ split[1].transpose(-1, -2) * layer.scale)
                    .float()
                    .softmax(-1)
                    .mean(1)
                )

            hooks.callback(layer.to_q.register_forward_hook(keep_query).remove)
            hooks.callback(layer.to_k.register_forward_hook(keep_map).remove)
        yield maps
