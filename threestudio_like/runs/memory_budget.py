"""`--memory 8GB`: a plan that keeps a run within a budget, with its forecast by a rehearsal.

Memory is taken by the prior's weights, by what its UNet and autoencoder hold while they work, by
the field with its gradient, Adam's moments and the watchdog's copy, by what a rendering keeps
for its backward pass, and at the end by the grid that the surface is extracted from. The networks
are rehearsed on tensors without data, the rendering on a few rays of the real field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engine.errors import ConfigError
from ..engine.events import Events
from ..engine.limits import Limits
from ..engine.memory import GIB
from ..kernels.devices import is_main
from ..meshes.surface.extraction import extraction_bytes
from ..priors.diffusion import DiffusionPrior
from ..priors.families.parts import sizes_of
from ..representations import Field
from ..stages.demand import Demand, demands
from ..stages.field_to_mesh import AssetConfig

CONTEXT = 0.6 * GIB
"""What a driver and its libraries take on a GPU beside any tensor."""
EXTRACTION = "extraction of the surface"
"""A forecast's name for it."""


@dataclass(frozen=True)
class MemoryPlan:
    """How much is done at once; 0 for all. `samples` of a rendering, `entries` of the UNet,
    `images` of the autoencoder."""

    name: str
    samples: int = 0
    entries: int = 0
    images: int = 0
    offload: bool = False


PLANS = (
    MemoryPlan("all at once"),
    MemoryPlan("rendering in chunks of a million samples", 1 << 20, 0, images=2),
    MemoryPlan("two entries and one picture at a time", 1 << 18, 2, images=1),
    MemoryPlan("one entry at a time, small chunks", 1 << 16, 1, images=1),
    MemoryPlan(
        "one entry at a time, weights brought when they are needed",
        1 << 16,
        1,
        images=1,
        offload=True,
    ),
)


def budget(text: str) -> int:
    """Bytes of "8GB" or "7.5". Raises ConfigError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:GB?|GiB)?\s*", text, re.IGNORECASE)
    if found is None or float(found[1]) <= 0:
        raise ConfigError(
            f'is no amount of memory: "{text}"', "--memory", "Say how many gigabytes: --memory 8GB"
        )
    return int(float(found[1]) * GIB)


def reading(prior: DiffusionPrior) -> tuple[int, bool]:
    """Bytes of the text encoders that read a run's prompts, by their files, and whether they stay;
    none where the prompts' embeddings are known, or the prior is of no folder."""
    text, folder = getattr(prior, "text", None), getattr(prior, "folder", None)
    if text is None or folder is None or text.embeddings.bundle:
        return 0, False
    numbers = sum(n for part, n in sizes_of(folder).items() if part.startswith("text_encoder"))
    return numbers * text.dtype.itemsize, bool(text.keep)


@dataclass(frozen=True)
class Forecast:
    """Bytes by what takes them, and their peak."""

    plan: MemoryPlan
    parts: dict[str, int]
    peak: int
    demands: Sequence[Demand] = ()

    @property
    def limits(self) -> Limits:
        """What stages and prior do at once under the plan."""
        return limits_of(self.plan, self.demands)

    def line(self) -> str:
        """The forecast in words."""
        shown = ", ".join(
            f"{name} {size / GIB:.2f}" for name, size in self.parts.items() if size > 0.005 * GIB
        )
        return f"{self.plan.name}: {self.peak / GIB:.2f} GB at most ({shown})"


def forecast(
    plan: MemoryPlan,
    wanted: list[Demand],
    prior: DiffusionPrior,
    context: float = 0.0,
    extraction: int = 0,
) -> Forecast:
    """The largest stage's peak under a plan, or that of the extraction after them, which takes
    `extraction` bytes of main memory beside weights and field."""
    best: Forecast | None = None
    text, stays = reading(prior)
    for demand in wanted:
        work = networks_at_work(plan, demand, prior)
        # The field, its gradient, Adam's two moments; the watchdog's copy of field and moments; the
        # sum of the gradients of parts; the renderer's grid.
        copies = 7 + (demand.parts > 1)
        state = copies * demand.parameters + demand.grid
        if plan.samples and plan.samples < demand.samples:
            kept = int(demand.samples * demand.chunked)
            drawn = kept + int(plan.samples * demand.most)
        else:
            kept, drawn = int(demand.samples * demand.kept), int(demand.samples * demand.most)
        if demand.encode and demand.regularised:
            drawn += work.kept
        # Rendering and the networks work one after the other; what a rendering keeps is there while
        # the networks do.
        busy = max(kept + work.most, drawn, demand.refresh)
        trained = copies * work.trained
        parts = {
            "weights": work.weights,
            "recorded graphs": work.recorded,
            "field": state,
            "trained copy": trained,
            "networks at work": work.most,
            "rendering": drawn,
            "context": int(context),
            "text encoders": text if stays else 0,
        }
        held = work.weights + work.recorded + state + trained + parts["text encoders"]
        total = Forecast(plan, parts, held + busy + int(context))
        if not stays and work.weights + text + int(context) > total.peak:
            # Prompts are read beside the weights, before anything is rendered.
            read = {"weights": work.weights, "text encoders": text, "context": int(context)}
            total = Forecast(plan, read, sum(read.values()))
        if best is None or total.peak > best.peak:
            best = total
        ending = work.weights + parts["text encoders"] + demand.parameters + extraction
        if extraction and is_main(prior.device) and ending > best.peak:
            last = {"weights": work.weights, "field": demand.parameters, EXTRACTION: extraction}
            best = Forecast(plan, last, ending)
    assert best is not None
    return replace(best, demands=wanted)


