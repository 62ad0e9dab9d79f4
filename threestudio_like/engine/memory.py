"""Counts the bytes of the tensors that are alive, as they are created and freed.

It works on any device, and also for the meta tensors of a rehearsal, which hold no data.
"""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GIB = 2**30


class MemoryWatch(TorchDispatchMode):
    """Counts the tensor storages that are created while it is active.

    Attributes:
        live: bytes of those storages that are alive now.
        peak: the largest value that `live` has had.

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
        # A view of a storage that existed before is not a new storage.
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
        """Count the storage of a tensor once, until it is freed."""
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
    """Return the accelerator's cached memory to the system, if there is an accelerator."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def bytes_of(module: torch.nn.Module) -> int:
    """Total size of a module's parameters and buffers, in bytes."""
    return sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process in MB; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return _windows_peak_mb()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, others kilobytes.
    return peak / (1024 * 1024) if sys.platform == "darwin" else peak / 1024


def _windows_peak_mb() -> float | None:
    """Windows' peak working set, by its own interface."""
    import ctypes

    windows: Any = getattr(ctypes, "windll", None)
    if windows is None:
        return None

    class Counters(ctypes.Structure):
        _fields_ = [
            ("size", ctypes.c_uint32),
            ("page_faults", ctypes.c_uint32),
            ("peak_working_set", ctypes.c_size_t),
            ("others", ctypes.c_size_t * 7),
        ]

    counters = Counters()
    counters.size = ctypes.sizeof(Counters)
    try:
        current = windows.kernel32.GetCurrentProcess
        current.restype = ctypes.c_void_p
        known = windows.kernel32.K32GetProcessMemoryInfo
        known.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
        if not known(current(), ctypes.byref(counters), counters.size):
            return None
    except (AttributeError, OSError):
        return None
    return counters.peak_working_set / (1024 * 1024)
