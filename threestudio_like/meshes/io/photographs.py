"""Pictures that people bring: every common format, turned upright, in sRGB, large ones decoded at a
smaller size; each kind of file that is no such picture has its own words."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import InputError
from .images import LARGEST_FILE, to_bytes

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "TGA", "PPM", "JPEG2000", "QOI")
"""Pillow's names of what is read."""
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".tif", ".tiff", ".gif", ".bmp"),
    *(".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".qoi", ".heic", ".heif"),
)
READ = (
    "Give a PNG, JPEG, WebP, AVIF, TIFF, GIF, BMP, TGA, PPM, JPEG 2000 or QOI, or a HEIC with "
    "the extra heic"
)
"""What is read, in words."""
REDUCIBLE = 2_000_000_000
"""Largest number of pixels of a format that can be decoded at a smaller size."""
WHOLE = 160_000_000
"""Largest number of pixels that are decoded whole: 640 MB."""

_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF", "is a PDF, no picture", "Save its page as PNG"),
    (b"%!PS", "is PostScript, no picture", "Save it as PNG"),
    (b"8BPS", "is a Photoshop document", "Save it as PNG"),
    (b"gimp xcf", "is a GIMP document", "Export it as PNG"),
    (b"glTF", "is a mesh, no picture", "threestudio-like texture or refine take meshes"),
    (b"\x76\x2f\x31\x01", "is an OpenEXR picture, whose light has no limit", "Save it as PNG"),
    (b"#?RADIANCE", "is a Radiance picture, whose light has no limit", "Save it as PNG"),
    (b"FUJIFILMCCD-RAW", "is a raw photograph", "Develop it to JPEG or PNG"),
    (b"PK\x03\x04", "is an archive or an office document", "Take the picture out of it"),
    (b"\x1f\x8b", "is a compressed archive", "Unpack it first"),
    (b"Rar!", "is an archive", "Unpack it first"),
    (b"7z\xbc\xaf", "is an archive", "Unpack it first"),
    (b"\x1aE\xdf\xa3", "is a film", "Save one of its pictures as PNG"),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the picture", "git lfs pull"),
)
_RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")
_HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")
_URL = re.compile(r"^(https?|ftp|s3|gs|data|file):/?", re.IGNORECASE)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, by the numbers in them: 2.png before
    10.png."""
    # Files that begin with a dot are an operating system's notes on pictures, not pictures.
    found = [
        p
        for p in folder.iterdir()
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and not p.is_dir()
    ]
    return sorted(found, key=_by_number)


def _by_number(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name.lower())
    numbered = [(0, int(x), "") if x.isdecimal() else (1, 0, x) for x in parts]
    return numbered, path.name


@dataclass
class Photograph:
    """A picture as it was read.

    pixels (H, W, 3 or 4) uint8, upright, sRGB; width and height of the file's own picture, upright;
    notes: what was done to it; told: what the user should hear of it.
    """

    pixels: np.ndarray
    width: int
    height: int
    notes: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def check_file(path: Path) -> None:
    """Raise InputError where there is no file that could hold a picture."""
    where = str(path)
    if _URL.match(where):
        raise InputError(
            "is an address; pictures are read from this machine", where, "Download it first"
        )
    if path.is_dir():
        raise InputError("is a folder", where, "Give the path of a picture")
    if not path.exists():
        raise InputError("there is no such file", where, "Give the path of a picture")
    if not path.is_file():
        raise InputError("is no file", where, "Give the path of a picture")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(
            f"is larger than {LARGEST_FILE >> 20} MiB", where, "Scale the picture down"
        )


def read_photograph(path: Path, edge: int = 0) -> Photograph:
    """Read a picture.

    Args:
        edge: pixels of the longer edge that are enough: larger pictures may be decoded at a smaller
            size, but never below it. 0 decodes the whole.

    Raises:
        InputError: there is none; what it is instead; or it is damaged or too large.
    """
    from PIL import Image

    check_file(path)
    where = str(path)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"cannot be opened ({error.strerror})", where, "See its rights") from None
    _refuse(head, path)
    formats = list(FORMATS)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC:
        _heic(where)
        formats.append("HEIF")
    # Pillow's own limit first warns and fails late, so the size is checked before the pixels.
    Image.MAX_IMAGE_PIXELS = None
    try:
        opened: Any = Image.open(path, formats=formats)
    except Exception:
        raise _unreadable(head, where) from None
    with opened as picture:
        try:
            return _decoded(picture, where, edge)
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise _damaged(error, where) from None


def _refuse(head: bytes, path: Path) -> None:
    """Raise InputError on what is known to be something else."""
    where = str(path)
    if not head:
        raise InputError("is empty", where, READ)
    for magic, what, remedy in _KINDS:
        if head.startswith(magic):
            raise InputError(what, where, remedy)
    if path.suffix.lower() in _RAW or head[8:10] == b"CR":
        raise InputError("is a raw photograph", where, "Develop it to JPEG or PNG")
    if head[4:8] == b"ftyp" and head[8:12] not in (*_HEIC, *_AVIF):
        raise InputError("is a film", where, "Save one of its pictures as PNG")
    if head[:4] == b"RIFF" and head[8:12] != b"WEBP":
        raise InputError("is a film or a sound", where, "Save one of its pictures as PNG")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        raise InputError("is a drawing of lines (SVG)", where, "Save it as PNG")
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        raise InputError(
            "is a web page, not the picture on it", where, "Download the picture itself"
        )


def _heic(where: str) -> None:
    """Have HEIC read, by a package that is no part of the core. Raises InputError."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise InputError(
            "is a HEIC picture, which needs pillow-heif",
            where,
            "pip install '.[heic]' in the checkout, or save it as JPEG or PNG",
        ) from None
    register_heif_opener()


