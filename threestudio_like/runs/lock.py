"""One run, one owner: a lock on a run's folder that ends with its process, however that ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from ..engine.errors import OutputError
from ..engine.output import output_error

LOCK = "lock"


class FolderLock:
    """A lock that the operating system gives back when the process ends, also when it is killed.

    Args:
        folder: of the run; the lock is the file work/lock in it.

    Raises:
        OutputError: another process holds it, or it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] | None = None
        path = folder / "work" / LOCK
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "a+b")  # noqa: SIM115 (held open for as long as the run lasts)
        except OSError as error:
            raise output_error(error, path) from None
        if not _take(file):
            file.close()
            raise OutputError(
                "another process works in this folder",
                str(folder),
                "Wait for it, stop it, or choose another folder with --out",
            )
        self._file = file

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _take(file: IO[bytes]) -> bool:
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        import fcntl
    except ImportError:
        # A system without locks: the folder is not shared there.
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks.
        return True
    return True
