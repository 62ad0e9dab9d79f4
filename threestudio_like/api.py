"""The commands as functions: typed, with the checks of the command line, and a `RunResult` back.

`system` takes a name or a configuration object, `prior` a name or a `DiffusionPrior`. In a notebook
a run shows one line of progress, and its result shows itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from .commands.compose import Compose
from .commands.evaluate import Evaluate
from .commands.export import Export
from .commands.generate import Generate
from .commands.reconstruct import Reconstruct
from .commands.refine import Refine
from .commands.registry import carry_out
from .commands.resume import Resume
from .commands.texture import Texture
from .engine.config import from_dict
from .engine.places import expand_paths
from .priors.diffusion import DiffusionPrior
from .runs.delivery import RunResult
from .runs.options import AssetOptions, MethodOptions, MicrobatchOptions, PriorOptions, RunOptions

Options = TypeVar("Options", bound=Any)
PathLike = str | Path


def generate(
    prompt: str,
    *,
    system: str | Any = "latent-nerf",
    prior: str | DiffusionPrior | PriorOptions = "toybox",
    seed: int = 0,
    steps: int | None = None,
    preset: str = "auto",
    resolution: int | None = None,
    negative: str = "",
    guidance: str = "",
    sketch: PathLike | None = None,
    strictness: float | None = None,
    set: Mapping[str, Any] | None = None,
    asset: AssetOptions | None = None,
    views: MicrobatchOptions | None = None,
    run: RunOptions | None = None,
) -> RunResult:
    """Make an asset of a prompt.

    Args:
        prompt: what to make.
        system: a method's name, or its configuration (`LatentNerf(...)`).
        prior: a prior's name, folder or hub id, its options, or a prior made in Python.
        seed: same seed, same bytes on a CPU with the same number of threads.
        steps: of distillation in all.
        preset: "auto", "default" or "paper".
        resolution: height and width of the rendering that is distilled, pixels.
        negative: negative prompt.
        guidance: name of a guidance that takes the place of the method's own.
        sketch: a coarse shape to follow: a mesh, or a YAML list of primitives.
        strictness: how closely the sketch is followed, 0 to 1.
        set: values of the configuration by dotted names: ``{"distil.guidance.scale": 7}``.
        asset: texture size, faces.
        views: ranks and microbatches.
        run: folder, device, memory, time limit, ...

    Raises:
        UserError: with what is wrong, where, and what to do.

    Example:
        >>> chosen = {"distil.guidance.scale": 7}
        >>> result = generate("a red chair", seed=1, set=chosen)  # doctest: +SKIP
    """
    options = _options(
        Generate,
        run,
        asset=asset,
        views=views,
        values={"prompt": prompt, "guidance": guidance, "sketch": sketch, "strictness": strictness},
        method={
            "steps": steps,
            "preset": preset,
            "resolution": resolution,
            "negative": negative,
        },
        seed=seed,
        set=set,
    )
    return _carry_out("generate", options, system, prior)


def texture(
    mesh: PathLike,
    prompt: str,
    *,
    system: str | Any = "latent-paint",
    prior: str | DiffusionPrior | PriorOptions = "toybox",
    seed: int = 0,
    steps: int | None = None,
    preset: str = "auto",
    resolution: int | None = None,
    negative: str = "",
    up: str = "y",
    front: str = "z",
    unit: str = "m",
    unwrap: str = "auto",
    lock: PathLike | None = None,
    lock_parts: Sequence[str] = (),
    drop_textures: bool = False,
    begin: bool = False,
    set: Mapping[str, Any] | None = None,
    asset: AssetOptions | None = None,
    views: MicrobatchOptions | None = None,
    run: RunOptions | None = None,
) -> RunResult:
    """Paint a mesh by a prompt; its geometry, texture coordinates, parts and names stay.

    Args:
        mesh: GLB, glTF, OBJ, PLY or STL.
        up, front, unit: axes and unit of the file.
        unwrap: "auto", "keep" or "always", see the command's help.
        lock: a mask over the texture coordinates; bright texels keep their colour.
        lock_parts: names of parts or materials that keep their colour.
        drop_textures: leave the file's own pictures alone.
        begin: begin with the present texture.
        The others are those of `generate`.

    Raises:
        UserError: with what is wrong, where, and what to do.

    Example:
        >>> texture("chair.glb", "a striped blue chair").asset.save("striped.glb")  # doctest: +SKIP
    """
    options = _options(
        Texture,
        run,
        asset=asset,
        views=views,
        values={
            "mesh": mesh,
            "prompt": prompt,
            "up": up,
            "front": front,
            "unit": unit,
            "unwrap": unwrap,
            "lock": lock,
            "lock_parts": lock_parts,
            "drop_textures": drop_textures,
            "begin": begin,
        },
        method={
            "steps": steps,
            "preset": preset,
            "resolution": resolution,
            "negative": negative,
        },
        seed=seed,
        set=set,
    )
    return _carry_out("texture", options, system, prior)


def reconstruct(
    picture: PathLike,
    *,
    system: str | Any = "auto",
    prior: str | DiffusionPrior | PriorOptions = "toybox",
    prompt: str = "",
    seed: int = 0,
    steps: int | None = None,
    preset: str = "auto",
    resolution: int | None = None,
    set: Mapping[str, Any] | None = None,
    asset: AssetOptions | None = None,
    run: RunOptions | None = None,
) -> RunResult:
    """Make an asset of a picture of one object.

    Args:
        picture: PNG, JPEG or WebP, with alpha or without.
        system: "cisp", "g3dr", "field", a plug-in's name, or a configuration.
        prompt: what the picture shows; guessed where empty.
        The others are those of `generate`.

    Raises:
        UserError: with what is wrong, where, and what to do.

    Example:
        >>> reconstruct("photo.png", prompt="a red chair").folder      # doctest: +SKIP
    """
    options = _options(
        Reconstruct,
        run,
        asset=asset,
        values={"picture": picture, "prompt": prompt},
        method={"steps": steps, "preset": preset, "resolution": resolution},
        seed=seed,
        set=set,
    )
    return _carry_out("reconstruct", options, system, prior)


def compose(
    picture: PathLike | None,
    prompt: str = "",
    *,
    method: str = "auto",
    system: Any = None,
    prior: str | DiffusionPrior | PriorOptions = "toybox",
    boxes: Sequence[str] = (),
    masks: PathLike | None = None,
    objects: Sequence[PathLike] = (),
    spatial_words: Sequence[str] = (),
    fov: float = 0.0,
    elevation: float | None = None,
    seed: int = 0,
    steps: int | None = None,
    preset: str = "auto",
    set: Mapping[str, Any] | None = None,
    asset: AssetOptions | None = None,
    run: RunOptions | None = None,
) -> RunResult:
    """Make a scene of a picture of several objects, or (picture None) of a prompt alone;
    `Asset.nodes` says where each stands.

    Args:
        picture: PNG, JPEG or WebP.
        prompt: what it shows, each object once.
        method: of `reconstruct`, for every object.
        system: a configuration (`ComposeConfig(...)`) instead of a preset.
        boxes: "x0,y0,x1,y1" in pixels, in the prompt's order.
        masks: a folder with a mask for each object.
        objects: your own meshes, in the prompt's order.
        spatial_words: words of the prompt that say where things are.
        fov, elevation: of the picture's camera, degrees.
        The others are those of `generate`.

    Raises:
        UserError: with what is wrong, where, and what to do.

    Example:
        >>> scene = compose("scene.png", "a red ball on a blue box").asset      # doctest: +SKIP
        >>> scene.nodes["red_ball"].transform.translation                 # doctest: +SKIP
    """
    options = _options(
        Compose,
        run,
        asset=asset,
        values={
            "picture": "" if picture is None else str(picture),
            "prompt": prompt if picture is not None else "",
            "text": prompt if picture is None else "",
            "method_name": method,
            "boxes": boxes,
            "masks": masks,
            "objects": objects,
            "spatial_words": spatial_words,
            "fov": fov,
            "elevation": elevation,
        },
        method={"steps": steps, "preset": preset},
        seed=seed,
        set=set,
    )
    return _carry_out("compose", options, system, prior)


def refine(
    source: PathLike | RunResult,
    *,
    prompt: str = "",
    system: Any = None,
    prior: str | DiffusionPrior | PriorOptions = "toybox",
    seed: int = 0,
    steps: int | None = None,
    preset: str = "auto",
    set: Mapping[str, Any] | None = None,
    asset: AssetOptions | None = None,
    views: MicrobatchOptions | None = None,
    run: RunOptions | None = None,
) -> RunResult:
    """Refine a finished run in RGB, as a run of its own.

    Args:
        source: a run's folder, or what `generate` or `texture` returned.
        prompt: what it should look like; the run's own prompt where empty.
        system: a configuration (`RgbRefinement(...)`) instead of a preset.
        The others are those of `generate`.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    options = _options(
        Refine,
        run,
        asset=asset,
        views=views,
        values={
            "source": source.folder if isinstance(source, RunResult) else source,
            "prompt": prompt,
        },
        method={"steps": steps, "preset": preset},
        seed=seed,
        set=set,
    )
    return _carry_out("refine", options, system, prior)


