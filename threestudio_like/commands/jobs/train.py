"""`train`: embedded models, a new word, image-to-3D models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError, did_you_mean
from ...kernels.devices import MAIN
from ...runs.options import check_numbers, flag, flat
from ...runs.written import asked
from ...training.options import TrainingOptions
from ...training.registry import CONFIGURED, SUMMARIES, TRAININGS
from ..registry import PROGRAM
from ..train import Train

FOLDERS = {"voxel-diffusion": "cisp", "toybox": "toybox-training", "all": "trained"}


def train(options: Train) -> None:
    """Train what is asked for; without a name, list what can be trained.

    Raises:
        UserError: of every kind in `engine.errors`.
    """
    if not options.what:
        print(listing())
        return
    check_numbers(flat(options))
    if options.what not in (*TRAININGS, "concept"):
        raise ConfigError(
            f'there is no training "{options.what}"',
            f"{PROGRAM} train",
            did_you_mean(options.what, SUMMARIES),
        )
    check_training(options)
    if options.set and options.what not in CONFIGURED:
        raise ConfigError(
            f'there is no option "--{next(iter(options.set))}"', f"{PROGRAM} train {options.what}"
        )
    if options.what == "concept":
        _train_concept(options)
        return
    out = options.out or Path("outputs") / FOLDERS.get(options.what, options.what)
    chosen: dict[str, Any] = {
        name: getattr(options, name)
        for name in (
            "world",
            "data",
            "preset",
            "embedding",
            "start",
            "objects",
            "groups",
            "only",
            "also",
            "steps",
        )
    }
    if options.quick:
        if options.preset not in ("toybox", "quick"):
            raise ConfigError(
                f"is the preset quick, and {options.preset} is asked for",
                "--quick",
                "Leave one of them out",
            )
        chosen["preset"] = "quick"
    TRAININGS[options.what](
        TrainingOptions(
            **chosen,
            out=out.expanduser(),
            minutes=options.minutes,
            workers=options.workers,
            seed=options.seed,
            device=options.device or MAIN,
            resume=options.resume,
            quiet=options.quiet,
            force=options.force,
            set=options.set,
        )
    )


OF_CONCEPT = ("images", "token", "word", "vectors", "prior")
"""Options of `train concept` alone."""
OF_OTHERS = (
    *("world", "data", "preset", "quick", "embedding", "start", "objects", "groups"),
    *("only", "also", "workers"),
)
"""Options of all trainings but that one."""


def check_training(options: Train) -> None:
    """Raise ConfigError on an option that the training does not look at."""
    concept = options.what == "concept"
    idle = [name for name in asked(options) if name in (OF_OTHERS if concept else OF_CONCEPT)]
    if idle:
        whose = "other trainings" if concept else "train concept"
        raise ConfigError(
            f"changes nothing in train {options.what}: it is an option of {whose}",
            flag(idle[0]),
            "Leave it out",
        )


def listing() -> str:
    """What can be trained, a line each."""
    lines = [f"usage: {PROGRAM} train WHAT [options]", ""]
    lines += [f"  {name:<18}{summary}" for name, summary in SUMMARIES.items()]
    return "\n".join([*lines, "", f"{PROGRAM} train --help lists the options."])


def _train_concept(options: Train) -> None:
    from ...training.textual_inversion import ConceptOptions, train_concept

    train_concept(
        ConceptOptions(
            images=options.images,
            token=options.token,
            word=options.word,
            prior=options.prior,
            out=options.out,
            steps=options.steps or 400,
            minutes=options.minutes,
            seed=options.seed,
            device=options.device or MAIN,
            resume=options.resume,
            quiet=options.quiet,
            force=options.force,
            vectors=options.vectors,
        )
    )
