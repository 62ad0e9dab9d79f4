"""Devices by name, and which of them this machine has. All other modules take a device as it is
given."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from ..engine.errors import ConfigError, did_you_mean

T = TypeVar("T")

MAIN = "cpu"
"""Main memory: the reference device, on which everything lives between stages."""
KINDS = (MAIN, "cuda", "mps")
SINGLE = (MAIN, "mps")
"""Kinds of which there is one, without a number."""


def check(device: str) -> None:
    """Raise ConfigError if torch has no such device on this machine."""
    kind, _, number = device.partition(":")
    where = f"--device {device}"
    if not re.fullmatch(rf"{MAIN}|cuda(:\d+)?|mps", device):
        raise ConfigError(
            f'there is no device "{device}"', "--device", did_you_mean(device, list(KINDS))
        )
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(
                "torch finds no CUDA device here",
                where,
                f"Use --device {MAIN}, or install a CUDA build of torch",
            )
        count = torch.cuda.device_count()
        if number and int(number) >= count:
            raise ConfigError(
                f"there are {count} CUDA devices, counted from 0", where, "Use --device cuda"
            )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("torch finds no Apple GPU here", where, f"Use --device {MAIN}")


def default_device() -> torch.device:
    """The device of operations whose tensors do not determine it: the current GPU if there is one,
    else the CPU."""
    if not torch.cuda.is_available():
        return torch.device(MAIN)
    return torch.device("cuda", torch.cuda.current_device())


def prefers_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16, whose range is float32's, as fast as in float16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return False


def device_count(kind: str) -> int:
    """How many devices of a kind this machine has."""
    return int(torch.get_device_module(kind).device_count())


def make_current(device: torch.device) -> None:
    """Make a device the current one of this thread: kernels that are launched by hand and recorded
    graphs go there."""
    torch.get_device_module(device).set_device(device)


def settle(device: str, rank: int = 0, world: int = 1) -> str:
    """The device of this process with its number, "cuda:1", which becomes the current one. It is
    the only place where either is decided.

    Args:
        device: as the user says it; without a number the ranks of a run take one device each.
        rank, world: of this process among those of this machine.

    Raises:
        ConfigError: torch has no such device here, or not one for each rank.
    """
    check(device)
    kind, _, number = device.partition(":")
    if kind in SINGLE:
        return device
    count, where = device_count(kind), f"--device {device}"
    if world > 1 and number:
        raise ConfigError(
            f"{world} ranks cannot share one device", where, f"Use --device {kind}: one each"
        )
    if world > count > 0:
        raise ConfigError(
            f"{world} ranks want a device each, and there are {count}",
            where,
            f"Use --ranks {count}, or --accumulate {world} on one device",
        )
    found = f"{kind}:{number or rank}"
    make_current(torch.device(found))
    return found


def is_main(device: torch.device | str) -> bool:
    """Whether a device is main memory."""
    return torch.device(device).type == MAIN


def is_cuda(device: str) -> bool:
    """Whether a device's name is that of a CUDA GPU; "" and wrong names are none."""
    return device.partition(":")[0] == "cuda"


def described(device: torch.device) -> str:
    """The name and memory of a GPU; empty for the CPU."""
    if device.type != "cuda":
        return ""
    facts = torch.cuda.get_device_properties(device)
    return f"{facts.name}, {facts.total_memory / 2**30:.0f} GB"


def synchronise(device: torch.device) -> None:
    """Wait until a device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class OnHost(Generic[T]):
    """What the host has to know of tensors, as Python numbers, asked of their device again only
    where one of them has changed: a step does not wait for what stays the same.

    Args:
        ask: from tensors to a value on the host.

    Example:
        >>> count = OnHost(lambda x: int(x.sum()))
        >>> x = torch.ones(3)
        >>> count(x), count(x), count(x.mul_(2))
        (3, 3, 6)
    """

    def __init__(self, ask: Callable[..., T]) -> None:
        self._ask = ask
        self._known: tuple[tuple[torch.Tensor, ...], tuple[int, ...], T] | None = None

    def __call__(self, *tensors: torch.Tensor) -> T:
        """The value for tensors, which may not be views that are made anew each time."""
        versions = tuple(t._version for t in tensors)
        if self._known is not None:
            before, then, value = self._known
            # Another tensor, such as the same one on another device, is asked as well.
            if versions == then and all(a is b for a, b in zip(before, tensors, strict=True)):
                return value
        value = self._ask(*tensors)
        self._known = (tensors, versions, value)
        return value


def follow(module: torch.nn.Module, tensor: torch.Tensor) -> None:
    """Move a module to the device of a tensor, unless it is there already."""
    if any(p.device != tensor.device for p in module.parameters()):
        module.to(tensor.device)


def fast_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())


def half_precision(device: torch.device) -> torch.autocast:
    """A context in which matrix products are in bfloat16, if torch supports it on this device, and
    a CPU has such instructions: without them its convolutions take fifty times as long."""
    known = torch.amp.autocast_mode.is_autocast_available(device.type)
    if device.type == "cpu":
        known = known and fast_bfloat16()
    return torch.autocast(device.type if known else MAIN, torch.bfloat16, enabled=known)
