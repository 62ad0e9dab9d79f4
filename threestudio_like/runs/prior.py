"""The prior of a run: loaded by its options, or taken from those that a process keeps for many
runs, and asked whether it knows the prompt."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

from ..engine.config import set_dotted
from ..engine.errors import VocabularyError
from ..priors.diffusion import DiffusionPrior
from ..priors.loading import load_prior as load
from ..priors.model_files import PriorRecord, read_json, record
from ..priors.model_folder import DiffusersConfig
from ..priors.registry import EMBEDDED, embedded_folder
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


class PriorPool:
    """Priors that stay loaded between the runs of a process, by all that decides them.

    Args:
        most: how many are kept; the one that was asked for longest ago goes first.

    Attributes:
        loads: how many times a prior has been loaded.
    """

    def __init__(self, most: int = 1) -> None:
        self._most, self.loads = most, 0
        self._kept: OrderedDict[str, DiffusionPrior] = OrderedDict()

    def load(
        self, options: PriorOptions, device: str, dotted: dict[str, str], *, memory: str
    ) -> DiffusionPrior:
        """The prior of the options; `memory` is the budget that it keeps within. Raises
        ModelError."""
        key = repr((replace(options, save_embeddings=None), device, sorted(dotted.items()), memory))
        if key not in self._kept:
            while len(self._kept) >= self._most:
                self._kept.popitem(last=False)
            self._kept[key] = _loaded(options, device, dotted)
            self.loads += 1
        self._kept.move_to_end(key)
        return self._kept[key]


_POOL: ContextVar[PriorPool | None] = ContextVar("prior pool", default=None)


@contextmanager
def shared_priors(pool: PriorPool) -> Iterator[None]:
    """Runs within the block take their priors from a pool."""
    token = _POOL.set(pool)
    try:
        yield
    finally:
        _POOL.reset(token)


def load_prior(
    options: PriorOptions, device: str, dotted: dict[str, str] | None = None, *, memory: str = ""
) -> DiffusionPrior:
    """The prior of the options, with its concept and embedding bundle; from the pool of
    `shared_priors`, if there is one. Raises ModelError."""
    pool = _POOL.get()
    # A bundle of a run's prompts must not hold those of other runs.
    if pool is None or options.save_embeddings is not None:
        return _loaded(options, device, dotted or {})
    return pool.load(options, device, dotted or {}, memory=memory)


def _loaded(options: PriorOptions, device: str, dotted: dict[str, str]) -> DiffusionPrior:
    store = EmbeddingStore.load(options.embeddings) if options.embeddings else None
    prior = load(options.prior, load_settings(options, device, dotted), store)
    if options.concept is not None:
        prior.add_concept(read_concept(options.concept))
    return prior


def known_words(options: PriorOptions) -> tuple[str, ...] | None:
    """The only words that the prior of the options knows, found without loading its weights; None
    for an open vocabulary, and where only the loaded prior can say."""
    folder = embedded_folder("diffusion") if options.prior == EMBEDDED else Path(options.prior)
    if options.concept is not None or options.embeddings is not None:
        return None
    path = folder / "prior.json"
    return record(PriorRecord, read_json(path), path).vocabulary if path.is_file() else None


def count_objects(prompt: str, prior: DiffusionPrior) -> int:
    """How many objects a prompt names, as far as the prior's vocabulary says: at least one."""
    return max(1, len(parse(prompt))) if prior.facts.vocabulary else 1


def check_vocabulary(prior: DiffusionPrior, prompt: str) -> None:
    """Raise VocabularyError when a closed-vocabulary prior does not know a word, or no thing it can
    make is named."""
    check_words(prior.facts.vocabulary, prompt)


def check_words(known: tuple[str, ...] | None, prompt: str) -> None:
    """`check_vocabulary` of the words that a prior knows; None for all."""
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
