"""Numba backends of the operations, one file each; helpers stand in the same file, for the compiled
cache is keyed on it.

The files `on_…` put them behind torch.
"""

from __future__ import annotations

import numpy as np
import torch


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A contiguous NumPy view of a CPU tensor, or a copy where it is not contiguous."""
    return tensor.detach().contiguous().numpy()
