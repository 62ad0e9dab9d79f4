"""`--memory 8GB`: a plan that keeps a run within a budget, with its forecast by a rehearsal.

What takes memory: the prior's weights, what its UNet and autoencoder hold while they work, the
    field with its gradient, Adam's moments and
the watchdog's copy, and what a rendering keeps for its way back. The networks are rehearsed on
tensors that hold nothing; the rendering on a few rays of the true field.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..engine.errors import ConfigError
from ..engine.events import Events
from ..engine.limits import Limits
from ..engine.memory import GIB, MemoryWatch, bytes_of
from ..engine.random import RandomStream
from ..kernels.devices import is_main
from ..priors.diffusion import DiffusionPrior
from ..priors.networks.attention import install
from ..priors.stable_diffusion import StableDiffusionPrior
from ..renderers import BackgroundSample, Cameras, VolumeConfig, VolumeRenderer
from ..representations import Field
from ..representations.config import FieldConfig
from ..stages.distillation import DistillationConfig
from ..stages.model import FieldModel
from ..stages.painting import PaintingConfig
from ..stages.regularisers import Regularisation, regularisation_terms, schedules
from ..systems.scene.comboverse import Comboverse
from ..systems.text_to_3d.latent_nerf import RgbConfig

SURFACE = 200.0
"""Bytes that drawing a mesh keeps for its way back, a sample."""
DRAWS = 16
"""Steps whose cameras a forecast tries."""
CONTEXT = 0.6 * GIB
"""What a driver and its libraries take on a GPU beside any tensor."""


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
    MemoryPlan("rendering in chunks of a million samples", 1 << 20, 0, 2),
    MemoryPlan("two entries and one picture at a time", 1 << 18, 2, 1),
    MemoryPlan("one entry at a time, small chunks", 1 << 16, 1, 1),
    MemoryPlan("one entry at a time, weights brought when they are needed", 1 << 16, 1, 1, True),
)


@dataclass(frozen=True)
class Demand:
    """What one stage asks for: `views` of `size` pixels at once, through the autoencoder or not, of
    a field (bytes of its parameters) that is sampled `samples` times a step; bytes a sample `kept`
    for the way back, taken at `most`, and kept where samples come in chunks (`chunked`); `repeats`
    of the UNet's batch a view; in how many `parts` a step comes; whether terms of the samples
    follow what the networks do (`regularised`); `refresh` takes to look where nothing is; `grid`
    what is known of that."""

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


def budget(text: str) -> int:
    """Bytes of "8GB" or "7.5". Raises ConfigError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:GB?|GiB)?\s*", text, re.IGNORECASE)
    if found is None or float(found[1]) <= 0:
        raise ConfigError(
            f'is no amount of memory: "{text}"', "--memory", "Say how many gigabytes: --memory 8GB"
        )
    return int(float(found[1]) * GIB)


Distilled = DistillationConfig | PaintingConfig | Comboverse


def stages_of(config: Any, name: str = "") -> Iterator[tuple[str, Distilled, Any]]:
    """The distillation stages with any steps in a configuration and all that it holds: their names,
    and what holds them."""
    for item in fields(config) if is_dataclass(config) else ():
        value = getattr(config, item.name)
        if isinstance(value, Distilled):
            if value.steps > 0:
                yield item.name, value, config
        else:
            yield from stages_of(value, item.name)


def demands(
    config: Any, prior: StableDiffusionPrior, parts: int = 1, present: Field | None = None
) -> list[Demand]:
    """What the distillation stages of a system ask for, where the views of a step are worked on in
    `parts`; of the `present` field where there is one already."""
    out = []
    for name, stage, holder in stages_of(config):
        if isinstance(stage, DistillationConfig):
            out.append(_of_volume(name, stage, holder, prior, parts, present))
        elif isinstance(stage, PaintingConfig):
            latent = name == "latent"
            size = getattr(holder, "resolution", 0) or (
                prior.facts.latent_size if latent else prior.facts.image_size
            )
            views = _a_part(len(stage.sampler().sample(RandomStream(0, "rehearsal", 0), 1)), parts)
            texels = (
                getattr(holder, "latent_texels", size) if latent else getattr(holder, "texels", 512)
            )
            out.append(
                Demand(
                    name,
                    views,
                    size,
                    not latent,
                    views * (2 * size) ** 2,
                    20 * texels**2,
                    SURFACE,
                    SURFACE,
                    SURFACE,
                )
            )
        else:
            size = prior.facts.image_size
            out.append(
                Demand(
                    name,
                    stage.views,
                    size,
                    True,
                    stage.views * (2 * size) ** 2,
                    0,
                    SURFACE,
                    SURFACE,
                    SURFACE,
                )
            )
    return out


