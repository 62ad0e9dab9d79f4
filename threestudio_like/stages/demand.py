"""What a distilling stage asks of memory, found by rehearsal: a memory plan is chosen by it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch

from ..engine.memory import MemoryWatch, bytes_of
from ..engine.random import RandomStream
from ..guidance.choice import Guidances
from ..guidance.registry import Beside
from ..guidance.score_distillation import ScoreDistillationConfig
from ..guidance.weighted import not_shared
from ..priors.diffusion import DiffusionPrior
from ..renderers import (
    BackgroundSample,
    Cameras,
    ShadingConfig,
    VolumeConfig,
    VolumeRenderer,
    draw_light,
)
from ..renderers.camera_samplers import CameraSampler
from ..representations import Field
from ..representations.config import FieldConfig
from ..representations.gaussians import GaussianCloud
from .model import FieldModel
from .regularisers import OF_SAMPLES, Regularisation, regularisation_terms, schedules
from .splat_demand import per_gaussian, rehearsed

SURFACE = 200.0
"""Bytes that drawing a mesh keeps for its way back, a sample."""
PLACES, PROJECTED = 40, 60
"""Bytes of where a texel lies on the surface, and of what it takes from a picture, a texel."""
DRAWS = 16
"""Steps at most whose cameras a forecast tries."""


@dataclass(frozen=True)
class Demand:
    """What one stage asks for: `views` of `size` pixels at once, through the autoencoder or not, of
    a field (bytes of its parameters) that is sampled `samples` times a step; bytes a sample `kept`
    for the way back, taken at `most`, and kept where samples come in chunks (`chunked`); `repeats`
    of the UNet's batch a view; in how many `parts` a step comes; whether terms of the samples
    follow what the networks do (`regularised`); `refresh` takes to look where nothing is; `grid`
    what is known of that; `beside` what its guidances do besides;
    `prior` where the stage asks another network than the run's, which stays loaded; `gradient`
    whether what is encoded has one on its way back."""

    name: str
    views: int
    size: int
    encode: bool
    samples: int
    parameters: int
    kept: float
    most: float
    chunked: float
    repeats: int = 2
    parts: int = 1
    regularised: bool = False
    refresh: int = 0
    grid: int = 0
    beside: tuple[Beside, ...] = ()
    prior: DiffusionPrior | None = None
    gradient: bool = True


@runtime_checkable
class Distilling(Protocol):
    """The configuration of a stage whose demand can be told; see `DistillingConfig`."""

    steps: int

    def demand(self, place: Place) -> Demand:
        """What the stage asks for."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stage's configuration stands.

    Attributes:
        name: the stage's.
        holder: the configuration that it is a value of, usually the system's.
        prior: the run's.
        microbatches: in which the views of a step are worked on.
        present: the field that is optimised, where there is one already.
        pixels: height and width of the renderings, where the stage has its own.
        seed: of the run, whose first cameras are tried.
        reference: see `Subject`.
    """

    name: str
    holder: Any
    prior: DiffusionPrior
    microbatches: int = 1
    present: Field | None = None
    pixels: int = 0
    seed: int = 0
    reference: bool | None = None

    @property
    def encode(self) -> bool:
        """Whether renderings go through the prior's encoder, as the system says."""
        asked = getattr(self.holder, "encodes", None)
        return bool(asked(self.name)) if asked is not None else True

    @property
    def size(self) -> int:
        """Height and width of the renderings."""
        facts = self.prior.facts
        own = facts.image_size if self.encode else facts.latent_size
        return self.pixels or getattr(self.holder, "resolution", 0) or own

    def share(self, views: int) -> int:
        """Views of a step that are worked on at once."""
        return max(1, views // self.microbatches)


def distilling(config: Any, name: str = "") -> Iterator[tuple[str, Distilling, Any]]:
    """The distilling stages with any steps in a configuration and all that it holds: their names,
    and what holds them."""
    for item in fields(config) if is_dataclass(config) else ():
        value = getattr(config, item.name)
        if isinstance(value, Distilling):
            if value.steps > 0:
                yield item.name, value, config
        else:
            yield from distilling(value, item.name)


def check_stages(
    config: Any,
    prior: DiffusionPrior,
    microbatches: int = 1,
    present: Field | None = None,
    reference: bool | None = None,
) -> None:
    """Ask the distilling stages of a system, before the first one begins, whether they could begin.

    Args:
        microbatches: in which the views of a step are worked on.
        present: the field that is optimised, where there is one already.
        reference: see `Subject`.

    Raises:
        ConfigError, InputError, ModelError: one of them could not.
    """
    together: dict[str, list[str]] = {}
    for name, stage, holder in distilling(config):
        check = getattr(stage, "check", None)
        if check is None:
            continue
        own = prior.at_size(getattr(stage, "picture_size", 0))
        place = Place(name=name, holder=holder, prior=own, present=present, reference=reference)
        check(place)
        found = stage.together(place) if hasattr(stage, "together") else []
        together |= {name: found} if found else {}
    if microbatches > 1 and together:
        raise not_shared([*together], [option for own in together.values() for option in own])


def demands(
    config: Any,
    prior: DiffusionPrior,
    microbatches: int = 1,
    present: Field | None = None,
    seed: int = 0,
) -> list[Demand]:
    """What the distilling stages of a system ask for.

    Args:
        microbatches: in which the views of a step are worked on.
        present: the field that is optimised, where there is one already.
        seed: of the run.

    Raises:
        ModelError, ConfigError: a prior of a guidance cannot be loaded.
    """
    wanted = []
    for name, stage, holder in distilling(config):
        own = prior.at_size(getattr(stage, "picture_size", 0))
        place = Place(
            name=name,
            holder=holder,
            prior=own,
            microbatches=microbatches,
            present=present,
            seed=seed,
        )
        guidances = getattr(stage, "guidances", None)
        beside = guidances.beside(own) if isinstance(guidances, Guidances) else []
        repeats = denoised_entries(stage)
        demand = replace(stage.demand(place), beside=tuple(beside))
        if repeats:
            demand = replace(demand, repeats=repeats)
        wanted.append(demand if own is prior else replace(demand, prior=own))
    return wanted


def denoised_entries(stage: Any) -> int:
    """Entries of the UNet's batch a view, as the main guidance of a stage's configuration asks for
    them: four with Perp-Neg, else two; 0 where it is no score distillation."""
    guidances = getattr(stage, "guidances", None)
    main = guidances.main_config() if isinstance(guidances, Guidances) else None
    score = getattr(stage, "guidance", None) if main is None else main
    if not isinstance(score, ScoreDistillationConfig):
        return 0
    return 4 if score.perp_neg > 0 else 2


def surface_demand(place: Place, views: int, texels: int) -> Demand:
    """Of a stage that draws meshes: `texels` along the edge of what is optimised, 0 for none."""
    return Demand(
        place.name,
        place.share(views),
        place.size,
        encode=place.encode,
        samples=place.share(views) * (2 * place.size) ** 2,
        parameters=20 * texels**2,
        kept=SURFACE,
        most=SURFACE,
        chunked=SURFACE,
    )


def sampled_demand(
    place: Place, views: int, together: int, texels: int, projects: bool = True
) -> Demand:
    """Of a stage that samples pictures of a mesh, which it draws without a gradient.

    Args:
        views: in all. together: of them are drawn, denoised, encoded or decoded at once.
        texels: along the edge of what is painted.
        projects: whether its pictures are projected onto the texels.
    """
    size, prior = place.prior.facts.image_size, place.prior
    geometry = (PLACES + projects * PROJECTED) * texels**2
    # Pictures as they are sampled, with their edges, as they are drawn; and those of the control.
    planes = 9 + 3 * len(prior.facts.controls)
    return Demand(
        place.name,
        min(together, views),
        size,
        encode=True,
        samples=min(together, views) * (2 * size) ** 2,
        parameters=20 * texels**2,
        kept=0.0,
        most=SURFACE,
        chunked=0.0,
        grid=4 * views * planes * size**2 + geometry,
        gradient=False,
    )


def volume_demand(
    place: Place,
    sampler: CameraSampler,
    regularise: Regularisation,
    renderer: VolumeConfig | None = None,
    field: FieldConfig | None = None,
    lit: bool = False,
    steps: int = DRAWS,
) -> Demand:
    """Of a stage that renders a field: a few rays of the true one are rendered.

    Args:
        sampler: of its cameras.
        renderer, field: the stage's own, where it does not take its holder's.
        lit: whether any of its steps are lit, which takes six densities more a sample.
        steps: of the stage.
    """
    size = place.size
    if place.present is not None:
        made = copy.deepcopy(place.present)
    else:
        channels = 3 if place.encode else place.prior.facts.channels
        made = (field or place.holder.representation).build(channels, 0, sigmoid=place.encode)
    if isinstance(made, GaussianCloud):
        return _splat_demand(place, sampler, made, steps=steps)
    drawn = VolumeRenderer(replace(renderer or place.holder.renderer, chunk=0))
    with MemoryWatch() as watch:
        drawn.refresh(made, RandomStream(0, "rehearsal", 0))
    draws = first_views(place, sampler, steps)
    most_seen = max(draws, key=lambda cameras: count_samples(drawn, cameras))
    samples = count_samples(drawn, most_seen, made)
    few = most_seen[:1].resized(min(size, 40), min(size, 40))
    seen = FieldModel(made, drawn, lambda features: features)
    # Nothing of a rendering is in chunks, but its normals are.
    count = count_samples(drawn, few)
    drawn.chunk = int(1.2 * count) + 1
    kept, _, most, regularised = per_sample(seen, regularise, few, lit)
    # What chunks keep for the way back does not depend on their size: a few are enough.
    drawn.chunk = count // 8 + 1
    _, chunked, _, _ = per_sample(seen, regularise, few, lit)
    return Demand(
        place.name,
        len(most_seen),
        size,
        encode=place.encode,
        samples=samples,
        parameters=bytes_of(made),
        kept=kept,
        most=most,
        chunked=chunked,
        parts=place.microbatches,
        regularised=regularised,
        refresh=watch.peak,
        grid=bytes_of(drawn) + sum(t.nbytes for t in drawn.state_dict().values()),
    )


def _splat_demand(place: Place, sampler: CameraSampler, cloud: GaussianCloud, steps: int) -> Demand:
    """Of a stage of Gaussians, as many as there may be: the nearest of its first views."""
    views = max(
        first_views(place, sampler, steps), key=lambda cameras: -float(cameras.distance.min())
    )
    full = rehearsed(cloud)
    kept, most = per_gaussian(full, views[:1])
    return Demand(
        place.name,
        len(views),
        place.size,
        encode=place.encode,
        samples=len(views) * len(full),
        parameters=bytes_of(full),
        kept=kept,
        most=most,
        # Of a view that is drawn again on the way back nothing is kept but its picture.
        chunked=4.0 * place.size**2 * (full.channels + 5) / len(full),
        parts=place.microbatches,
    )


def first_views(place: Place, sampler: CameraSampler, steps: int) -> list[Cameras]:
    """The views that are worked on at once in the first steps of the run: cameras come nearer and
    go farther, and a step takes as much as its nearest ones. A later step that has more samples
    renders them in chunks, see `limits_of`."""
    shares = []
    for step in range(max(1, min(DRAWS, steps))):
        cameras = sampler.sample(RandomStream(place.seed, place.name, step), place.size)
        share = place.share(len(cameras))
        shares += [cameras[first : first + share] for first in range(0, len(cameras), share)]
    return shares


def count_samples(renderer: VolumeRenderer, cameras: Cameras, field: Field | None = None) -> int:
    """Samples of a step with what a renderer knows to be empty, without the thin ones of a field
    where it is given; of at most 96 x 96 rays a camera, scaled up."""
    size = min(cameras.height, 96)
    origins, directions = (
        r.reshape(-1, 3).contiguous() for r in cameras.resized(size, size).rays()
    )
    middle = torch.full((len(origins),), 0.5)
    t, _, _, _ = renderer.sample(field, origins, directions, jitter=middle)
    return int(len(t) * (cameras.height / size) ** 2)


def per_sample(
    parts: FieldModel, regularise: Regularisation, cameras: Cameras, lit: bool = False
) -> tuple[float, float, float, bool]:
    """Bytes a sample: what a rendering of a field keeps for its way back, what it keeps with its
    regularisers, and what both and the way back take at most; and whether any regulariser looks at
    samples."""
    field, renderer = parts.field, parts.renderer
    # Terms of the whole grid do not grow with the samples.
    weights = schedules(replace(regularise, density_variation="0", feature_variation="0"))
    fraction = max(
        (0.0, 0.5, 0.999), key=lambda at: sum(weight(at) > 0 for weight in weights.values())
    )
    behind = BackgroundSample(
        torch.zeros(len(cameras), cameras.height, cameras.width, field.channels)
    )
    for p in field.parameters():
        # As in every step but the first; it is counted with the field.
        p.grad = torch.zeros_like(p)
    with MemoryWatch() as watch:
        random = RandomStream(0, "rehearsal", 0)
        light = draw_light(ShadingConfig(diffuse_prob=1.0), cameras, random, 0.0) if lit else None
        rendering = renderer.render(field, cameras, behind, random, light=light)
        held = watch.live
        assert rendering.samples is not None
        count = max(1, len(rendering.samples.t))
        terms = regularisation_terms(weights, parts, rendering, cameras=cameras, fraction=fraction)
        with_terms = watch.live
        (rendering.features.sum() + rendering.opacity.sum() + sum(terms.values())).backward()
    most = max(with_terms, watch.peak)
    return (
        held / count,
        with_terms / count,
        most / count,
        bool(set(OF_SAMPLES) & set(terms)),
    )
