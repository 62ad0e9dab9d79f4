"""Cases of the operations on rays: marching and compositing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..reference import volume
from ..samples import sample_rays
from .case import Inputs, Results, case, generator_of, gradients_of, leaves


def _march_inputs(large: bool) -> Inputs:
    origins, directions, jitter = sample_rays(1 << 15 if large else 300)
    size = 128 if large else 32
    occupied = torch.rand(size, size, size, generator=generator_of(1)) < 0.02
    return {
        "origins": origins,
        "directions": directions,
        "jitter": jitter,
        "occupied": occupied,
        "step": 0.004 if large else 0.013,
    }


def _same_samples(mine: Results, theirs: Results) -> float:
    """The share of samples that only one of the two has: float32 rounding may move a sample across
    the face of a cell."""
    a, b = (
        {(int(r), round(float(t), 3)) for t, r in zip(samples[0], samples[1])}
        for samples in (mine, theirs)
    )
    return len(a ^ b) / max(1, len(b))


@case("march", volume.march, 2e-3, make=_march_inputs, compare=_same_samples)
def _call_march(function: Callable[..., Any], given: Inputs) -> Results:
    return list(
        function(
            given["origins"], given["directions"], given["occupied"], given["step"], given["jitter"]
        )
    )


def _composite_inputs(large: bool) -> Inputs:
    origins, directions, jitter = sample_rays(1 << 14 if large else 200)
    step = 0.02 if large else 0.1
    t, _, offsets = volume.march(
        origins, directions, torch.ones(8, 8, 8, dtype=torch.bool), step=step, jitter=jitter
    )
    generator = generator_of(2)
    return {
        "t": t,
        "offsets": offsets,
        "step": step,
        "sigma": torch.rand(len(t), generator=generator) * 3,
        "features": torch.randn(len(t), 4, generator=generator),
        "upstream": torch.randn(len(origins), 6, generator=generator),
        "on_weights": torch.randn(len(t), generator=generator),
    }


@case("composite", volume.composite, 1e-4, make=_composite_inputs)
def _call_composite(function: Callable[..., Any], given: Inputs) -> Results:
    sigma, features = leaves(given["sigma"], given["features"])
    out, weights = function(sigma, features, given["t"], given["offsets"], given["step"], 1e-4)
    ((out * given["upstream"]).sum() + (weights * given["on_weights"]).sum()).backward()
    return [out, weights, *gradients_of([sigma, features])]
