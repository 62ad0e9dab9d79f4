"""Maps that belong to a picture, depths and normals: read from files as they are meant, or refused;
and cut to the frame of an object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ...engine.errors import InputError
from ...meshes.io.images import LARGEST_FILE
from ...priors.framing import Similarity, cut
from .photo import Photo

DepthKind = Literal["auto", "distance", "relative", "disparity"]
MAP_SUFFIXES = (".png", ".npy", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")
GREY = 4.0
"""Levels of 255 by which the channels of a grey picture may differ: JPEG rounds them."""
UNIT = 0.05
"""How far a vector's length may be from 1 to be told from an encoded one."""


@dataclass(frozen=True)
class DepthMap:
    """A depth (H, W) float32 that belongs to a picture, larger is farther, nan where unknown.

    distances: whether the values are distances along the camera's axis in some unit; otherwise
    they hold up to a scale and a shift alone.
    """

    values: np.ndarray
    distances: bool
    note: str


def _values(path: Path, where: str, vectors: bool = False) -> np.ndarray:
    """The numbers of a map (H, W) or (H, W, C) float32 as they are meant: a palette's colours, not
    their numbers; turned as a photograph is by its EXIF orientation; nan where it is transparent.
    Raises InputError."""
    if not path.is_file():
        raise InputError("there is no such file", f"{where} {path}", "Give a map of the picture")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"is larger than {LARGEST_FILE >> 20} MiB", f"{where} {path}")
    try:
        if path.suffix.lower() == ".npy":
            found = np.load(path, allow_pickle=False)
        else:
            found = _pixels(path, f"{where} {path}", vectors)
        real = found.dtype.kind in "iuf"
        values = np.asarray(found, np.float32) if real else np.zeros(0)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"is no map that can be read ({type(error).__name__})",
            f"{where} {path}",
            f"Give one of: {', '.join(MAP_SUFFIXES)}",
        ) from None
    if not real:
        raise InputError(f"is no map: it holds {found.dtype}", f"{where} {path}", "Store numbers")
    values = _upright_axes(values)
    if values.ndim not in (2, 3) or min(values.shape[:2]) < 8:
        raise InputError(f"is no map: shape {found.shape}", f"{where} {path}")
    return values


def _pixels(path: Path, where: str, vectors: bool) -> np.ndarray:
    """The numbers of a picture's file. Raises InputError where `vectors` would have to be turned
    with it: whether they are already, nobody says."""
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        if vectors and opened.getexif().get(0x0112, 1) in range(2, 9):
            raise InputError(
                "is turned by its EXIF orientation, which says nothing of its vectors",
                where,
                "Save it upright, as the picture is seen",
            )
        picture: Any = ImageOps.exif_transpose(opened)
        if picture.mode in ("P", "PA"):
            picture = picture.convert("RGBA")
        elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            picture = picture.convert("RGB")
        pixels = np.asarray(picture)
    if picture.mode not in ("RGBA", "LA"):
        return pixels
    clear = pixels[..., -1:] < 128
    return np.where(clear, np.float32(np.nan), pixels[..., :-1].astype(np.float32))


def _upright_axes(values: np.ndarray) -> np.ndarray:
    """A map without axes of one entry, its channels last: networks put them first."""
    while values.ndim > 2 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim == 3 and values.shape[0] in (2, 3) and values.shape[2] > 4:
        values = np.moveaxis(values, 0, -1)
    return values


def _one_plane(values: np.ndarray, where: str) -> np.ndarray:
    """The one plane (H, W) of a depth, whose channels have to be the same. Raises InputError."""
    if values.ndim == 2:
        return values
    known = values[np.isfinite(values).all(-1)]
    size = float(np.abs(known).max(initial=0.0))
    if len(known) and float(np.ptp(known, axis=-1).max()) > GREY / 255 * size:
        raise InputError(
            f"has {values.shape[2]} channels that differ, and a depth is one: a colour map cannot "
            "be read back",
            where,
            "Save the depth itself, as a grey picture of 16 bits or .npy",
        )
    return values[..., 0]


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
        path: .npy, floating-point TIFF, or PNG of 8 or 16 bits; 0, what is transparent and
            non-finite values mean unknown.
        size: width and height of the picture.
        kind: "distance": along the camera's axis in any unit. "relative": up to a scale and a
            shift. "disparity": larger is nearer, up to a scale and a shift. "auto": distances where
            they vary by less than the object could be deep.
        mask: (H, W) of the picture, where the object is.

    Raises:
        InputError: unreadable, in colours, of another shape than the picture, or without values.
    """
    where = f"--depth {path}"
    values = _one_plane(_values(path, "--depth"), where)
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


def read_normals(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Unit normals (H, W, 3) from a file, nan where unknown, and how it was read: vectors in .npy,
    or (n + 1) / 2 in the channels of a picture or of an .npy (OpenGL's convention: green is up).
    Raises InputError."""
    where = f"--normal {path}"
    values = _values(path, "--normal", vectors=True)
    if values.ndim != 3 or values.shape[2] < 3:
        raise InputError("has no three channels", where, "Give x, y and z")
    _fits(values, size, where)
    normals, note = values[..., :3], "read as vectors"
    known = normals[np.isfinite(normals).all(-1)]
    if path.suffix.lower() != ".npy" or (known.max(initial=0) > 1.5 and known.min(initial=0) >= 0):
        top = 65535.0 if known.max(initial=0) > 255 else 255.0
        normals, note = normals / top * 2 - 1, f"read as (n + 1) / 2 of {top:.0f}"
    elif len(known) and known.min() >= 0 and _unit(2 * known - 1) > _unit(known):
        # Vectors that look towards the camera point left and right, up and down.
        normals, note = normals * 2 - 1, "read as (n + 1) / 2: no number of it is negative"
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    ok = np.isfinite(length) & (length > 0.5) & (length < 1.5)
    if ok.mean() < 0.01:
        raise InputError(
            "holds no unit vectors", where, "Store (n + 1) / 2, or vectors in an .npy file"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(ok, normals / length, np.nan).astype(np.float32), note


def _unit(vectors: np.ndarray) -> float:
    """The share of vectors (N, 3) whose length is 1."""
    return float((np.abs(np.linalg.norm(vectors, axis=-1) - 1) < UNIT).mean())


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
