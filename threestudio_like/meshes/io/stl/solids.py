"""What a text and a binary STL have in common."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ....engine.errors import InputError

REPAIR = "Save it again in a mesh editor"


class Solid(NamedTuple):
    """One solid of a file. corners (C, 3): of all facets, one behind the other; sizes (F,) int64:
    the number of corners of every facet, three where the file follows the format."""

    name: str
    corners: np.ndarray
    sizes: np.ndarray


def ends_early(where: str) -> InputError:
    """The error for a file that was cut."""
    return InputError("is an STL that ends too early", where, REPAIR)
