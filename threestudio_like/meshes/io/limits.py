"""How large a mesh file may be, before anything of it is believed."""

from __future__ import annotations

from ...engine.errors import InputError

LARGEST_COUNT = 6_000_000
"""Faces, or vertices, of the largest mesh that is read."""


def too_many(count: int, what: str, where: str) -> InputError:
    """The error for a mesh beyond `LARGEST_COUNT`."""
    return InputError(
        f"has {count:,} {what}, at most {LARGEST_COUNT:,} are read",
        where,
        "Decimate it in a mesh editor first",
    )
