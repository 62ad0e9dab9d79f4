"""Cases of the operations on surfaces: nearest points and winding numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .. import distance
from ..samples import sample_surface
from .case import Inputs, Results, case, generator_of


def _tree_inputs(large: bool) -> Inputs:
    vertices, faces = sample_surface(51, 50) if large else sample_surface()
    queries = torch.rand(1 << 14 if large else 300, 3, generator=generator_of(6)) * 2.4 - 1.2
    return {"queries": queries, "vertices": vertices, "faces": faces}


def _tree(given: Inputs, left_out: int = 0) -> distance.SurfaceTree:
    faces = given["faces"]
    return distance.surface_tree(given["vertices"].float(), faces[: len(faces) - left_out])


def _thin_tree(given: Inputs) -> distance.SurfaceTree:
    """The same body beside faces that are a line, a point or a hundred thousandth as wide as
    long."""
    vertices, faces = given["vertices"].float(), given["faces"]
    more = torch.tensor(
        [[1.1, 0, 0], [0, 1.1, 0], [0.5, 0.5, 1.1], [0.55, 0.55001, 0], [1.1, 0, 1]]
    )
    thin = torch.tensor([[0, 0, 1], [2, 2, 2], [0, 1, 3], [0, 4, 4]]) + len(vertices)
    return distance.surface_tree(
        torch.cat([vertices, more.to(vertices)]), torch.cat([faces, thin.to(faces)])
    )


@case("nearest", distance._nearest, 1e-5, make=_tree_inputs)
def _call_nearest(function: Callable[..., Any], given: Inputs) -> Results:
    far, _, point = function(given["queries"], _thin_tree(given))
    return [far, point]


@case("winding_number", distance._winding_number, 0.01, make=_tree_inputs)
def _call_winding_number(function: Callable[..., Any], given: Inputs) -> Results:
    return [function(given["queries"], _tree(given, 9), 3.0)]
