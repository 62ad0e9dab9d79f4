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


def new_pool(device: torch.device) -> Any:
    """Memory that the recordings of a device share: only one of them runs at a time, and what it
    leaves is copied at once."""
    with torch.cuda.device(device):
        return torch.cuda.graph_pool_handle()


def record(
    device: torch.device, pool: Any, run: Callable[[], torch.Tensor]
) -> tuple[Callable[[], None], torch.Tensor]:
    """Record what `run` does on a device; returns what does it again, and the tensor that it
    leaves."""
    graph = torch.cuda.CUDAGraph()
    # A graph is recorded on a stream of the current device.
    with torch.cuda.device(device), torch.cuda.graph(graph, pool=pool):
        out = run()
    return graph.replay, out


class Recorded:
    """A function of tensors without gradients, which is recorded at the second call with every
    shape on every device.

    Args:
        function: maps tensors of one device to one tensor. It must not wait for the device, and
            must depend only on its arguments and the setting.

    Attributes:
        refused: whether nothing is recorded any more, because memory ran out.
    """

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        self.function, self.refused = function, False
        self._seen: set[Hashable] = set()
        self._pools: dict[torch.device, Any] = {}
        self._made: OrderedDict[
            Hashable, tuple[Callable[[], None], list[torch.Tensor], torch.Tensor]
        ] = OrderedDict()

    def with_setting(self, setting: Hashable) -> Callable[..., torch.Tensor]:
        """The function under a setting that it reads besides its arguments; every setting has its
        own recordings."""
        return partial(self._run, setting)

    def forget(self) -> None:
        """Free the memory of all recordings, and record nothing any more: what ran out once is not
        to be filled again."""
        self.refused = True
        self._made.clear()
        self._pools.clear()

    def __call__(self, *tensors: torch.Tensor, **named: torch.Tensor | None) -> torch.Tensor:
        return self._run(None, *tensors, **named)

    def _run(
        self, setting: Hashable, *tensors: torch.Tensor, **named: torch.Tensor | None
    ) -> torch.Tensor:
        given = [*tensors, *(v for v in named.values() if v is not None)]
        key = (
            str(setting),
            tuple(n for n, v in named.items() if v is not None),
            tuple((v.shape, v.dtype, v.device) for v in given),
        )
        if key in self._made:
            self._made.move_to_end(key)
            replay, inputs, out = self._made[key]
            for place, value in zip(inputs, given):
                place.copy_(value)
            replay()
            return out.clone()
        if key not in self._seen or self.refused:
            # Libraries choose their kernels at the first call, which cannot be recorded.
            self._seen.add(key)
            return self.function(*tensors, **named)
        inputs = [v.clone() for v in given]
        rest = iter(inputs[len(tensors) :])
        again = {name: None if value is None else next(rest) for name, value in named.items()}
        replay, out = self._record(
            given[0].device, lambda: self.function(*inputs[: len(tensors)], **again)
        )
        self._made[key] = (replay, inputs, out)
        while len(self._made) > KEPT:
            self._made.popitem(last=False)
        replay()
        return out.clone()

    def _record(
        self, device: torch.device, run: Callable[[], torch.Tensor]
    ) -> tuple[Callable[[], None], torch.Tensor]:
        """`record`; raises OutOfMemoryError where memory ran out, as which a recording that it
        broke off may not appear."""
        try:
            if device not in self._pools:
                self._pools[device] = new_pool(device)
            return record(device, self._pools[device], run)
        except RuntimeError as error:
            shortage = out_of_memory(error)
            if shortage is None:
                raise
        self.forget()
        raise shortage


def out_of_memory(error: BaseException | None) -> torch.OutOfMemoryError | None:
    """The shortage of memory that an error is or came after; None without one."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return error.with_traceback(None)
        if "out of memory" in str(error):
            return torch.OutOfMemoryError(str(error).splitlines()[0])
        error = error.__cause__ or error.__context__
    return None
