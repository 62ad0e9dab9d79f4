"""The prior of a run: loaded by its options, or taken from those that a process keeps for many
runs, and asked whether it knows the prompt."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..engine.config import dotted, set_dotted
from ..engine.errors import ConfigError, VocabularyError
from ..engine.events import Events
from ..guidance.registry import GUIDANCES
from ..guidance.score_distillation import ScoreDistillationConfig
from ..priors.diffusion import DiffusionPrior
from ..priors.loading import load_prior as load
from ..priors.model_files import PriorRecord, read_json, record
from ..priors.model_folder import DiffusersConfig
from ..priors.personal.choice import PersonalParts, digest_of
from ..priors.registry import EMBEDDED, embedded_folder
from ..priors.text.concepts import read_concept, unused_words
from ..priors.text.embeddings import EmbeddingStore
from ..priors.text.weighted import parse_weighted
from ..toybox.editions import DEFAULT, edition
from ..toybox.words import Vocabulary, split, unknown_words
from .options import PriorOptions, flag


def load_settings(options: PriorOptions, device: str, values: dict[str, str]) -> DiffusersConfig:
    """How a diffusers folder is loaded; `values` are those of --load.…. Raises ConfigError."""
    config = DiffusersConfig(
        dtype=options.dtype,
        device=device,
        attention_slicing=options.attention_slicing,
        offload=options.offload,
        compile=options.compile,
        parts=parts_of(options),
    )
    own = next((key for key in values if key.split(".")[0] == "parts"), None)
    if own is not None:
        name = own.partition(".")[2].replace("_", "-")
        raise ConfigError("is an option of its own", f"--load.{own}", f"Here it is --{name}")
    for key, value in values.items():
        config = set_dotted(config, key, value)
    return config


def parts_of(options: PriorOptions) -> PersonalParts:
    """The user's own parts among the options. Raises ConfigError on what does not fit together."""
    parts = PersonalParts(
        **{f.name: getattr(options, f.name) for f in fields(PersonalParts)}  # of the same names
    )
    parts.check()
    return parts


def parts_facts(options: Any) -> dict[str, Any]:
    """The user's own parts of a command's prior as facts of its run: by their contents, not their
    names; empty where there are none. Raises ModelError."""
    model = getattr(options, "model", None)
    if model is None:
        return {}
    facts: dict[str, Any] = {}
    if model.lora or model.vae or model.like:
        facts["parts"] = parts_of(model).facts()
    if model.concept:
        facts["concepts"] = [digest_of(path) for path in model.concept]
    return facts


OWN_PARTS = (
    *("concept", "lora", "lora_weight", "vae", "like", "like_weight", "ip_adapter"),
    *("embeddings", "save_embeddings"),
)
"""Options of what a user brings to a prior."""


def parts_given(options: PriorOptions) -> list[str]:
    """The options among `OWN_PARTS` that say anything, as they are written on the command line."""
    plain = PriorOptions()
    return [flag(n) for n in OWN_PARTS if getattr(options, n) != getattr(plain, n)]


def refuse_parts(options: PriorOptions, why: str, remedy: str = "Leave it out") -> None:
    """Raise ConfigError where a user brings what no prior of the run would see."""
    given = parts_given(options)
    if given:
        raise ConfigError(why, given[0], remedy)


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
        self, options: PriorOptions, device: str, values: dict[str, str], *, memory: str
    ) -> DiffusionPrior:
        """The prior of the options; `memory` is the budget that it keeps within. Raises
        ModelError."""
        key = repr((replace(options, save_embeddings=None), device, sorted(values.items()), memory))
        if key not in self._kept:
            while len(self._kept) >= self._most:
                self._kept.popitem(last=False)
            self._kept[key] = _loaded(options, device, values)
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
    options: PriorOptions, device: str, values: dict[str, str] | None = None, *, memory: str = ""
) -> DiffusionPrior:
    """The prior of the options, with its concepts and embedding bundle; from the pool of
    `shared_priors`, if there is one. Raises ModelError."""
    pool = _POOL.get()
    # A bundle of a run's prompts must not hold those of other runs.
    if pool is None or options.save_embeddings is not None:
        return _loaded(options, device, values or {})
    return pool.load(options, device, values or {}, memory=memory)


def _loaded(options: PriorOptions, device: str, values: dict[str, str]) -> DiffusionPrior:
    store = EmbeddingStore.load(options.embeddings) if options.embeddings else None
    prior = load(options.prior, load_settings(options, device, values), store)
    for path in options.concept:
        words = read_concept(path)
        prior.add_concept(words)
        prior.facts.words = (*prior.facts.words, *words)
    return prior


def check_use(prior: DiffusionPrior, command: str, events: Events) -> DiffusionPrior:
    """The prior, after what is to be known of how its files were read has been said.

    Raises:
        ConfigError: it turns pictures, and the command has none.
    """
    if prior.facts.wants_reference and command != "reconstruct":
        raise ConfigError(
            f'"{prior.facts.name}" turns a picture of an object, and {command} gives it none',
            "--prior",
            f"Use: threestudio-like reconstruct PICTURE --method field --prior {prior.facts.name}",
        )
    for line in prior.facts.notes:
        events.say(f"{line}.")
    return prior


def closed_world(options: PriorOptions) -> tuple[tuple[str, ...] | None, str]:
    """The only words that the prior of the options knows, and the edition of the toybox that they
    are of, found without loading its weights; None for the words of an open vocabulary, and where
    only the loaded prior can say. Raises ModelError."""
    folder = embedded_folder("diffusion") if options.prior == EMBEDDED else Path(options.prior)
    if options.concept or options.embeddings is not None:
        return None, DEFAULT.name
    path = folder / "prior.json"
    if not path.is_file():
        return None, DEFAULT.name
    told = record(PriorRecord, read_json(path), path)
    return told.vocabulary, told.world


