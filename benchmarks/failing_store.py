"""A file system of fsspec for `benchmarks/batch_kills.py`: a disk with whole and exclusive puts, as
an object store has them, whose every tenth write fails: half of these before anything is written,
half when all is and only the answer is lost.

It is found as any other package's file system is, by an entry point (`install`), in the driver and
in every worker."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any, ClassVar

from fsspec.implementations.local import LocalFileSystem

EVERY = 10
LOG = "FAILING_STORE_LOG"
"""Environment variable with the file that gets a byte for every failure, of all processes."""


class FailingFileSystem(LocalFileSystem):
    """See the module."""

    protocol = "failing"
    cachable = False
    puts_whole = True
    writes: ClassVar[int] = 0

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return super()._strip_protocol(str(path).removeprefix("failing://"))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        """Put a file whole; with mode "create" only if there is none."""
        kind = type(self)
        kind.writes += 1
        number, fails = divmod(kind.writes, EVERY)
        if not fails and number % 2:
            _fail("the network is away")
        target = Path(self._strip_protocol(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        aside.write_bytes(value)
        try:
            if mode == "create":
                os.link(aside, target)
            else:
                os.replace(aside, target)
        finally:
            aside.unlink(missing_ok=True)
        if not fails and not number % 2:
            _fail("the answer was lost")


def _fail(what: str) -> None:
    with open(os.environ[LOG], "ab") as file:
        file.write(b".")
    raise OSError(what)


def install(folder: Path) -> str:
    """Make the entry point in a folder; what PYTHONPATH has to hold for it."""
    name = folder / "failing_store-0.dist-info"
    name.mkdir(parents=True)
    (name / "METADATA").write_text("Metadata-Version: 2.1\nName: failing-store\nVersion: 0\n")
    (name / "entry_points.txt").write_text(
        "[fsspec.specs]\nfailing = failing_store.FailingFileSystem\n"
    )
    return os.pathsep.join([str(folder), str(Path(__file__).resolve().parent)])
