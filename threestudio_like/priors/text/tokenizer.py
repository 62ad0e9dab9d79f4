"""The tokenizer that a model folder names, and what becomes of prompts in it: tokens in chunks,
what is cut, what is not known, where words stand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...engine.errors import ConfigError, ModelError, VocabularyError
from ...engine.turns import alone
from .tokens import phrase_spans

LONGEST = 1 << 16
"""Tokens that a tokenizer without a limit of its own is taken to read."""

FEWEST = 3
"""Tokens of the shortest text: its beginning, a word, its end."""


@alone()
def load_tokenizer(folder: Path, part: str = "tokenizer") -> Any:
    """The tokenizer in a part of a model folder, of the class that its tokenizer_config.json names.
    Nothing is asked of the network.

    Raises:
        ModelError: it is missing, damaged, or needs a package that is not installed.
    """
    path = (folder / part).resolve()
    if not path.is_dir():
        raise ModelError(
            f'has no "{part}"', str(folder), "Download the model again, with its tokenizers"
        )
    if not (path / "tokenizer_config.json").is_file():
        raise ModelError(
            "has no tokenizer_config.json, which names the class of the tokenizer",
            str(path),
            "Download the model again",
        )
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
    except ImportError as error:
        first = str(error).strip().splitlines()[0][:120]
        raise ModelError(
            f"its tokenizer needs a package that is not installed ({first})",
            str(path),
            "pip install sentencepiece protobuf tiktoken",
        ) from None
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ModelError(
            f"the tokenizer cannot be loaded ({first})", str(path), "Download the model again"
        ) from None
    if len(tokenizer) < 3:
        raise ModelError(
            f"its tokenizer knows {len(tokenizer)} tokens", str(path), "Download the model again"
        )
    limit = tokenizer.model_max_length
    if type(limit) not in (int, float) or not limit >= FEWEST:
        raise ModelError(
            f'"model_max_length" must be at least {FEWEST}, got "{str(limit)[:40]}"',
            str(path / "tokenizer_config.json"),
            "Correct it, or download the model again",
        )
    return tokenizer


@dataclass(frozen=True)
class Reading:
    """What of a prompt is read: the text, and what was left out of it (empty for nothing)."""

    text: str
    cut: str = ""


class Tokens:
    """A tokenizer with the number of tokens that its encoder reads at once.

    Args:
        tokenizer: of transformers.
        length: tokens of a chunk, with those at its ends.
        chunked: whether a longer prompt is read in several chunks. Otherwise it is cut, and what
            stands after its last comma is kept: the direction of the view.
    """

    def __init__(self, tokenizer: Any, length: int, chunked: bool = False) -> None:
        self.tokenizer, self.length, self.chunked = tokenizer, length, chunked
        self._ends = len(tokenizer("", add_special_tokens=True).input_ids)

    @property
    def room(self) -> int:
        """Tokens of a prompt that fit into a chunk."""
        return max(1, self.length - self._ends)

    def count(self, text: str) -> int:
        """Tokens of a text, without those at the ends."""
        return len(self._bare(text))

    def _bare(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def check(self, text: str) -> None:
        """Raise VocabularyError on a text in which the tokenizer does not know something."""
        unknown = self.tokenizer.unk_token_id
        ids = self._bare(text)
        if unknown is None or unknown not in ids:
            return
        strange = [w for w in text.split() if unknown in self._bare(w)] or [text]
        words = ", ".join(f'"{w}"' for w in strange[:6])
        raise VocabularyError(
            f"its tokenizer does not know {words}",
            "prompt",
            "Say it in words that the model was trained on",
        )

    def read(self, text: str) -> Reading:
        """The text as far as it is read."""
        if self.chunked or self.count(text) <= self.room:
            return Reading(text)
        head, comma, tail = text.rpartition(",")
        if not comma or self.count(comma + tail) > self.room // 2:
            head, comma, tail = text, "", ""
        words = head.split()
        kept = len(words)
        while kept > 1 and self.count(" ".join(words[:kept]) + comma + tail) > self.room:
            kept -= 1
        return Reading(" ".join(words[:kept]) + comma + tail, " ".join(words[kept:]))

    def chunks(self, text: str) -> int:
        """Chunks that a text takes."""
        return max(1, -(-self.count(text) // self.room)) if self.chunked else 1

    def ids(self, texts: list[str]) -> torch.Tensor:
        """Token ids (B, n, length), where n is the number of chunks of the longest text; the others
        are followed by empty chunks."""
        read = [self.read(text).text for text in texts]
        count = max(self.chunks(text) for text in read)
        if count == 1:
            return self._padded(read)[:, None]
        room, rows = self.room, []
        for text in read:
            bare = self._bare(text)
            parts = [bare[i * room : (i + 1) * room] for i in range(count)]
            rows.append([self._framed(part) for part in parts])
        return torch.tensor(rows)

    def padded(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids (B, length) of texts in one chunk, and their mask (B, length)."""
        made = self._call([self.read(text).text for text in texts])
        return made.input_ids, made.attention_mask

    def _padded(self, texts: list[str]) -> torch.Tensor:
        return self._call(texts).input_ids

    def _call(self, texts: list[str]) -> Any:
        return self.tokenizer(
            texts,
            padding="max_length",
            max_length=self.length,
            truncation=True,
            return_tensors="pt",
        )

    def _framed(self, bare: list[int]) -> list[int]:
        begin, end = self._frame()
        row = [*begin, *bare, *end]
        return row + [self.tokenizer.pad_token_id] * (self.length - len(row))

    def _frame(self) -> tuple[list[int], list[int]]:
        """The tokens before and after a text."""
        whole = list(self.tokenizer("", add_special_tokens=True).input_ids)
        bos = self.tokenizer.bos_token_id
        front = 1 if whole and whole[0] == bos else 0
        return whole[:front], whole[front:]

    def columns(self, text: str, words: str) -> list[int]:
        """The places of words among the tokens of all chunks (n * length), in rising order.

        Raises:
            ConfigError: the text does not contain the words, or they were cut.
            ModelError: the tokenizer does not tell where its tokens stand.
        """
        if not getattr(self.tokenizer, "is_fast", False):
            raise ModelError(
                "its tokenizer does not give the positions of its tokens in the text",
                type(self.tokenizer).__name__,
                "Use a model with a fast tokenizer",
            )
        spans = phrase_spans(text, words)
        read = self.read(text).text
        if read != text:
            try:
                spans = phrase_spans(read, words)
            except ConfigError:
                raise ConfigError(
                    f'"{words}" comes after the {self.length} tokens that the model reads',
                    "the prompt",
                    "Shorten the prompt",
                ) from None
        offsets = self.tokenizer(
            read, add_special_tokens=False, return_offsets_mapping=True
        ).offset_mapping
        # Byte-level tokens may include the space before them.
        places = [
            k
            for k, (begin, end) in enumerate(offsets)
            if end > begin and any(begin < last and end > first for first, last in spans)
        ]
        front = len(self._frame()[0])
        return [k // self.room * self.length + front + k % self.room for k in places]