def resume(
    folder: PathLike, *, steps: int | None = None, run: RunOptions | None = None
) -> RunResult:
    """Go on with a run that was stopped at any moment, or give a finished one more steps.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    options = from_dict(Resume, {"folder": folder, "steps": steps}, "options")
    return carry_out("resume", replace(options, run=_quiet(run)))


def export(
    source: PathLike | RunResult,
    to: Sequence[str] = ("glb",),
    *,
    out: PathLike | None = None,
    verify: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write a run's asset, or a mesh file, in other formats; returns the files.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    from .commands.jobs.export import write_formats

    folder = source.folder if isinstance(source, RunResult) else source
    values = {"source": folder, "to": to, "out": out, "verify": verify, "force": force}
    options = from_dict(Export, values, "options")
    return [path for path, _ in write_formats(options)]


def evaluate(
    source: PathLike | RunResult,
    *,
    prompt: str = "",
    truth: PathLike | None = None,
    instances: int = 200,
) -> dict[str, Any]:
    """Measure an asset: judge, CLIP, silhouettes, consistency, Janus index; with a true mesh also
    the geometry. Returns the figures by name.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    from .metrics.evaluation import evaluate as measure
    from .runs.options import check_numbers

    folder = source.folder if isinstance(source, RunResult) else source
    values = {"source": folder, "prompt": prompt, "truth": truth, "instances": instances}
    options = from_dict(Evaluate, values, "options")
    check_numbers({"instances": options.instances})
    return measure(options.source, options.prompt, options.truth, options.instances)


