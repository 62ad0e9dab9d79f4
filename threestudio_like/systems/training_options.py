"""What the trainings of image-to-3D models take, and how they begin and end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from ..engine.errors import ConfigError

WORLD = {"train": 2000, "validation": 2001, "test": 2001}
"""World seeds of the trainings' objects: of no other training's."""


@dataclass
class TrainingOptions:
    """What `train cisp`, `voxel-diffusion`, `depth`, `perceptual` and `g3dr` take."""

    data: Path | None = None
    """The user's own data, in the layout that the training reads; None for the toybox."""
    out: Path = Path("outputs/cisp")
    preset: Literal["toybox", "paper"] = "toybox"
    embedding: Literal["cisp", "clip"] = "cisp"
    start: Path | None = None
    """A model's folder to begin from instead of random weights."""
    objects: int = 6000
    steps: int | None = None
    minutes: float | None = None
    workers: int = 1
    seed: int = 0
    device: str = "cpu"
    resume: bool = False
    quiet: bool = False
    set: dict[str, str] = field(default_factory=dict)
    """Values of the training's configuration by dotted names."""


def check(options: TrainingOptions) -> None:
    """Refuse options that cannot be. Raises ConfigError."""
    for name in ("objects", "workers"):
        if getattr(options, name) < 1:
            raise ConfigError(f"must be at least 1, got {getattr(options, name)}", f"--{name}")
    if options.steps is not None and options.steps < 1:
        raise ConfigError(f"must be at least 1, got {options.steps}", "--steps")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("this torch sees no CUDA device", "--device", "Use --device cpu")


def cpu_and_toybox(options: TrainingOptions, data: bool = False) -> None:
    """Refuse what a training has no use for: a device other than the CPU, and, unless it reads the user's data, a folder of it. Raises
    ConfigError."""
    check(options)
    if options.device != "cpu":
        raise ConfigError("is not used: this training runs on the CPU", "--device", "Leave it out")
    if options.data is not None and not data:
        raise ConfigError("is not used: this network learns from the toybox's exact truth", "--data", "Leave it out")


def report(options: TrainingOptions, name: str, figures: dict[str, float]) -> dict[str, float]:
    """Write a model's figures beside it and say them; returns them."""
    (options.out / name / "figures.json").write_text(json.dumps(figures, indent=1))
    if not options.quiet:
        print(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))
    return figures


def begin(model: torch.nn.Module, other: torch.nn.Module, folder: Path) -> None:
    """Take another model's weights. Raises ConfigError when its sizes differ."""
    try:
        model.load_state_dict(other.state_dict())
    except RuntimeError:
        raise ConfigError(
            "its sizes are not those of the configuration", f"--start {folder}", "Give the same --model options"
        ) from None
