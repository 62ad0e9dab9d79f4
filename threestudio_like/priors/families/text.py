"""The text sides of the families: prompts to packed embeddings, with the tokenizers and encoders
that a folder names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from ...engine.errors import ModelError
from ...engine.turns import alone
from ..text.concepts import add_vectors, in_tokens
from ..text.embeddings import EmbeddingStore
from ..text.packed import Text, TextLayout
from ..text.tokenizer import Tokens, load_tokenizer
from .parts import check_skip, load_text_part

CLIP = ("CLIPTextModel", "CLIPTextModelWithProjection")
T5 = ("T5EncoderModel", "UMT5EncoderModel")


class TextSide(Protocol):
    """What turns prompts into packed embeddings."""

    embeddings: EmbeddingStore
    dtype: torch.dtype
    device: torch.device
    keep: bool
    prepare: Callable[[str, Any], None] | None

    def encode(self, prompts: list[str]) -> torch.Tensor:
        """Packed embeddings (B, T, D)."""

    def columns(self, prompt: str, words: str) -> list[int]:
        """See `DiffusionPrior.word_columns`."""

    def check(self, prompt: str) -> list[str]:
        """See `DiffusionPrior.check_prompt`."""


class FamilyText(ABC):
    """The text side of a model folder; encoders are loaded at the first prompt that the store does
    not contain.

    Args:
        folder: of the model.
        dtype: number type of the encoders.
        keep: whether encoders stay in memory after a prompt; None: on a CPU only.
        embeddings: known embeddings, packed.
        length: tokens of the long encoder; 0 for the family's own number.
    """

    def __init__(
        self,
        folder: Path,
        dtype: torch.dtype,
        device: torch.device,
        keep: bool | None,
        embeddings: EmbeddingStore,
        length: int = 0,
    ) -> None:
        self.folder, self.dtype, self.device = folder, dtype, device
        self.keep = device.type == "cpu" if keep is None else keep
        self.embeddings, self.length = embeddings, length or self.usual_length
        self._tokens: dict[str, Tokens] = {}
        self._encoders: dict[str, Any] = {}

    usual_length = 77
    """Tokens of the long encoder."""
    layout = TextLayout()
    prepare: Callable[[str, Any], None] | None = None
    """Is given every encoder, by its part of the folder, as soon as it is loaded."""

    @abstractmethod
    def readers(self) -> dict[str, Tokens]:
        """The tokenizers by part of the folder."""

    @abstractmethod
    def make(self, prompts: list[str]) -> Text:
        """What the denoiser is told of prompts. The encoders may be loaded."""

    def tokens(self, part: str, length: int, chunked: bool = False) -> Tokens:
        """The tokenizer in a part of the folder; loaded once."""
        if part not in self._tokens:
            tokenizer = load_tokenizer(self.folder, part)
            tokenizer.padding_side = "right"
            known = min(int(tokenizer.model_max_length), 1 << 16)
            self._tokens[part] = Tokens(tokenizer, min(length, known), chunked)
        return self._tokens[part]

    def encoder(self, part: str, classes: tuple[str, ...]) -> Any:
        """The encoder in a part of the folder; kept until `forget`."""
        if part not in self._encoders:
            network = load_text_part(self.folder, part, self.dtype, classes)
            if self.prepare is not None:
                self.prepare(part, network)
            self._encoders[part] = network.to(self.device)
        return self._encoders[part]

    def forget(self) -> None:
        """Free the encoders."""
        self._encoders.clear()

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> torch.Tensor:
        """Packed embeddings (B, T, D), taken from the store if it has them. All prompts of one call
        have the same T."""
        missing = [p for p in dict.fromkeys(prompts) if p not in self.embeddings]
        known = [p for p in dict.fromkeys(prompts) if p in self.embeddings]
        lengths = {len(self.embeddings[p]) for p in known}
        made: dict[str, torch.Tensor] = {}
        if missing or (len(lengths) > 1 and not self.layout.masked):
            # Embeddings that no mask tells from padding are made anew where their lengths differ.
            wanted = missing if self.layout.masked or not known else list(dict.fromkeys(prompts))
            for prompt in wanted:
                self.check(prompt)
            rows = self.layout.pack(self.make(wanted)).float().cpu()
            made = dict(zip(wanted, rows))
            for prompt, row in made.items():
                self.embeddings.add(prompt, row)
            if not self.keep:
                self.forget()
        return self.layout.joined([self.embeddings[p] for p in prompts]).to(self.device)

    def check(self, prompt: str) -> list[str]:
        """What of a prompt is not read, in lines. Raises VocabularyError on unknown tokens."""
        lines = []
        for part, tokens in self.readers().items():
            tokens.check(prompt)
            cut = tokens.read(prompt).cut
            if cut:
                lines.append(f'{part} reads {tokens.length} tokens; left out: "{cut}"')
        return lines

    def columns(self, prompt: str, words: str) -> list[int]:
        """See `DiffusionPrior.word_columns`."""
        raise ModelError(
            "has no words whose attention could be weighted",
            type(self).__name__,
            "Write the prompt without weights",
        )


class ClipPair(FamilyText):
    """SDXL's: the last hidden states but one of two CLIPs side by side, and the second's pooled
    text. Long prompts are read in chunks, and the pooled text is the first chunk's."""

    def __init__(
        self, *arguments: Any, zeros: bool = True, pooled: int, skip: int = 0, **keywords: Any
    ) -> None:
        """`zeros`: whether the empty prompt is all zeros. `pooled`: numbers of the pooled text.
        `skip`: see `clip_states`."""
        super().__init__(*arguments, **keywords)
        check_skip(self.folder, ("text_encoder", "text_encoder_2"), skip, usual=1)
        self.zeros, self.layout, self.skip = zeros, TextLayout(pooled=pooled), skip
        self._concepts: dict[str, str] = {}

    def readers(self) -> dict[str, Tokens]:
        """Both CLIPs' tokenizers."""
        return {part: self.tokens(part, 77, chunked=True) for part in ("tokenizer", "tokenizer_2")}

    def add_concepts(self, tokens: dict[str, torch.Tensor]) -> None:
        """Add words of textual inversion: {word: vectors (N, D1 + D2) of both encoders}.

        Raises:
            ModelError: a word exists already, or does not fit.
        """
        both = [self.encoder(f"text_encoder{p}", CLIP) for p in ("", "_2")]
        widths = [n.get_input_embeddings().embedding_dim for n in both]
        for token, given in tokens.items():
            vectors = given if given.ndim == 2 else given[None]
            if vectors.shape[1] != sum(widths):
                raise ModelError(
                    f'the concept "{token}" has {vectors.shape[1]} numbers, the two text encoders '
                    f"want {widths[0]} and {widths[1]}",
                    "--concept",
                    "Use a concept made for Stable Diffusion XL (clip_l and clip_g)",
                )
            for part, network, own in zip(("", "_2"), both, vectors.split(widths, -1)):
                tokenizer = self.readers()[f"tokenizer{part}"].tokenizer
                self._concepts[token] = add_vectors(token, own, tokenizer, network)

    def written(self, text: str) -> str:
        """A text with the tokens that stand for every concept's word."""
        return in_tokens(text, self._concepts)

    def forget(self) -> None:
        """Free the encoders, unless they have learnt words."""
        if not self._concepts:
            super().forget()

    def make(self, prompts: list[str]) -> Text:
        """See `FamilyText.make`."""
        states, pooled = clip_states(self, [*map(self.written, prompts)], ("", "_2"), self.skip)
        if self.zeros:
            empty = torch.tensor([not p for p in prompts], device=states.device)
            states = states.masked_fill(empty[:, None, None], 0)
            pooled = pooled.masked_fill(empty[:, None], 0)
        return Text(states, pooled[:, -self.layout.pooled :])

    def columns(self, prompt: str, words: str) -> list[int]:
        """Both tokenizers cut a text at the same places."""
        return self.readers()["tokenizer"].columns(self.written(prompt), self.written(words))


