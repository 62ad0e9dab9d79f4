"""Prompts to embeddings by a model folder's tokenizer and text encoder, with learned concepts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...engine.errors import ModelError
from ..families.parts import check_skip, load_text_part
from ..model_files import number_in
from .concepts import add_vectors, concept_tokens, in_tokens
from .embeddings import EmbeddingStore
from .tokenizer import Tokens, load_tokenizer


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
        chunked: whether a long prompt is read in several chunks; else it is cut.
        skip: last layers that are left out; the final norm stays.

    Attributes:
        prepare: is given the encoder as soon as it is loaded.
    """

    prepare: Callable[[str, Any], None] | None = None

    def __init__(
        self,
        folder: Path,
        dtype: torch.dtype,
        device: torch.device,
        keep: bool | None,
        embeddings: EmbeddingStore,
        chunked: bool = False,
        skip: int = 0,
    ) -> None:
        check_skip(folder, ("text_encoder",), skip)
        self.folder, self.dtype, self.device, self.skip = folder, dtype, device, skip
        self.keep = device.type == "cpu" if keep is None else keep
        self.embeddings, self.chunked = embeddings, chunked
        self._tokenizer: Any = None
        self._text_encoder: Any = None
        self._concepts: dict[str, str] = {}

    def _load_tokenizer(self) -> Tokens:
        """The tokenizer, without the encoder."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.folder)
        known = int(self._tokenizer.model_max_length)
        path = self.folder / "text_encoder" / "config.json"
        if path.is_file():
            known = min(known, number_in(path, "max_position_embeddings", known))
        return Tokens(self._tokenizer, known, self.chunked)

    def _load(self) -> None:
        if self._text_encoder is not None:
            return
        self._load_tokenizer()
        network = load_text_part(self.folder, "text_encoder", self.dtype, ("CLIPTextModel",))
        if self.prepare is not None:
            self.prepare("text_encoder", network)
        self._text_encoder = network.to(self.device)
        rows = self._text_encoder.get_input_embeddings().num_embeddings
        if len(self._tokenizer) > rows and not self._concepts:
            raise ModelError(
                f"its tokenizer has {len(self._tokenizer)} tokens, and its text encoder knows "
                f"{rows}",
                str(self.folder),
                "They are of different models",
            )

    def check(self, prompt: str) -> list[str]:
        """See `DiffusionPrior.check_prompt`."""
        if prompt in self.embeddings:
            return []
        tokens, text = self._load_tokenizer(), self._written(prompt)
        tokens.check(text)
        cut = tokens.read(text).cut
        return [f'the text encoder reads {tokens.length} tokens; left out: "{cut}"'] if cut else []

    def add_concepts(self, tokens: dict[str, torch.Tensor]) -> None:
        """Add textual-inversion tokens (METHODS 1.12): {token: vector (D,), or (N, D) for a word of
        N tokens}, as diffusers does.

        Raises ModelError if a token exists already or does not fit.
        """
        self._load()
        for token, given in tokens.items():
            vectors = given if given.ndim == 2 else given[None]
            written = add_vectors(token, vectors, self._tokenizer, self._text_encoder)
            self._concepts[token] = written

    def _written(self, text: str) -> str:
        return in_tokens(text, self._concepts)

    def _ids(self, prompts: list[str]) -> torch.Tensor:
        """Token ids (B, n, L) in n chunks, in which every concept's word is replaced by its
        tokens."""
        return self._load_tokenizer().ids([self._written(prompt) for prompt in prompts])

    def _states(
        self, ids: torch.Tensor, changed: dict[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Hidden states (B, n * L, D) float32 of token ids (B, n, L), by the encoder with `changed`
        in place of its own weights."""
        network, skip = self._text_encoder, self.skip
        told = (ids.flatten(0, 1).to(self.device),)
        more = {"output_hidden_states": skip > 0}
        if changed is None:
            out = network(*told, **more)
        else:
            out = torch.func.functional_call(network, changed, told, more)
        states = out.last_hidden_state
        if skip:
            # Earlier versions of transformers had CLIP's layers below "text_model".
            norm = getattr(network, "text_model", network).final_layer_norm
            states = norm(out.hidden_states[-(skip + 1)])
        return states.float().unflatten(0, ids.shape[:2]).flatten(1, 2)

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> torch.Tensor:
        """Last hidden states (B, T, D), taken from the embedding store if it has them. All prompts
        of one call have the same T."""
        wanted = list(dict.fromkeys(prompts))
        missing = [p for p in wanted if p not in self.embeddings]
        known = {len(self.embeddings[p]) for p in wanted if p in self.embeddings}
        if missing or len(known) > 1:
            self._load()
            for prompt in wanted:
                self.check(prompt)
            tokens = self._load_tokenizer()
            here = max(tokens.chunks(self._written(p)) for p in wanted) * tokens.length
            # A prompt that was encoded beside shorter ones has fewer chunks.
            made = [p for p in wanted if p in missing or len(self.embeddings[p]) != here]
            ids = self._ids([*made, *(p for p in wanted if p not in made)])[: len(made)]
            states = self._states(ids).cpu()
            for prompt, state in zip(made, states):
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
        return self._states(self._ids(prompts), {name: changed})

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
        tokens = self._load_tokenizer()
        return tokens.columns(self._written(prompt), self._written(words))
