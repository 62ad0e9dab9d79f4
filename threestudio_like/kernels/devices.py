"""Devices by name, and which of them this machine has. All other modules take a device as it is
given."""

from __future__ import annotations

import re

import torch

from ..engine.errors import ConfigError, did_you_mean

MAIN = "cpu"
"""Main memory: the reference device, on which everything lives between stages."""
KINDS = (MAIN, "cuda", "mps")


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
    """The device of operations whose tensors do not determine it: the first GPU if there is one,
    else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else MAIN)


def device_of_rank(device: str, rank: int) -> str:
    """The device of one of several ranks: the GPUs in turn, unless a number was given."""
    if device != "cuda":
        return device
    return f"cuda:{rank % max(1, torch.cuda.device_count())}"


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


def follow(module: torch.nn.Module, tensor: torch.Tensor) -> None:
    """Move a module to the device of a tensor, unless it is there already."""
    if any(p.device != tensor.device for p in module.parameters()):
        module.to(tensor.device)


def half_precision(device: torch.device) -> torch.autocast:
    """A context in which matrix products are in bfloat16, if torch supports it on this device."""
    known = torch.amp.autocast_mode.is_autocast_available(device.type)
    return torch.autocast(device.type if known else MAIN, torch.bfloat16, enabled=known)
