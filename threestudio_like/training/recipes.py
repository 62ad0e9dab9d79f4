"""Size and length of the trainings of the embedded networks: as shipped, and larger for a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..engine.errors import ConfigError

Preset = Literal["toybox", "wide", "paper", "large", "quick"]


@dataclass(frozen=True)
class Recipe:
    """Number of steps, number of objects in a batch, the widths that the network's builder takes,
    and the channels of the latents."""

    steps: int
    batch: int
    widths: tuple[int, ...] = ()
    latents: int = 4
    rank: int = 0
    """Of low-rank layers beside those of a frozen network; 0: the network itself learns."""


RECIPES: dict[str, dict[str, Recipe]] = {
    "toybox": {
        "vae": Recipe(4200, 32, (24, 48, 64)),
        "decoder": Recipe(1300, 32),
        "diffusion": Recipe(4700, 12, (48, 96, 128)),
        "larger": Recipe(1500, 6, rank=16),
        "control": Recipe(1800, 8),
        "clip": Recipe(3900, 96, (128, 3)),
        "judge": Recipe(1430, 64, (24,)),
        "patterns": Recipe(1200, 64, (16,)),
        "depth": Recipe(5000, 32, (96,)),
        "depth, begun": Recipe(3500, 16),
        "perceptual": Recipe(1200, 64, (16,)),
        "segmenter": Recipe(6000, 8, (128, 4, 64)),
        "salient": Recipe(3000, 16, (16, 32, 64, 96)),
    },
    "large": {
        "vae": Recipe(12000, 128, (32, 64, 96)),
        "decoder": Recipe(6000, 128),
        "diffusion": Recipe(24000, 96, (64, 128, 192)),
        "larger": Recipe(8000, 48),
        "control": Recipe(9000, 48),
        "clip": Recipe(10000, 512, (128, 4)),
        "judge": Recipe(5000, 256, (24,)),
        "patterns": Recipe(4000, 256, (16,)),
        "depth": Recipe(20000, 128, (96,)),
        "depth, begun": Recipe(10000, 64),
        "perceptual": Recipe(5000, 256, (16,)),
        "segmenter": Recipe(16000, 32, (128, 4, 64)),
        "salient": Recipe(16000, 64, (32, 64, 96, 128)),
    },
    "quick": {
        "vae": Recipe(20, 8, (24, 48, 64)),
        "decoder": Recipe(10, 8),
        "diffusion": Recipe(10, 4, (48, 96, 128)),
        "larger": Recipe(4, 2, rank=2),
        "control": Recipe(6, 2),
        "clip": Recipe(10, 16, (128, 3)),
        "judge": Recipe(20, 16, (24,)),
        "patterns": Recipe(20, 16, (16,)),
        "depth": Recipe(10, 4, (96,)),
        "depth, begun": Recipe(10, 4),
        "perceptual": Recipe(20, 16, (16,)),
        "segmenter": Recipe(4, 2, (128, 4, 64)),
        "salient": Recipe(6, 4, (16, 32, 64, 96)),
    },
}
"""By preset and network. "toybox" has the shipped weights (the diffusion model with two workers;
the model cards give the details); "wide" is its sizes with twice the channels of latents, which
keep more of small patterns and creases."""
RECIPES["wide"] = {
    **RECIPES["toybox"],
    "vae": Recipe(4200, 32, (24, 48, 64), latents=8),
    "decoder": Recipe(1300, 32, latents=8),
    "diffusion": Recipe(9400, 12, (48, 96, 128), latents=8),
}

OBJECTS = {"toybox": 6000, "paper": 6000, "large": 16000, "quick": 24}
"""Number of training objects of the image-to-3D models."""
GROUPS = {"toybox": 16000, "large": 48000, "quick": 24}
"""Number of training objects of the text-to-image model, each seen from four sides."""


def recipe(preset: str, name: str) -> Recipe:
    """The recipe of a network. Raises ConfigError if the preset has none."""
    if preset not in RECIPES:
        raise ConfigError(
            f'there is no preset "{preset}" of {name}',
            "--preset",
            "Choose toybox, wide, large or quick",
        )
    return RECIPES[preset][name]
