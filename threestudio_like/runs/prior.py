"""The prior of a run: loaded by its options, and asked whether it knows the prompt."""

from __future__ import annotations

from ..engine.config import set_dotted
from ..engine.errors import VocabularyError
from ..priors.diffusion import DiffusionPrior
from ..priors.loading import load_prior as load
from ..priors.model_folder import DiffusersConfig
from ..priors.text.concepts import read_concept
from ..priors.text.embeddings import EmbeddingStore
from ..toybox.vocabulary import CATEGORIES, parse, split, unknown_words
from .options import PriorOptions


def load_settings(options: PriorOptions, device: str, dotted: dict[str, str]) -> DiffusersConfig:
    """How a diffusers folder is loaded; `dotted` are the values of --load.…. Raises ConfigError."""
    config = DiffusersConfig(
        dtype=options.dtype,
        device=device,
        attention_slicing=options.attention_slicing,
        offload=options.offload,
        compile=options.compile,
    )
    for key, value in dotted.items():
        config = set_dotted(config, key, value)
    return config


def load_prior(
    options: PriorOptions, device: str, dotted: dict[str, str] | None = None
) -> DiffusionPrior:
    """The prior of the options, with its concept and embedding bundle. Raises ModelError."""
    store = EmbeddingStore.load(options.embeddings) if options.embeddings else None
    prior = load(options.prior, load_settings(options, device, dotted or {}), store)
    if options.concept is not None:
        prior.add_concept(read_concept(options.concept))
    return prior


def count_objects(prompt: str, prior: DiffusionPrior) -> int:
    """How many objects a prompt names, as far as the prior's vocabulary says: at least one."""
    return max(1, len(parse(prompt))) if prior.facts.vocabulary else 1


def check_vocabulary(prior: DiffusionPrior, prompt: str) -> None:
    """Raise VocabularyError when a closed-vocabulary prior does not know a word, or no thing it can
    make is named."""
    known = prior.facts.vocabulary
    if known is None:
        return
    strangers = unknown_words(prompt, known)
    if strangers:
        words = "; ".join(
            f'"{s.word}"' + (f" (near: {', '.join(s.nearest)})" if s.nearest else "")
            for s in strangers[:6]
        )
        raise VocabularyError(
            f"the embedded prior does not know {words}",
            "prompt",
            "See: threestudio-like vocabulary. For open prompts use a real prior: "
            "--prior sd-2.1-base",
        )
    if not parse(prompt) and not any(w.startswith("<") for w in split(prompt)):
        raise VocabularyError(
            "the prompt names no thing that the embedded prior can make",
            "prompt",
            f"Name one of: {', '.join(CATEGORIES)}",
        )
