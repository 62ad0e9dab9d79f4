"""Depth regularisation by gradient scaling (G3DR, METHODS 3.6).

Gradients far from the known surface are scaled down, so that no semi-transparent fog can form
there. Forward values are unchanged. Every renderer of this package accepts a `DepthScaling`, which
acts on the values that determine a sample's alpha and colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class DepthScaling:
    """S = clamp(gain * exp(-(t - d)^2 / spread), floor, 1).

    The paper's code calls 0.03 a standard deviation, but it is the whole denominator: S is 1 up to
    a distance of 0.0818 and reaches its floor at 0.3108. `unit` rescales lengths; the numbers are
    for a scene in [-1, 1]^3.
    """

    gain: float = 1.25
    spread: float = 0.03
    floor: float = 0.05
    unit: float = 1.0
    clear: bool = False
    """Scale only gradients that would add matter far from the surface, and leave those that remove
    it. The published scaling also protects fog that is already there."""

    def factor(self, t: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        """S of samples at distances t along rays whose surface is at `depth`, shapes alike; 1 where
        the depth is not finite.

        Example:
            >>> DepthScaling().factor(torch.tensor([5.0, 5.2, 5.4]), torch.tensor([5.0, 5.0, 5.0]))
            tensor([1.0000, 0.3295, 0.0500])
        """
        off = (t - depth) / self.unit
        factor = (self.gain * torch.exp(-off.square() / self.spread)).clamp(self.floor, 1.0)
        return torch.where(torch.isfinite(depth), factor, torch.ones_like(factor))

    def apply(
        self, amount: torch.Tensor, colour: torch.Tensor, t: torch.Tensor, depth: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale the gradients of the values that determine a sample's alpha (...) and of its colour
        (..., C).

        The values are unchanged; t and depth are (...).
        """
        factor = self.factor(t, depth)
        return scale_gradient(amount, factor, self.clear), scale_gradient(colour, factor[..., None])


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, factor: torch.Tensor, clear: bool) -> torch.Tensor:
        ctx.save_for_backward(factor)
        ctx.clear = clear
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (factor,) = ctx.saved_tensors
        # A descent step with a positive gradient removes matter.
        return (
            torch.where(grad > 0, grad, grad * factor) if ctx.clear else grad * factor,
            None,
            None,
        )


def scale_gradient(value: torch.Tensor, factor: torch.Tensor, clear: bool = False) -> torch.Tensor:
    """Return `value` with its gradient multiplied by `factor`, which broadcasts to it.

    Differentiable in `value` only.

    Args:
        clear: leave gradients unchanged that make the value smaller.
    """
    return _Scaled.apply(value, factor.detach().expand_as(value), clear)