def clip_states(
    text: FamilyText, prompts: list[str], parts: tuple[str, ...], skip: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The last hidden states but one of CLIPs side by side (B, n * L, D), or those `skip` layers
    before them, and their pooled texts (B, P) side by side, which come of all layers."""
    readers = text.readers()
    ids = [readers[f"tokenizer{p}"].ids(prompts) for p in parts]
    count = max(i.shape[1] for i in ids)
    states, pooled = [], []
    for part, rows in zip(parts, ids):
        if rows.shape[1] < count:
            empty = readers[f"tokenizer{part}"].ids([""]).expand(len(rows), -1, -1)
            rows = torch.cat([rows, *[empty] * (count - rows.shape[1])], 1)
        network = text.encoder(f"text_encoder{part}", CLIP)
        out = network(rows.flatten(0, 1).to(text.device), output_hidden_states=True)
        first = out.text_embeds if hasattr(out, "text_embeds") else out.pooler_output
        states.append(out.hidden_states[-(skip + 2)].unflatten(0, (-1, count)).flatten(1, 2))
        pooled.append(first.unflatten(0, (-1, count))[:, 0])
    return torch.cat(states, -1), torch.cat(pooled, -1)


class ClipAndT5(FamilyText):
    """SD3's: two CLIPs, filled up to T5's width, then T5's tokens; T5 may be left out of a folder,
    and its tokens are then zeros. Both CLIPs' pooled texts."""

    usual_length = 256

    def __init__(
        self, *arguments: Any, width: int, pooled: int, skip: int = 0, **keywords: Any
    ) -> None:
        """`width`: of the joint text. `pooled`: numbers of the pooled text. `skip`: see
        `clip_states`."""
        super().__init__(*arguments, **keywords)
        check_skip(self.folder, ("text_encoder", "text_encoder_2"), skip, usual=1)
        self.width, self.layout, self.skip = width, TextLayout(pooled=pooled), skip
        self.has_t5 = (self.folder / "text_encoder_3").is_dir()

    def readers(self) -> dict[str, Tokens]:
        """The tokenizers of the encoders that are there."""
        parts = {part: self.tokens(part, 77) for part in ("tokenizer", "tokenizer_2")}
        if self.has_t5:
            parts["tokenizer_3"] = self.tokens("tokenizer_3", self.length)
        return parts

    def make(self, prompts: list[str]) -> Text:
        """See `FamilyText.make`."""
        states, pooled = clip_states(self, prompts, ("", "_2"), self.skip)
        if self.has_t5:
            ids, _ = self.readers()["tokenizer_3"].padded(prompts)
            long = self.encoder("text_encoder_3", T5)(ids.to(self.device))[0]
        else:
            long = states.new_zeros(len(prompts), self.length, self.width)
        states = torch.nn.functional.pad(states, (0, self.width - states.shape[-1]))
        return Text(torch.cat([states, long], 1), pooled)

    def columns(self, prompt: str, words: str) -> list[int]:
        """The words' places in CLIP and, behind them, in T5."""
        readers = self.readers()
        found = readers["tokenizer"].columns(prompt, words)
        if self.has_t5:
            first = readers["tokenizer"].length
            found += [first + k for k in readers["tokenizer_3"].columns(prompt, words)]
        return found


class PooledClipAndT5(FamilyText):
    """FLUX.1's: T5's tokens, and CLIP's pooled text."""

    usual_length = 512

    def __init__(self, *arguments: Any, pooled: int, **keywords: Any) -> None:
        """`pooled`: numbers of the pooled text."""
        super().__init__(*arguments, **keywords)
        self.layout = TextLayout(pooled=pooled)

    def readers(self) -> dict[str, Tokens]:
        """CLIP's and T5's tokenizers."""
        return {
            "tokenizer": self.tokens("tokenizer", 77),
            "tokenizer_2": self.tokens("tokenizer_2", self.length),
        }

    def make(self, prompts: list[str]) -> Text:
        """See `FamilyText.make`."""
        readers = self.readers()
        ids = readers["tokenizer"].ids(prompts)[:, 0].to(self.device)
        pooled = self.encoder("text_encoder", CLIP)(ids).pooler_output
        long, _ = readers["tokenizer_2"].padded(prompts)
        return Text(self.encoder("text_encoder_2", T5)(long.to(self.device))[0], pooled)

    def columns(self, prompt: str, words: str) -> list[int]:
        """The words' places in T5."""
        return self.readers()["tokenizer_2"].columns(prompt, words)


class MaskedT5(FamilyText):
    """PixArt's and IF's: T5's tokens. PixArt's denoiser is given their mask, IF's is not."""

    usual_length = 300
    lower = True
    """Whether prompts are read in small letters and without spaces around, as both were trained."""

    def __init__(self, *arguments: Any, masked: bool = True, **keywords: Any) -> None:
        """`masked`: whether the denoiser is given the mask."""
        super().__init__(*arguments, **keywords)
        self.layout = TextLayout(masked=masked)

    def readers(self) -> dict[str, Tokens]:
        """T5's tokenizer."""
        return {"tokenizer": self.tokens("tokenizer", self.length)}

    def make(self, prompts: list[str]) -> Text:
        """See `FamilyText.make`."""
        ids, mask = self.readers()["tokenizer"].padded([p.lower().strip() for p in prompts])
        network = self.encoder("text_encoder", T5)
        out = network(ids.to(self.device), attention_mask=mask.to(self.device))[0]
        return Text(out, mask=mask if self.layout.masked else None)

    def columns(self, prompt: str, words: str) -> list[int]:
        """The words' places in T5."""
        return self.readers()["tokenizer"].columns(prompt.lower().strip(), words)


class LibraryText(FamilyText):
    """Families whose prompts are put into a dialogue with a language model: diffusers' own
    pipeline, without its denoiser and autoencoder, encodes them.

    A subclass names the pipeline, and how its answer is read.
    """

    pipeline = ""
    classes: tuple[str, ...] = ()

    def readers(self) -> dict[str, Tokens]:
        """The tokenizer of the language model; the dialogue around a prompt is not counted."""
        return {"tokenizer": self.tokens("tokenizer", self.length)}

    @alone()
    def library(self) -> Any:
        """The pipeline with the text encoder."""
        import diffusers

        made = getattr(diffusers, self.pipeline)(
            scheduler=None,
            vae=None,
            text_encoder=self.encoder("text_encoder", self.classes),
            tokenizer=self.processor(),
            transformer=None,
        )
        return made

    def processor(self) -> Any:
        """What the pipeline wants as its tokenizer."""
        return self.readers()["tokenizer"].tokenizer

    def padded(self, rows: list[torch.Tensor]) -> Text:
        """Rows (T_i, D) of different lengths, with their mask."""
        states = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.zeros(states.shape[:2])
        for number, row in enumerate(rows):
            mask[number, : len(row)] = 1
        return Text(states, mask=mask)
