"""Reads sketches from files: a mesh, or a YAML list of primitives."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from ..engine.errors import InputError
from ..engine.places import user_path
from ..meshes.frames import Normalisation
from ..meshes.io.primitives import read_primitives
from ..meshes.mesh import Asset
from .sketch_shape import SketchConfig, SketchShape


@lru_cache(maxsize=4)
def read_sketch(config: SketchConfig) -> SketchShape:
    """Read a sketch (a mesh, or a YAML list of primitives), move it into the scene's frame and
    build its guidance. Raises InputError."""
    mesh = load_sketch(user_path(config.path)).mesh
    place = (
        Normalisation.of_mean(mesh.vertices, config.scale)
        if config.placement == "mean"
        else Normalisation.of(mesh.vertices)
    )
    return SketchShape(
        torch.from_numpy(place.apply(mesh.vertices)), torch.from_numpy(mesh.faces), config
    )


def load_sketch(path: Path) -> Asset:
    """Read the mesh of a sketch's file. Raises InputError."""
    if path.suffix.lower() in (".yaml", ".yml"):
        if not path.is_file():
            raise InputError(
                "there is no such file",
                str(path),
                "Give a mesh, or a YAML list of primitives (assets/shapes has examples)",
            )
        return read_primitives(path)
    return Asset.load(path, textures=False)
