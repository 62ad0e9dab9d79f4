"""Numbers of text files."""

from __future__ import annotations

import warnings

import numpy as np

from ....engine.errors import InputError


def numbers_of(text: bytes, where: str) -> np.ndarray:
    """All numbers of a text, which are parted by space or ends of lines, as float64 (N,). Raises
    InputError where something else is between them."""
    if not text.strip():
        return np.zeros(0)
    with warnings.catch_warnings():
        # An older numpy warns of the first word that is no number, a newer one raises.
        warnings.simplefilter("error")
        try:
            return np.fromstring(text, np.float64, sep=" ")
        except (ValueError, DeprecationWarning):
            raise InputError(
                "holds words where numbers belong", where, "Save it again in a mesh editor"
            ) from None
