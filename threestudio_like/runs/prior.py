"""The prior of a run: loaded by its options, and asked whether it knows the prompt."""

from __future__ import annotations

from typing import Any

from ..engine.config import dotted, set_dotted
from ..engine.errors import VocabularyError
from ..engine.events import Events
from ..priors.diffusion import DiffusionPrior
from ..priors.loading import load_prior as load
from ..priors.model_folder import DiffusersConfig
from ..priors.text.concepts import read_concept
from ..priors.text.embeddings import EmbeddingStore
from ..priors.text.weighted import parse_weighted
from ..toybox.vocabulary import CATEGORIES, parse, split, unknown_words
from .options import PriorOptions


def load_settings(options: PriorOptions, device: str, values: dict[str, str]) -> DiffusersConfig:
    """How a diffusers folder is loaded; `values` are those of --load.…. Raises ConfigError."""
    config = DiffusersConfig(
        dtype=options.dtype,
        device=device,
        attention_slicing=options.attention_slicing,
        offload=options.offload,
        compile=options.compile,
    )
    for key, value in values.items():
        config = set_dotted(config, key, value)
    return config


def load_prior(
    options: PriorOptions, device: str, values: dict[str, str] | None = None
) -> DiffusionPrior:
    """The prior of the options, with its concept and embedding bundle. Raises ModelError."""
    store = EmbeddingStore.load(options.embeddings) if options.embeddings else None
    prior = load(options.prior, load_settings(options, device, values or {}), store)
    if options.concept is not None:
        prior.add_concept(read_concept(options.concept))
    return prior


def count_objects(prompt: str, prior: DiffusionPrior) -> int:
    """How many objects a prompt names, as far as the prior's vocabulary says: at least one."""
    return max(1, len(parse(prompt))) if prior.facts.vocabulary else 1


def read_prompt(prior: DiffusionPrior, prompt: str, events: Events) -> None:
    """Check that a prior knows a prompt, and say what of it is not read as it is written.

    Raises:
        VocabularyError: it does not know a word, or a token. InputError: a weight is none.
    """
    plain, _ = parse_weighted(prompt)
    check_vocabulary(prior, plain)
    for line in prior.check_prompt(f"{plain}, overhead view"):
        events.say(f"Warning: {line}.")


def check_texts(prior: DiffusionPrior, config: Any) -> None:
    """Raise VocabularyError where a prompt in a configuration (the negative one, those of single
    directions) has words that the prior does not know."""
    known = prior.facts.vocabulary
    for key, text in dotted(config).items():
        if ".prompt." not in f".{key}" or not isinstance(text, str) or not text:
            continue
        plain, _ = parse_weighted(text)
        strange = [] if known is None else unknown_words(plain, known)
        if strange:
            raise VocabularyError(
                f'the embedded prior does not know "{strange[0].word}"', f"--{key}"
            )
        prior.check_prompt(plain)


def fit_guidance(config: Any, prior: DiffusionPrior, events: Events) -> Any:
    """A method's preset with the guidance scale that suits the prior: one for models that were
    distilled to want no guidance, or to take it as a number. What the user says comes after it."""
    if prior.facts.guidance == "cfg":
        return config
    scales = [k for k, v in dotted(config).items() if k.endswith("guidance.scale") and v != 1]
    for key in scales:
        config = set_dotted(config, key, 1.0)
    if scales:
        why = (
            "takes its guidance as a number (--load.embedded_guidance)"
            if prior.facts.guidance == "embedded"
            else "was distilled to want no guidance"
        )
        events.say(f"The model {why}: guidance scale 1 instead of the preset's.")
    return config


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
