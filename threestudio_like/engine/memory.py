"""How many bytes of tensors are alive: counted as they come and go, on any device, also for tensors
that hold nothing (a rehearsal)."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GIB = 2**30


class MemoryWatch(TorchDispatchMode):
    """Counts the storages that are made while it is on.

    Attributes:
        live: bytes alive now, of those that were made since.
        peak: the most there ever were.

    Example:
        >>> with MemoryWatch() as watch:
        ...     a = torch.zeros(1000)
        ...     b = (a + 1).sum()
        >>> watch.live, watch.peak
        (4004, 8004)
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple = (), keywords: dict | None = None
    ) -> Any:
        out = function(*arguments, **(keywords or {}))
        made = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        # A view of what was there before is not new.
        before = (
            {
                id(t.untyped_storage())
                for t in tree_leaves((arguments, keywords))
                if isinstance(t, torch.Tensor)
            }
            if made
            else set()
        )
        for tensor in made:
            if id(tensor.untyped_storage()) not in before:
                self.note(tensor)
        return out

    def note(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage, once, until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known.add(storage)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.live -= size


def release() -> None:
    """Give cached memory of the accelerator back, if there is one."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def bytes_of(module: torch.nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])
