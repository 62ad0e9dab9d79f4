"""What `train` trains, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .all import train_all
from .contrastive import ContrastiveTraining
from .control import train_control
from .g3dr import G3drTraining, train_g3dr
from .options import TrainingOptions
from .salient import train_salient
from .shapes import train_contrastive, train_depth, train_perceptual, train_segmenter, train_voxels
from .toybox import train as train_toybox
from .voxel_diffusion import VoxelTraining

TRAININGS: dict[str, Callable[[TrainingOptions], Any]] = {
    "cisp": train_contrastive,
    "voxel-diffusion": train_voxels,
    "depth": train_depth,
    "perceptual": train_perceptual,
    "segmenter": train_segmenter,
    "salient": train_salient,
    "g3dr": train_g3dr,
    "toybox": train_toybox,
    "control": train_control,
    "all": train_all,
}
CONFIGURATIONS: tuple[type, ...] = (ContrastiveTraining, VoxelTraining, G3drTraining)
"""Whose values are options by their dotted names."""
CONFIGURED = ("cisp", "voxel-diffusion", "g3dr")
"""Trainings that have such values."""
SUMMARIES: dict[str, str] = {
    "all": "every embedded model, one after the other, within one time limit",
    "toybox": "the text-to-image model, CLIP and the judges",
    "concept": "a new word for a prior, from pictures of one object",
    "cisp": "the contrastive encoders of pictures and shapes",
    "voxel-diffusion": "the generator of shapes under their embeddings",
    "g3dr": "the generator of triplanes from single pictures",
    "control": "the ControlNet beside the text-to-image model: depth and edges",
    "depth": "the embedded depth estimator",
    "perceptual": "the embedded perceptual network",
    "segmenter": "the embedded segmenter",
    "salient": "the embedded salient object network, which cuts one object out",
}
"""What can be trained, a line each."""
