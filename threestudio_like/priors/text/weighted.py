"""Weights in prompts: `a (red:1.3) chair` pays 1.3 times the attention to "red".

The factors multiply the text's attention maps after the softmax (`networks.attention.emphasised`),
as those of spatial words do. Parentheses without a number are part of the text.
"""

from __future__ import annotations

import re

import torch

from ...engine.errors import InputError
from ..diffusion import DiffusionPrior

LARGEST = 100.0
_WEIGHTED = re.compile(r"\(([^()]*?):\s*([-+]?[0-9]*\.?[0-9]+)\s*\)")


def parse_weighted(prompt: str) -> tuple[str, list[tuple[str, float]]]:
    """A prompt without its weights, and its weighted phrases with their factors.

    Raises:
        InputError: a weight of no words, within another, or out of [0, 100].

    Example:
        >>> parse_weighted("a (red:1.3) chair")
        ('a red chair', [('red', 1.3)])
    """
    weights = []
    for match in _WEIGHTED.finditer(prompt):
        words, value = match[1].strip(), float(match[2])
        if not any(c.isalnum() for c in words):
            raise InputError(f'"{match[0]}" weights no words', "prompt", "Write (red:1.3)")
        if not 0 <= value <= LARGEST:
            raise InputError(
                f'the weight of "{words}" is {match[2]}', "prompt", f"Give 0 to {LARGEST:g}"
            )
        weights.append((words, value))
    plain = _WEIGHTED.sub(lambda m: m[1].strip(), prompt)
    if weights and _WEIGHTED.search(plain):
        raise InputError("has weights within weights", "prompt", "Give each phrase one weight")
    return plain, weights


def emphasis_of(
    prior: DiffusionPrior, text: str, weights: list[tuple[str, float]], tokens: int
) -> torch.Tensor | None:
    """Factors (T,) for the tokens of a text; None without weights.

    Args:
        text: without weights, as it is encoded.
        tokens: length T of its embedding.

    Raises:
        ConfigError: a weighted phrase was cut from the text.
        ModelError: this prior has no words whose attention could be weighted.
    """
    if not weights:
        return None
    factors = torch.ones(tokens)
    for words, value in weights:
        factors[prior.word_columns(text, words)] *= value
    return factors