def open_run(folder: PathLike) -> Any:
    """The model (field, renderer, background) that a run of `generate` or `refine` ended with.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    from .commands.jobs.opening import open_model

    return open_model(Path(folder))


def load_prior(name: str | PathLike, *, device: str = "", **options: Any) -> DiffusionPrior:
    """A prior by name ("toybox", "sd-1.5", a plug-in's), folder or hub id.

    Args:
        device: "cpu" (the default), "cuda", "cuda:1" or "mps".
        options: fields of `PriorOptions` (dtype, concept, ...).

    Raises:
        ModelError, ConfigError: with what is wrong, where, and what to do.
    """
    from .kernels import devices
    from .runs.prior import load_prior as load

    chosen = from_dict(PriorOptions, {"prior": str(name), **options}, "options")
    devices.check(device or devices.MAIN)
    return load(chosen, device or devices.MAIN)


def _options(
    kind: type[Options],
    run: RunOptions | None,
    *,
    asset: AssetOptions | None = None,
    views: MicrobatchOptions | None = None,
    values: Mapping[str, Any],
    method: Mapping[str, Any],
    seed: int,
    set: Mapping[str, Any] | None,
) -> Options:
    """A command's options, checked as run.yaml is. Raises ConfigError."""
    run = _quiet(run)
    groups: dict[str, Any] = {
        "asset": asset or AssetOptions(),
        "run": from_dict(RunOptions, {**vars_of(run), "seed": seed or run.seed}, "options"),
    }
    if views is not None:
        groups["views"] = views
    plain = {k: v for k, v in values.items() if v is not None}
    checked: Any = from_dict(kind, plain, "options")
    chosen = from_dict(MethodOptions, {k: v for k, v in method.items() if v is not None}, "options")
    dotted = {str(k): str(v) for k, v in dict(set or {}).items()}
    return replace(checked, method=chosen, set=dotted, **groups)


def vars_of(options: Any) -> dict[str, Any]:
    """A group of options as plain values."""
    from .engine.config import to_dict

    return to_dict(options)


def _quiet(run: RunOptions | None) -> RunOptions:
    """Functions are quiet unless they are told otherwise."""
    return RunOptions(quiet=True) if run is None else run


def _carry_out(command: str, options: Any, system: Any, prior: Any) -> RunResult:
    objects: dict[str, Any] = {}
    if isinstance(system, str):
        if hasattr(options, "system"):
            options = replace(options, system=system)
    elif system is not None:
        objects["system"] = system
    if isinstance(prior, PriorOptions):
        options = replace(options, model=prior)
    elif isinstance(prior, (str, Path)):
        options = replace(options, model=replace(options.model, prior=str(prior)))
    else:
        objects["prior"] = prior
    return carry_out(command, expand_paths(options), objects)
