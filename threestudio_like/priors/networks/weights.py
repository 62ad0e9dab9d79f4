"""A network's weights in a folder: config.json and a safetensors file in float16."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from ...engine.output import write_files


def save_weights(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    config: dict[str, Any] | None = None,
    *,
    name: str = "model.safetensors",
    force: bool = False,
) -> None:
    """Write tensors in float16, and the configuration beside them.

    Args:
        name: of the file of tensors.
        force: replace files that exist.

    Raises: OutputError.
    """
    half = {k: v.detach().cpu().half().contiguous() for k, v in tensors.items()}
    files = {folder / name: save(half)}
    if config is not None:
        files[folder / "config.json"] = json.dumps(config, indent=1).encode()
    write_files(files, force=force)
