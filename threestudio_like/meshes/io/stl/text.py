"""STL as text: solids with names, and in each facets of words and numbers.

A file has millions of facets, so that they are looked at many at a time, and without regard to
where lines end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np

from ....engine.errors import InputError
from ..limits import LARGEST_COUNT, too_many
from ..sources.numbers import numbers_of
from ..sources.text import decoded, listed, without_mark
from .solids import REPAIR, Solid, ends_early

_CHUNK = 1 << 22
"""Bytes that are looked at together, up to the end of a facet."""
_WORDS = (b"facet", b"normal", b"outer", b"loop", b"vertex", b"endloop", b"endfacet")
_FACET, _NORMAL, _OUTER, _LOOP, _VERTEX, _ENDLOOP, _ENDFACET = range(len(_WORDS))
_LONGEST = max(map(len, _WORDS))
_FOLLOWS = np.zeros((len(_WORDS), len(_WORDS)), bool)
"""Which word may follow which; what follows the last of a facet begins the next."""
for _one, _next in (
    *((_FACET, _NORMAL), (_FACET, _OUTER), (_NORMAL, _OUTER), (_OUTER, _LOOP), (_LOOP, _VERTEX)),
    *((_VERTEX, _VERTEX), (_VERTEX, _ENDLOOP), (_ENDLOOP, _ENDFACET), (_ENDFACET, _FACET)),
):
    _FOLLOWS[_one, _next] = True
_NUMBERS = {b"nan", b"inf", b"infinity"}
_LINE_END = re.compile(rb"[\r\n]")
_MOST_WORDS = 10
_MOST_SOLIDS = 50_000


class _Line(NamedTuple):
    """A line of "solid" or, where `closes`, of "endsolid". begin, name, end: where it begins, where
    its name does, and where it ends."""

    closes: bool
    begin: int
    name: int
    end: int


def read_text(data: bytes, where: str, notes: list[str]) -> list[Solid]:
    """The solids of a text. notes: gets what is left out and what was not closed. Raises
    InputError."""
    data = without_mark(data)
    text = data.lower()
    count = text.count(b"endfacet")
    if count > LARGEST_COUNT:
        raise too_many(count, "faces", where)
    size = len(text)
    lines = [*islice(_lines(text), 2 * _MOST_SOLIDS + 1), _Line(False, size, size, size)]
    if len(lines) > 2 * _MOST_SOLIDS + 1:
        raise too_many(text.count(b"solid"), "solids", where, most=_MOST_SOLIDS)
    out, closed, total = [], True, 0
    outside = bool(text[: lines[0].begin].strip())
    others: dict[bytes, None] = {}
    for line, following in pairwise(lines):
        if line.closes:
            outside = outside or bool(text[line.end : following.begin].strip())
            continue
        cut = following.begin == size
        corners, sizes, strange = _facets(text, line.end, following.begin, cut=cut, where=where)
        total += int((sizes - 2).sum())
        if total > LARGEST_COUNT:
            raise too_many(total, "faces", where)
        out.append(Solid(decoded(data[line.name : line.end]).strip(), corners, sizes))
        closed = closed and following.closes
        others |= strange
    if not closed:
        notes.append('it may be cut: a solid has no "endsolid"')
    if others:
        notes.append(f"words that are left out: {listed([decoded(word) for word in others])}")
    if outside:
        notes.append("what stands outside of its solids is left out")
    return out


def _lines(text: bytes) -> Iterator[_Line]:
    """The lines of a text in lower case that begin and end solids. Names hold any words."""
    at = 0
    while (at := text.find(b"solid", at)) >= 0:
        begin = at - 3 if text[max(0, at - 3) : at] == b"end" else at
        at += len(b"solid")
        if text[max(0, begin - 1) : begin].strip() or text[at : at + 1].strip():
            continue
        found = _LINE_END.search(text, at)
        end = len(text) if found is None else found.start()
        yield _Line(at - begin > 5, begin, at, end)
        at = end


def _facets(
    text: bytes, begin: int, end: int, *, cut: bool, where: str
) -> tuple[np.ndarray, np.ndarray, dict[bytes, None]]:
    """The facets between two places of a text: their corners (C, 3) float64, the number of corners
    of each (F,) int64, and the words that are none of the format's.

    Args:
        cut: whether nothing follows, so that what is not whole was cut.

    Raises: InputError where a facet is not whole.
    """
    corners, sizes = [np.zeros((0, 3))], [np.zeros(0, np.int64)]
    strange: dict[bytes, None] = {}
    while begin < end:
        stop = text.find(b"endfacet", begin + _CHUNK, end)
        stop = end if stop < 0 else stop + len(b"endfacet")
        some = _some(text[begin:stop], strange, cut=cut and stop == end, where=where)
        corners.append(some[0])
        sizes.append(some[1])
        begin = stop
    return np.concatenate(corners), np.concatenate(sizes), strange


def _some(
    text: bytes, strange: dict[bytes, None], *, cut: bool, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """`_facets` of a text that is short enough to be looked at as a whole."""
    codes = np.frombuffer(text, np.uint8)
    first = codes > 32
    first[1:] &= codes[:-1] <= 32
    starts, kinds = _words(text, first, strange)
    last = int(starts[-1]) + len(b"endfacet") if len(starts) else 0
    if cut and text[last:].strip():
        raise ends_early(where)
    if not len(starts):
        return np.zeros((0, 3)), np.zeros(0, np.int64)
    if cut and kinds[-1] != _ENDFACET:
        raise ends_early(where)
    follows = _FOLLOWS[kinds[:-1], kinds[1:]]
    if kinds[0] != _FACET or kinds[-1] != _ENDFACET or not follows.all():
        raise InputError(
            "has a facet that is not whole (facet, outer loop, vertices, endloop, endfacet)",
            where,
            REPAIR,
        )
    vertex = kinds == _VERTEX
    begins, ends = starts[vertex] + len(b"vertex"), np.append(starts[1:], len(text))[vertex]
    edges = np.concatenate([[0], np.stack([begins, ends], 1).reshape(-1), [len(text)]])
    inside = np.repeat(np.arange(len(edges) - 1) % 2 == 1, np.diff(edges))
    numbers_at = np.flatnonzero(first & inside)
    widths = np.searchsorted(numbers_at, ends) - np.searchsorted(numbers_at, begins)
    if (widths != 3).any():
        wrong = int(widths[widths != 3][0])
        raise InputError(f"has a vertex of {wrong} numbers", where, REPAIR)
    numbers = numbers_of(codes[inside].tobytes(), where)
    before = np.cumsum(vertex)
    sizes = before[kinds == _ENDLOOP] - before[kinds == _LOOP]
    if (sizes < 3).any():
        raise InputError(f"has a facet of {int(sizes.min())} vertices", where, REPAIR)
    return numbers.reshape(-1, 3), sizes


def _words(
    text: bytes, first: np.ndarray, strange: dict[bytes, None]
) -> tuple[np.ndarray, np.ndarray]:
    """Where the words of the format begin in a text, and which of `_WORDS` each is, (N,) int64.

    Args:
        first: (len(text),) whether a byte is the first of a word.
        strange: gets the words that are none of these and no numbers.
    """
    codes = np.frombuffer(text + b" " * (_LONGEST + 1), np.uint8)
    starts = np.flatnonzero(first & (codes[: len(text)] >= 97) & (codes[: len(text)] <= 122))
    letters = codes[starts[:, None] + np.arange(_LONGEST + 1)]
    packed = np.ascontiguousarray(letters[:, :_LONGEST]).view("<u8")[:, 0]
    kinds = np.full(len(starts), -1)
    for kind, word in enumerate(_WORDS):
        mask = np.uint64((1 << 8 * len(word)) - 1)
        wanted = np.uint64(int.from_bytes(word, "little"))
        kinds[((packed & mask) == wanted) & (letters[:, len(word)] <= 32)] = kind
    others = starts[kinds < 0]
    for at in np.unique(packed[kinds < 0], return_index=True)[1].tolist():
        word = text[others[at] : others[at] + 40].split(None, 1)[0]
        if word not in _NUMBERS and len(strange) < _MOST_WORDS:
            strange[word] = None
    return starts[kinds >= 0], kinds[kinds >= 0]
