"""Checkpoints: one safetensors file, written under a temporary name and then renamed.

Pickled data is neither read nor written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .errors import CheckpointError
from .output import output_error, write_file

FORMAT = "threestudio-like checkpoint 1"

__all__ = ["load_checkpoint", "output_error", "save_checkpoint", "write_atomically"]


def write_atomically(path: Path, data: bytes) -> None:
    """Write bytes to a file inside a run's own folder, replacing an older one. Raises
    OutputError."""
    write_file(path, data, force=True)


def save_checkpoint(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Write named tensors and JSON-serialisable facts atomically.

    Tensors that share memory (tied weights) are written once for each name.
    """
    unique: dict[str, torch.Tensor] = {}
    held: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        if own.numel() and own.untyped_storage().data_ptr() in held:
            own = own.clone()
        held.add(own.untyped_storage().data_ptr())
        unique[name] = own
    write_atomically(path, save(unique, metadata={"format": FORMAT, "facts": json.dumps(facts)}))


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a file that `save_checkpoint` wrote; returns (tensors, facts). Raises
    CheckpointError."""
    if not path.is_file():
        raise CheckpointError(
            "there is no checkpoint", str(path), "Start the run again without --resume"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(
                    "is not a checkpoint of this program",
                    str(path),
                    "Give the folder of a run made by it",
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        return tensors, json.loads(metadata["facts"])
    except (SafetensorError, json.JSONDecodeError, KeyError, OSError) as error:
        raise CheckpointError(
            f"the checkpoint is damaged ({type(error).__name__})",
            str(path),
            "Start the run again without --resume",
        ) from None
