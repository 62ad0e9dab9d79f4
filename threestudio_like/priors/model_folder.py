"""Model folders of Stable Diffusion's layout: how they are loaded, and the facts in their
configurations."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from ..engine.errors import ModelError
from ..engine.schema.bounds import Count, OptionalSize, Positive
from ..kernels.devices import fast_bfloat16, prefers_bfloat16
from .diffusion import CameraProtocol, DiffusionPrior, Domain, PriorFacts, Untold
from .families.records import SchedulerRecord, with_usual
from .model_files import Axis, PriorRecord, read_json, record
from .noise_schedule import PredictionType
from .personal.choice import PersonalParts
from .personal.from_hub import LORA_NAMES

R = TypeVar("R", bound=Any)


@dataclass(frozen=True, kw_only=True)
class DiffusersConfig:
    """How a pretrained model is loaded."""

    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "float32"
    """Number type of the weights. auto: on a GPU, float16 or bfloat16 for the denoiser as suits its
    family, and for the autoencoder bfloat16 where the GPU has it (its gradients have float32's
    range then; in float16 they are scaled); on a CPU, bfloat16 for the denoiser if the processor
    has such instructions (the autoencoder stays float32), else float32."""
    device: str = "cpu"
    attention_slicing: bool = False
    """Compute attention in slices, which takes less memory and more time."""
    offload: bool = False
    """Keep weights in main memory and move each module to the device when it runs (for small GPUs).
    """
    sample_posterior: bool = False
    """Sample the autoencoder's posterior instead of taking its mean."""
    entries: Count = 0
    """Number of entries of the UNet's batch that are processed at once; 0 for all. Entries are
    independent, except views that are denoised together."""
    images: Count = 0
    """Number of pictures that the autoencoder processes at once, which the backward pass computes
    again; 0 for all."""
    tiling: bool = False
    """Decode large pictures in blended tiles, which takes less memory and changes the result
    slightly."""
    keep_text: bool | None = None
    """Keep the text encoder after a prompt; None keeps it only in main memory."""
    compile: bool = False
    """Use torch.compile for the UNet, which is faster after a first minute. It needs a C++ compiler
    on a CPU, and none on a GPU."""
    graphs: bool | None = None
    """Record the UNet's kernels once for every shape and replay them; None does so on GPUs if
    nothing is offloaded or compiled."""
    image_size: OptionalSize = 0
    """Height and width of the pictures in pixels; 0 for the model's own."""
    prediction_type: Literal["auto", "epsilon", "v_prediction", "sample", "flow"] = "auto"
    """What the denoiser predicts; auto for what its scheduler says."""
    beta_schedule: Literal["scaled_linear", "linear", "squaredcos_cap_v2"] | None = None
    """Instead of the scheduler's; like the next three."""
    beta_start: Positive | None = None
    beta_end: Positive | None = None
    shift: Positive | None = None
    """Shift of a flow's noise, instead of the scheduler's own or that for the size."""
    guidance: Literal["auto", "cfg", "embedded", "none"] = "auto"
    """How the model is guided (`diffusion.GuidanceStyle`); auto for what its files say."""
    embedded_guidance: float | None = None
    """Value of the guidance embedding, where the denoiser has one; None for the family's."""
    latent_scale: Positive | None = None
    """Factor of the latents, instead of the autoencoder's own; like the next."""
    latent_shift: float | None = None
    text_length: Count = 0
    """Tokens that the long text encoder reads; 0 for the family's number."""
    clip_skip: Count = 0
    """Last layers of the CLIP text encoders that are left out, beside those that the family leaves
    out; counted as diffusers does, so that the "clip skip 2" of other programs is 1."""
    text_layers: tuple[int, ...] = ()
    """Layers whose states FLUX.2 is told; empty for the published ones."""
    zero_empty: bool | None = None
    """SDXL: whether the empty prompt is all zeros; None for what model_index.json says."""
    ignore_camera: bool = False
    """Run a UNet without the camera embedding that its prior.json does not describe, as if the
    camera were never known."""
    without: tuple[Untold, ...] = ()
    """What the model is not told although it could be, to see what it is worth: "words" (the
    direction of a view in its prompt), "camera", "views" (the others of a step)."""
    view_adapter: Path | None = None
    """Stable Diffusion XL: the file of an MV-Adapter, which lets it denoise six views together."""
    control: tuple[str, ...] = ()
    """Control networks (ControlNet, T2I-Adapter): each a kind (depth, normal, canny, ...), where it
    is from, and its weight: "depth", "depth=FOLDER", "depth=owner/model@0.6"."""
    pose: Literal["auto", "zero123", "stable-zero123"] = "auto"
    """Zero123: which numbers of a camera it is told; auto by prior.json, or else by its name."""
    parts: PersonalParts = field(default_factory=PersonalParts)
    """LoRAs and what else is the user's own; on the command line --lora, --vae."""
    tokenizer: Path | None = None
    """For a model in a single file: a folder of its family with the tokenizers and configurations
    (no weights are needed)."""


