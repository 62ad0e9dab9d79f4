"""The walk over the rows of a PLY whose lists have different lengths. It is compiled for large
files; small ones do not wait for a compiler."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

_SMALL = 50_000
"""Number of bytes, or of a text's numbers, up to which Python is fast enough."""


def suited(function: Callable[..., Any], size: int) -> Callable[..., Any]:
    """A function of this module, compiled if the data is large."""
    return function if size <= _SMALL else _compiled(function)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    from numba import njit

    from ....kernels.compiling import CACHE

    return njit(nogil=True, cache=CACHE)(function)


def walk_bytes(data, rows, counts, items, big):
    """Where the values of every row lie.

    Args:
        data: (N,) uint8, from the first row on.
        rows: how many there are.
        counts: (P,) bytes of the length of a list; 0 where the property is one value.
        items: (P,) bytes of a value.
        big: whether the first byte is the largest.

    Returns:
        starts (rows, P) and lengths (rows, P) int64, in bytes and in values; end, or -1 where the
        data ends too early.
    """
    properties = len(items)
    starts = np.zeros((rows, properties), np.int64)
    lengths = np.ones((rows, properties), np.int64)
    at, size = 0, len(data)
    for row in range(rows):
        for p in range(properties):
            length = np.int64(1)
            if counts[p] > 0:
                if at + counts[p] > size:
                    return starts, lengths, -1
                length = np.int64(0)
                for k in range(counts[p]):
                    byte = np.int64(data[at + k])
                    length += byte << (8 * (counts[p] - 1 - k if big else k))
                at += counts[p]
            if length < 0 or length > size or at + length * items[p] > size:
                return starts, lengths, -1
            starts[row, p], lengths[row, p] = at, length
            at += length * items[p]
    return starts, lengths, at


def walk_numbers(values, rows, lists):
    """As `walk_bytes`, over the numbers of a text: values (N,) float64; lists (P,) bool."""
    properties = len(lists)
    starts = np.zeros((rows, properties), np.int64)
    lengths = np.ones((rows, properties), np.int64)
    size = len(values)
    at = np.int64(0)
    for row in range(rows):
        for p in range(properties):
            length = np.int64(1)
            if lists[p]:
                if at >= size or not 0 <= values[at] <= size:
                    return starts, lengths, -1
                length = np.int64(values[at])
                at += np.int64(1)
            if at + length > size:
                return starts, lengths, -1
            starts[row, p], lengths[row, p] = at, length
            at += length
    return starts, lengths, at


def packed(data, starts, sizes):
    """The runs of `data` that begin at `starts` and have `sizes`, one behind the other."""
    out = np.empty(sizes.sum(), data.dtype)
    at = 0
    for k in range(len(starts)):
        for j in range(sizes[k]):
            out[at] = data[starts[k] + j]
            at += 1
    return out
