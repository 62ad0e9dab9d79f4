"""The options of a run, and the checks that stop a mistake before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..engine.errors import ConfigError, InputError, VocabularyError
from ..engine.output import check_free
from ..kernels import devices
from ..kernels.dispatch import choose, why_not
from ..meshes.frames import CANONICAL, Frame
from ..priors.diffusion import DiffusionPrior
from ..priors.stable_diffusion import DiffusersConfig
from ..stages.field_to_mesh import AssetConfig
from ..toybox.vocabulary import CATEGORIES, parse, split, unknown_words

LONGEST_PROMPT = 400


@dataclass
class Options:
    """What every optimising verb takes besides its system's configuration."""

    out: Path | None = None
    """Folder of the run; the default is outputs/<time>-<prompt>."""
    seed: int = 0
    steps: int | None = None
    """Steps of distillation in all; several stages keep their proportion."""
    resolution: int | None = None
    """Height and width of the rendering that is distilled, pixels."""
    device: str = devices.MAIN
    prior: str = "toybox"
    """The embedded "toybox", a folder of Stable Diffusion's layout, a logical name (sd-1.5, …) or a
    hub id."""
    system: str = "latent-nerf"
    preset: Literal["auto", "default", "paper"] = "auto"
    """auto: default for camera-conditioned priors, paper for all others."""
    sketch: Path | None = None
    """A coarse shape to follow: a mesh, or a YAML list of primitives."""
    strictness: float | None = None
    """How closely the sketch is followed, from 0 to 1; the default is the system's."""
    guidance: str = ""
    """A guidance in place of score distillation, in every stage that distils."""
    negative: str = ""
    """Negative prompt."""
    concept: Path | None = None
    """Textual-inversion token to load (learned_embeds.safetensors or .bin)."""
    embeddings: Path | None = None
    """Bundle of prompt embeddings to use instead of the text encoder."""
    save_embeddings: Path | None = None
    force: bool = False
    """Replace the file of `save_embeddings`."""
    """Write the prompt embeddings of this run as a bundle."""
    config: Path | None = None
    """A run.yaml whose values are taken first."""
    set: dict[str, str] = field(default_factory=dict)
    """Values of the system's configuration by dotted name."""
    resume: bool = False
    """Go on with the run in --out (or the latest one)."""
    minutes: float | None = None
    """Time limit: schedules and steps fit into it."""
    memory: str = ""
    """A budget that the run keeps: "8GB"."""
    accumulate: int = 1
    """Parts of a step's views that are worked on one after the other."""
    export: AssetConfig = field(default_factory=AssetConfig)
    load: DiffusersConfig = field(default_factory=lambda: DiffusersConfig(dtype="auto"))
    preview_seconds: float = 5.0
    log_every: int = 10
    checkpoint_steps: int | None = None
    verbosity: Literal["line", "json", "quiet"] = "line"
    turntable: bool = True
    viewer: bool = False
    """Show the run in the browser while it goes."""


@dataclass
class TextureOptions(Options):
    """What `texture` takes besides."""

    system: str = "latent-paint"
    frame: Frame = CANONICAL
    """Axes and unit of the mesh's file."""
    unwrap: Literal["auto", "keep", "always"] = "auto"
    """auto: keep texture coordinates that are a proper atlas, make new ones elsewhere; keep: keep
    any; always: make all anew."""
    lock: Path | None = None
    """A mask over the texture coordinates: texels where it is bright keep their colour."""
    lock_parts: tuple[str, ...] = ()
    """Names of parts or materials that keep their colour."""
    drop_textures: bool = False
    """Leave the file's own pictures alone, also missing ones."""


def check_options(prompt: str, options: Options) -> None:
    """Raise InputError or ConfigError on a prompt or number that cannot be meant."""
    if not prompt.strip():
        raise InputError("the prompt is empty", "prompt", 'Say what to make: "a red chair"')
    if len(prompt) > LONGEST_PROMPT:
        raise InputError(
            f"the prompt has {len(prompt)} characters, at most {LONGEST_PROMPT} are read",
            "prompt",
            "Say it shorter",
        )
    if not split(prompt):
        raise InputError("the prompt holds no words", "prompt", 'Say what to make: "a red chair"')
    if options.save_embeddings is not None:
        check_free([options.save_embeddings], force=options.force)
    if options.steps is not None and options.steps < 1:
        raise ConfigError(
            f"must be at least 1, got {options.steps}",
            "--steps",
            "Leave it out for the preset's number",
        )
    if options.resolution is not None and not 8 <= options.resolution <= 1024:
        raise ConfigError(
            f"must be from 8 to 1024 pixels, got {options.resolution}",
            "--resolution",
            "Leave it out for the prior's own size",
        )
    if options.minutes is not None and options.minutes <= 0:
        raise ConfigError(
            f"must be positive, got {options.minutes:g}", "--minutes", "Leave it out for no limit"
        )
    if options.accumulate < 1:
        raise ConfigError(f"must be at least 1, got {options.accumulate}", "--accumulate")
    if options.strictness is not None and not 0 <= options.strictness <= 1:
        raise ConfigError(f"must be from 0 to 1, got {options.strictness:g}", "--strictness")
    if options.strictness is not None and options.sketch is None:
        raise ConfigError(
            "says how closely a sketch is followed, and there is none",
            "--strictness",
            "Add --sketch shape.obj",
        )
    if options.seed < 0:
        raise ConfigError(f"must not be negative, got {options.seed}", "--seed")
    if not 64 <= options.export.texture <= 8192:
        raise ConfigError(
            f"must be from 64 to 8192 pixels, got {options.export.texture}", "--texture"
        )
    if options.export.extraction.faces != 0 and options.export.extraction.faces < 50:
        raise ConfigError(
            f"must be 0 (keep all) or at least 50, got {options.export.extraction.faces}", "--faces"
        )
    devices.check(options.device)


def choose_kernels(kernels: str, device: str) -> None:
    """Prefer some kernels, see `kernels.dispatch`. Raises ConfigError where none of them could
    serve on the device."""
    problem = why_not(kernels, device)
    if kernels != "auto" and problem:
        raise ConfigError(
            problem,
            f"--kernels {kernels}",
            "Leave it out; threestudio-like doctor says what each operation would use",
        )
    if kernels != "auto":
        choose(kernels)


def check_vocabulary(prior: DiffusionPrior, prompt: str) -> None:
    """Raise VocabularyError when a closed-vocabulary prior does not know a word, or no thing it can
    make is named."""
    known = prior.facts.vocabulary
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
            "See: threestudio-like vocabulary. For open prompts use a real prior: --prior "
            "sd-2.1-base",
        )
    if not parse(prompt) and not any(w.startswith("<") for w in split(prompt)):
        raise VocabularyError(
            "the prompt names no thing that the embedded prior can make",
            "prompt",
            f"Name one of: {', '.join(CATEGORIES)}",
        )
