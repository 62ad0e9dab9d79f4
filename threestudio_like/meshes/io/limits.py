"""Limits of the size of mesh files, which are checked before a file is read."""

from __future__ import annotations

from ...engine.errors import InputError

LARGEST_COUNT = 6_000_000
"""Largest number of faces, or of vertices, of a mesh that is read."""


def too_many(count: int, what: str, where: str, most: int = LARGEST_COUNT) -> InputError:
    """The error for a file that has more than `most` of something."""
    return InputError(
        f"has {count:,} {what}, at most {most:,} are read",
        where,
        "Decimate it in a mesh editor first",
    )
