"""Equal rows of a table, in lexicographic order: what `numpy.unique(axis=0)` does, many times
faster where there are millions."""

from __future__ import annotations

import numpy as np


def equal_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of rows (N, k): where each distinct one occurs first (D,), in lexicographic order, and for
    every row the number (N,) of its distinct one."""
    count = len(rows)
    if not count:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    order = _order(rows)
    sorted_rows = rows[order]
    new = np.ones(count, bool)
    new[1:] = (sorted_rows[1:] != sorted_rows[:-1]).any(1)
    inverse = np.empty(count, np.int64)
    inverse[order] = np.cumsum(new) - 1
    # The order is stable, so that the first of equal rows is the one that occurs first.
    return order[new], inverse


def _order(rows: np.ndarray) -> np.ndarray:
    """The stable order of rows."""
    if rows.dtype.kind in "iu":
        low, high = rows.min(0).astype(object), rows.max(0).astype(object)
        size = high - low + 1
        if np.prod(size) < 2**62:
            # All columns fit into one number.
            key = np.zeros(len(rows), np.int64)
            for column, least, width in zip(rows.T, low, size):
                key = key * int(width) + (column.astype(np.int64) - int(least))
            return np.argsort(key, kind="stable")
    return np.lexsort(rows.T[::-1])