DIRECTIONS = ("front", "side", "back", "overhead", "bottom")
"""The words by which a prompt says from where the object is seen."""
CameraNumber = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
CAMERA_NUMBERS: dict[str, CameraNumber] = {
    "sin azimuth": lambda azimuth, elevation, background, normal: azimuth.sin(),
    "cos azimuth": lambda azimuth, elevation, background, normal: azimuth.cos(),
    "sin 2 azimuth": lambda azimuth, elevation, background, normal: (2 * azimuth).sin(),
    "cos 2 azimuth": lambda azimuth, elevation, background, normal: (2 * azimuth).cos(),
    "sin elevation": lambda azimuth, elevation, background, normal: elevation.sin(),
    "cos elevation": lambda azimuth, elevation, background, normal: elevation.cos(),
    "background": lambda azimuth, elevation, background, normal: 2 * background - 1,
    "known": lambda azimuth, elevation, background, normal: torch.ones_like(background),
    "normal domain": lambda azimuth, elevation, background, normal: normal,
    "azimuth": lambda azimuth, elevation, background, normal: azimuth,
    "elevation": lambda azimuth, elevation, background, normal: elevation,
    "polar": lambda azimuth, elevation, background, normal: math.pi / 2 - elevation,
    "level": lambda azimuth, elevation, background, normal: background,
    "zero": lambda azimuth, elevation, background, normal: torch.zeros_like(background),
}
"""What the numbers of a camera vector can be, by the names that prior.json uses. Azimuth 0 is the
front and grows to the right of the object's front (towards +X); angles are in radians; the grey
level of the background is in [0, 1], "background" from -1 to 1; "known" is one; "normal domain" is
one for pictures of normals and zero for colours; "polar" is the angle from straight up. A factor
may stand before a name: "-1 * sin azimuth", "57.29578 * elevation"."""
FIRST_CAMERA_VECTOR = tuple(CAMERA_NUMBERS)[:8]
"""The camera vector of priors whose prior.json describes a camera but not the vector."""


def camera_number(text: str) -> tuple[float, str] | None:
    """The factor and the name of an entry of a camera vector; None for one that is not known."""
    factor, star, name = text.rpartition("*")
    try:
        scale = float(factor) if star else 1.0
    except ValueError:
        return None
    name = name.strip()
    return (scale, name) if name in CAMERA_NUMBERS and math.isfinite(scale) else None


def camera_vector(
    names: Sequence[str],
    azimuth: torch.Tensor,
    elevation: torch.Tensor,
    background: torch.Tensor,
    normal: torch.Tensor,
) -> torch.Tensor:
    """The vector (B, len(names)) of the class embedding, from `CAMERA_NUMBERS`.

    All zeros mean that the camera is not known.

    Args:
        names: the numbers in their order, each with a factor where it has one.
        azimuth, elevation: (B,) in radians. background: (B,) in [0, 1]. normal: (B,) 1 where the
            picture shows normals, else 0.
    """
    numbers = []
    for text in names:
        known = camera_number(text)
        assert known is not None
        factor, name = known
        numbers.append(factor * CAMERA_NUMBERS[name](azimuth, elevation, background, normal))
    return torch.stack(numbers, -1)


