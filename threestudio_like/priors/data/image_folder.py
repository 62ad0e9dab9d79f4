"""A folder of pictures, optionally with depth maps, which are read one at a time. G3DR is trained
on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...engine.errors import InputError
from ...meshes.io.images import LARGEST_FILE, decode

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
DEPTH_MARK = ".depth.png"
SMALLEST = 16


@dataclass
class RgbdPicture:
    """A picture: image (S, S, 3) uint8; depth (S, S) uint16 as it was stored, or None; path of the
    file."""

    image: np.ndarray
    depth: np.ndarray | None
    path: Path


class ImageFolder:
    """All pictures in a folder, in the order of their paths.

    name.depth.png, with sixteen bits a pixel, is the depth of name.png or name.jpg. Only names are
    kept in memory; pictures are read when they are needed.

    Args:
        folder: is searched with its subfolders; links to folders are not followed.
        size: edge length in pixels to which pictures are resized (Lanczos), after they are cropped
            to their central square.

    Raises:
        InputError: there is no such folder, or no picture in it.
    """

    def __init__(self, folder: Path, size: int) -> None:
        if not folder.is_dir():
            raise InputError("there is no such folder", str(folder), "Give a folder of pictures")
        self.folder, self.size = folder, size
        names: list[str] = []
        depth: set[str] = set()
        base = str(folder)
        for where, _, files in os.walk(base):
            inner = os.path.relpath(where, base)
            for name in files:
                path = name if inner == "." else os.path.join(inner, name)
                if name.endswith(DEPTH_MARK):
                    depth.add(path[: -len(DEPTH_MARK)])
                elif name.lower().endswith(SUFFIXES):
                    names.append(path)
        if not names:
            raise InputError("contains no picture", str(folder), f"Known: {', '.join(SUFFIXES)}")
        self.names = sorted(names)
        self._depth = depth

    def __len__(self) -> int:
        return len(self.names)

    @property
    def with_depth(self) -> int:
        """Number of pictures that have a depth map."""
        return sum(os.path.splitext(name)[0] in self._depth for name in self.names)

    def picture(self, index: int) -> RgbdPicture:
        """Picture number `index`. Raises InputError, with its path, if it cannot be used."""
        path = self.folder / self.names[index]
        pixels = self._read(path)
        if min(pixels.shape[:2]) < SMALLEST:
            raise InputError(
                f"has {pixels.shape[1]} x {pixels.shape[0]} pixels, at least {SMALLEST} an "
                "edge are needed",
                str(path),
                "Leave it out",
            )
        if pixels.shape[2] == 4:
            alpha = pixels[..., 3:].astype(np.float32) / 255
            pixels = np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        stem = os.path.splitext(self.names[index])[0]
        depth = None
        if stem in self._depth:
            beside = self.folder / (stem + DEPTH_MARK)
            depth = self._read_depth(beside)
            if depth.shape != pixels.shape[:2]:
                raise InputError(
                    f"has {depth.shape[1]} x {depth.shape[0]} pixels, its picture "
                    f"{pixels.shape[1]} x {pixels.shape[0]}",
                    str(beside),
                    "Give depth and picture the same size",
                )
        return RgbdPicture(
            self._fit(pixels), None if depth is None else self._fit_depth(depth), path
        )

    @staticmethod
    def _read(path: Path) -> np.ndarray:
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise InputError(
                    f"is larger than {LARGEST_FILE >> 20} MiB", str(path), "Scale it down"
                )
            data = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"cannot be read ({error.strerror or error})", str(path), "Check the file"
            ) from None
        return decode(data, str(path), upright=True)

    @staticmethod
    def _read_depth(path: Path) -> np.ndarray:
        import io

        from PIL import Image

        try:
            with Image.open(io.BytesIO(path.read_bytes()), formats=("PNG",)) as opened:
                depth = np.asarray(opened)
        except Exception as error:
            raise InputError(
                f"cannot be read ({type(error).__name__})",
                str(path),
                "Save it as a PNG of sixteen bits",
            ) from None
        if depth.ndim != 2 or depth.dtype not in (np.uint16, np.int32):
            raise InputError(
                "is not a depth map with sixteen bits a pixel",
                str(path),
                "Save it as a PNG of sixteen bits",
            )
        return depth.astype(np.uint16)

    def _square(self, shape: tuple[int, ...]) -> tuple[slice, slice]:
        edge = min(shape[:2])
        top, left = (shape[0] - edge) // 2, (shape[1] - edge) // 2
        return slice(top, top + edge), slice(left, left + edge)

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        from PIL import Image

        square = np.ascontiguousarray(pixels[self._square(pixels.shape)])
        return np.array(
            Image.fromarray(square).resize((self.size, self.size), Image.Resampling.LANCZOS)
        )

    def _fit_depth(self, depth: np.ndarray) -> np.ndarray:
        square = depth[self._square(depth.shape)]
        # Nearest neighbour, because a mean over an edge would be a depth at which there is nothing.
        place = ((np.arange(self.size) + 0.5) / self.size * len(square)).astype(int)
        return np.ascontiguousarray(square[place][:, place])
