"""The pictures that the libraries of an OBJ file name: found, read once, and turned into maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ....engine.errors import InputError
from ...mesh import EncodedImage
from ..beside import find_beside
from ..images import LARGEST_FILE, decode

_ROWS = 256
"""Number of rows of a height map that are worked on at a time."""
_MOST_NOTES = 1000
"""Number of notes on a file after which no further picture is noted as missing."""


class Pictures:
    """Pictures by path, and what had to be noted about them. kept: by the name in the library, the
    name and the bytes of every file that was found."""

    def __init__(self, folder: Path, where: str, notes: list[str]) -> None:
        self.folder, self.where, self.notes = folder, where, notes
        self.kept: dict[str, tuple[str, bytes]] = {}
        self._data: dict[Path, bytes] = {}
        self._maps: dict[tuple[Path, str], np.ndarray] = {}
        self._encoded: dict[int, EncodedImage] = {}
        self._room = LARGEST_FILE

    def keep(self, name: str, library: Path, material: str, told: bool) -> Path | None:
        """The file that a library names, its bytes kept; `told` notes where it is missing or
        elsewhere."""
        found = find_beside(self.folder, name, self.where)
        below = library.parent.resolve()
        if below != self.folder.resolve():
            near = find_beside(below, name, self.where)
            found = near if near.path is not None else found
        shown = f'texture "{name[:60]}" of "{material[:40]}" {found.note}'
        path = found.path
        if path is not None and path not in self._data:
            if path.stat().st_size > self._room:
                path, shown = None, shown + " too much beside the other pictures"
            else:
                self._data[path] = path.read_bytes()
                self._room -= len(self._data[path])
        if path is not None:
            self.kept[name] = (path.name, self._data[path])
        line = shown if path is not None else f"{shown}: painted without it"
        noted = len(self.notes) >= _MOST_NOTES or line in self.notes
        if told and (path is None or found.note) and not noted:
            self.notes.append(line)
        return path

    def opens(self, path: Path, material: str) -> bool:
        """Whether a file is a picture; noted where it is none that can be read."""
        try:
            self.whole(path)
        except InputError as error:
            line = f'texture "{path.name[:60]}" of "{material[:40]}" {error.what}'
            line += ": painted without it"
            if len(self.notes) < _MOST_NOTES and line not in self.notes:
                self.notes.append(line)
            return False
        return True

    def whole(self, path: Path) -> np.ndarray:
        """The pixels (H, W, 3 or 4) of a file. Raises InputError."""
        return self._map(path, "whole", lambda: decode(self._data[path], str(path)))

    def colour(self, path: Path) -> np.ndarray:
        """The pixels (H, W, 3) of a file."""
        pixels = self.whole(path)
        if pixels.shape[2] == 3:
            return pixels
        return self._map(path, "colour", lambda: np.ascontiguousarray(pixels[..., :3]))

    def alpha(self, path: Path, channel: str) -> np.ndarray:
        """The opacity (H, W) that a file says: the channel that is asked for, else its alpha, else
        its brightness."""
        pixels = self.whole(path)
        if channel in ("r", "g", "b"):
            return pixels[..., "rgb".index(channel)]
        if pixels.shape[2] == 4 and channel != "l" and (pixels[..., 3] < 255).any():
            return pixels[..., 3]
        return np.rint(pixels[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)

    def normals(self, path: Path, said: bool) -> np.ndarray:
        """The normal map of a file: itself where it is one (`said`, or by its colours), else that
        of its heights."""
        pixels = self.colour(path)
        if said or _is_normal_map(pixels):
            return pixels
        return self._map(path, "normals", lambda: normals_of_heights(pixels[..., 0]))

    def encoded(self, *maps: np.ndarray | None) -> tuple[EncodedImage, ...]:
        """The files that some maps are the very pixels of."""
        return tuple(self._encoded[id(m)] for m in maps if m is not None and id(m) in self._encoded)

    def _map(self, path: Path, kind: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        if (path, kind) not in self._maps:
            pixels = self._maps[path, kind] = make()
            mime = _mime(self._data[path])
            if mime and kind != "normals":
                self._encoded[id(pixels)] = EncodedImage(
                    pixels, self._data[path], mime, name=path.name
                )
        return self._maps[path, kind]


def _mime(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""


def _is_normal_map(pixels: np.ndarray) -> bool:
    some = pixels[:: max(1, len(pixels) // 512), :: max(1, pixels.shape[1] // 512)].astype(float)
    red, green, blue = some.reshape(-1, 3).mean(0) / 255
    # White heights are as blue as normals, and red as well.
    return blue > 0.7 and blue - max(red, green) > 0.1


def normals_of_heights(heights: np.ndarray) -> np.ndarray:
    """The normal map (H, W, 3) uint8, green up, of heights (H, W) uint8 that repeat."""
    rows, out = len(heights), np.empty((*heights.shape, 3), np.uint8)
    for at in range(0, rows, _ROWS):
        chosen = np.arange(at, min(at + _ROWS, rows))
        here = heights[chosen].astype(np.float32) / 255
        right = np.roll(here, -1, 1) - np.roll(here, 1, 1)
        above = heights[(chosen - 1) % rows].astype(np.float32)
        up = (above - heights[(chosen + 1) % rows].astype(np.float32)) / 255
        normal = np.stack([-right, -up, np.ones_like(here)], 2)
        normal /= np.linalg.norm(normal, axis=2, keepdims=True)
        out[chosen] = np.rint((normal * 0.5 + 0.5) * 255)
    return out
