"""Checkpoints: one safetensors file, written under a temporary name and then renamed.

Pickled data is neither read nor written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .errors import CheckpointError
from .output import output_error, write_file

FORMAT = "threestudio-like checkpoint 1"
REMEDY = "Start the run again in another folder"

__all__ = ["load_checkpoint", "load_facts", "output_error", "save_checkpoint", "write_atomically"]


def write_atomically(path: Path, data: bytes) -> None:
    """Write bytes to a file inside a run's own folder, replacing an older one. Raises
    OutputError."""
    write_file(path, data, force=True)


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """A checksum of named tensors on the CPU: of names, types, shapes and bytes."""
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        # Bytes by a view, for types that NumPy lacks (bfloat16).
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def save_checkpoint(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Write named tensors and JSON-able facts atomically, with a checksum; tensors that share their
    memory (tied weights) are each written."""
    unique: dict[str, torch.Tensor] = {}
    held: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        if own.numel() and own.untyped_storage().data_ptr() in held:
            own = own.clone()
        held.add(own.untyped_storage().data_ptr())
        unique[name] = own
    metadata = {"format": FORMAT, "facts": json.dumps(facts), "digest": digest(unique)}
    write_atomically(path, save(unique, metadata=metadata))


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote: (tensors, facts). Files of earlier versions have no
    checksum and are read without one.

    Raises:
        CheckpointError: it is missing, of another program, or its bytes are not those written.
    """
    with _opened(path) as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        facts = json.loads(metadata["facts"])
    if "digest" in metadata and metadata["digest"] != digest(tensors):
        raise CheckpointError(
            "the checkpoint is damaged (its checksum does not match)", str(path), REMEDY
        )
    return tensors, facts


def load_facts(path: Path) -> dict[str, Any]:
    """The facts of a checkpoint alone, without its tensors. Raises as `load_checkpoint`."""
    with _opened(path) as file:
        return json.loads(file.metadata()["facts"])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A checkpoint of this program, open. Raises CheckpointError, also of what is read in it."""
    if not path.is_file():
        raise CheckpointError("there is no checkpoint", str(path), REMEDY)
    try:
        with safe_open(str(path), framework="pt") as file:
            if (file.metadata() or {}).get("format") != FORMAT:
                raise CheckpointError(
                    "is not a checkpoint of this program",
                    str(path),
                    "Give the folder of a run made by it",
                )
            yield file
    except (SafetensorError, json.JSONDecodeError, KeyError, OSError) as error:
        raise CheckpointError(
            f"the checkpoint is damaged ({type(error).__name__})", str(path), REMEDY
        ) from None


def remove_partial_files(folder: Path) -> int:
    """Remove what writers that were killed left below a folder of ours; returns how many files."""
    count = 0
    for path in folder.rglob(".*.part*"):
        if path.is_file():
            path.unlink(missing_ok=True)
            count += 1
    return count
