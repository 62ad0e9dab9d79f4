"""The tensors of a user's file, read whole and checked: never a pickle, never a number that is
none."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ...engine.errors import ModelError
from ..families.parts import PICKLES
from ..hub import pickle_advice

AGAIN = "Download it again"


@dataclass(frozen=True)
class TensorFile:
    """Tensors of a file by name, and the text beside them."""

    path: Path
    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    def settings(self, key: str) -> dict[str, Any]:
        """A JSON object among the text; empty where there is none. Raises ModelError."""
        if key not in self.metadata:
            return {}
        try:
            values = json.loads(self.metadata[key])
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise ModelError(f'its "{key}" is damaged', str(self.path), AGAIN)
        return values


def read_tensors(path: Path, what: str) -> TensorFile:
    """A .safetensors file of finite floating-point tensors.

    Args:
        what: it is to be, in words: "a LoRA".

    Raises:
        ModelError: it is missing, a pickle, damaged, empty, or holds what is no number.
    """
    where = str(path)
    if path.suffix.lower() in PICKLES and path.is_file():
        raise ModelError(
            "is pickled, which can hold programs; only safetensors are read",
            where,
            pickle_advice(path),
        )
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "there is no such file"
        raise ModelError(kind, where, f"Give the .safetensors file of {what}")
    try:
        with safe_open(where, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ModelError(f"is no whole .safetensors file ({first})", where, AGAIN) from None
    if not tensors:
        raise ModelError("holds no tensors", where, f"Give the file of {what}")
    for key, tensor in tensors.items():
        if not tensor.numel():
            raise ModelError(f'its "{key}" is empty {list(tensor.shape)}', where, AGAIN)
        if tensor.is_floating_point():
            if not torch.isfinite(tensor.float()).all():
                raise ModelError(f'its "{key}" holds values that are no numbers', where, AGAIN)
        elif tensor.numel() > 1:
            raise ModelError(
                f'its "{key}" holds whole numbers ({tensor.dtype}), as quantised files do',
                where,
                "Take the file in float32, float16 or bfloat16",
            )
    return TensorFile(path, tensors, metadata)