def domains_of(own: PriorRecord, numbers: Sequence[str], path: Path) -> tuple[Domain, ...]:
    """What a prior's pictures can show, by its prior.json and the numbers that it is fed. Raises
    ModelError where these say different things."""
    switched = any((camera_number(name) or (0, ""))[1] == "normal domain" for name in numbers)
    if own.normals is not None and own.normals.only:
        return ("normal",)
    if own.normals is not None and not switched:
        raise ModelError(
            '"normals" are declared, and nothing tells the network which pictures to make',
            str(path),
            'Add "normal domain" to "camera_vector", or say that it makes no others: "only": true',
        )
    return ("colour", "normal") if switched else ("colour",)


def in_axes(maps: torch.Tensor, axes: Sequence[Axis]) -> torch.Tensor:
    """Ray maps (B, 6, h, w), two vectors for every pixel, in the axes of a prior
    (`PriorRecord.ray_axes`)."""
    places = ["xyz".index(axis[-1]) for axis in axes]
    signs = torch.tensor([-1.0 if axis[0] == "-" else 1.0 for axis in axes]).to(maps)
    return (maps.unflatten(1, (2, 3))[:, :, places] * signs.view(1, 1, 3, 1, 1)).flatten(1, 2)


def read_config(folder: Path, part: str, kind: type[R]) -> R:
    """What is needed of the configuration of a part of a model folder. Raises ModelError if it is
    missing or damaged."""
    path = _config_in(folder, part)
    return record(kind, read_json(path), path)


def _config_in(folder: Path, part: str) -> Path:
    for name in ("config.json", "scheduler_config.json"):
        path = folder / part / name
        if path.is_file():
            return path
    raise ModelError(
        f'has no "{part}" with a configuration',
        str(folder),
        "Give a folder as diffusers saves a text-to-image model",
    )


def number_types(
    dtype: str, device: torch.device, half: torch.dtype = torch.float16
) -> tuple[torch.dtype, torch.dtype]:
    """The types of the denoiser and of the autoencoder (and text encoder) for a
    `DiffusersConfig.dtype`; `half` is that of the family on a GPU."""
    if dtype != "auto":
        return getattr(torch, dtype), getattr(torch, dtype)
    if device.type != "cpu":
        # Guidance magnifies the rounding of the denoiser's two answers by its scale, and float16
        # has eight times the digits of bfloat16; the autoencoder is gone back through, and there
        # it is the range that counts.
        return half, torch.bfloat16 if prefers_bfloat16(device) else half
    return (torch.bfloat16 if fast_bfloat16() else torch.float32), torch.float32


def read_facts(folder: Path) -> PriorRecord:
    """What prior.json says beside a model of this project's; nothing special without one. Raises
    ModelError."""
    path = folder / "prior.json"
    own = record(PriorRecord, read_json(path) if path.is_file() else {}, path, strict=True)
    if {axis[-1] for axis in own.ray_axes} != {"x", "y", "z"}:
        raise ModelError(f'"ray_axes" has an axis twice: {", ".join(own.ray_axes)}', str(path))
    for name in own.larger:
        if not re.fullmatch(r"\w+", name):
            raise ModelError(f'"larger" names no folder beside it: "{name}"', str(path))
    return own


def network_of(
    folder: Path, own: PriorRecord, part: str, config: DiffusersConfig
) -> tuple[str, Path | None]:
    """Which network makes pictures of the size that is asked for: its part of the folder, and where
    there are low-rank layers beside `part` instead of another network, their folder."""
    name = next((n for n, pixels in own.larger.items() if pixels == config.image_size), part)
    if (folder / name / LORA_NAMES[0]).is_file() and not (folder / name / "config.json").is_file():
        return part, folder / name
    return name, None


