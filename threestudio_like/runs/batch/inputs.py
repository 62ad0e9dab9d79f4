"""Files that items need, by their content: they travel with the store, so that a worker anywhere,
at any time, finds the bytes that the item's id was made of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from ...engine.errors import InputError
from ...engine.output import write_file
from ...engine.text import json_text
from .store import Store

LARGEST = 1 << 30
"""Bytes of an input that is copied into the store. A larger one (a prior's folder) is used where it
lies, under the same path on every machine."""


class Inputs:
    """The inputs of a plan, on the machine that makes it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[str, ...]], str] = {}
        self._hashes: dict[tuple[str, int, int], str] = {}
        self._files: dict[str, dict[str, Path]] = {}

    def add(self, path: Path, beside: Iterable[Path] = ()) -> str:
        """The digest of a file with those beside it, or of a folder.

        Args:
            beside: files in the folder of `path`, or below it, that it names.

        Raises:
            InputError: it is not there or cannot be read.
        """
        more = tuple(sorted(str(p) for p in beside))
        known = self._known.get((str(path), more))
        if known is not None:
            return known
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.is_file() and p.name != "lock")
            files = {p.relative_to(path).as_posix(): p for p in found}
        else:
            files = {path.name: path}
            for other in map(Path, more):
                files[os.path.relpath(other, path.parent.resolve()).replace(os.sep, "/")] = other
        try:
            hashes = {name: self._hash(p) for name, p in files.items()}
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror or error})", str(path)) from None
        text = json.dumps({"name": path.name, "files": hashes}, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        self._known[(str(path), more)] = digest
        self._files[digest] = files
        return digest

    def publish(self, store: Store) -> None:
        """Copy into the store what is not there yet. Raises OutputError."""
        for digest, files in self._files.items():
            if store.files.read(f"inputs/{digest}.json") is not None:
                continue
            sizes = {name: path.stat().st_size for name, path in files.items()}
            listing: dict[str, object] = {
                "files": {name: self._hash(path) for name, path in files.items()}
            }
            if sum(sizes.values()) > LARGEST:
                first = next(iter(files))
                listing["place"] = str(files[first].resolve())[: -len(first)]
            else:
                for name, path in files.items():
                    store.files.write(f"inputs/{digest}/{name}", path.read_bytes())
            store.files.create(f"inputs/{digest}.json", json_text(listing).encode())

    def place(self, digest: str, name: str) -> Path:
        """Where an input lies on this machine. Raises KeyError for one that was not added."""
        files = self._files[digest]
        if name in files:
            return files[name]
        first = next(iter(files))
        return Path(str(files[first])[: -len(first)])

    def _hash(self, path: Path) -> str:
        facts = path.stat()
        key = (str(path), facts.st_size, facts.st_mtime_ns)
        if key not in self._hashes:
            digest = hashlib.sha256()
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            self._hashes[key] = digest.hexdigest()
        return self._hashes[key]


def fetch_input(store: Store, digest: str, cache: Path) -> Path:
    """The folder in which an input's files lie on this machine, brought from the store where they
    are not here yet.

    Raises:
        InputError: the store has no such input, or other bytes.
    """
    folder = cache / digest
    if (folder / ".whole").is_file():
        return folder
    content = store.files.read(f"inputs/{digest}.json")
    if content is None:
        raise InputError("the store lacks an input of this item", digest, "Run the manifest again")
    listing = json.loads(content)
    if "place" in listing:
        place = Path(listing["place"])
        if not place.exists():
            raise InputError("is not on this machine", str(place), "Put it there")
        return place
    for name, known in listing["files"].items():
        if name.startswith("/") or ".." in name.split("/"):
            raise InputError("names a file outside of its folder", f"inputs/{digest}: {name}")
        data = store.files.read(f"inputs/{digest}/{name}")
        if data is None or hashlib.sha256(data).hexdigest() != known:
            raise InputError("the store's copy is damaged", f"inputs/{digest}/{name}")
        write_file(folder / name, data, force=True)
    write_file(folder / ".whole", b"", force=True)
    return folder
