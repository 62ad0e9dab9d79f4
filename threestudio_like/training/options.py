"""The options of trainings, and how a training begins and ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from ..engine.errors import CheckpointError, ConfigError, did_you_mean
from ..engine.output import own_folder, write_file
from ..engine.parallel import ProcessGroup
from ..engine.stage import Stage
from ..engine.training import train_stage
from ..kernels import devices
from ..toybox.edition import Edition
from ..toybox.editions import edition, write_card
from .recipes import GROUPS, OBJECTS, Preset

Drawn = TypeVar("Drawn")
ALSO = ("normals", "128px")
"""normals: pictures of normals, as a second domain. 128px: the autoencoder sees pictures of 128
pixels."""
WORLD = {"train": 2000, "validation": 2001, "test": 2001}
"""World seeds of the objects of image-to-3D models, which no other training uses."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options of `train`. Every training reads those that apply to it."""

    world: str = "twenty"
    """The edition of the toybox that the networks learn (`toybox.editions`)."""
    data: Path | None = None
    """The user's own data, in the layout that the training reads; None for the toybox."""
    out: Path = Path("outputs/training")
    preset: Preset = "toybox"
    embedding: Literal["cisp", "clip"] = "cisp"
    start: Path | None = None
    """Folder of a model to start from instead of random weights."""
    objects: int | None = None
    """Number of objects that image-to-3D models are trained on; None for the preset's."""
    groups: int | None = None
    """Number of objects, each seen from four sides, that the text-to-image model, CLIP and the
    judges are trained on; None for the preset's."""
    only: Literal["all", "vae", "decoder", "diffusion", "larger", "clip", "judge", "patterns"] = (
        "all"
    )
    """One of the networks of `train toybox`."""
    also: tuple[str, ...] = ()
    """What the text-to-image model learns beside colours at 64 pixels (`ALSO`)."""
    steps: int | None = None
    minutes: float | None = None
    """Time limit of each network in minutes; in `train all`, of all together."""
    workers: int = 1
    """Number of processes that draw data; on a CPU, they also train the diffusion model in
    parallel."""
    seed: int = 0
    device: str = devices.MAIN
    resume: bool = False
    quiet: bool = False
    force: bool = False
    """Replace a model of the same name in `out`."""
    set: dict[str, str] = field(default_factory=dict)
    """Values of the training's configuration by dotted names."""
    cache: Path | None = None
    """Folder in which drawn objects are stored; None for a folder under `out`."""

    @property
    def edition(self) -> Edition:
        """The edition of the toybox that the networks learn. Raises ConfigError."""
        return edition(self.world)

    @property
    def drawn(self) -> Path:
        """The folder in which drawn objects are stored."""
        return self.cache or self.out / "work" / "data"

    def world_seed(self, split: str) -> int:
        """The world seed of the objects of a split, "train", "validation" or "test"."""
        return WORLD[split] + 10000 * self.seed

    @property
    def object_count(self) -> int:
        """Number of objects that image-to-3D models are trained on."""
        return OBJECTS.get(self.preset, OBJECTS["toybox"]) if self.objects is None else self.objects

    def objects_of(
        self, split: str, draw: Callable[..., Drawn], most: int | None = None, **more: Any
    ) -> Drawn:
        """What `draw` makes of a split's objects of the toybox: of all, or of `most`; `more` is
        passed on."""
        count = self.object_count if most is None else min(most, self.object_count)
        return draw(
            self.drawn,
            self.world_seed(split),
            count,
            split=split,
            workers=self.workers,
            world=self.world,
            **more,
        )

    @property
    def group_count(self) -> int:
        """Number of groups that the other models are trained on."""
        return GROUPS.get(self.preset, GROUPS["toybox"]) if self.groups is None else self.groups


def check(options: TrainingOptions) -> None:
    """Raise ConfigError for options that are not possible."""
    least = {"objects": 1, "groups": 8, "workers": 1, "steps": 1}
    for name, smallest in least.items():
        value = getattr(options, name)
        if value is not None and value < smallest:
            raise ConfigError(f"must be at least {smallest}, got {value}", f"--{name}")
    if options.minutes is not None and options.minutes <= 0:
        raise ConfigError(
            f"must be positive, got {options.minutes:g}", "--minutes", "Leave it out for no limit"
        )
    for name in options.also:
        if name not in ALSO:
            raise ConfigError(
                f'there is nothing of the name "{name}"', "--also", did_you_mean(name, ALSO)
            )
    edition(options.world)
    devices.settle(options.device)


def claim(options: TrainingOptions, *names: str) -> None:
    """Check before a training what it will write, so that nothing is replaced at its end.

    Args:
        names: files and folders under `out`.

    Raises:
        CheckpointError: one of them exists, and neither `resume` nor `force` is set.
    """
    for target in (options.out / name for name in names):
        if not (options.resume or options.force) and (
            target.is_file() or (target.is_dir() and any(target.iterdir()))
        ):
            raise CheckpointError(
                "there is a trained model already",
                str(target),
                "Go on with it by --resume, choose another --out, or add --force to replace it",
            )
        own_folder(target)
    own_folder(options.out / "work")


def toybox_only(options: TrainingOptions) -> None:
    """Call `check`, and raise ConfigError if the user gave data."""
    check(options)
    if options.data is not None:
        raise ConfigError(
            "is not used: this network learns from the toybox's exact truth",
            "--data",
            "Leave it out",
        )


def _of(options: TrainingOptions) -> dict[str, Any]:
    """What a training must have in common with the one that it goes on with."""
    return {
        "world": options.world,
        "seed": options.seed,
        "objects": options.object_count,
        "groups": options.group_count,
        "also": sorted(options.also),
    }


def run(
    options: TrainingOptions,
    stage: Stage,
    identity: dict[str, Any] | None = None,
    workers: ProcessGroup | None = None,
) -> None:
    """Run a stage according to the options; see `engine.training.train_stage`. Raises
    CheckpointError."""
    train_stage(
        options.out,
        stage,
        options.seed,
        minutes=options.minutes,
        resume=options.resume,
        quiet=options.quiet,
        identity={**_of(options), **(identity or {})},
        workers=workers,
        device=options.device,
    )


def note_world(options: TrainingOptions, folder: Path) -> None:
    """Note in a model's folder which edition of the toybox it knows, unless it learnt from the
    user's own data. Raises OutputError."""
    if options.data is None:
        write_card(folder, options.edition)


def report(options: TrainingOptions, name: str, figures: dict[str, float]) -> dict[str, float]:
    """Write a model's figures beside it, print them, and return them."""
    write_file(options.out / name / "figures.json", json.dumps(figures, indent=1).encode())
    say(options, name, figures)
    return figures


def say(options: TrainingOptions, name: str, figures: dict[str, float]) -> None:
    """Print a line with a model's figures."""
    if not options.quiet:
        print(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))


def begin(
    model: torch.nn.Module,
    other: torch.nn.Module,
    folder: Path,
    instead: dict[str, torch.Tensor] | None = None,
) -> None:
    """Load another model's weights; those of `instead`, by name, count in place of its own. Raises
    ConfigError if its sizes differ."""
    try:
        model.load_state_dict({**other.state_dict(), **(instead or {})})
    except RuntimeError:
        raise ConfigError(
            "its sizes are not those of the configuration",
            f"--start {folder}",
            "Give the same --model options",
        ) from None
