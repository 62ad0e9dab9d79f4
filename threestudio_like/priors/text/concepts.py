"""Textual-inversion concepts: files of learned token vectors, and the names of their tokens
(METHODS 1.12)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ...engine.errors import ModelError


def read_concept(path: Path) -> dict[str, torch.Tensor]:
    """Textual-inversion tokens of a learned_embeds file, .safetensors or .bin (read with
    weights_only).

    Raises:
        ModelError: missing, damaged, or not a table of vectors.
    """
    if not path.is_file():
        raise ModelError(
            "there is no such file", str(path), "Give the learned_embeds file of a concept"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            table = load_file(str(path))
        else:
            table = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(
            f"is not a concept file ({type(error).__name__})",
            str(path),
            "Give learned_embeds.safetensors or learned_embeds.bin",
        ) from None
    if (
        not isinstance(table, dict)
        or not table
        or not all(
            isinstance(v, torch.Tensor) and v.squeeze().ndim in (1, 2) and v.numel()
            for v in table.values()
        )
    ):
        raise ModelError(
            "contains no {token: vector} table",
            str(path),
            "Give learned_embeds.safetensors or learned_embeds.bin",
        )
    return {str(k): v.float().squeeze() for k, v in table.items()}


def concept_tokens(token: str, count: int) -> list[str]:
    """The names of a concept's tokens: the first is the word itself, and the others have a number
    appended (diffusers' convention)."""
    return [token, *(f"{token}_{i}" for i in range(1, count))]


def concept_words(tokens: Sequence[str], prompt: str) -> list[str]:
    """The concept tokens that the prompt does not use, of which the user is warned (METHODS
    1.12)."""
    return [t for t in tokens if t not in prompt]
