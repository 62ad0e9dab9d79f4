"""The trainings by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .all import train_all
from .contrastive import ContrastiveTraining
from .g3dr import G3drTraining, train_g3dr
from .options import TrainingOptions
from .shapes import train_contrastive, train_depth, train_perceptual, train_segmenter, train_voxels
from .toybox import train as train_toybox
from .voxel_diffusion import VoxelTraining

TRAININGS: dict[str, Callable[[TrainingOptions], Any]] = {
    "cisp": train_contrastive,
    "voxel-diffusion": train_voxels,
    "depth": train_depth,
    "perceptual": train_perceptual,
    "segmenter": train_segmenter,
    "g3dr": train_g3dr,
    "toybox": train_toybox,
    "all": train_all,
}
CONFIGURATIONS: tuple[type, ...] = (ContrastiveTraining, VoxelTraining, G3drTraining)
"""Trainings whose configuration values are options by their dotted names."""
