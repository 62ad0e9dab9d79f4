"""Embeddings of prompts: a cache during a run, and a portable bundle, so that optimisation needs no
text encoder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ...engine.errors import ModelError
from ...engine.output import write_file

FORMAT = "threestudio-like embeddings 1"


class EmbeddingStore:
    """Embeddings (T, D) float32 by prompt.

    Attributes:
        bundle: whether they come from a file, so that no text encoder need be there.
    """

    def __init__(self) -> None:
        self._table: dict[str, torch.Tensor] = {}
        self.bundle = False

    def __contains__(self, prompt: str) -> bool:
        return prompt in self._table

    def __getitem__(self, prompt: str) -> torch.Tensor:
        return self._table[prompt]

    def __len__(self) -> int:
        return len(self._table)

    def add(self, prompt: str, embedding: torch.Tensor) -> None:
        """Store the embedding (T, D) of a prompt."""
        self._table[prompt] = embedding.float().cpu()

    def save(self, path: Path, *, force: bool = False) -> None:
        """Write a bundle: one safetensors file with the prompts in its header. Raises
        OutputError."""
        prompts = list(self._table)
        tensors = {str(i): self._table[p].contiguous() for i, p in enumerate(prompts)}
        data = save(tensors, metadata={"format": FORMAT, "prompts": json.dumps(prompts)})
        write_file(path, data, force=force)

    @staticmethod
    def load(path: Path) -> EmbeddingStore:
        """Read a bundle. Raises ModelError if it is missing or not a bundle."""
        if not path.is_file():
            raise ModelError(
                "there is no such embedding bundle", str(path), "Write one with --save-embeddings"
            )
        store = EmbeddingStore()
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise ModelError(
                        "is not an embedding bundle", str(path), "Write one with --save-embeddings"
                    )
                for i, prompt in enumerate(json.loads(metadata["prompts"])):
                    store.add(prompt, file.get_tensor(str(i)))
            store.bundle = True
        except (SafetensorError, KeyError, json.JSONDecodeError, OSError):
            raise ModelError(
                "the embedding bundle is damaged",
                str(path),
                "Write it again with --save-embeddings",
            ) from None
        return store
