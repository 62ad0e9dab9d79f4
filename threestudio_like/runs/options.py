"""Options that commands share, in groups: the method, the pretrained model, the asset, the run.

The command line, the Python API and run.yaml all use these dataclasses. Nothing heavy is imported
here, so that help is printed at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from ..engine.errors import ConfigError, InputError
from ..engine.events import in_notebook
from ..engine.schema.bounds import FEWEST_FACES
from ..engine.schema.former import FormerKey

O = TypeVar("O")
LONGEST_PROMPT = 400


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """The method. Every value of its configuration is also an option by its dotted name
    (--distil.guidance.scale 7); --print-config lists them."""

    preset: str = "auto"
    """auto: default for camera-conditioned priors, paper for the others."""
    steps: int | None = None
    """Steps of distillation in all; stages keep their proportion, or steps of their own
    (--rgb.steps)."""
    resolution: int | None = None
    """Height and width of the rendering that is distilled, pixels."""
    negative: str = ""
    """Negative prompt."""
    config: Path | None = None
    """A run.yaml whose configuration is taken first."""
    print_config: bool = False
    """Print the configuration and stop."""


@dataclass(frozen=True, kw_only=True)
class PriorOptions:
    """The pretrained model."""

    prior: str = "toybox"
    """The embedded "toybox", a model folder, a logical name (sd-1.5, sd-2.1-base, …), a hub id, or
    a plug-in's."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Number type of the prior. auto: bfloat16 where the CPU has it, float16 on a GPU, else
    float32."""
    attention_slicing: bool = False
    """Compute attention in slices: less memory, slower."""
    compile: bool = False
    """torch.compile the prior's UNet: faster after a first minute."""
    offload: bool = False
    """Keep the prior's weights in main memory between uses (small GPUs)."""
    concept: tuple[Path, ...] = ()
    """Textual-inversion files to load, each a word: learned_embeds.safetensors or .bin."""
    lora: tuple[Path, ...] = ()
    """LoRAs to add to the model: .safetensors files, or hub ids (owner/name/file.safetensors)."""
    lora_weight: tuple[float, ...] = ()
    """How much each counts, or one number for all (default: 1)."""
    vae: Path | None = None
    """Autoencoder instead of the model's own: folder or .safetensors file; a tiny one is faster."""
    like: tuple[Path, ...] = ()
    """Pictures that the result is to be like (IP-Adapter)."""
    like_weight: float = 1.0
    """How much they count."""
    ip_adapter: Path | None = None
    """IP-Adapter for --like: its file with image_encoder/ beside it, a folder of both, or a hub id
    (h94/IP-Adapter)."""
    embeddings: Path | None = None
    """Bundle of prompt embeddings to use instead of the text encoder."""
    save_embeddings: Path | None = None
    """Write this run's prompt embeddings as a bundle."""

    FORMER_KEYS: ClassVar[dict[str, FormerKey]] = {
        "concept": FormerKey(
            kind=Path | None,
            now=lambda path: {"concept": () if path is None else (path,)},
            when=lambda value: value is None or isinstance(value, (str, Path)),
        )
    }


@dataclass(frozen=True, kw_only=True)
class AssetOptions:
    """The asset that is written."""

    texture: int | None = None
    """Texture size, pixels (default: 512; a draft's is 256, high quality's 1024)."""
    faces: int | None = None
    """Face budget of the mesh; 0 keeps all. None for the method's own, 16,000 from a field."""
    turntable: bool = True
    """Make turntable.mp4."""


@dataclass(frozen=True, kw_only=True)
class KnownOptions:
    """What you know of the picture."""

    azimuths: tuple[float, ...] = ()
    """Of the camera, for each photo, degrees: 0 sees the front, 90 the object's left side. Found
    among several photos by default."""
    elevation: float | None = None
    """Degrees by which the picture looks down."""
    fov: float | None = None
    """Vertical field of view of the whole picture, degrees."""
    distance: float | None = None
    """Of the camera from the object, metres; with --fov the asset gets its size."""
    height: str = ""
    """Of the object: 0.8m, 80cm, 31in; the asset gets this size."""
    depth: str = ""
    """A depth map of the picture (.npy, TIFF, PNG), or the name or folder of a depth model."""
    depth_kind: Literal["auto", "distance", "relative", "disparity"] = "auto"
    """What the map says: distances in any unit, depth up to a scale and a shift, or disparity."""
    normal: str = ""
    """A normal map of the picture (x right, y up, z to the viewer), or a model (Marigold)."""
    captioner: str = ""
    """A transformers captioner (BLIP) that says what the picture shows: folder or hub id."""
    strict: bool = False
    """Exit code 3 where the result does not fit the picture."""


