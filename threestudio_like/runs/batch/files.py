"""Files on any file system that fsspec reaches: read, replaced whole, or made once.

Object stores replace a key in one step. On a disk a file is written aside and renamed. Everything
is tried again a few times, for networks fail."""

from __future__ import annotations

import contextlib
import os
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ...engine.errors import ConfigError, OutputError
from ...engine.output import write_file
from ...engine.places import user_path

T = TypeVar("T")
TRIES = 6
DELAY = 0.02
"""Seconds before the second try; each further one waits twice as long, give or take a half."""
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oci", "memory"}
"""Protocols whose puts are whole or not at all."""
EXTRAS = {
    "s3": "pip install s3fs",
    "gs": "pip install gcsfs",
    "gcs": "pip install gcsfs",
    "az": "pip install adlfs",
    "abfs": "pip install adlfs",
}
LATER = {"FileNotFoundError", "FileExistsError", "IsADirectoryError", "NotADirectoryError"}
"""Errors that trying again does not change."""


def is_address(text: str) -> bool:
    """Whether a text is the address of a file system ("s3://…") rather than a folder."""
    return "://" in text or "::" in text


class Files:
    """The files below one folder, by keys with slashes.

    Args:
        address: a folder, or an address such as ``s3://bucket/folder``.

    Raises:
        ConfigError: no file system of that name, or its package is not installed.

    Attributes:
        local: the folder on this machine's disk; None elsewhere.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.local: Path | None = None
        self._fs: Any = None
        if not is_address(address) or address.startswith(("file://", "local://")):
            self.local = user_path(address.partition("://")[2] or address).resolve()
            return
        import fsspec

        try:
            self._fs, self._root = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            protocol = address.partition("://")[0]
            remedy = EXTRAS.get(protocol, "See the protocols that fsspec knows")
            what = " ".join(str(error).split())[:160]
            raise ConfigError(f"cannot be reached ({what})", f"--store {address}", remedy) from None
        self._root = self._root.rstrip("/")
        protocol = self._fs.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self._whole = bool(names & OBJECT_STORES) or getattr(self._fs, "puts_whole", False)

    def read(self, key: str) -> bytes | None:
        """The bytes of a file; None where there is none. Raises OutputError."""
        if self.local is not None:
            try:
                return (self.local / key).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        try:
            return self._again(lambda: self._fs.cat_file(self._path(key)), key)
        except FileNotFoundError:
            return None

    def write(self, key: str, data: bytes) -> None:
        """Make or replace a file: a reader sees the old one or the new one. Raises OutputError."""
        if self.local is not None:
            write_file(self.local / key, data, force=True)
            return
        path = self._path(key)
        if self._whole:
            self._again(lambda: self._fs.pipe_file(path, data), key)
            return
        self._again(lambda: self._write_aside(path, data), key)

    def create(self, key: str, data: bytes) -> bool:
        """Make a file that is not there yet. Of several that want it, one gets it; False for the
        others. Raises OutputError."""
        if self.local is not None:
            return self._create_local(self.local / key, data)
        path = self._path(key)
        if self._whole:
            return self._again(lambda: self._put_new(path, data), key)
        # A file system that knows no exclusive writes: two drivers at one moment could both win.
        if self._again(lambda: self._fs.exists(path), key):
            return False
        self._again(lambda: self._write_aside(path, data), key)
        return True

    def names(self, folder: str) -> list[str]:
        """Keys of all files below a folder, in order; none where it is not there."""
        if self.local is not None:
            # `os.walk` takes a fifth of the time of `Path.rglob` for the files of 10,000 items.
            start = len(str(self.local)) + 1
            found = []
            for place, _, names in os.walk(self.local / folder):
                at = place[start:].replace(os.sep, "/")
                found += [f"{at}/{n}" if at else n for n in names if not n.startswith(".")]
            return sorted(found)
        self._fs.invalidate_cache()
        try:
            paths = self._again(lambda: self._fs.find(self._path(folder)), folder)
        except FileNotFoundError:
            return []
        bare = self._fs._strip_protocol(self._root).strip("/")
        keys = [p.strip("/")[len(bare) :].strip("/") for p in paths]
        return sorted(k for k in keys if not k.rsplit("/", 1)[-1].startswith("."))

    def folders(self, folder: str) -> list[tuple[str, str]]:
        """The folders within the folders of one folder, by both names, in order: for an answer
        about thousands of them, none of their files is looked at where the file system has folders
        of its own."""
        if self.local is None:
            parts = (key[len(folder) + 1 :].split("/", 2) for key in self.names(folder))
            return sorted({(p[0], p[1]) for p in parts if len(p) == 3})
        found = []
        for outer in _folders_of(self.local / folder):
            found += [(outer.name, inner.name) for inner in _folders_of(outer.path)]
        return sorted(found)

    def remove(self, key: str) -> None:
        """Remove a file or a folder with all below it, as far as it is there."""
        if self.local is not None:
            _remove_local(self.local / key)
            return
        with contextlib.suppress(FileNotFoundError):
            self._again(lambda: self._fs.rm(self._path(key), recursive=True), key)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if self._root else key

    def _put_new(self, path: str, data: bytes) -> bool:
        try:
            self._fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except OSError:
            # A put whose answer was lost may have been carried out, and other file systems say
            # "precondition failed" in words of their own.
            with contextlib.suppress(FileNotFoundError):
                self._fs.invalidate_cache()
                return bool(self._fs.cat_file(path) == data)
            raise
        return True

    def _write_aside(self, path: str, data: bytes) -> None:
        folder, _, name = path.rpartition("/")
        aside = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.part"
        self._fs.makedirs(folder, exist_ok=True)
        try:
            self._fs.pipe_file(aside, data)
            self._fs.mv(aside, path)
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.rm(aside)
            raise

    def _create_local(self, path: Path, data: bytes) -> bool:
        if os.path.lexists(path):
            return False
        try:
            write_file(path, data)
        except OutputError:
            if os.path.lexists(path):
                return False
            raise
        return True

    def _again(self, call: Callable[[], T], key: str) -> T:
        delay = DELAY
        for number in range(1, TRIES + 1):
            try:
                return call()
            except OSError as error:
                if type(error).__name__ in LATER:
                    raise
                if number == TRIES:
                    what = " ".join(str(error).split())[:160] or type(error).__name__
                    raise OutputError(
                        f"the store failed {TRIES} times ({what})",
                        f"{self.address}: {key}",
                        "Run the same again when it can be reached",
                    ) from None
            time.sleep(delay * random.uniform(0.5, 1.5))
            delay *= 2
        raise AssertionError("unreachable")


def _folders_of(place: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            return [e for e in entries if e.is_dir(follow_symlinks=False) and e.name[0] != "."]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_local(path: Path) -> None:
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
