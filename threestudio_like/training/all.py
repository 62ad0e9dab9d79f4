"""`train all`: all embedded models, in the order in which they depend on each other, within one
time limit."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..engine.errors import CheckpointError, ConfigError
from ..engine.output import own_folder
from .control import train_control
from .g3dr import train_g3dr
from .options import TrainingOptions, check
from .recipes import recipe
from .salient import train_salient
from .shapes import train_contrastive, train_depth, train_perceptual, train_segmenter, train_voxels
from .toybox import train as train_toybox

WEIGHTS = "weights"
"""Folder below that of the training in which the models are collected; $THREESTUDIO_LIKE_WEIGHTS
can point to it."""


@dataclass(frozen=True)
class Part:
    """One training: its name, its share of the time, what it writes below its folder, and the
    folder."""

    name: str
    share: float
    makes: tuple[str, ...]
    folder: str
    train: Callable[[TrainingOptions], Any]
    set: tuple[tuple[str, Any], ...] = ()
    """Options that differ from those of the whole."""
    stages: int = 1
    """Number of trainings in a row that have a time limit each."""


PARTS = (
    Part(
        "vae",
        3.0,
        ("diffusion",),
        folder="pictures",
        train=train_toybox,
        set=(("only", "vae"),),
        stages=2,
    ),
    Part(
        "diffusion",
        8.0,
        ("diffusion",),
        folder="pictures",
        train=train_toybox,
        set=(("only", "diffusion"),),
    ),
    Part(
        "larger",
        4.0,
        ("diffusion",),
        folder="pictures",
        train=train_toybox,
        set=(("only", "larger"),),
    ),
    Part("control", 2.0, ("control",), folder="pictures", train=train_control),
    Part("clip", 1.5, ("clip",), folder="pictures", train=train_toybox, set=(("only", "clip"),)),
    Part("judge", 0.7, ("judge",), folder="pictures", train=train_toybox, set=(("only", "judge"),)),
    Part(
        "patterns",
        0.5,
        ("judge",),
        folder="pictures",
        train=train_toybox,
        set=(("only", "patterns"),),
    ),
    Part("cisp", 2.5, ("cisp",), folder="cisp", train=train_contrastive),
    Part(
        "clip twin",
        1.0,
        ("clip",),
        folder="cisp",
        train=train_contrastive,
        set=(("embedding", "clip"),),
    ),
    Part("voxels", 2.0, ("voxels-cisp",), folder="cisp", train=train_voxels),
    Part(
        "voxels of the twin",
        1.5,
        ("voxels-clip",),
        folder="cisp",
        train=train_voxels,
        set=(("embedding", "clip"),),
    ),
    Part("depth", 1.0, ("depth",), folder="pictures", train=train_depth),
    Part("perceptual", 0.5, ("perceptual",), folder="pictures", train=train_perceptual),
    Part("segmenter", 1.5, ("segmenter",), folder="pictures", train=train_segmenter),
    Part("salient", 0.7, ("salient",), folder="pictures", train=train_salient),
    Part("g3dr", 2.0, ("g3dr",), folder="pictures", train=train_g3dr),
)


def train_all(options: TrainingOptions) -> Path:
    """Train all embedded models; returns the folder of their weights.

    `minutes` is the limit for all together: time that one training does not use, because it ends
    early or because its objects were drawn before, is shared by the others.

    Raises: ConfigError, CheckpointError, OutputError.
    """
    check(options)
    recipe(options.preset, "vae")
    if options.data is not None or options.start is not None or options.set:
        raise ConfigError(
            "takes no data, start or values of one training",
            "train all",
            "Train the models one by one",
        )
    weights = options.out / WEIGHTS
    if weights.is_dir() and not options.resume:
        raise CheckpointError(
            "there is a training already", str(options.out), "Add --resume, or choose another --out"
        )
    own_folder(weights)
    began = time.monotonic()
    for number, part in enumerate(PARTS):
        done = options.out / "work" / f"{part.name.replace(' ', '-')}.done"
        if options.resume and done.is_file():
            continue
        left = None
        if options.minutes is not None:
            remaining = max(0.05, options.minutes - (time.monotonic() - began) / 60)
            left = remaining * part.share / sum(p.share for p in PARTS[number:]) / part.stages
        if not options.quiet:
            limit = "" if left is None else f", at most {left * part.stages:.1f} min"
            print(f"{number + 1}/{len(PARTS)} {part.name}{limit}", flush=True)
        part.train(_options(options, part, left))
        for name in part.makes:
            _gather(options, part, name)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()
    if not options.quiet:
        print(
            f"{(time.monotonic() - began) / 60:.1f} min. To use them: "
            f"THREESTUDIO_LIKE_WEIGHTS={weights}"
        )
    return weights


def _options(options: TrainingOptions, part: Part, minutes: float | None) -> TrainingOptions:
    """The options of a part: everything is kept and drawn in one place, and the generator is
    trained with the networks that were trained before it."""
    values = dict(part.set)
    if part.name == "control":
        values["start"] = options.out / "pictures" / "diffusion"
    if part.name == "g3dr":
        trained = options.out / "pictures"
        values["set"] = {
            "clip_model": str(trained / "clip"),
            "perceptual_model": str(trained / "perceptual"),
        }
    return replace(
        options,
        out=options.out / part.folder,
        minutes=minutes,
        cache=options.out / "work" / "data",
        **values,
    )


def _gather(options: TrainingOptions, part: Part, name: str) -> None:
    """Copy a model to the folder structure of the package's own weights."""
    below = options.out / WEIGHTS / ("cisp" if part.folder == "cisp" else "")
    below.mkdir(parents=True, exist_ok=True)
    shutil.copytree(options.out / part.folder / name, below / name, dirs_exist_ok=True)
