"""Zip archives whose members are read within limits."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import PurePosixPath

from ....engine.errors import InputError
from ..images import LARGEST_FILE

_FIXED = (1980, 1, 1, 0, 0, 0)
"""The date of all members that are written, so that the same asset gives the same bytes."""
_SMALL = 16 << 20
"""Size up to which a member may be packed as well as it likes."""
_BEST = 200
"""How many times its packed size a larger member may have. Text packs about ten to one."""
_MOST = 10_000
"""Largest number of members."""


class Archive:
    """A zip archive in memory. Raises InputError where it is none."""

    def __init__(self, data: bytes, where: str) -> None:
        self.where = where
        self.left = LARGEST_FILE
        try:
            self.file = zipfile.ZipFile(io.BytesIO(data))
            rows = self.file.infolist()
        except (zipfile.BadZipFile, ValueError, OSError, RuntimeError) as error:
            raise self.damaged(error) from None
        if len(rows) > _MOST:
            raise InputError(f"is an archive of {len(rows):,} files", where, "Export it again")
        self.members = {row.filename.lstrip("/"): row for row in rows}

    def damaged(self, error: Exception) -> InputError:
        """The error for an archive that cannot be read."""
        return InputError(
            f"is a damaged archive ({type(error).__name__})", self.where, "Export it again"
        )

    def read(self, name: str) -> bytes:
        """The bytes of a member. Raises InputError where it is missing, damaged or too large."""
        row = self.members.get(str(PurePosixPath(name)).lstrip("/"))
        if row is None:
            raise InputError(f'is an archive without "{name[:60]}"', self.where, "Export it again")
        if row.file_size > self.left or (
            row.file_size > _SMALL and row.file_size > _BEST * row.compress_size
        ):
            raise InputError(
                f'unpacks to {row.file_size >> 20} MiB ("{name[:60]}")',
                self.where,
                "Decimate the mesh first",
            )
        self.left -= row.file_size
        try:
            # A member never gives more than it says.
            return self.file.read(row)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            ValueError,
            RuntimeError,
        ) as error:
            raise self.damaged(error) from None


def pack(members: dict[str, bytes]) -> bytes:
    """A zip archive of members by name, always the same bytes for the same members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members.items():
            row = zipfile.ZipInfo(name, _FIXED)
            row.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(row, data)
    return buffer.getvalue()
