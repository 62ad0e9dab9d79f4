"""What the configurations of all distilling stages share: steps, weight, and which guidances."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from ..engine.errors import ConfigError
from ..engine.schema.bounds import Count, OptionalSize, Weight
from ..guidance.choice import Guidances
from ..guidance.guidance import Guidance
from ..guidance.registry import GuidanceContext, Moved, Subject
from ..guidance.score_distillation import ScoreDistillation, ScoreDistillationConfig, check_score
from ..guidance.weighted import WeightedGuidance
from ..priors.diffusion import DiffusionPrior
from ..renderers.camera_samplers import CameraSampler, FixedCameras
from .demand import Demand, Place, surface_demand

OF_GUIDANCES = ("weight", "picture_size", "guidance", "guidances")
"""Values of a stage that only its guidances read."""


@dataclass(frozen=True, kw_only=True)
class DistillingConfig:
    """A stage that is moved by guidances: 0 steps switch it off. The `--steps` of a run are divided
    among a system's configurations of this class."""

    steps: Count = 0
    weight: Weight = 1.0
    """Of the main guidance."""
    picture_size: OptionalSize = 0
    """Height and width in pixels of the prior's pictures in this stage, where its folder has a
    network for them (prior.json, `larger`); 0 for the run's."""
    guidance: ScoreDistillationConfig = field(default_factory=ScoreDistillationConfig)
    """The main guidance, score distillation."""
    guidances: Guidances = field(default_factory=Guidances)
    """More guidances by name, each with its weight: --distil.guidances.clip.weight 0.1; one of them
    may take the main one's place: --distil.guidances.main mine."""

    def prior_of(self, prior: DiffusionPrior) -> DiffusionPrior:
        """The stage's prior: the run's, with its network for pictures of `picture_size`. Raises
        ModelError where it has none."""
        return prior.at_size(self.picture_size)

    def seen_by(self, context: GuidanceContext, size: int) -> tuple[GuidanceContext, int]:
        """What its guidances are built for, and the size of the renderings, with the stage's prior:
        renderings of the run's picture size are of the stage's.

        Raises:
            ConfigError: it renders latents, whose size is the run's.
            ModelError: see `prior_of`.
        """
        prior = self.prior_of(context.prior)
        if prior is context.prior:
            return context, size
        if not context.encode:
            raise ConfigError(
                "this stage renders latents of the run's own size",
                f"--{context.stage}.picture-size",
                "Leave it out, or take --load.image_size for the whole run",
            )
        if context.prior.facts.controls and not prior.facts.controls:
            raise ConfigError(
                "this network is controlled by no pictures",
                f"--{context.stage}.picture-size",
                "Leave it or --control out",
            )
        own = size == context.prior.facts.image_size
        return replace(context, prior=prior), prior.facts.image_size if own else size

    def guide(self, context: GuidanceContext) -> tuple[Guidance, list[WeightedGuidance]]:
        """The main guidance of the stage, and the others with their weights."""
        main = self.guidances.build_main(context) or ScoreDistillation(
            context.prior,
            context.prompt,
            self.guidance,
            encode=context.encode,
            reference=context.reference,
        )
        return main, self.guidances.build(context)

    def demand(self, place: Place) -> Demand:
        """What the stage asks of memory; a stage of another kind says its own."""
        return surface_demand(place, 1, 0)

    def idle(self, words: Sequence[str], place: str) -> str:
        """See `stages.idle_values`: a stage without steps distils nothing (its field and its
        cameras may serve another one), and another main guidance has its own configuration."""
        if self.steps == 0:
            return f"--{place}steps is 0" if words[0] in OF_GUIDANCES else ""
        other = self.guidances.main if words[0] == "guidance" else ""
        return f"--{place}guidances.main is {other}" if other else ""

    def moves(self, place: Place) -> Moved | None:
        """What the stage optimises, as far as its configuration says; a surface's colours, where it
        is a stage of no other kind."""
        return "colours"

    def check(self, place: Place) -> None:
        """Raise ConfigError, InputError or ModelError where the stage could not begin or take a
        step, as far as that is known before the first stage begins."""
        subject = Subject(
            prior=place.prior,
            encode=place.encode,
            moves=self.moves(place),
            reference=place.reference,
        )
        if not self.guidances.main:
            check_score(subject, self.guidance)
        self.guidances.check(subject)

    def together(self, place: Place) -> list[str]:
        """The guidances, by their dotted names, that want all views of a step at once."""
        if place.prior.facts.joint_views <= 1:
            return []
        main, more = self.guidances.main, f"{place.name}.guidances"
        asked: dict[str, Any] = {f"{place.name}.guidance": self.guidance}
        if main:
            asked = {f"{more}.{main}": self.guidances.main_config()}
        asked |= {f"{more}.{name}": own for name, own in self.guidances.weighed().items()}
        return [whole for name, own in asked.items() for whole in _together(own, name)]


def _together(config: Any, name: str) -> Iterator[str]:
    """The score distillations of a guidance's configuration that denoise all views together; those
    by a prior of their own, which is not known yet, are left out."""
    if not is_dataclass(config):
        return
    values = {item.name: getattr(config, item.name) for item in fields(config)}
    if values.get("prior"):
        return
    if values.get("joint_views"):
        yield name
    for key, value in values.items():
        yield from _together(value, f"{name}.{key}")


def sampler_of_prior(context: GuidanceContext) -> CameraSampler | None:
    """The cameras of a prior that knows no views but its own; None for priors that know all."""
    views, reference = context.prior.facts.fixed_views, context.reference
    if not views:
        return None
    protocol = context.protocol
    return FixedCameras(
        views=views,
        around=0.0 if reference is None else math.degrees(reference.azimuth),
        distance=protocol.distance,
        fov_y=protocol.fov_y,
    )
