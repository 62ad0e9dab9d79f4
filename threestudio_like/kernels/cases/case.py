"""Cases: every backend is compared with the reference, in values and gradients, at its first use;
and it is timed.

A case makes inputs (small ones for the check, large ones for timing) and calls an operation on
them. The results of a backend in float32 are compared with those of the reference in float64.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..devices import synchronise
from ..dispatch import Check, register_check

Inputs = dict[str, Any]
Results = list[torch.Tensor]


def difference(mine: Results, theirs: Results) -> float:
    """Largest error of any tensor, relative to the largest value of the reference."""
    pairs = [
        (a.detach().double().cpu(), b.detach().double().cpu())
        for a, b in zip(mine, theirs, strict=True)
    ]
    if any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    return max(
        (
            float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
            for a, b in pairs
            if b.numel()
        ),
        default=0.0,
    )


@dataclass(frozen=True)
class Case:
    """How an operation is checked and timed.

    Attributes:
        reference: the operation in plain torch.
        make: makes inputs by name, with tensors on the CPU in float32; the argument selects those
            for timing instead of those for the check.
        call: runs an operation on inputs; returns its values, and its gradients if it has any.
        tolerance: the largest error that a backend may have.
        compare: computes the error of a backend's results.
    """

    reference: Callable[..., Any]
    make: Callable[[bool], Inputs]
    call: Callable[[Callable[..., Any], Inputs], Results]
    tolerance: float
    compare: Callable[[Results, Results], float] = difference

    def error(self, function: Callable[..., Any], device: torch.device) -> float:
        """The error of a backend on a device."""
        inputs = self.make(False)
        mine = self.call(function, cast(inputs, device, torch.float32))
        theirs = self.call(self.reference, cast(inputs, torch.device("cpu"), torch.float64))
        return self.compare(mine, theirs)

    def times(
        self,
        function: Callable[..., Any],
        device: torch.device,
        large: bool = False,
        rounds: int = 5,
    ) -> tuple[float, float]:
        """Seconds of a backend and of plain torch on a device, for values and gradients: medians of
        alternating rounds."""
        inputs = cast(self.make(large), device, torch.float32)
        spent: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds + 1):
            for some, each in zip(spent, (function, self.reference)):
                synchronise(device)
                began = time.perf_counter()
                self.call(each, inputs)
                synchronise(device)
                if number:
                    some.append(time.perf_counter() - began)
        return statistics.median(spent[0]), statistics.median(spent[1])


CASES: dict[str, Case] = {}


def case(
    operation: str,
    reference: Callable[..., Any],
    tolerance: float,
    make: Callable[[bool], Inputs],
    compare: Callable[[Results, Results], float] = difference,
) -> Callable[
    [Callable[[Callable[..., Any], Inputs], Results]],
    Callable[[Callable[..., Any], Inputs], Results],
]:
    """Decorator for a function that calls the operation on inputs; see `Case.call`."""

    def add(
        call: Callable[[Callable[..., Any], Inputs], Results],
    ) -> Callable[[Callable[..., Any], Inputs], Results]:
        CASES[operation] = Case(reference, make, call, tolerance=tolerance, compare=compare)
        register_check(operation, Check(CASES[operation].error, tolerance, CASES[operation].times))
        return call

    return add


def cast(inputs: Inputs, device: torch.device, kind: torch.dtype) -> Inputs:
    """The inputs on a device, with floating-point tensors in a number type."""

    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(v) for v in value]
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(device, kind) if value.is_floating_point() else value.to(device)

    return {name: one(value) for name, value in inputs.items()}


def generator_of(seed: int = 0) -> torch.Generator:
    """The random generator of a case."""
    return torch.Generator().manual_seed(seed)


def leaves(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Copies of tensors that collect gradients."""
    return [t.detach().clone().requires_grad_() for t in tensors]


def gradients_of(tensors: list[torch.Tensor]) -> Results:
    """The gradients of leaves, with zeros for those that received none."""
    return [t.grad if t.grad is not None else torch.zeros_like(t) for t in tensors]
