"""Reads textures from files and bytes. The size of a picture is checked before its pixels are
decoded."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ...engine.errors import InputError

LARGEST_PICTURE = 8192 * 8192
"""Largest number of pixels of a texture that is read."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TGA")
"""The kinds of pictures that are read, as Pillow names them."""
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
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
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
            return to_bytes(picture)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"holds a picture that cannot be read ({type(error).__name__})",
            where,
            "Save it again as PNG",
        ) from None


def measure(data: bytes) -> tuple[str, tuple[int, int] | None]:
    """What a picture file is, in a word ("PNG", "KTX2", …), and its width and height in pixels by
    its head, None where that is not known. Nothing is decoded."""
    from PIL import Image

    if data.startswith(b"\xabKTX 20"):
        return "KTX2", _numbers_at(data, 20, 24)
    if data.startswith(b"DDS "):
        return "DDS", _numbers_at(data, 16, 12)
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF", None
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return str(opened.format), (opened.width, opened.height)
    except Exception:
        return "of an unknown kind", None


def _numbers_at(data: bytes, *places: int) -> tuple[int, int] | None:
    if len(data) < max(places) + 4:
        return None
    one, two = (int.from_bytes(data[at : at + 4], "little") for at in places)
    # A texture of one dimension has a height of 0.
    return one, max(1, two)


def deep(data: bytes) -> bool:
    """Whether a picture file is a PNG of sixteen bits a channel, of which eight are read."""
    return data.startswith(b"\x89PNG") and data[24:25] == b"\x10"


def to_bytes(picture: Any, told: list[str] | None = None) -> np.ndarray:
    """The pixels of a Pillow picture of any mode, (H, W, 3) or, where something of it is or may be
    transparent, (H, W, 4) uint8.

    Args:
        told: of a photograph, what was guessed of the range of its numbers; where it is not given,
            the picture is a texture, whose numbers mean what they are.
    """
    key = picture.info.get("transparency")
    if picture.mode.startswith("I") or picture.mode == "F":
        deep = np.asarray(picture, np.float32)
        low, full = _range(deep, picture.mode, told)
        whole = np.nan_to_num(deep, nan=low, posinf=full, neginf=low)
        grey = np.rint((whole - low) / (full - low) * 255).clip(0, 255).astype(np.uint8)
        rgb = np.repeat(grey[..., None], 3, -1)
        if not isinstance(key, int):
            return rgb
        return np.dstack([rgb, np.where(deep == key, 0, 255).astype(np.uint8)])
    if isinstance(key, tuple) and max(key, default=0) > 255:
        # Pillow keeps the upper eight bits of sixteen, but not of the transparent colour.
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    opaque = (
        picture.mode in ("RGB", "L", "1", "CMYK", "YCbCr", "LAB", "HSV")
        and "transparency" not in picture.info
    )
    return np.asarray(picture.convert("RGB" if opaque else "RGBA"))


def _range(deep: np.ndarray, mode: str, told: list[str] | None) -> tuple[float, float]:
    """The numbers of a deep grey picture that are black and white."""
    finite = deep[np.isfinite(deep)]
    top, bottom = float(finite.max(initial=0)), float(finite.min(initial=0))
    if mode == "F" and 0 <= bottom <= top <= 1:
        return 0.0, 1.0
    if bottom < 0 or bool((finite != np.rint(finite)).any()):
        if told is not None:
            told.append(f"has numbers from {bottom:.3g} to {top:.3g}: stretched to black and white")
        return bottom, max(top, bottom + 1e-6)
    sixteen = top > 255 or mode.startswith("I;16")
    bits = next((b for b in (8, 10, 12, 14) if top < 1 << b), 16)
    if told is not None and sixteen and top > 0 and bits < 16:
        # What cameras and microscopes write; as it stands it would be black.
        told.append(f"has numbers up to {top:.0f} of 65535: taken for a picture of {bits} bits")
        return 0.0, float((1 << bits) - 1)
    return 0.0, max(top, 65535.0 if sixteen else 255.0)


def resized(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A map (H, W, …) at another height and width."""
    if pixels.shape[:2] == shape[:2]:
        return pixels
    from PIL import Image

    size = (shape[1], shape[0])
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def larger(one: np.ndarray, two: np.ndarray) -> tuple[int, ...]:
    """The height and width of the larger of two maps."""
    return max(one.shape[:2], two.shape[:2], key=lambda s: s[0] * s[1])


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode pixels (H, W, 3 or 4) uint8 as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encode_webp(pixels: np.ndarray) -> bytes:
    """Encode pixels (H, W, 3 or 4) uint8 as WebP without a loss."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, exact=True)
    return buffer.getvalue()


def to_display(linear: np.ndarray) -> np.ndarray:
    """Convert linear light in [0, 1] to display values in [0, 1] (sRGB)."""
    return np.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )


def to_linear(display: np.ndarray) -> np.ndarray:
    """Convert display values in [0, 1] (sRGB) to linear light in [0, 1]."""
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
