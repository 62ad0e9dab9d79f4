"""Networks recorded as CUDA graphs: one launch instead of thousands, for steps with constant
shapes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import torch

KEPT = 4
"""Number of shapes that are kept, because a recording holds the memory of all its intermediate
values."""


def can_record(device: torch.device) -> bool:
    """Whether a device supports CUDA graphs."""
    return device.type == "cuda" and torch.version.hip is None


class Recorded:
    """A function of tensors without gradients, which is recorded at the second call with every
    shape.

    Args:
        function: maps tensors to one tensor. It must not wait for the device, and must depend only
            on its arguments and the setting.
    """

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        self.function = function
        self._seen: set[Hashable] = set()
        self._made: OrderedDict[Hashable, tuple[Any, list[torch.Tensor], torch.Tensor]] = (
            OrderedDict()
        )

    def with_setting(self, setting: Hashable) -> Callable[..., torch.Tensor]:
        """The function under a setting that it reads besides its arguments; every setting has its
        own recordings."""
        return partial(self._run, setting)

    def __call__(self, *tensors: torch.Tensor, **named: torch.Tensor | None) -> torch.Tensor:
        return self._run(None, *tensors, **named)

    def _run(
        self, setting: Hashable, *tensors: torch.Tensor, **named: torch.Tensor | None
    ) -> torch.Tensor:
        given = [*tensors, *(v for v in named.values() if v is not None)]
        key = (
            str(setting),
            tuple(n for n, v in named.items() if v is not None),
            tuple((v.shape, v.dtype) for v in given),
        )
        if key in self._made:
            self._made.move_to_end(key)
            graph, inputs, out = self._made[key]
            for place, value in zip(inputs, given):
                place.copy_(value)
            graph.replay()
            return out.clone()
        if key not in self._seen:
            # Libraries choose their kernels at the first call, which cannot be recorded.
            self._seen.add(key)
            return self.function(*tensors, **named)
        inputs = [v.clone() for v in given]
        rest = iter(inputs[len(tensors) :])
        again = {name: None if value is None else next(rest) for name, value in named.items()}
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = self.function(*inputs[: len(tensors)], **again)
        self._made[key] = (graph, inputs, out)
        while len(self._made) > KEPT:
            self._made.popitem(last=False)
        graph.replay()
        return out.clone()