@dataclass(frozen=True, kw_only=True)
class MicrobatchOptions:
    """The views of a step, when they do not all fit at once."""

    ranks: int = 1
    """Processes that share the views of a step; on GPUs one each. The result is that of one process
    with all of them."""
    accumulate: int = 1
    """Microbatches into which the views of a step are divided, one after the other, for less
    memory. Two of them give, bit for bit, what two ranks of as many threads give."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The run: its folder, its machine, how long it may take, what it shows."""

    out: Path | None = None
    """Folder of the run (default: outputs/<time>-<prompt>)."""
    seed: int = 0
    """Same seed, same bytes on a CPU with the same number of threads."""
    resume: bool = False
    """Go on with the run in --out (default: outputs/latest), at whatever point it ended."""
    minutes: float | None = None
    """Time limit; schedules fit into it."""
    memory: str = ""
    """A budget to keep, such as 6GB, 8GB, 16GB or 24GB: a forecast chooses what is done at once;
    gradients stay the same."""
    device: str = ""
    """cpu (the default), cuda, cuda:1 or mps."""
    threads: int | None = None
    """CPU threads (default: all cores)."""
    kernels: Literal["auto", "triton", "vendor", "reference"] = "auto"
    """auto: Numba on the CPU, Triton on a GPU. vendor: tiny-cuda-nn, nerfacc, nvdiffrast and gsplat
    where they are installed. reference: plain torch."""
    keep: Literal["model", "all", "nothing"] = "model"
    """What stays in work/ when the run has finished. model: what refine and further steps need, in
    half precision. all: the whole checkpoint. nothing: the asset alone."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints (default: every 20 seconds)."""
    preview_seconds: float = 5.0
    """Seconds between previews in work/preview.png."""
    log_every: int = 10
    """Steps between events."""
    viewer: bool = False
    """Show the run in the browser while it goes: model, losses, pause, stop (extra `viewer`)."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print events as JSON lines on standard output."""
    plugins: tuple[Path, ...] = ()
    """Python files that register a guidance, a representation, a prior, a system or a format."""
    force: bool = False
    """Replace files outside the run's folder that are there already (--save-embeddings)."""

    @property
    def verbosity(self) -> Literal["line", "json", "quiet", "notebook"]:
        """How events are shown, see `engine.events.Events`."""
        if self.json or self.quiet:
            return "json" if self.json else "quiet"
        return "notebook" if in_notebook() else "line"


GROUPS = (
    MethodOptions,
    PriorOptions,
    AssetOptions,
    KnownOptions,
    MicrobatchOptions,
    RunOptions,
)
SAME_RESULT = {
    *(f.name for f in fields(RunOptions) if f.name != "seed"),
    *(f.name for f in fields(MicrobatchOptions)),
    *("attention_slicing", "offload", "compile", "save_embeddings", "config", "print_config"),
    *("turntable", "dtype", "strict"),
}
"""Options that may change when a run goes on: what is made is the same, but for rounding."""


def flat(options: Any) -> dict[str, Any]:
    """The options of a command by their names, those of its groups among them."""
    values: dict[str, Any] = {}
    for name in _names(options.__class__):
        value = getattr(options, name)
        if isinstance(value, GROUPS):
            values.update(flat(value))
        else:
            values[name] = value
    return values


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind))


def regroup(options: Any, values: dict[str, Any]) -> Any:
    """A command's options with some of `flat`'s values replaced; groups without such a value are
    the same objects as before."""
    changes: dict[str, Any] = {}
    for name in _names(options.__class__):
        value = getattr(options, name)
        kind: Any = value.__class__
        if isinstance(value, GROUPS):
            if not _flat_names(kind).isdisjoint(values):
                changes[name] = regroup(value, values)
        elif name in values:
            changes[name] = values[name]
    return replace(options, **changes) if changes else options


@cache
def _flat_names(kind: type) -> frozenset[str]:
    return frozenset(flat(default_options(kind)))


def given(options: Any) -> dict[str, Any]:
    """The options that differ from their defaults, by `flat`'s names."""
    return _differing(options, default_options(options.__class__))


def _differing(options: Any, default: Any) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name in _names(options.__class__):
        value, usual = getattr(options, name), getattr(default, name)
        # Thousands of items share the groups that none of them changes.
        if value is usual:
            continue
        if isinstance(value, GROUPS):
            changed.update(_differing(value, usual))
        elif value != usual:
            changed[name] = value
    return changed


