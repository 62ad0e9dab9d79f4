"""Equal rows of a table, quickly: sorting whole rows takes minutes where there are millions."""

from __future__ import annotations

import numpy as np


def distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of rows (N, k): where each distinct one occurs first (D,), in the order of occurrence, and
    for every row its number among the distinct ones (N,)."""
    if not len(rows):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    key = _mixed(rows)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    if not (rows[first[inverse]] == rows).all():
        # Two different rows have the same key, or a number is not a number.
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        inverse = inverse.reshape(-1)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]


def _mixed(rows: np.ndarray) -> np.ndarray:
    """One number (N,) uint64 for a row, equal for equal rows."""
    if rows.dtype.kind == "f":
        # Adding zero makes -0 equal to 0.
        rows = rows.astype(np.float64) + 0.0
        columns = np.ascontiguousarray(rows.T).view(np.uint64)
    else:
        columns = np.ascontiguousarray(rows.T.astype(np.int64)).view(np.uint64)
    key = np.zeros(len(rows), np.uint64)
    for column in columns:
        key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
        key *= np.uint64(0xBF58476D1CE4E5B9)
        key ^= key >> np.uint64(32)
    return key


def numbered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct ones of values (N,), which are not negative, in ascending order, and for every
    value its number among them."""
    high = int(values.max(initial=0)) + 1
    if high > 8 * len(values):
        found, inverse = np.unique(values, return_inverse=True)
        return found, inverse.reshape(-1)
    # Where most numbers occur, marking them is faster than sorting.
    there = np.zeros(high, bool)
    there[values] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[values]
