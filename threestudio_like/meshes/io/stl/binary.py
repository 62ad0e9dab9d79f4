"""Binary STL: a header of 80 bytes, a count, and 50 bytes a facet. The count of many a file is not
that of its facets, and some files are several, one behind the other."""

from __future__ import annotations

import numpy as np

from ....engine.errors import InputError
from ..limits import LARGEST_COUNT, too_many
from .solids import REPAIR, Solid, ends_early

_FACET = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_HEAD = 84
_BLANKS = b"\0 \t\r\n"
"""What some programs fill a file up with."""
_FARTHEST = 1e18
"""Largest coordinate of a facet that may be one; what is read of other bytes is mostly larger."""


def fits(data: bytes) -> bool:
    """Whether the size of a file is that of the facets that it counts."""
    return len(data) >= _HEAD and len(data) == _end(data, 0)


def read_binary(data: bytes, where: str, notes: list[str]) -> list[Solid]:
    """The facets of a file as one solid, or one for each of the STL files that it is made of.
    notes: gets what is guessed and what is left out. Raises InputError."""
    if len(data) < _HEAD or _end(data, 0) > len(data):
        if data[:_HEAD].isascii() and not set(data[:_HEAD]) & set(range(9)):
            raise InputError("is not an STL file", where, REPAIR)
        raise ends_early(where)
    begins = _files(data)
    if begins is None:
        begins, runs = [0], [_of_one(data, where, notes)]
    else:
        runs = [np.frombuffer(data, _FACET, _count(data, at), at + _HEAD) for at in begins]
        filled = sum(len(run) > 0 for run in runs)
        if filled > 1:
            notes.append(f"it is {filled} binary STL files, one behind the other: all are read")
    total = sum(map(len, runs))
    if total > LARGEST_COUNT:
        raise too_many(total, "faces", where)
    if any(run["attribute"].any() for run in runs):
        notes.append("the attributes of facets, colours in some programs, are left out")
    if any(b"COLOR=" in data[at : at + 80] for at in begins):
        notes.append("the colour that its header says (COLOR=, as Magics writes it) is left out")
    return [Solid("", run["corners"].reshape(-1, 3), np.full(len(run), 3)) for run in runs]


def _count(data: bytes, at: int) -> int:
    """How many facets the file that begins at a byte says it has."""
    return int.from_bytes(data[at + 80 : at + _HEAD], "little")


def _end(data: bytes, at: int) -> int:
    """Where the facets that it says it has end."""
    return at + _HEAD + _FACET.itemsize * _count(data, at)


def _files(data: bytes) -> list[int] | None:
    """Where the files begin that follow each other to the very end; None where they do not."""
    begins, at = [], 0
    while at + _HEAD <= len(data):
        begins.append(at)
        at = _end(data, at)
    return begins if at == len(data) else None


def _of_one(data: bytes, where: str, notes: list[str]) -> np.ndarray:
    """The facets (F,), as rows of `_FACET`, of a file that goes on behind those that it counts."""
    count, end = _count(data, 0), _end(data, 0)
    rest = data[end:]
    facets = np.frombuffer(data, _FACET, count, _HEAD)
    if not rest.strip(_BLANKS):
        return facets
    if len(rest) % _FACET.itemsize == 0:
        more = np.frombuffer(rest, _FACET)
        # A number that is none fails as well.
        if (np.abs(more["corners"]) < _FARTHEST).all():
            notes.append(
                f"its header counts {count:,} of {count + len(more):,} facets: all are read"
            )
            return np.concatenate([facets, more])
    notes.append(f"{len(rest):,} bytes behind the last facet are left out")
    return facets
