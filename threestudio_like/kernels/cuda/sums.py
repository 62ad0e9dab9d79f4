"""Sums that many programs of a kernel add to: floating-point numbers, or integers where the result
must not depend on the order."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


class Accumulator:
    """A buffer of zeros that kernels add to with `add_to`.

    Under ``torch.use_deterministic_algorithms(True)`` the buffer holds 64-bit integers: every term
    is rounded to a multiple of `unit`, integers add in any order to the same sum, and `result`
    turns them back. The unit is the smallest with which no sum of `terms` terms as large as
    `largest` overflows, so that far fewer digits are lost than in float32.

    Args:
        shape: of the result.
        like: its device.
        largest: a tensor [] with the largest magnitude of one term; read without waiting for the
            device.
        terms: how many terms there are at most.
    """

    def __init__(
        self,
        shape: tuple[int, ...] | torch.Size,
        like: torch.Tensor,
        largest: torch.Tensor,
        terms: int,
    ) -> None:
        self.exact = torch.are_deterministic_algorithms_enabled()
        kind = torch.int64 if self.exact else torch.float32
        self.buffer = torch.zeros(shape, dtype=kind, device=like.device)
        self.unit = (largest.double().clamp_min(1e-30) * max(terms, 1) / 2.0**62).reshape(1)

    def result(self) -> torch.Tensor:
        """The sums in float32."""
        return (self.buffer.double() * self.unit).float() if self.exact else self.buffer


@triton.jit
def add_to(target, value, unit, mask, EXACT: tl.constexpr):
    """Add values to an `Accumulator`'s buffer; `unit` points to its unit."""
    if EXACT:
        tl.atomic_add(
            target, (value.to(tl.float64) / tl.load(unit)).to(tl.int64), mask=mask, sem="relaxed"
        )
    else:
        tl.atomic_add(target, value, mask=mask, sem="relaxed")


def blocks(count: int, block: int) -> int:
    """Programs that `count` items need, `block` each; at least one, for a launch of none is an
    error."""
    return max(1, triton.cdiv(count, block))