@cache
def default_options(kind: Callable[[], O]) -> O:
    """A command's options as they are when nothing is said, made once."""
    return kind()


def check_prompt(prompt: str) -> None:
    """Raise InputError on a prompt that holds no words or too many, or is the name of a file."""
    if not prompt.strip():
        raise InputError("the prompt is empty", "prompt", 'Say what to make: "a red chair"')
    if len(prompt) > LONGEST_PROMPT:
        raise InputError(
            f"the prompt has {len(prompt)} characters, at most {LONGEST_PROMPT} are read",
            "prompt",
            "Say it shorter",
        )
    if not any(c.isalnum() for c in prompt):
        raise InputError("the prompt holds no words", "prompt", 'Say what to make: "a red chair"')
    if "." in prompt or "/" in prompt:
        # The endings of files are asked of all formats, which are not needed to print a help.
        from .prompts import check_words

        check_words(prompt)


LIMITS: dict[str, tuple[float, float, str]] = {
    "steps": (1, 10_000_000, "Leave it out for the preset's number"),
    "resolution": (8, 1024, "Leave it out for the prior's own size"),
    "minutes": (0.001, 1e6, "Leave it out for no limit"),
    "accumulate": (1, 1024, ""),
    "ranks": (1, 64, "Leave it out for one process"),
    "strictness": (0, 1, ""),
    "seed": (0, 2**63 - 1, ""),
    "texture": (64, 8192, ""),
    "faces": (0, 10_000_000, "0 keeps all"),
    "checkpoint_steps": (1, 10_000_000, "Leave it out for every 20 seconds"),
    "preview_seconds": (0, 1e6, ""),
    "log_every": (1, 10_000_000, ""),
    "threads": (1, 4 * (os.cpu_count() or 1), "Leave it out for all cores"),
    "instances": (1, 100_000, ""),
    "edge": (0, 1e6, ""),
    "depth": (1, 14, ""),
    "holes": (0, 1_000_000, ""),
    "weld": (0, 1, ""),
    "port": (0, 65535, "0 takes a free one"),
    "distance": (1e-3, 1e6, "Leave it out if it is not known"),
    "elevation": (-89, 89, "Leave it out if it is not known"),
    "workers": (1, 256, ""),
    "objects": (1, 10_000_000, ""),
    "groups": (8, 10_000_000, ""),
    "vectors": (0, 64, ""),
    "seconds": (0, 1e9, ""),
}
"""Smallest and largest value of an option of this name, in every command, and what to do."""


def check_numbers(values: dict[str, Any]) -> None:
    """Raise ConfigError on a number that cannot be meant. `values` by option names, see `flat`."""
    check_finite(values)
    for name, (low, high, remedy) in LIMITS.items():
        value = values.get(name)
        if value is None or isinstance(value, (str, tuple)):
            continue
        if not low <= value <= high:
            kind = f"from {low:g} to {high:g}" if high <= 10_000 else f"at least {low:g}"
            unit = " pixels" if name in ("texture", "resolution") else ""
            raise ConfigError(f"must be {kind}{unit}, got {value:g}", flag(name), remedy)
    if values.get("faces") and values["faces"] < FEWEST_FACES:
        few = f"must be 0 (keep all) or at least {FEWEST_FACES}, got {values['faces']}"
        raise ConfigError(few, "--faces")
    fov = values.get("fov")
    if fov and not 5 <= fov <= 120:
        raise ConfigError(
            f"must be from 5 to 120, got {fov:g}", "--fov", "Leave it out if it is not known"
        )
    if values.get("strictness") is not None and values.get("sketch") is None:
        raise ConfigError(
            "says how closely a sketch is followed, and there is none",
            "--strictness",
            "Add --sketch shape.obj",
        )


def is_strict(options: Any) -> bool:
    """Whether a result that does not fit its picture is a failure, by a command's options."""
    return bool(getattr(getattr(options, "known", None), "strict", False))


def check_finite(values: Mapping[str, Any]) -> None:
    """Raise ConfigError on a number that is infinite or none. `values` by option names."""
    for name, value in values.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"must be a finite number, got {number}", flag(name))


def flag(name: str) -> str:
    """How an option is written on the command line."""
    return "--" + name.replace("_", "-")


__all__ = [
    "GROUPS",
    "AssetOptions",
    "KnownOptions",
    "MethodOptions",
    "MicrobatchOptions",
    "PriorOptions",
    "RunOptions",
    "SAME_RESULT",
    "check_numbers",
    "check_prompt",
    "flag",
    "flat",
    "given",
    "is_strict",
    "regroup",
]
