"""Samples of a prior's domains, four joint views each, and what judges see in samples of colours:
the embedded judge, and that of the second world, which has learnt from both worlds' pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from second_world.judge import SecondJudge
from worlds import Asked

from threestudio_like.guidance import PromptConfig, ViewPrompts
from threestudio_like.metrics.judge import Judge, PatternJudge
from threestudio_like.priors.diffusion import Condition, DiffusionPrior, Domain
from threestudio_like.priors.sampling import ddim
from threestudio_like.renderers import Cameras
from threestudio_like.toybox.words import Phrase

VIEWS = 4
TURN, ELEVATION = 0.3, math.radians(15)
"""Azimuth of the first view and elevation of all, radians."""
LEVEL = 0.6
"""Grey behind colours."""
SCALE, RESCALE, CLAMP = 4.0, 0.3, 3.5


def cameras_of(size: int) -> Cameras:
    """The cameras of every sample: four quarter turns."""
    turns = torch.arange(VIEWS) * math.pi / 2 + TURN
    up = torch.full((VIEWS,), ELEVATION)
    return Cameras.orbit(turns, up, 3.0, math.radians(40), size, size)


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How a prior is sampled: steps of DDIM, the domain, and the grey level behind it."""

    prior: DiffusionPrior
    steps: int = 12
    domain: Domain = "colour"
    level: float = LEVEL

    def latents(self, seed: int) -> torch.Tensor:
        """Noise (4, C, h, w) of a seed."""
        facts = self.prior.facts
        shape = (VIEWS, facts.channels, facts.latent_size, facts.latent_size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def __call__(
        self, text: str, seed: int, noisy: torch.Tensor | None = None, begin: float = 1.0
    ) -> torch.Tensor:
        """Pictures (4, S, S, 3) in [0, 1] of a prompt, from noise of a seed, or from latents at
        time `begin`, a fraction of all."""
        size = self.prior.facts.image_size
        prompts, cameras = ViewPrompts(self.prior, text, PromptConfig()), cameras_of(size)
        told = prompts.text(cameras)
        condition = Condition(told, cameras, self.level, VIEWS, domain=self.domain)
        noisy = self.latents(seed) if noisy is None else noisy
        negative = prompts.negatives(VIEWS)
        steps = max(1, round(self.steps * begin))
        z = ddim(self.prior, noisy, begin, steps, condition, negative, SCALE, RESCALE, CLAMP)
        return self.prior.decode_latents(z)


Figures = dict[str, float]


def right(shares: torch.Tensor, words: Sequence[str], word: str | None) -> float:
    """Share of the pictures whose likeliest word is the right one; nan where the judge does not
    know it, or nothing was asked."""
    if word is None or word not in words:
        return math.nan
    return float((shares.argmax(1) == words.index(word)).float().mean())


@dataclass(frozen=True)
class Judges:
    """The judges of samples; None where one is not trained, or knows another edition."""

    own: Judge | None
    patterns: PatternJudge | None
    second: SecondJudge | None

    def __call__(self, pictures: torch.Tensor, asked: Asked) -> Figures:
        """Figures of four views (4, S, S, 3) of a prompt."""
        if len(asked.phrases) > 1:
            return self._related(pictures, asked)
        phrase, out = asked.phrases[0], {}
        if self.own is not None:
            verdict = self.own(pictures)
            out["own: category"] = right(verdict.category, self.own.categories, phrase.category)
            out["own: colour"] = right(verdict.colour, self.own.colours, phrase.colour)
        if self.patterns is not None:
            shares = self.patterns(pictures)
            out["own: pattern"] = right(shares, self.patterns.patterns, phrase.pattern)
        return out | self._second(pictures, phrase)

    def _second(self, pictures: torch.Tensor, phrase: Phrase) -> Figures:
        judge = self.second
        if judge is None:
            return {}
        verdict, words = judge(pictures), judge.words
        parts = [
            right(judge.part_colour(pictures, part), words.colours, colour)
            for part, colour in phrase.parts
            if part in words.parts
        ]
        return {
            "second: category": right(verdict.category, words.categories, phrase.category),
            "second: colour": right(verdict.colour, words.colours, phrase.colour),
            "second: pattern": right(verdict.pattern, words.patterns, phrase.pattern),
            "second: part's colour": sum(parts) / len(parts) if parts else math.nan,
        }

    def _related(self, pictures: torch.Tensor, asked: Asked) -> Figures:
        if self.second is None:
            return {}
        names = [p.category for p in asked.phrases]
        known = self.second.words
        if any(n not in known.categories for n in names):
            return {}
        relation = next(r for r in known.relations if f" {r} " in asked.text)
        # Left and right are those of the front, which is the first view.
        shares = self.second.relation(pictures[:1], *names)
        return {"second: relation": right(shares, known.relations, relation)}


COLUMNS = (
    "own: category",
    "own: colour",
    "own: pattern",
    "second: category",
    "second: colour",
    "second: pattern",
    "second: part's colour",
    "second: relation",
)


def mean(lines: Sequence[Figures], name: str) -> float | str:
    """The mean of what is known; "-" where nothing is."""
    known = [x[name] for x in lines if name in x and math.isfinite(x[name])]
    return sum(known) / len(known) if known else "-"
