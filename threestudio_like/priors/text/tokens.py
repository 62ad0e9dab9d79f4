"""The positions of a prompt's words among its tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError, ModelError
from ...engine.turns import alone
from ..registry import embedded_folder

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|<[^<>\s]+>", re.UNICODE)


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """The words of a text in lower case, each with the index of its first character and of the one
    after its last. Punctuation is skipped."""
    return [(match.group().lower(), *match.span()) for match in _WORD.finditer(text)]


def phrase_spans(text: str, phrase: str) -> list[tuple[int, int]]:
    """Character ranges of every place where the words of `phrase` follow each other in `text`,
    ignoring case and punctuation.

    Raises:
        ConfigError: the phrase has no words, or the text does not contain them.
    """
    wanted, words = [w for w, _, _ in word_spans(phrase)], word_spans(text)
    if not wanted:
        raise ConfigError(
            f'"{phrase}" has no words',
            "--spatial-words",
            'Give words of the prompt, for example "on"',
        )
    hits = [
        i
        for i in range(len(words) - len(wanted) + 1)
        if [w for w, _, _ in words[i : i + len(wanted)]] == wanted
    ]
    if not hits:
        raise ConfigError(
            f'the prompt "{text}" does not contain "{phrase}"',
            "--spatial-words",
            "Give words of the prompt",
        )
    return [(words[i][1], words[i + len(wanted) - 1][2]) for i in hits]


def word_columns(tokenizer: Any, prompt: str, words: str) -> list[int]:
    """The token positions of `words` at every place of `prompt`, in rising order. A word of several
    tokens has several positions.

    Position 0 is never returned if the tokenizer puts a start token there.

    Args:
        tokenizer: a transformers tokenizer.

    Raises:
        ConfigError: see `phrase_spans`, or the words lie beyond the tokenizer's last position.
        ModelError: the tokenizer cannot give the positions of its tokens.
    """
    spans = phrase_spans(prompt, words)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            "its tokenizer does not give the positions of its tokens in the text",
            type(tokenizer).__name__,
            "Use a model with a fast tokenizer",
        )
    offsets = tokenizer(prompt, return_offsets_mapping=True).offset_mapping
    # Byte-level tokens may include the space before them.
    columns = [
        k
        for k, (begin, end) in enumerate(offsets)
        if end > begin and any(begin < last and end > first for first, last in spans)
    ]
    limit = min(getattr(tokenizer, "model_max_length", len(offsets)), 1 << 20)
    kept = [k for k in columns if k < limit - 1]
    if not kept:
        raise ConfigError(
            f'"{words}" comes after the {limit} tokens that the model reads',
            "the prompt",
            "Shorten the prompt",
        )
    return kept


@alone()
def tokenizer_of(folder: Path | None = None) -> Any:
    """The tokenizer of the embedded models, or of a folder."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder or embedded_folder("clip"))
