"""Looks for files that a mesh file names, also where the name is one of another machine: never
outside of the mesh's folder, never at an address."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from .images import LARGEST_FILE

_FOLDERS = {"textures", "texture", "maps", "images", "materials", "tex"}
"""Sub-folders, in lower case, in which pictures are looked for by their base name."""
_MOST_ENTRIES = 20_000
"""Largest number of files of a folder among which a name of another letter case is looked for."""


@dataclass(frozen=True)
class Found:
    """path: of the file, None where there is none that may be read; note: the end of a sentence
    that begins with the file's name ("is missing", 'was found as "tex.png"'), empty where the file
    lies where it is said to."""

    path: Path | None
    note: str = ""


_WATCHED: ContextVar[set[Path] | None] = ContextVar("files beside meshes", default=None)


@contextmanager
def watch_beside() -> Iterator[set[Path]]:
    """Collects the files that meshes which are read within the block were found to name."""
    found: set[Path] = set()
    token = _WATCHED.set(found)
    try:
        yield found
    finally:
        _WATCHED.reset(token)


def find_beside(folder: Path, name: str, where: str) -> Found:
    """The file that `name`, in the mesh file `where`, means.

    It is looked for at its relative path; then by its base name in the folder of the mesh and in
    sub-folders such as textures/; with its very letters before other letter case. Absolute paths,
    those of Windows, and those that climb out of the folder count by their base name alone.
    """
    name = name.strip().strip('"')
    if "://" in name or name.lower().startswith(("data:", "file:")):
        return Found(None, "is an address, and nothing is fetched")
    if not name or len(name) > 1024 or "\0" in name:
        return Found(None, "is no name of a file")
    try:
        found = _search(folder.resolve(), name)
        watched = _WATCHED.get()
        if watched is not None and found.path is not None:
            watched.add(found.path)
        return found
    except (OSError, ValueError, RuntimeError):
        return Found(None, "is a name that no disk can hold")


def _search(root: Path, name: str) -> Found:
    refused = ""
    for spelled in dict.fromkeys((name, unquote(name))):
        words = [w for w in spelled.replace("\\", "/").split("/") if w not in ("", ".")]
        if not words:
            continue
        plain = not (spelled.startswith(("/", "\\")) or ".." in words or words[0].endswith(":"))
        tries = [(root, words)] if plain else []
        tries += [(place, words[-1:]) for place in (root, *_sub_folders(root))]
        for start, parts in tries:
            path = _walk(start, parts)
            if path is None:
                continue
            real = path.resolve()
            if not real.is_relative_to(root):
                refused = "leads out of the mesh's folder"
                continue
            if real.stat().st_size > LARGEST_FILE:
                return Found(None, f"is larger than {LARGEST_FILE >> 20} MiB")
            shown = path.relative_to(root).as_posix()
            same = plain and spelled == name and shown == "/".join(words)
            return Found(real, "" if same else f'was found as "{shown[:80]}"')
    return Found(None, refused or "is missing")


def _sub_folders(root: Path) -> list[Path]:
    with os.scandir(root) as entries:
        names = [e.name for _, e in zip(range(_MOST_ENTRIES), entries) if e.is_dir()]
    return [root / name for name in sorted(names) if name.casefold() in _FOLDERS]


def _walk(start: Path, parts: list[str]) -> Path | None:
    """The file below a folder, each part by its letters or, failing that, in another case."""
    exact = start.joinpath(*parts)
    if exact.is_file():
        return exact
    at = start
    for part in parts:
        if not (at / part).exists():
            wanted = _folded(part)
            if not at.is_dir():
                return None
            with os.scandir(at) as entries:
                names = [e.name for _, e in zip(range(_MOST_ENTRIES), entries)]
            near = [n for n in sorted(names) if _folded(n) == wanted]
            if not near:
                return None
            part = near[0]
        at = at / part
    return at if at.is_file() else None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
