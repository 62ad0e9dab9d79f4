"""Textual-inversion concepts: files of learned token vectors, and the names of their tokens
(METHODS 1.12)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...engine.errors import ModelError


def read_concept(path: Path) -> dict[str, torch.Tensor]:
    """Textual-inversion tokens: of a learned_embeds file, .safetensors or .bin (read with
    weights_only), or of a file of A1111's layout ("emb_params", "string_to_param"), whose word is
    the name in it or else that of the file; or of a file for SDXL ("clip_l", "clip_g"), whose
    vectors are those of both encoders side by side.

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
    table = _of_a1111(table, path.stem)
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
    words = {str(k): v.float().squeeze() for k, v in table.items()}
    for word, vectors in words.items():
        if not torch.isfinite(vectors).all():
            raise ModelError(f'its "{word}" holds values that are no numbers', str(path))
    return words


def _of_a1111(table: Any, stem: str) -> Any:
    """A table of A1111's layout as {token: vectors}; any other as it is."""
    if not isinstance(table, dict):
        return table
    if "emb_params" in table:
        return {stem: table["emb_params"]}
    params = table.get("string_to_param")
    if isinstance(params, dict) and len(params) == 1:
        return {str(table.get("name") or stem): next(iter(params.values())).detach()}
    if {"clip_l", "clip_g"} & set(table):
        if set(table) != {"clip_l", "clip_g"}:
            raise ModelError(
                "is a concept for two text encoders (Stable Diffusion XL), and one is missing",
                stem,
                "Download it again, whole",
            )
        return {stem: _side_by_side([table["clip_l"], table["clip_g"]], stem)}
    return table


def _side_by_side(both: list[Any], stem: str) -> torch.Tensor:
    """Vectors of two text encoders (N, D1 + D2)."""
    if not all(isinstance(v, torch.Tensor) and v.ndim in (1, 2) for v in both):
        raise ModelError("contains no table of vectors", stem, "Download it again")
    rows = [v.float() if v.ndim == 2 else v.float()[None] for v in both]
    if len(rows[0]) != len(rows[1]):
        raise ModelError(
            f"has {len(rows[0])} and {len(rows[1])} vectors for its two text encoders",
            stem,
            "Download it again",
        )
    return torch.cat(rows, -1)


def add_vectors(token: str, vectors: torch.Tensor, tokenizer: Any, network: Any) -> str:
    """Give a tokenizer and its encoder a word of N tokens, as diffusers does; how the word is
    written for them.

    Args:
        vectors: (N, D).

    Raises:
        ModelError: the word exists already, or does not fit.
    """
    wide = network.get_input_embeddings().embedding_dim
    if vectors.shape[1] != wide:
        raise ModelError(
            f'the concept "{token}" has {vectors.shape[1]} numbers, this text encoder wants {wide}',
            "--concept",
            "Use a concept made for this model",
        )
    names = concept_tokens(token, len(vectors))
    if tokenizer.add_tokens(names) != len(names):
        raise ModelError(
            f'the token "{token}" exists already', "--concept", "Rename the concept's token"
        )
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    index = tokenizer.convert_tokens_to_ids(names)
    with torch.no_grad():
        table = network.get_input_embeddings().weight
        table[index] = vectors.to(table)
    return " ".join(names)


def concept_tokens(token: str, count: int) -> list[str]:
    """The names of a concept's tokens: the first is the word itself, and the others have a number
    appended (diffusers' convention)."""
    return [token, *(f"{token}_{i}" for i in range(1, count))]


def in_tokens(text: str, written: Mapping[str, str]) -> str:
    """A text with every concept's word as the tokens that stand for it.

    Args:
        written: how each word is written for the tokenizer, see `add_vectors`.
    """
    return _pattern(written).sub(lambda found: written[found[0]], text) if written else text


def unused_words(words: Sequence[str], prompt: str) -> list[str]:
    """The concepts' words that a prompt does not use, of which the user is warned (METHODS
    1.12)."""
    used = set(_pattern(words).findall(prompt)) if words else set()
    return [word for word in words if word not in used]


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Whole words alone, and the longest that fits: "mug" is in neither "mugs" nor "<mug>"."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
