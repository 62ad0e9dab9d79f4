"""The Numba kernels on trees of triangles behind torch."""

from __future__ import annotations

import numpy as np
import torch

from .. import pool
from ..distance import SurfaceTree
from . import as_array
from .tree import nearest_range, winding_range


def nearest(
    queries: torch.Tensor, tree: SurfaceTree
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `kernels.nearest`."""
    q = as_array(queries)
    distance, place, point = (
        np.empty(len(q), np.float32),
        np.empty(len(q), np.int32),
        np.empty((len(q), 3), np.float32),
    )
    pool.run(
        nearest_range,
        [
            (q, tree.triangles, tree.bounds, tree.child, tree.span, a, b, distance, place, point)
            for a, b in pool.split(len(q), 256)
        ],
    )
    face = torch.from_numpy(tree.order[place].astype(np.int64))
    return torch.from_numpy(distance), face, torch.from_numpy(point)


def winding_number(queries: torch.Tensor, tree: SurfaceTree, beta: float) -> torch.Tensor:
    """See `kernels.winding_number`."""
    q, out = as_array(queries), np.empty(len(queries), np.float32)
    pool.run(
        winding_range,
        [
            (q, tree.triangles, tree.moments, tree.child, tree.span, np.float32(beta), a, b, out)
            for a, b in pool.split(len(q), 256)
        ],
    )
    return torch.from_numpy(out)
