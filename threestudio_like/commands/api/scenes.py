"""Scenes, and runs that go on: `compose`, `refine`, `resume`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...engine.config import from_dict
from ...engine.turns import working
from ...runs.delivery import RunResult
from ...runs.options import AssetOptions, MicrobatchOptions, RunOptions
from ..compose import Compose
from ..refine import Refine
from ..registry import carry_out
from ..resume import Resume
from .options import (
    PathLike,
    PriorLike,
    as_path,
    build_options,
    group,
    quiet_by_default,
    run_command,
)


def compose(
    picture: PathLike | None = None,
    prompt: str = "",
    *,
    method: str = "auto",
    system: Any = None,
    prior: PriorLike = "toybox",
    boxes: Sequence[str] = (),
    masks: PathLike | None = None,
    segmenter: str = "",
    objects: Sequence[PathLike] = (),
    poses: PathLike | None = None,
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
        picture: of any format that is read.
        prompt: what it shows, each object once.
        method: of `reconstruct`, for every object.
        system: a configuration (`Comboverse(...)`) instead of a preset.
        boxes: "x0,y0,x1,y1" in pixels, in the prompt's order.
        masks: a folder with a mask for each object, or a label map.
        segmenter: what finds the objects, by name or folder.
        objects: your own meshes, in the prompt's order.
        poses: a JSON file of where they are; the layout is only settled then.
        spatial_words: words of the prompt that say where things are.
        fov, elevation: of the picture's camera, degrees.
        The others are those of `generate`.

    Raises:
        UserError: with what is wrong, where, and what to do.

    Example:
        >>> scene = compose("scene.png", "a red ball on a blue box").asset      # doctest: +SKIP
        >>> scene.nodes["red_ball"].transform.translation                 # doctest: +SKIP
    """
    alone = picture is None and poses is None
    options = build_options(
        Compose,
        run,
        asset=asset,
        values={
            "picture": "" if picture is None else str(as_path(picture, "picture")),
            "prompt": "" if alone else prompt,
            "text": prompt if alone else "",
            "method_name": method,
            "boxes": boxes,
            "masks": masks,
            "segmenter": segmenter,
            "objects": objects,
            "poses": poses,
            "spatial_words": spatial_words,
            "fov": fov,
            "elevation": elevation,
        },
        method={"steps": steps, "preset": preset},
        seed=seed,
        set=set,
    )
    return run_command("compose", options, system, prior=prior)


def refine(
    source: PathLike | RunResult,
    *,
    prompt: str = "",
    system: Any = None,
    prior: PriorLike | None = None,
    seed: int = 0,
    steps: int | None = None,
    preset: str = "auto",
    quality: str = "standard",
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
        prior: instead of that of the run.
        The others are those of `generate`.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    options = build_options(
        Refine,
        run,
        asset=asset,
        views=views,
        values={
            "source": source.folder if isinstance(source, RunResult) else as_path(source, "source"),
            "prompt": prompt,
            "quality": quality,
        },
        method={"steps": steps, "preset": preset},
        seed=seed,
        set=set,
    )
    return run_command("refine", options, system, prior=prior)


def resume(
    folder: PathLike, *, steps: int | None = None, run: RunOptions | None = None
) -> RunResult:
    """Go on with a run that was stopped at any moment, or give a finished one more steps.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    options = from_dict(Resume, {"folder": folder, "steps": steps}, "options")
    checked = quiet_by_default(group(RunOptions, run, "run"))
    with working():
        return carry_out("resume", replace(options, run=checked))
