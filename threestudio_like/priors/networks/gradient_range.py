"""Gradients that stay within the range of float16.

A gradient that goes back through a network in float16 loses what is below 6e-8 and is coarse below
6e-5, and those of one asset's pictures are often smaller. `GradientRange` enlarges them on their
way in so that the largest is about `TARGET`, and makes them as small again on their way out. The
factor is a power of two and is found on the device, so that nothing waits for it and, within the
range, no bit is changed.
"""

from __future__ import annotations

import math
from typing import Any

import torch

TARGET = 16.0
"""Largest absolute value of an enlarged gradient: a network may make it 4000 times as large."""
LARGEST = 100
"""Largest power of two of a factor."""


class GradientRange:
    """The way of one gradient through a network in float16.

    Attributes:
        scale: the factor (), once the gradient has entered.

    Example:
        >>> within = GradientRange()
        >>> x = torch.ones(3, requires_grad=True)
        >>> y = within.entry(within.reduced(x).half().square().float())
        >>> (1e-6 * y).sum().backward()
        >>> bool(((x.grad - 2e-6).abs() < 1e-9 * 4).all())
        True
    """

    def __init__(self) -> None:
        self.scale: torch.Tensor | None = None

    def entry(self, x: torch.Tensor) -> torch.Tensor:
        """The values of x in float32, the network's output: where gradients become larger."""
        return _Scaled.apply(x, self, "enter")

    def reduced(self, x: torch.Tensor) -> torch.Tensor:
        """The values of x in float32, which goes into the network: gradients are the true ones
        before it."""
        return _Scaled.apply(x, self, "reduce")

    def enlarged(self, x: torch.Tensor) -> torch.Tensor:
        """The values of x in float32, which comes out of the network: gradients are the larger
        ones before it."""
        return _Scaled.apply(x, self, "enlarge")


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, owner: GradientRange, how: str) -> torch.Tensor:
        ctx.owner, ctx.how = owner, how
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor, None, None]:
        (gradient,) = gradients
        owner: GradientRange = ctx.owner
        if ctx.how == "enter":
            owner.scale = power_of_two(gradient)
        assert owner.scale is not None
        factor = 1 / owner.scale if ctx.how == "reduce" else owner.scale
        return gradient * factor, None, None


def power_of_two(gradient: torch.Tensor) -> torch.Tensor:
    """The power of two () by which the largest absolute value of a gradient is between TARGET / 2
    and TARGET; at most 2 ** LARGEST."""
    _, exponent = torch.frexp(gradient.detach().float().abs().amax())
    _, wanted = math.frexp(TARGET / 2)
    power = (wanted - exponent).clamp(-LARGEST, LARGEST)
    # The bits of a float32: there is no rounding.
    return ((power.to(torch.int32) + 127) << 23).view(torch.float32)