def _a_part(views: int, parts: int) -> int:
    return max(1, views // parts)


def _of_volume(
    name: str,
    stage: DistillationConfig,
    holder: Any,
    prior: StableDiffusionPrior,
    parts: int,
    present: Field | None,
) -> Demand:
    encode = isinstance(stage, RgbConfig) or not hasattr(holder, "latent_size")
    settings: VolumeConfig = getattr(stage, "renderer", None) or holder.renderer
    size = getattr(holder, "resolution", 0) or (
        prior.facts.image_size if encode else prior.facts.latent_size
    )
    if present is not None:
        made = copy.deepcopy(present)
    else:
        chosen: FieldConfig = getattr(stage, "representation", None) or holder.representation
        made = chosen.build(3 if encode else prior.facts.channels, 0, sigmoid=encode)
    renderer = VolumeRenderer(replace(settings, chunk=0))
    with MemoryWatch() as watch:
        renderer.refresh(made, RandomStream(0, "rehearsal", 0))
    # Cameras come nearer and go farther: the most of a few steps.
    sampler = stage.sampler()
    draws = [sampler.sample(RandomStream(0, "rehearsal", step), size) for step in range(DRAWS)]
    draws = [cameras[: _a_part(len(cameras), parts)] for cameras in draws]
    samples = max(count_samples(renderer, cameras) for cameras in draws)
    few = draws[0][:1].resized(min(size, 40), min(size, 40))
    seen = FieldModel(made, renderer, lambda features: features)
    # Nothing of a rendering is in chunks, but its normals are, see `apply`.
    renderer.chunk = int(1.2 * count_samples(renderer, few))
    kept, _, most, regularised = per_sample(seen, stage.regularise, few)
    renderer.chunk = 256
    _, chunked, _, _ = per_sample(seen, stage.regularise, few)
    repeats = 4 if stage.guidance.perp_neg > 0 else 2
    return Demand(
        name,
        len(draws[0]),
        size,
        encode,
        samples,
        bytes_of(made),
        kept,
        most,
        chunked,
        repeats,
        parts,
        regularised,
        watch.peak,
        bytes_of(renderer) + sum(t.nbytes for t in renderer.state_dict().values()),
    )


def count_samples(renderer: VolumeRenderer, cameras: Cameras) -> int:
    """Samples of a step with what a renderer knows to be empty; of at most 96 x 96 rays a camera,
    scaled up."""
    from ..kernels import march

    config, size = renderer.config, min(cameras.height, 96)
    origins, directions = (
        r.reshape(-1, 3).contiguous() for r in cameras.resized(size, size).rays()
    )
    t, ray, _ = march(
        origins,
        directions,
        renderer.occupied,
        2.0 / config.samples,
        torch.full((len(origins),), 0.5),
    )
    inside = (origins[ray] + t[:, None] * directions[ray]).norm(dim=-1) <= config.radius
    return int(float(inside.sum()) * (cameras.height / size) ** 2)


def per_sample(
    parts: FieldModel, regularise: Regularisation, cameras: Cameras
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
        rendering = renderer.render(field, cameras, behind, RandomStream(0, "rehearsal", 0))
        held = watch.live
        assert rendering.samples is not None
        count = max(1, len(rendering.samples.t))
        terms = regularisation_terms(weights, parts, rendering, cameras, fraction)
        with_terms = watch.live
        (rendering.features.sum() + rendering.opacity.sum() + sum(terms.values())).backward()
    most = max(with_terms, watch.peak)
    return (
        held / count,
        with_terms / count,
        most / count,
        bool({"orientation", "distortion"} & set(terms)),
    )


@contextlib.contextmanager
def numbers_of(dtype: torch.dtype) -> Iterator[None]:
    """Modules that are made within have this number type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True)
class Networks:
    """A prior's networks as their configurations say, made of tensors that hold nothing."""

    folder: Path
    dtype: torch.dtype
    vae_dtype: torch.dtype
    fused: bool
    """Whether the device's attention never writes its maps out."""

    def rehearse(
        self, latent: int, entries: int, image: int, images: int, gradient: bool
    ) -> dict[str, int]:
        """Bytes of the weights, and what the UNet holds at most for `entries` and the autoencoder
        for `images` at work.

        Args:
            latent, image: edges of latents and pictures. gradient: whether pictures are encoded for
                their gradient.
        """
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from torch._subclasses.fake_tensor import FakeTensorMode

        settings = {
            part: json.loads((self.folder / part / "config.json").read_text())
            for part in ("unet", "vae")
        }
        with FakeTensorMode():
            with numbers_of(self.dtype):
                unet = (
                    UNet2DConditionModel.from_config(settings["unet"]).eval().requires_grad_(False)
                )
            with numbers_of(self.vae_dtype):
                vae = AutoencoderKL.from_config(settings["vae"]).eval().requires_grad_(False)
            found = {"UNet": bytes_of(unet), "autoencoder": bytes_of(vae)}
            found["largest layer"] = max(
                bytes_of(m) for net in (unet, vae) for m in net.modules() if not list(m.children())
            )
            install(unet, self.fused)
            config: Any = unet.config
            given = {
                "encoder_hidden_states": torch.empty(
                    entries, 77, config.cross_attention_dim, dtype=self.dtype
                )
            }
            if config.class_embed_type == "projection":
                given["class_labels"] = torch.empty(
                    entries, config.projection_class_embeddings_input_dim, dtype=self.dtype
                )
            noisy = torch.empty(entries, config.in_channels, latent, latent, dtype=self.dtype)
            with torch.no_grad(), MemoryWatch() as watch:
                unet(noisy, torch.zeros(entries, dtype=torch.long), **given)
            found["UNet at work"] = watch.peak
            pictures = torch.empty(
                images, 3, image, image, dtype=self.vae_dtype, requires_grad=gradient
            )
            with torch.set_grad_enabled(gradient), MemoryWatch() as watch:
                out = vae.encode(pictures).latent_dist.mode()
                found["autoencoder holds"] = watch.live
                if gradient:
                    out.sum().backward()
            found["autoencoder at work"] = watch.peak
        return found


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
    plan: MemoryPlan, wanted: list[Demand], prior: StableDiffusionPrior, context: float = 0.0
) -> Forecast:
    """The largest stage's peak under a plan."""
    networks = Networks(prior.folder, prior.dtype, prior.vae_dtype, prior.accelerated)
    best: Forecast | None = None
    for demand in wanted:
        every = demand.views * demand.repeats
        entries = min(plan.entries, every) if plan.entries else every
        images = min(plan.images, demand.views) if plan.images else demand.views
        latent = prior.facts.latent_size if demand.encode else demand.size
        found = networks.rehearse(
            latent, entries, prior.facts.image_size, images if demand.encode else 1, demand.encode
        )
        weights = (
            2 * found["largest layer"] if plan.offload else found["UNet"] + found["autoencoder"]
        )
        # The field, its gradient, Adam's two moments; the watchdog's copy of field and moments; the
        # sum of the gradients of parts; the renderer's grid.
        state = (7 + (demand.parts > 1)) * demand.parameters + demand.grid
        if plan.samples and plan.samples < demand.samples:
            kept = int(demand.samples * demand.chunked)
            drawn = kept + int(plan.samples * demand.most)
        else:
            kept, drawn = int(demand.samples * demand.kept), int(demand.samples * demand.most)
        work = found["UNet at work"]
        if demand.encode:
            work = max(work, found["autoencoder at work"])
            if demand.regularised:
                drawn += found["autoencoder holds"]
        # Rendering and the networks work one after the other; what a rendering keeps is there while
        # the networks do.
        busy = max(kept + work, drawn, demand.refresh)
        parts = {
            "weights": weights,
            "field": state,
            "networks at work": work,
            "rendering": drawn,
            "context": int(context),
        }
        total = Forecast(plan, parts, weights + state + busy + int(context))
        if best is None or total.peak > best.peak:
            best = total
    assert best is not None
    return replace(best, demands=wanted)


def choose(
    text: str,
    config: Any,
    prior: StableDiffusionPrior,
    context: float = 0.0,
    parts: int = 1,
    present: Field | None = None,
) -> Forecast:
    """The first plan whose forecast is within the budget. Raises ConfigError where none is, or
    where the system has no such stages."""
    limit, wanted = budget(text), demands(config, prior, parts, present)
    if not wanted:
        raise ConfigError(
            "is for runs that distil, and this one does not", "--memory", "Leave it out"
        )
    for plan in PLANS:
        if plan.offload and is_main(prior.device):
            continue
        found = forecast(plan, wanted, prior, context)
        if found.peak <= limit:
            return found
    raise ConfigError(
        f"the smallest plan needs {found.peak / GIB:.1f} GB ({found.plan.name})",
        f"--memory {text}",
        "Lower --resolution, or take a smaller prior",
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
) -> Forecast | None:
    """Choose what is done at once so that a budget is kept, if there is one; the prior keeps within
    it from now on, the stages are given the forecast's `limits`.

    Args:
        parts: in which the views of a step are worked on, by ranks or one after the other.
        present: the field that is optimised, where there is one already.
    """
    if not text:
        return None
    if not isinstance(prior, StableDiffusionPrior):
        raise ConfigError(
            "is for runs that distil, and this one does not", "--memory", "Leave it out"
        )
    planned = choose(text, config, prior, CONTEXT if prior.accelerated else 0.0, parts, present)
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


def without_plan(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as a dictionary less what is done at once, which is no part of the result: a
    run may go on with another value."""
    return {
        k: without_plan(v) if isinstance(v, dict) else v for k, v in config.items() if k != "chunk"
    }
