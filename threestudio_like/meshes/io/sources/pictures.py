"""Pictures that a mesh file names and that lie beside it. One that is missing or damaged is left
out with a note, and the mesh is read without it."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from ....engine.errors import InputError
from ....engine.text import line_name
from ...mesh import EncodedImage
from ..beside import find_beside
from ..images import decode, encode_png


class Pictures:
    """The pictures beside a file, each read once. notes: gets a line for each that is left out."""

    def __init__(self, path: Path, notes: list[str]) -> None:
        self.path, self.notes = path, notes
        self.found: dict[str, EncodedImage | None] = {}

    def get(self, name: str) -> EncodedImage | None:
        """The picture of a name, which may be an address or a path on another machine: what is not
        at its place in the folder is looked for in the folder itself."""
        if name not in self.found:
            self.found[name] = self._read(name)
        return self.found[name]

    def _read(self, name: str) -> EncodedImage | None:
        where, base = str(self.path), PureWindowsPath(unquote(name)).name
        found = find_beside(self.path.parent, name, where)
        if found.path is None or found.note:
            self.notes.append(line_name(f'the picture "{base[:60]}" {found.note}'))
        if found.path is None:
            return None
        try:
            return encoded(found.path.read_bytes(), base, where)
        except InputError as error:
            self.notes.append(line_name(f"a picture is left out: {error.what}"))
        except OSError as error:
            self.notes.append(line_name(f'the picture "{base[:60]}" is left out: {error.strerror}'))
        return None


def encoded(data: bytes, name: str, where: str) -> EncodedImage:
    """A picture with its bytes. Raises InputError if it is damaged."""
    pixels = decode(data, where)
    kinds = {b"\xff\xd8": "image/jpeg", b"RI": "image/webp", b"\x89P": "image/png"}
    mime = kinds.get(data[:2])
    if mime is None:
        # Other kinds do not go into other formats.
        return EncodedImage(pixels, encode_png(pixels), "image/png", name=f"{name}.png")
    return EncodedImage(pixels, data, mime, name=name)
