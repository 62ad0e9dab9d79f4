"""Checkpoints: one safetensors file, written under a temporary name and renamed. No pickle is ever
read or written."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .errors import CheckpointError, OutputError

FORMAT = "threestudio-like checkpoint 1"


def write_atomically(path: Path, data: bytes) -> None:
    """Write bytes to `path` so that a reader sees the old file or the new one, never a part. Raises
    OutputError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True) if os.access(path.parent, os.W_OK) else None
        raise output_error(error, path) from None


def output_error(error: OSError, path: Path) -> OutputError:
    """The OutputError for a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            "the disk is full", str(path), "Free some space or choose another folder with --out"
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return OutputError(
            "cannot be written (no permission, or a read-only disk)",
            str(path),
            "Choose another folder with --out",
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return OutputError(
            "a file stands where a folder is needed", str(path), "Choose another folder with --out"
        )
    if error.errno == errno.ENAMETOOLONG:
        return OutputError(
            "the name is too long", str(path)[:80] + "…", "Choose a shorter one with --out"
        )
    return OutputError(
        f"cannot be written ({error.strerror or error})",
        str(path),
        "Choose another folder with --out",
    )


def save_checkpoint(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Write named tensors and JSON-able facts atomically; tensors that share their memory (tied
    weights) are each written."""
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
    """Read what `save_checkpoint` wrote: (tensors, facts). Raises CheckpointError."""
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
