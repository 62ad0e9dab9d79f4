"""Charts: the connected pieces of a surface in its texture coordinates."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from .mesh import Mesh


def charts(mesh: Mesh) -> np.ndarray:
    """Number of the chart (F,) of every face; a chart is a set of faces that are connected by
    shared vertices."""
    count = len(mesh.vertices)
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1][mesh.faces[:, 0]]
