"""The files that a run's options name, by what is in them: a run goes on with those that it was
begun with, and not with others of their names."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..engine.errors import InputError
from ..engine.places import user_path
from .options import flag, flat

NAMED = ("sketch", "lock", "masks", "objects", "embeddings")
"""Options whose files decide the result and are no facts of their own ("mesh content", ...)."""


def contents_of(options: Any, config: Any = None) -> dict[str, Any]:
    """The digests of a command's files as a fact of its run, by their options; empty where there
    are none. A sketch may be named by the method's configuration alone. Raises InputError."""
    known = flat(options)
    if not known.get("sketch"):
        known["sketch"] = getattr(getattr(config, "sketch", None), "path", "")
    found: dict[str, Any] = {}
    for name in NAMED:
        value = known.get(name)
        given = [value] if isinstance(value, (str, Path)) and str(value) else value
        if given:
            found[name] = [_digest(user_path(path), flag(name)) for path in given]
    return {"contents": found} if found else {}


def _digest(path: Path, where: str) -> str:
    """16 digits of the SHA-256 of a file, or of the files in a folder with their names."""
    digest = hashlib.sha256()
    folder = path.is_dir()
    # Files that begin with a dot are an operating system's own notes.
    inside = (p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    files = sorted(inside) if folder else [path]
    try:
        for file in files:
            if folder:
                digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            digest.update(file.read_bytes())
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", f"{where} {path}", "Put it back as it was"
        ) from None
    return digest.hexdigest()[:16]
