"""Another prior beside the run's own: how it is loaded, what it asks of memory, and score
distillation by it, as Magic123 weights a view-conditioned one with a text-to-image one (Qian et al.
2023)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal
from weakref import WeakValueDictionary

from ..engine.errors import ConfigError
from ..engine.limits import Limits
from ..engine.schema.bounds import OptionalSize
from ..priors.diffusion import DiffusionPrior
from ..priors.families.detection import FAMILIES, detect
from ..priors.families.views.view_prior import ViewPrior
from ..priors.loading import PRIORS, load_prior
from ..priors.model_folder import DiffusersConfig
from ..priors.registry import resolve
from .guidance import Guidance
from .registry import Beside, GuidanceContext, GuidanceKind, Subject
from .score_distillation import ScoreDistillation, ScoreDistillationConfig, check_score

OPTION = "--guidance.second-prior.prior"
_LOADED: WeakValueDictionary[tuple[str, DiffusersConfig], DiffusionPrior] = WeakValueDictionary()
"""Those that are in use: a forecast and its run, and several stages of a run, share them."""


@dataclass(frozen=True, kw_only=True)
class SecondLoadConfig:
    """How the second prior is loaded; as the values of --load with the same names."""

    image_size: OptionalSize = 0
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "float32"
    pose: Literal["auto", "zero123", "stable-zero123"] = "auto"

    def on(self, device: str) -> DiffusersConfig:
        """The configuration of loading it to a device."""
        return DiffusersConfig(
            device=device, image_size=self.image_size, dtype=self.dtype, pose=self.pose
        )


def load_beside(first: DiffusionPrior, name: str, load: SecondLoadConfig) -> DiffusionPrior:
    """The prior of a name on the device of the run's own, within the same limits. Raises
    ModelError."""
    config = load.on(str(first.device))
    found = _LOADED.get((name, config))
    if found is None or found.limits not in (Limits(), first.limits):
        # That of a run with another memory plan may still be there.
        found = load_prior(name, config)
        _LOADED[name, config] = found
    if found.limits != first.limits:
        found.keep_within(first.limits)
    return found


def check_beside(name: str, where: str, subject: Subject, score: ScoreDistillationConfig) -> None:
    """Raise where the prior of a name cannot work beside the run's: none is loaded for it.

    Args:
        where: the option that names it.

    Raises:
        ModelError: there is none, or no model that is read.
        ConfigError: it wants a picture of the object, or all views of a step at once, and gets
            none.
    """
    if name in PRIORS:
        return
    path = resolve(name)
    kind = None if path.is_file() else FAMILIES[detect(path)].adapter()
    if kind is None or not issubclass(kind, ViewPrior):
        return
    if kind.wants_reference and subject.reference is False:
        raise _no_picture(name, where)
    if kind.together > 1 and not score.joint_views:
        raise ConfigError(
            f'"{name}" denoises {kind.together} views of an object together, and this guidance '
            "shows it one by one",
            where,
            f"Give it joint_views true, and the stage {kind.together} views a step",
        )


def _no_picture(name: str, where: str) -> ConfigError:
    return ConfigError(
        f'"{name}" turns a picture of the object, and this command has none',
        where,
        "Use: threestudio-like reconstruct PICTURE --method field",
    )


@dataclass(frozen=True, kw_only=True)
class SecondPriorConfig:
    """Score distillation by another prior beside the run's own."""

    prior: str = ""
    """A folder, a logical name or a hub id, as for --prior."""
    load: SecondLoadConfig = field(default_factory=SecondLoadConfig)
    distil: ScoreDistillationConfig = field(default_factory=ScoreDistillationConfig)


def _build(context: GuidanceContext, config: SecondPriorConfig) -> Guidance:
    _check_renderings(context.encode)
    prior = _named(context.prior, config)
    if prior.facts.wants_reference and context.reference is None:
        raise _no_picture(config.prior, OPTION)
    return ScoreDistillation(
        prior, context.prompt, config.distil, encode=True, reference=context.reference
    )


def _check_renderings(encode: bool) -> None:
    if not encode:
        raise ConfigError(
            "looks at RGB renderings, and this stage renders the first prior's latents",
            "--guidance.second-prior",
            "Use a system that distils through the encoder: dreamfusion, field",
        )


def _check(subject: Subject, config: SecondPriorConfig) -> None:
    _check_renderings(subject.encode)
    check_beside(_name(config), OPTION, subject, config.distil)
    check_score(replace(subject, prior=None), config.distil)


def _name(config: SecondPriorConfig) -> str:
    if not config.prior:
        raise ConfigError(
            "wants a prior",
            OPTION,
            "Give a folder or a name: --guidance.second-prior.prior stable-zero123",
        )
    return config.prior


def _named(first: DiffusionPrior, config: SecondPriorConfig) -> DiffusionPrior:
    return load_beside(first, _name(config), config.load)


def _beside(first: DiffusionPrior, config: SecondPriorConfig) -> Beside:
    return Beside(
        prior=_named(first, config), entries=4 if config.distil.perp_neg > 0 else 2, encodes=True
    )


SECOND_PRIOR = GuidanceKind(
    summary="score distillation by another prior beside the run's (Qian et al. 2023)",
    config=SecondPriorConfig,
    build=_build,
    beside=_beside,
    check=_check,
)