@dataclass(frozen=True, kw_only=True)
class NetworksAtWork:
    """Bytes of all networks of a stage: their weights, what they hold at most while they work one
    after the other, what of it stays until the way back, what recorded graphs hold, and the numbers
    that are trained."""

    weights: int
    recorded: int
    most: int
    kept: int
    trained: int


def networks_at_work(plan: MemoryPlan, demand: Demand, prior: DiffusionPrior) -> NetworksAtWork:
    """What a stage's prior and those of its guidances ask for under a plan. Where the stage has a
    network of its own, the run's stays loaded."""
    first_prior, prior = prior, demand.prior or prior

    def at_once(entries: int) -> int:
        every = demand.views * entries
        return max(1, min(plan.entries, every) if plan.entries else every)

    images = min(plan.images, demand.views) if plan.images else demand.views
    latent = prior.facts.latent_size if demand.encode else demand.size
    first = prior.rehearse(
        latent,
        at_once(demand.repeats),
        images if demand.encode else 1,
        demand.encode and demand.gradient,
        plan.offload,
    )
    most = max(first.denoising, first.encoding if demand.encode else 0)
    recorded = first.recorded
    weights = first.weights
    if first_prior is not prior:
        weights += first_prior.rehearse(latent, 1, 1, False, plan.offload).weights
    kept, trained = first.kept if demand.encode else 0, 0
    for beside in demand.beside:
        own = beside.prior is prior
        encodes, edge = beside.encodes and not own, beside.prior.facts.latent_size
        found = beside.prior.rehearse(
            edge if encodes else latent,
            at_once(beside.entries),
            images if encodes else 1,
            encodes,
            plan.offload,
        )
        weights += 0 if own else found.weights
        # Graphs of the run's own prior share their memory.
        recorded = max(recorded, found.recorded) if own else recorded + found.recorded
        # What the encoders before it keep is there while it works.
        most = max(most, kept + found.denoising)
        if encodes:
            most = max(most, kept + found.encoding, found.kept + first.encoding)
            kept += found.kept
        if beside.trained is not None:
            # Several parts of a batch are computed again on their way back, one after the other.
            learns = beside.prior.rehearse_training(
                beside.trained, latent, at_once(beside.trained_entries)
            )
            most = max(most, kept + (learns.denoising if beside.trained_entries else 0))
            trained += learns.weights
    return NetworksAtWork(weights=weights, most=most, kept=kept, trained=trained, recorded=recorded)


def choose(
    text: str,
    config: Any,
    prior: DiffusionPrior,
    context: float = 0.0,
    parts: int = 1,
    present: Field | None = None,
    seed: int = 0,
    extraction: int = 0,
) -> Forecast:
    """The first plan whose forecast is within the budget. Raises ConfigError where none is, or
    where the system has no such stages."""
    limit = budget(text)
    wanted = demands(config, prior, parts, present=present, seed=seed)
    if not wanted:
        raise ConfigError(
            "is for runs that distil, and this one does not", "--memory", "Leave it out"
        )
    for plan in PLANS:
        if plan.offload and is_main(prior.device):
            continue
        found = forecast(plan, wanted, prior, context=context, extraction=extraction)
        if found.peak <= limit:
            return found
    raise ConfigError(
        f"the smallest plan needs {found.peak / GIB:.1f} GB ({found.plan.name})",
        f"--memory {text}",
        "Lower --export.resolution"
        if EXTRACTION in found.parts
        else "Lower --resolution, or take a smaller prior",
    )


def limits_of(plan: MemoryPlan, wanted: Sequence[Demand] = ()) -> Limits:
    """What a plan means for the stages that were asked. More samples than a stage's forecast counts
    on come in chunks, also where the plan has them all at once: a field that grows keeps the
    budget."""
    return Limits(
        samples={demand.name: plan.samples or demand.samples for demand in wanted},
        entries=plan.entries,
        images=plan.images,
        offload=plan.offload,
    )


def keep_memory(
    text: str,
    config: Any,
    prior: DiffusionPrior | None,
    parts: int = 1,
    present: Field | None = None,
    seed: int = 0,
    export: AssetConfig | None = None,
) -> Forecast | None:
    """Choose what is done at once so that a budget is kept, if there is one; the prior keeps within
    it from now on, the stages are given the forecast's `limits`.

    Args:
        parts: in which the views of a step are worked on, by ranks or one after the other.
        present: the field that is optimised, where there is one already.
        seed: of the run.
        export: how a field becomes an asset at the end, where one does.
    """
    if not text:
        return None
    if prior is None:
        raise ConfigError(
            "is for runs that distil, and this one does not", "--memory", "Leave it out"
        )
    planned = choose(
        text,
        config,
        prior,
        context=CONTEXT if prior.accelerated else 0.0,
        parts=parts,
        present=present,
        seed=seed,
        extraction=0 if export is None else extraction_bytes(export.points),
    )
    prior.keep_within(planned.limits)
    return planned


def limits_from(planned: Forecast | None) -> Limits:
    """The limits of a forecast, if there is one."""
    return Limits() if planned is None else planned.limits


def tell(planned: Forecast | None, events: Events) -> None:
    """Say a forecast, and record it."""
    if planned is not None:
        events.say(f"Memory: {planned.line()}")
        events.record("memory-plan", plan=planned.plan.name, peak=planned.peak, parts=planned.parts)