def _unreadable(head: bytes, where: str) -> InputError:
    """Words for what no reader takes."""
    try:
        # A character may be cut at the end of what was looked at.
        head[: len(head) - 3 if len(head) == 512 else len(head)].decode("utf-8")
        plain = b"\0" not in head
    except UnicodeDecodeError:
        plain = False
    started = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
    if head.startswith(started) or head[4:8] == b"ftyp":
        return InputError("begins as a picture and is damaged", where, "Save or download it again")
    if plain:
        return InputError("is a text, no picture", where, READ)
    return InputError("is no picture of a kind that is read", where, READ)


def _damaged(error: Exception, where: str) -> InputError:
    text = str(error).lower()
    if any(word in text for word in ("truncated", "not enough", "end of", "incomplete", "eof")):
        return InputError("is cut off before its end", where, "Download or copy it again")
    if isinstance(error, OSError) and error.errno is not None:
        return InputError(f"cannot be read ({error.strerror})", where, "Copy it to a disk here")
    return InputError(
        f"holds a picture that is damaged ({type(error).__name__})",
        where,
        "Save it again as PNG",
    )


def _decoded(picture: Any, where: str, edge: int) -> Photograph:
    from PIL import ImageOps

    width, height = picture.size
    if width == 0 or height == 0:
        raise InputError("holds a picture without pixels", where, "Replace the picture")
    reducible = edge > 0 and picture.format in ("JPEG", "MPO", "JPEG2000")
    limit = REDUCIBLE if reducible else WHOLE
    if width * height > limit:
        raise InputError(
            f"has {width} x {height} pixels, at most {limit // 1_000_000} million are read",
            where,
            "Scale it down, or save it as JPEG",
        )
    told: list[str] = []
    frames = int(getattr(picture, "n_frames", 1) or 1)
    if frames > 1 and picture.format != "MPO":
        told.append(f"holds {frames} pictures, of which the first is taken")
    notes: list[str] = []
    if reducible and max(width, height) >= 2 * edge:
        _reduce_early(picture, edge)
    picture.load()
    if not reducible:
        # A TIFF turns itself while it is decoded, and its size with it.
        width, height = picture.size
    turn = picture.getexif().get(0x0112, 1)
    profile = picture.info.get("icc_profile")
    factor = max(picture.size) // (2 * edge) if edge else 1
    if factor > 1 and picture.mode in ("P", "PA", "1"):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    if factor > 1 and picture.mode not in ("I;16", "I;16B", "I;16L", "I;16N"):
        info = dict(picture.info)
        picture = picture.reduce(factor)
        picture.info.update(info)
    if picture.mode == "LAB" and not profile:
        picture = _from_lab(picture)
    elif profile:
        picture = _to_srgb(picture, profile, notes, told)
    if turn in (2, 3, 4, 5, 6, 7, 8):
        picture.getexif()[0x0112] = turn
        picture = ImageOps.exif_transpose(picture)
        if turn >= 5:
            width, height = height, width
    return Photograph(to_bytes(picture, told), width, height, notes, told)


def _reduce_early(picture: Any, edge: int) -> None:
    """Ask the decoder for fewer pixels, at least twice `edge` along the longer edge where it can:
    what is left is scaled with more care."""
    width, height = picture.size
    if picture.format == "JPEG2000":
        levels = 0
        while max(width, height) >> (levels + 1) >= 2 * edge and levels < 5:
            levels += 1
        picture.reduce = levels
        return
    share = 2 * edge / max(width, height)
    picture.draft(None, (max(1, int(width * share)), max(1, int(height * share))))


def _from_lab(picture: Any) -> Any:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")


def _to_srgb(picture: Any, profile: bytes, notes: list[str], told: list[str]) -> Any:
    """A picture of a colour profile of its own in sRGB."""
    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = (ImageCms.getProfileDescription(source) or "").strip() or "without a name"
        if "srgb" in name.lower().replace(" ", ""):
            return picture
        alpha = None
        if picture.mode in ("P", "PA"):
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        if picture.mode in ("RGBA", "LA"):
            alpha = picture.getchannel("A")
            picture = picture.convert("RGB" if picture.mode == "RGBA" else "L")
        if picture.mode not in ("RGB", "L", "CMYK", "LAB"):
            return picture
        turned = ImageCms.profileToProfile(
            picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert isinstance(turned, Image.Image)
        if alpha is not None:
            turned.putalpha(alpha)
        notes.append(f"its colours turned from {name[:60]} to sRGB")
        return turned
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        told.append("has a colour profile that cannot be read: its colours are taken for sRGB")
        return picture
