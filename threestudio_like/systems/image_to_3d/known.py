"""What a user knows of a picture besides its pixels: the camera, depth, normals, further photos of
the same object, its size."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ...engine.errors import ConfigError, ModelError
from ...engine.turns import alone
from ...meshes.frames import UNITS
from .maps import DepthMap
from .photo import Photo
from .pose import PoseConfig

WIDE = 1.0
"""Half the width of the frame at the object, world units, before a shape is brought to its size."""
PLAIN_FOV = 40.0
"""Field of view of the frame where nobody says one, degrees."""
CAREFUL_FOV = 20.0
"""The same of several photos: outlines that a wide camera would bound too little on their far
sides."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A further photo of the object and its camera; azimuth in radians, None where it is to be
    found."""

    photo: Photo
    azimuth: float | None = None
    elevation: float | None = None


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known; None or empty where nothing is.

    Attributes:
        azimuth, elevation: of the camera, radians. fov: of the whole picture's height, degrees.
        distance: of the camera from the object, metres. height: of the object, metres.
        depth: a map, or the name of a depth model. normals: (H, W, 3) unit normals of the camera's
            axes (x right, y up, z to the viewer), nan where unknown, or the name of a model.
        views: further photos of the same object.
    """

    azimuth: float | None = None
    elevation: float | None = None
    fov: float | None = None
    distance: float | None = None
    height: float | None = None
    depth: DepthMap | str | None = None
    normals: np.ndarray | str | None = None
    views: tuple[View, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raise ConfigError where a value says nothing without another one."""
        if self.distance is not None and self.fov is None and self.height is None:
            raise ConfigError(
                "says nothing of a picture's perspective alone",
                "--distance",
                "Add --fov (then the object's size follows) or --height",
            )

    def frame_fov(self, photo: Photo) -> float:
        """Field of view in degrees of the frame in which the object fills `framing.FILL`."""
        side, height = photo.similarity.side, photo.pixels.shape[0]
        if self.fov is not None:
            return math.degrees(2 * math.atan(math.tan(math.radians(self.fov) / 2) * side / height))
        if self.distance is not None and self.height is not None:
            rows = np.flatnonzero((photo.pixels[..., 3] > 0.5).any(1))
            half = self.height / 2 * side / max(1, rows[-1] + 1 - rows[0])
            return math.degrees(2 * math.atan(half / self.distance))
        return CAREFUL_FOV if self.views else PLAIN_FOV

    def poses(self, photo: Photo, searched: PoseConfig) -> PoseConfig:
        """The search for a pose with the perspective that is known."""
        if not self.perspective:
            return searched
        distance, fov = self.camera(photo)
        return replace(searched, distance=distance, fov_y=fov)

    @property
    def perspective(self) -> bool:
        """Whether the perspective of the picture is known."""
        return self.fov is not None or (self.distance is not None and self.height is not None)

    def camera(self, photo: Photo) -> tuple[float, float]:
        """Distance, in world units, and field of view in degrees of the camera that sees the frame
        `WIDE` units wide on either side."""
        fov = self.frame_fov(photo)
        return WIDE / math.tan(math.radians(fov) / 2), fov


def read_length(text: str, where: str) -> float:
    """Metres of "0.8m", "80 cm", "31in" or a plain number of metres. Raises ConfigError."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    value = float(match[1]) if match else 0.0
    unit = (match[2] or "m") if match else ""
    if match is None or unit not in UNITS or not 0 < value * UNITS[unit] < 1e6:
        raise ConfigError(
            f'"{text}" is no length', where, f"Write 0.8m or 80cm; units: {', '.join(UNITS)}"
        )
    return value * UNITS[unit]


@lru_cache(maxsize=1)
def load_normal_model(name: str) -> Any:
    """A normal estimator: a folder or hub id of a diffusers pipeline that predicts normals
    (Marigold). Raises ModelError."""
    from ...priors.registry import find_model

    folder = find_model(name, {}, "--normal", file="model_index.json")
    try:
        with alone():
            from diffusers import MarigoldNormalsPipeline

            pipeline = MarigoldNormalsPipeline.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True
            )
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ModelError(
            f"the model of normals cannot be loaded ({reason})",
            str(folder),
            "Give a folder of a diffusers pipeline for normals (Marigold)",
        ) from None
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def predict_normals(name: str, photo: Photo, seed: int) -> np.ndarray:
    """Unit normals (H, W, 3) that a model sees in a picture, the object alone before grey. Raises
    ModelError."""
    model = load_normal_model(name)
    rgba = photo.pixels
    shown = rgba[..., :3] * rgba[..., 3:] + 0.8 * (1 - rgba[..., 3:])
    picture = torch.from_numpy(np.ascontiguousarray(shown, np.float32)).permute(2, 0, 1)[None]
    generator = torch.Generator().manual_seed(seed)
    found = model(picture, generator=generator, output_type="np").prediction[0]
    length = np.linalg.norm(found, axis=-1, keepdims=True)
    return (found / np.maximum(length, 1e-6)).astype(np.float32)


def real_scale(found: Any, photo: Photo, known: Known) -> float | None:
    """Metres of a unit of a shape (`ShapeFound`), by the object's height, or by the camera's
    distance and its field of view; None where neither is known."""
    if known.height is not None:
        return known.height / max(float(np.ptp(found.mesh.vertices[:, 1])), 1e-9)
    if known.distance is None or known.fov is None:
        return None
    # What the picture's camera sees there, by what the shape's camera sees of the same square.
    share = found.frame(photo).side / photo.pixels.shape[0]
    wide = known.distance * math.tan(math.radians(known.fov) / 2) * share
    own = found.poses.distance * math.tan(math.radians(found.poses.fov_y) / 2)
    return wide / own
