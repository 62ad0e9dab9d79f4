"""How a prior's networks work on a few entries at a time, with the gradient of all, and with
gradients that stay within the numbers of the network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Protocol

import torch
from torch.utils.checkpoint import checkpoint

from ..diffusion import Condition, Within
from ..networks.gradient_range import GradientRange

Function = Callable[[torch.Tensor], torch.Tensor]


def parts_of(count: int, few: int, together: int = 1) -> list[slice]:
    """The entries of a batch that are worked on at once: `few` (0 for all), and no group of
    `together` divided."""
    if few <= 0 or count <= few:
        return [slice(0, count)]
    few = max(1, few // together) * together
    return [slice(begin, begin + few) for begin in range(0, count, few)]


def in_range(function: Function, given: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What a network of a number type makes of `given`, in float32; gradients are kept within
    float16 where it is that."""
    differentiable = torch.is_grad_enabled() and given.requires_grad
    if dtype != torch.float16 or not differentiable:
        return function(given).float()
    within = GradientRange()
    return within.entry(function(within.reduced(given.float())).float())


def by_images(function: Function, given: torch.Tensor, few: int, accelerated: bool) -> torch.Tensor:
    """Apply a function of the autoencoder to a few pictures at a time (0 for all); the gradient is
    that of all."""
    differentiable = torch.is_grad_enabled() and given.requires_grad
    if differentiable and not accelerated:
        # A CPU's convolutions sum one picture in a different order than several (3e-6 of a
        # gradient), and are hardly faster with several. One by one, the gradient does not depend on
        # how many are processed at once.
        function = _one_by_one(function)
    if few <= 0 or len(given) <= few:
        return function(given)
    if differentiable:
        return torch.cat(
            [checkpoint(function, some, use_reentrant=False) for some in given.split(few)]
        )
    return torch.cat([function(some) for some in given.split(few)])


def _one_by_one(function: Function) -> Function:
    return lambda given: torch.cat([function(one) for one in given.split(1)])


class Predicts(Protocol):
    """What denoises: latents (B, C, h, w) at times t (B,) under a condition."""

    def __call__(
        self, latents: torch.Tensor, t: torch.Tensor, condition: Condition
    ) -> torch.Tensor: ...


def predicted_with_gradient(
    predict: Predicts,
    parts: list[slice],
    latents: torch.Tensor,
    t: torch.Tensor,
    condition: Condition,
    within: Within | None,
    half: bool,
) -> torch.Tensor:
    """`predict` part by part, differentiable; where there are several, they are computed again on
    their way back.

    Args:
        latents: on the network's device.
        half: whether the network is in float16.
    """
    differentiable = torch.is_grad_enabled()

    def part(p: slice) -> torch.Tensor:
        enlarged = GradientRange() if half and differentiable else None
        some, told = latents[p], condition.part(p)
        if enlarged is not None:
            some = enlarged.reduced(some)
            told.text = enlarged.reduced(told.text.to(latents.device))
        with nullcontext() if within is None else within(p, enlarged):
            out = predict(some, t[p], told)
        return out if enlarged is None else enlarged.entry(out)

    if len(parts) == 1 or not differentiable:
        return torch.cat([part(p) for p in parts])
    return torch.cat(
        [checkpoint(part, p, use_reentrant=False, preserve_rng_state=False) for p in parts]
    )
