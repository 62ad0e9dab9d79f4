"""Embeddings of prompts: a cache during a run, and a portable bundle, so that optimisation needs no
text encoder."""

from __future__ import annotations

import json
import re
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
        bundle: whether they come from a file that has what is asked for, so that no text encoder
            need be there.
        model: the prior that a bundle was made with; "" where it does not say.
    """

    def __init__(self) -> None:
        self._table: dict[str, torch.Tensor] = {}
        self.bundle, self.model = False, ""

    def __contains__(self, prompt: str) -> bool:
        return prompt in self._table

    def __getitem__(self, prompt: str) -> torch.Tensor:
        return self._table[prompt]

    def __len__(self) -> int:
        return len(self._table)

    def tells_of(self, prompt: str) -> bool:
        """Whether it has a prompt, as it stands or with words of a view beside it."""
        found = re.compile(rf"(?<!\w){re.escape(prompt)}(?!\w)")
        return any(found.search(p) for p in self._table)

    @property
    def prompts(self) -> list[str]:
        """All prompts that it has but the empty one."""
        return [p for p in self._table if p]

    def add(self, prompt: str, embedding: torch.Tensor) -> None:
        """Store the embedding (T, D) of a prompt."""
        self._table[prompt] = embedding.float().cpu()

    @property
    def width(self) -> int:
        """Numbers of a token, D; 0 where it is empty or they differ."""
        widths = {e.shape[-1] for e in self._table.values()}
        return widths.pop() if len(widths) == 1 else 0

    def save(self, path: Path, *, model: str = "", force: bool = False) -> None:
        """Write a bundle: one safetensors file with the prompts in its header, and the prior that
        they are for. Raises OutputError."""
        prompts = list(self._table)
        tensors = {str(i): self._table[p].contiguous() for i, p in enumerate(prompts)}
        facts = {"format": FORMAT, "prompts": json.dumps(prompts), "model": model}
        data = save(tensors, metadata=facts)
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
            store.bundle, store.model = True, metadata.get("model", "")
        except (SafetensorError, KeyError, json.JSONDecodeError, OSError):
            raise ModelError(
                "the embedding bundle is damaged",
                str(path),
                "Write it again with --save-embeddings",
            ) from None
        return store