def facts_of(
    name: str,
    own: PriorRecord,
    prediction: PredictionType,
    channels: int,
    latent: int,
    image: int,
) -> PriorFacts:
    """The facts of a model from what its parts' configurations say and its prior.json."""
    camera = own.camera
    return PriorFacts(
        name,
        prediction,
        channels,
        latent_size=latent,
        image_size=image,
        vocabulary=own.vocabulary,
        world=own.world,
        camera=CameraProtocol(
            camera.distance, camera.fov_y, camera.elevation, background=camera.background
        )
        if camera is not None
        else None,
        light=own.light,
        joint_views=own.joint_views,
        domains=("normal",) if own.normals is not None and own.normals.only else ("colour",),
        normal_space="world" if own.normals is None else own.normals.space,
        licence=own.licence,
        territory=own.territory,
    )


def scheduler_of(folder: Path, config: DiffusersConfig) -> SchedulerRecord:
    """The scheduler's numbers with those that --load overrides."""
    path = _config_in(folder, "scheduler")
    numbers = record(SchedulerRecord, with_usual(read_json(path)), path)
    changes: dict[str, Any] = {
        name: value
        for name, value in (
            ("beta_schedule", config.beta_schedule),
            ("beta_start", config.beta_start),
            ("beta_end", config.beta_end),
            ("shift", config.shift),
        )
        if value is not None
    }
    if config.shift is not None:
        changes.update(use_dynamic_shifting=False, flow_shift=config.shift)
    if config.beta_schedule is not None:
        changes["trained_betas"] = None
    if config.prediction_type != "auto":
        changes["prediction_type"] = config.prediction_type
    values = {f: getattr(numbers, f) for f in numbers.__dataclass_fields__}
    return record(SchedulerRecord, {**values, **changes}, Path("--load"))


WORDS: dict[Untold, str] = {
    "words": "the direction of a view in its prompt",
    "camera": "its camera",
    "views": "the other views of a step",
}
"""What each is, for messages."""


def _without_unknown_words(facts: PriorFacts) -> PriorFacts:
    """The facts of a prior; one whose vocabulary lacks the words of a view's direction is told
    none."""
    known = facts.vocabulary
    lacking = [] if known is None else [w for w in (*DIRECTIONS, "view") if w not in known]
    if not lacking:
        return facts
    note = (
        f"The model does not know the word{'s' * (len(lacking) > 1)} {', '.join(lacking)}: prompts "
        "do not say from where the object is seen"
    )
    return replace(facts, untold=facts.untold | {"words"}, notes=(*facts.notes, note))


def left_without(prior: DiffusionPrior, facts: PriorFacts, without: Sequence[Untold]) -> PriorFacts:
    """The facts of a prior that is not told some things (`DiffusersConfig.without`).

    Raises:
        ModelError: it is not told one of them anyway, or cannot predict without.
    """
    facts = _without_unknown_words(facts)
    untold = frozenset(without)
    if not untold:
        return facts
    told: dict[Untold, bool] = {
        "words": facts.reads_text,
        "camera": facts.camera is not None,
        "views": facts.joint_views > 1,
    }
    for what in sorted(untold):
        if not told[what]:
            raise ModelError(
                f"is not told {WORDS[what]} anyway", facts.name, f'Leave "{what}" out of it'
            )
    names = " and ".join(WORDS[what] for what in WORDS if what in untold)
    if not prior.goes_without(untold):
        raise ModelError(f"cannot predict without {names}", facts.name, "Leave --load.without out")
    views = 1 if "views" in untold else facts.joint_views
    note = f"The model is not told {names} (--load.without)"
    untold |= facts.untold
    return replace(facts, untold=untold, joint_views=views, notes=(*facts.notes, note))
