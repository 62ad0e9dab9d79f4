"""The differentiable operations that everything else is built on.

Each operation has a definition in plain torch and faster backends for CPU and GPU. Importing this
module sets where Numba keeps its compiled code (a folder per version in the user's cache), so that
only the first run on a machine compiles.
"""

from __future__ import annotations

# isort: off
from . import compiling as _compiling  # noqa: F401 (before anything is compiled)

# isort: on
from . import cases as _cases  # noqa: F401 (registers the self-checks)
from .dispatch import CHOICES, Backend, Status, check, choose, chosen, operations, warm_up
from .distance import SurfaceTree, nearest, surface_tree, winding_number
from .gaussians import project_gaussians, splat
from .ops import composite, field_mlp, grid_variation, hashgrid, march, trilinear, triplane
from .spec import HashGridSpec
from .surface import (
    EdgeTable,
    antialias,
    behind,
    edge_table,
    interpolate,
    rasterize,
    silhouette_pairs,
    texture,
    texture_level,
)

__all__ = [
    "CHOICES",
    "EdgeTable",
    "HashGridSpec",
    "Status",
    "SurfaceTree",
    "Backend",
    "antialias",
    "behind",
    "check",
    "choose",
    "chosen",
    "composite",
    "edge_table",
    "field_mlp",
    "grid_variation",
    "hashgrid",
    "interpolate",
    "march",
    "nearest",
    "operations",
    "project_gaussians",
    "rasterize",
    "silhouette_pairs",
    "splat",
    "surface_tree",
    "texture",
    "texture_level",
    "trilinear",
    "triplane",
    "warm_up",
    "winding_number",
]
