"""Prompts to embeddings by a model folder's tokenizer and text encoder, with learned concepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ...engine.errors import ModelError
from .concepts import concept_tokens
from .embeddings import EmbeddingStore
from .tokens import word_columns


def unknown_word(word: str) -> ModelError:
    """The error about a word that a text encoder does not know."""
    return ModelError(
        f'the text encoder has no word "{word}"', "--word", "Start from a word that it knows"
    )


class PromptEncoder:
    """The text side of a model folder. It is loaded at the first prompt that the embedding store
    does not contain.

    Args:
        folder: holds `tokenizer` and `text_encoder`.
        dtype: number type of the weights.
        keep: whether the encoder stays in memory after a prompt; None: on a CPU only.
        embeddings: known prompt embeddings.
    """

    def __init__(
        self,
        folder: Path,
        dtype: torch.dtype,
        device: torch.device,
        keep: bool | None,
        embeddings: EmbeddingStore,
    ) -> None:
        self.folder, self.dtype, self.device = folder, dtype, device
        self.keep = device.type == "cpu" if keep is None else keep
        self.embeddings = embeddings
        self._tokenizer: Any = None
        self._text_encoder: Any = None
        self._concepts: dict[str, str] = {}

    def _load(self) -> None:
        if self._text_encoder is not None:
            return
        from transformers import CLIPTextModel, CLIPTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            self._tokenizer = CLIPTokenizer.from_pretrained(self.folder / "tokenizer")
            self._text_encoder = CLIPTextModel.from_pretrained(
                self.folder / "text_encoder", dtype=self.dtype, use_safetensors=True
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(
                f"the text encoder cannot be loaded ({str(error).splitlines()[0][:120]})",
                str(self.folder),
                "Download the model again",
            ) from None
        self._text_encoder.requires_grad_(False).eval().to(self.device)

    def add_concepts(self, tokens: dict[str, torch.Tensor]) -> None:
        """Add textual-inversion tokens (METHODS 1.12): {token: vector (D,), or (N, D) for a word of
        N tokens}, as diffusers does.

        Raises ModelError if a token exists already or does not fit.
        """
        self._load()
        for token, given in tokens.items():
            vectors = given if given.ndim == 2 else given[None]
            table = self._text_encoder.get_input_embeddings()
            if vectors.shape[1] != table.embedding_dim:
                raise ModelError(
                    f'the concept "{token}" has {vectors.shape[1]} numbers, this text '
                    f"encoder wants {table.embedding_dim}",
                    "--concept",
                    "Use a concept made for this model",
                )
            names = concept_tokens(token, len(vectors))
            if self._tokenizer.add_tokens(names) != len(names):
                raise ModelError(
                    f'the token "{token}" exists already', "--concept", "Rename the concept's token"
                )
            self._text_encoder.resize_token_embeddings(len(self._tokenizer), mean_resizing=False)
            index = self._tokenizer.convert_tokens_to_ids(names)
            with torch.no_grad():
                self._text_encoder.get_input_embeddings().weight[index] = vectors.to(table.weight)
            self._concepts[token] = " ".join(names)

    def _written(self, text: str) -> str:
        for token, written in self._concepts.items():
            text = text.replace(token, written)
        return text

    def _ids(self, prompts: list[str]) -> torch.Tensor:
        """Token ids (B, T), in which every concept's word is replaced by its tokens."""
        texts = [self._written(prompt) for prompt in prompts]
        length = min(
            self._tokenizer.model_max_length, self._text_encoder.config.max_position_embeddings
        )
        return self._tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> torch.Tensor:
        """Last hidden states (B, T, D), taken from the embedding store if it has them."""
        missing = [p for p in dict.fromkeys(prompts) if p not in self.embeddings]
        if missing:
            self._load()
            states = (
                self._text_encoder(self._ids(missing).to(self.device))
                .last_hidden_state.float()
                .cpu()
            )
            for prompt, state in zip(missing, states):
                self.embeddings.add(prompt, state)
            if not self.keep and not self._concepts:
                self._text_encoder = self._tokenizer = None
        return torch.stack([self.embeddings[p] for p in prompts]).to(self.device)

    def encode_with_concept(
        self, prompts: list[str], token: str, vectors: torch.Tensor
    ) -> torch.Tensor:
        """Last hidden states (B, T, D) with `vectors` (N, D) in place of `token`; differentiable in
        the vectors. The token must have been added with as many vectors."""
        self._load()
        known = self._tokenizer.get_added_vocab()
        names = concept_tokens(token, len(vectors))
        if any(name not in known for name in names):
            raise ModelError(f'the token "{token}" is not known', "--token", "Add it first")
        index = torch.tensor([known[name] for name in names])
        table = self._text_encoder.get_input_embeddings().weight
        changed = table.detach().index_copy(0, index.to(table.device), vectors.to(table))
        name = next(n for n, p in self._text_encoder.named_parameters() if p is table)
        out = torch.func.functional_call(
            self._text_encoder, {name: changed}, (self._ids(prompts).to(self.device),)
        )
        return out.last_hidden_state.float()

    def word_vector(self, word: str) -> torch.Tensor:
        """The embedding (D,) of a word, averaged over its tokens. Raises ModelError if the
        tokenizer does not know the word."""
        self._load()
        known = self._tokenizer(word, add_special_tokens=False).input_ids
        if not known:
            raise unknown_word(word)
        return self._text_encoder.get_input_embeddings().weight[known].mean(0).detach().float()

    def columns(self, prompt: str, words: str) -> list[int]:
        """Positions of words among a prompt's tokens."""
        self._load()
        return word_columns(self._tokenizer, self._written(prompt), self._written(words))
