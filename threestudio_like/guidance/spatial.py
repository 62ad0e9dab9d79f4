"""Spatially-aware score distillation (ComboVerse, METHODS 4.5): score distillation whose
conditional branch looks harder at the words that relate things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ..engine.errors import ConfigError
from ..priors.diffusion import DiffusionPrior
from .prompts import PromptConfig
from .score_distillation import ScoreDistillation, ScoreDistillationConfig


def _score() -> ScoreDistillationConfig:
    return ScoreDistillationConfig(
        scale=7.5,
        weighting="dreamfusion",
        t_min="0.8",
        t_max="0.9",
        prompt=PromptConfig(view_dependent=False),
    )


@dataclass
class SpatialConfig:
    """Defaults are the paper's: noise times 800 to 900 of 1000, the words' attention times 25."""

    factor: float = 25.0
    """c: what the attention maps of the spatial words are multiplied by; 1 is plain score
    distillation."""
    score: ScoreDistillationConfig = field(default_factory=_score)
    """The prompt does not follow the camera: relations like "in front of" hold as seen from the
    reference view."""


class SpatialScoreDistillation(ScoreDistillation):
    """Score distillation through `Condition.emphasis`; the unconditional branch and self-attention
    are as ever.

    Args:
        prior: its text must have words (`DiffusionPrior.word_columns`).
        words: spatial words of the prompt, of one or several tokens; all their occurrences count.

    Raises:
        ConfigError: a word that the prompt does not say, or a factor below zero.
    """

    def __init__(
        self,
        prior: DiffusionPrior,
        prompt: str,
        words: Sequence[str],
        config: SpatialConfig,
        encode: bool = True,
    ) -> None:
        super().__init__(prior, prompt, config.score, encode)
        if config.factor < 0:
            raise ConfigError(
                f"must not be negative, got {config.factor:g}",
                "--spatial.factor",
                "The paper's is 25",
            )
        self.factor = config.factor
        self.columns = sorted(
            {column for word in words for column in prior.word_columns(prompt, word)}
        )

    def emphasis(self, tokens: int) -> torch.Tensor | None:
        """(T,): the factor in the words' columns, one elsewhere; None without words."""
        if not self.columns:
            return None
        factors = torch.ones(tokens)
        factors[self.columns] = self.factor
        return factors