def prompt_vocabulary(
    options: PriorOptions, prior: DiffusionPrior | None = None
) -> Vocabulary | None:
    """The vocabulary by which prompts of a prior are read, of the loaded one or of the options';
    None for an open one. Raises ConfigError, ModelError."""
    known, world = (prior.facts.vocabulary, prior.facts.world) if prior else closed_world(options)
    return None if known is None else edition(world, "prior.json").vocabulary


def known_words(options: PriorOptions) -> tuple[str, ...] | None:
    """The words of `closed_world`. Raises ModelError."""
    return closed_world(options)[0]


def count_objects(prompt: str, prior: DiffusionPrior) -> int:
    """How many objects a prompt names, as far as the prior's vocabulary says: at least one."""
    words = edition(prior.facts.world, prior.facts.name).vocabulary
    return max(1, len(words.parse(prompt))) if prior.facts.vocabulary else 1


def read_prompt(prior: DiffusionPrior, prompt: str, events: Events) -> None:
    """Check that a prior knows a prompt, and say what of it is not read as it is written.

    Raises:
        VocabularyError: it does not know a word, or a token. InputError: a weight is none.
    """
    plain, _ = parse_weighted(prompt)
    check_vocabulary(prior, plain)
    told = "words" not in prior.facts.untold
    for line in prior.check_prompt(f"{plain}, overhead view" if told else plain):
        events.say(f"Warning: {line}.")
    for word in unused_words(prior.facts.words, plain):
        events.say(f'Warning: the prompt does not use the concept\'s token "{word}".')
    say_missing(prior, plain, events)


def said_of_picture(
    options: PriorOptions,
    prompt: str,
    prior: DiffusionPrior | None = None,
    keep: Collection[str] = (),
) -> tuple[str, str]:
    """What a prior is asked of a picture, and a line on what is left out: words of how a known
    thing looks that a closed vocabulary does not have, since the picture shows that. Prompts with
    weights, and those of an open vocabulary, stay as they are.

    Args:
        keep: words that the command itself reads (`Vocabulary.without_unknown`).

    Raises:
        ConfigError, ModelError, InputError.
    """
    known, world = (prior.facts.vocabulary, prior.facts.world) if prior else closed_world(options)
    if known is None or parse_weighted(prompt)[0] != prompt:
        return prompt, ""
    words = edition(world, "prior.json").vocabulary
    text, gone = words.without_unknown(prompt, known, keep)
    if not gone:
        return prompt, ""
    strange = ", ".join(f'"{word}"' for word in gone if word not in known)
    return text, (
        f'the embedded prior does not know {strange}: it is asked for "{text}", and the picture '
        "shows how that looks"
    )


def say_missing(prior: DiffusionPrior, plain: str, events: Events) -> None:
    """Say where a bundle of embeddings is of other prompts; from then on the text encoder is
    counted by `--memory`."""
    store: EmbeddingStore | None = getattr(getattr(prior, "text", None), "embeddings", None)
    if store is None or not store.bundle or not plain or store.tells_of(plain):
        return
    store.bundle = False
    held = ", ".join(f'"{p}"' for p in store.prompts[:2]) or "no prompt at all"
    events.say(
        f'Warning: the bundle of --embeddings has no "{plain}" but {held}: the text encoder reads '
        "the prompt."
    )


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
    scales = [k for k, v in dotted(config).items() if _is_scale(k) and v != 1]
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


def _is_scale(key: str) -> bool:
    """Whether a dotted name is the guidance scale of the run's prior: the stage's own, or that of a
    guidance that is score distillation of another kind."""
    group, _, name = key.rpartition(".")
    before, _, kind = group.rpartition(".")
    if name != "scale":
        return False
    if kind == "guidance":
        return True
    known = before.endswith("guidances") and kind in GUIDANCES
    return known and issubclass(GUIDANCES.get(kind).config, ScoreDistillationConfig)


def check_vocabulary(prior: DiffusionPrior, prompt: str) -> None:
    """Raise VocabularyError when a closed-vocabulary prior does not know a word, or no thing it can
    make is named."""
    check_words(prior.facts.vocabulary, prompt, prior.facts.world)


def check_words(known: tuple[str, ...] | None, prompt: str, world: str = "twenty") -> None:
    """`check_vocabulary` of the words that a prior knows, which are those of an edition of the
    toybox; None for all."""
    if known is None:
        return
    other = "" if world == DEFAULT.name else f" --world {world}"
    strangers = unknown_words(prompt, known)
    if strangers:
        strange = "; ".join(
            f'"{s.word}"' + (f" (near: {', '.join(s.nearest)})" if s.nearest else "")
            for s in strangers[:6]
        )
        raise VocabularyError(
            f"the embedded prior does not know {strange}",
            "prompt",
            f"See: threestudio-like vocabulary{other}. For open prompts use a real prior: "
            "--prior sd-2.1-base",
        )
    words = edition(world, "prior.json").vocabulary
    objection = words.objection(prompt)
    if objection:
        raise VocabularyError(
            objection, "prompt", f"See: threestudio-like vocabulary --world {world}"
        )
    if not words.parse(prompt) and not any(w.startswith("<") for w in split(prompt)):
        raise VocabularyError(
            "the prompt names no thing that the embedded prior can make",
            "prompt",
            f"Name one of: {', '.join(words.categories)}",
        )
