"""Diffusion priors by name. A new family is one file:

    @prior("mine", "one line")
    def load(options: PriorOptions) -> DiffusionPrior: ...

in a file given with --plugins, or in a package with an entry point in the group
"threestudio_like.priors".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

from ..engine.errors import ModelError
from ..engine.registry import Registry
from ..engine.turns import working
from .diffusion import DiffusionPrior
from .families.base import DiffusersPrior
from .families.bundles import check_bundle
from .families.detection import load_folder
from .model_folder import DiffusersConfig
from .registry import EMBEDDED, MODELS, resolve
from .text.embeddings import EmbeddingStore

L = TypeVar("L", bound=Callable[..., DiffusionPrior])


@dataclass(frozen=True, kw_only=True)
class PriorOptions:
    """How a prior is loaded.

    Attributes:
        name: by which it is asked for.
        config: device, number type and memory options; a loader keeps to those that it can.
        embeddings: known prompt embeddings, or None.
    """

    name: str
    config: DiffusersConfig = field(default_factory=DiffusersConfig)
    embeddings: EmbeddingStore | None = None


@dataclass(frozen=True, kw_only=True)
class PriorKind:
    """A prior that is registered: one line about it, what loads it, and whether that reads the
    user's own parts (`PersonalParts`, embeddings). The loader raises ModelError where it cannot."""

    summary: str
    load: Callable[[PriorOptions], DiffusionPrior]
    parts: bool = False


def _diffusers(options: PriorOptions) -> DiffusersPrior:
    config, entry = options.config, MODELS.get(options.name)
    if entry is not None and config.guidance == "auto":
        config = replace(config, guidance=entry.guidance)
    made = load_folder(resolve(options.name), config, options.name, options.embeddings)
    return check_bundle(made, options.embeddings)


PRIORS: Registry[PriorKind] = Registry(
    "prior",
    "threestudio_like.priors",
    PriorKind,
    built_in={
        EMBEDDED: PriorKind(summary="the embedded text-to-image model", load=_diffusers, parts=True)
    },
)


def prior(name: str, summary: str, *, parts: bool = False) -> Callable[[L], L]:
    """Register the decorated function of `PriorOptions` as a prior.

    Args:
        parts: whether it reads `PriorOptions.config.parts`; a user's parts are refused where not.
    """

    def register(load: L) -> L:
        PRIORS.add(name, PriorKind(summary=summary, load=load, parts=parts))
        return load

    return register


@working()
def load_prior(
    name: str = EMBEDDED,
    config: DiffusersConfig | None = None,
    embeddings: EmbeddingStore | None = None,
) -> DiffusionPrior:
    """The prior of a name: a registered one, else a folder of diffusers' layout, a logical name
    ("sd-1.5", …) or a hub id.

    Args:
        name: what the user says after --prior.
        config: device, number type and memory options.
        embeddings: known prompt embeddings to use instead of the text encoder.

    Raises:
        ModelError: there is none of this name, or it cannot be loaded.

    Example:
        >>> prior = load_prior("toybox")
    """
    options = PriorOptions(name=name, config=config or DiffusersConfig(), embeddings=embeddings)
    if name not in PRIORS:
        return _diffusers(options)
    kind, given = PRIORS.get(name), options.config.parts
    named = [f.name for f in fields(given) if getattr(given, f.name) != f.default]
    named += [] if embeddings is None else ["embeddings"]
    if named and not kind.parts:
        raise ModelError(
            "reads no parts of yours", name, f"Leave out --{named[0].replace('_', '-')}"
        )
    return kind.load(options)
