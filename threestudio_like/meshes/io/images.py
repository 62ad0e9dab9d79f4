"""Reads textures from files and bytes. The size of a picture is checked before its pixels are
decoded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from ...engine.errors import InputError

LARGEST_PICTURE = 8192 * 8192
"""Largest number of pixels of a texture that is read."""
LARGEST_FILE = 512 * 1024 * 1024
"""Largest size in bytes of a file that is read."""


def decode(data: bytes, where: str, upright: bool = False) -> np.ndarray:
    """Decode a PNG, JPEG or WebP in memory to pixels (H, W, 3) or (H, W, 4) uint8.

    Args:
        upright: rotate the picture according to its EXIF orientation, for photographs but not for
            textures.

    Raises:
        InputError: the picture is damaged or too large.
    """
    from PIL import Image, ImageOps

    # PIL's own limit first warns and fails late, so the size is checked here before the pixels are
    # decoded.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "BMP", "TGA")) as opened:
            picture: Any = opened
            width, height = picture.size
            if width * height > LARGEST_PICTURE:
                raise InputError(
                    f"holds a picture of {width} x {height} pixels, at most "
                    f"{LARGEST_PICTURE >> 20} million are read",
                    where,
                    "Scale it down",
                )
            if width == 0 or height == 0:
                raise InputError("holds a picture without pixels", where, "Replace the picture")
            if upright:
                picture = ImageOps.exif_transpose(picture)
            if picture.mode.startswith("I") or picture.mode == "F":
                # PIL would truncate sixteen bits a channel instead of scaling them.
                deep = np.asarray(picture, np.float32)
                grey = (
                    np.rint(deep / max(1.0, 65535.0 if deep.max() > 255 else 255.0) * 255)
                    .clip(0, 255)
                    .astype(np.uint8)
                )
                return np.repeat(grey[..., None], 3, -1)
            opaque = (
                picture.mode in ("RGB", "L", "1", "CMYK", "YCbCr")
                and "transparency" not in picture.info
            )
            return np.asarray(picture.convert("RGB" if opaque else "RGBA"))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"holds a picture that cannot be read ({type(error).__name__})",
            where,
            "Save it again as PNG",
        ) from None


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode pixels (H, W, 3 or 4) uint8 as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def neighbour(folder: Path, name: str, where: str) -> Path:
    """The path of a file that a mesh file refers to.

    Raises InputError for a network address, a path that leaves the folder, and a file that is
    missing or too large.
    """
    scheme = urlsplit(name).scheme
    if len(scheme) > 1:
        raise InputError(
            f'points at "{name[:60]}", and nothing is fetched from addresses',
            where,
            "Put the file beside the mesh",
        )
    relative = Path(unquote(name).replace("\\", "/"))
    try:
        path, root = (folder / relative).resolve(), folder.resolve()
        inside = not relative.is_absolute() and path.is_relative_to(root)
        there = inside and path.is_file()
        size = path.stat().st_size if there else 0
    except (OSError, ValueError):
        raise InputError(
            f'names a file that no disk can hold: "{name[:60]!r}"', where, "Correct the name"
        ) from None
    if not inside:
        raise InputError(
            f'points out of its folder: "{name[:60]}"', where, "Put the file beside the mesh"
        )
    if not there:
        raise InputError(
            f'the file "{name[:60]}" that it names is missing',
            where,
            "Put it beside the mesh, or read the mesh with --drop-textures",
        )
    if size > LARGEST_FILE:
        raise InputError(
            f'the file "{name[:60]}" that it names is larger than {LARGEST_FILE >> 20} MiB', where
        )
    return path


def to_display(linear: np.ndarray) -> np.ndarray:
    """Convert linear light in [0, 1] to display values in [0, 1] (sRGB)."""
    return np.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )


def to_linear(display: np.ndarray) -> np.ndarray:
    """Convert display values in [0, 1] (sRGB) to linear light in [0, 1]."""
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
