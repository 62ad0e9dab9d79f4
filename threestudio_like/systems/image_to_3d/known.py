"""What a user knows of a picture besides its pixels: the camera, depth, normals, further photos of
the same object, its size."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ...engine.errors import ConfigError, InputError, ModelError
from ...meshes.frames import UNITS
from ...meshes.io.images import LARGEST_FILE
from ...priors.framing import FILL, Similarity, cut
from .photo import Photo
from .pose import PoseConfig

DepthKind = Literal["auto", "distance", "relative", "disparity"]
MAP_SUFFIXES = (".png", ".npy", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")
WIDE = 1.0
"""Half the width of the frame at the object, world units, before a shape is brought to its size."""
PLAIN_FOV = 40.0
"""Field of view of the frame where nobody says one, degrees."""
CAREFUL_FOV = 20.0
"""The same of several photos: outlines that a wide camera would bound too little on their far
sides."""


@dataclass(frozen=True)
class DepthMap:
    """A depth (H, W) float32 that belongs to a picture, larger is farther, nan where unknown.

    distances: whether the values are distances along the camera's axis in some unit; otherwise
    they hold up to a scale and a shift alone.
    """

    values: np.ndarray
    distances: bool
    note: str


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
        """Field of view in degrees of the frame in which the object fills `FILL`."""
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


def _values(path: Path, where: str) -> np.ndarray:
    """The numbers of a map (H, W) or (H, W, C) float32 as they stand in a file. Raises
    InputError."""
    if not path.is_file():
        raise InputError("there is no such file", f"{where} {path}", "Give a map of the picture")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"is larger than {LARGEST_FILE >> 20} MiB", f"{where} {path}")
    try:
        if path.suffix.lower() == ".npy":
            found = np.load(path, allow_pickle=False)
        else:
            from PIL import Image

            with Image.open(path) as opened:
                found = np.asarray(opened)
        values = np.asarray(found, np.float32)
    except Exception as error:
        raise InputError(
            f"is no map that can be read ({type(error).__name__})",
            f"{where} {path}",
            f"Give one of: {', '.join(MAP_SUFFIXES)}",
        ) from None
    if found.dtype == np.bool_ or values.ndim not in (2, 3) or min(values.shape[:2]) < 8:
        raise InputError(f"is no map: shape {values.shape}", f"{where} {path}")
    return values


def _fits(values: np.ndarray, size: tuple[int, int], where: str) -> None:
    ratio = values.shape[1] / values.shape[0] * size[1] / size[0]
    if not 0.97 < ratio < 1.03:
        raise InputError(
            f"is {values.shape[1]} x {values.shape[0]}, the picture {size[0]} x {size[1]}: they do "
            "not show the same",
            where,
            "Give a map of the whole picture",
        )


def read_depth(
    path: Path, size: tuple[int, int], kind: DepthKind = "auto", mask: np.ndarray | None = None
) -> DepthMap:
    """A depth map from a file.

    Args:
        path: .npy, floating-point TIFF, or PNG of 8 or 16 bits; 0 and non-finite values mean
            unknown.
        size: width and height of the picture.
        kind: "distance": along the camera's axis in any unit. "relative": up to a scale and a
            shift. "disparity": larger is nearer, up to a scale and a shift. "auto": distances where
            they vary by less than the object could be deep.
        mask: (H, W) of the picture, where the object is.

    Raises:
        InputError: unreadable, of another shape than the picture, or without values.
    """
    where = f"--depth {path}"
    values = _values(path, "--depth")
    values = values[..., 0] if values.ndim == 3 else values
    _fits(values, size, where)
    values = np.where(np.isfinite(values) & (values > 0), values, np.nan).astype(np.float32)
    inside = values
    if mask is not None:
        inside = values[resized(mask.astype(np.float32), values.shape) > 0.5]
    known = inside[np.isfinite(inside)]
    if len(known) < 16:
        raise InputError("knows no depth where the object is", where, "0 means unknown there")
    low, high = (float(v) for v in np.quantile(known, [0.02, 0.98]))
    if high <= low:
        raise InputError("is the same everywhere on the object", where, "Give a map with its depth")
    if kind == "auto":
        kind = "distance" if high < 2.5 * low else "relative"
    note = {
        "distance": "read as distances along the camera's axis",
        "relative": "read as relative depth, stretched to be as deep as the object is wide",
        "disparity": "read as disparity, stretched to be as deep as the object is wide",
    }[kind]
    return DepthMap(-values if kind == "disparity" else values, kind == "distance", note)


def read_normals(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Unit normals (H, W, 3) from a file: .npy with vectors, or a picture with (n + 1) / 2 in its
    channels (OpenGL's convention: green is up). Raises InputError."""
    where = f"--normal {path}"
    values = _values(path, "--normal")
    if values.ndim != 3 or values.shape[2] < 3:
        raise InputError("has no three channels", where, "Give x, y and z")
    _fits(values, size, where)
    normals = values[..., :3]
    if path.suffix.lower() != ".npy":
        normals = normals / (65535.0 if normals.max() > 255 else 255.0) * 2 - 1
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    ok = np.isfinite(length) & (length > 0.5) & (length < 1.5)
    if ok.mean() < 0.01:
        raise InputError(
            "holds no unit vectors", where, "Store (n + 1) / 2, or vectors in an .npy file"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(ok, normals / length, np.nan).astype(np.float32)


def resized(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A map (H, W) at another size, by its nearest values."""
    rows = (np.arange(shape[0]) + 0.5) * values.shape[0] / shape[0]
    columns = (np.arange(shape[1]) + 0.5) * values.shape[1] / shape[1]
    return values[rows.astype(int)[:, None], columns.astype(int)[None]]


def framed_map(
    values: np.ndarray, photo: Photo, frame: Similarity, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """A map (H, W) or (H, W, C) of a picture, cut to a frame: (size, size[, C]) and where it is
    known (size, size) bool."""
    planes = values if values.ndim == 3 else values[..., None]
    ok = np.isfinite(planes).all(-1)
    scale = planes.shape[0] / photo.pixels.shape[0]
    mask = resized(photo.pixels[..., 3], ok.shape) > 0.5
    weight = (ok & mask).astype(np.float32)
    stacked = np.concatenate([np.where(weight[..., None] > 0, planes, 0), weight[..., None]], -1)
    tensor = torch.from_numpy(np.ascontiguousarray(stacked, np.float32)).permute(2, 0, 1)[None]
    there = Similarity(frame.x * scale, frame.y * scale, frame.side * scale)
    found = cut(tensor, [there], size)[0].permute(1, 2, 0).numpy()
    share = found[..., -1]
    known = share > 0.4
    out = found[..., :-1] / np.maximum(share, 1e-6)[..., None]
    return (out if values.ndim == 3 else out[..., 0]), known


@lru_cache(maxsize=1)
def load_normal_model(name: str) -> Any:
    """A normal estimator: a folder or hub id of a diffusers pipeline that predicts normals
    (Marigold). Raises ModelError."""
    from ...priors.registry import find_model

    folder = find_model(name, {}, "--normal", file="model_index.json")
    try:
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


__all__ = [
    "FILL",
    "DepthKind",
    "DepthMap",
    "Known",
    "View",
    "framed_map",
    "load_normal_model",
    "predict_normals",
    "real_scale",
    "read_depth",
    "read_length",
    "read_normals",
]
