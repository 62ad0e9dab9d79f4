"""What `train` trains, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .contrastive_training import ContrastiveTraining
from .g3dr_training import G3drTraining, train_g3dr
from .shape_training import train_contrastive, train_depth, train_perceptual, train_segmenter, train_voxels
from .training_options import TrainingOptions
from .voxel_training import VoxelTraining

TRAININGS: dict[str, Callable[[TrainingOptions], Any]] = {
    "cisp": train_contrastive,
    "voxel-diffusion": train_voxels,
    "depth": train_depth,
    "perceptual": train_perceptual,
    "segmenter": train_segmenter,
    "g3dr": train_g3dr,
}
CONFIGURATIONS: tuple[type, ...] = (ContrastiveTraining, VoxelTraining, G3drTraining)
"""Whose values are options by their dotted names."""
