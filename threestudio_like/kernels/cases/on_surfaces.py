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


@case("nearest", distance._nearest, 1e-4, make=_tree_inputs)
def _call_nearest(function: Callable[..., Any], given: Inputs) -> Results:
    far, _, point = function(given["queries"], _tree(given))
    return [far, point]


@case("winding_number", distance._winding_number, 0.05, make=_tree_inputs)
def _call_winding_number(function: Callable[..., Any], given: Inputs) -> Results:
    return [function(given["queries"], _tree(given, 9), 3.0)]
