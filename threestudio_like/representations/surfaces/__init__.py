"""Differentiable surfaces: signed-distance grids whose mesh is optimised, and meshes that are
remeshed."""

from .config import ShapeConfig
from .flexicubes import FlexiCubes, FlexiCubesConfig
from .registry import SURFACES, SurfaceKind, surface
from .remeshing import Remeshing, RemeshingConfig
from .signed_distance import signed_distance
from .surface import Surface, SurfaceMesh
from .terms import SurfaceTerms, crease_aware_smoothness, crease_sparsity, dihedral
from .tetrahedra import Tetrahedra, TetrahedraConfig

__all__ = [
    "SURFACES",
    "FlexiCubes",
    "FlexiCubesConfig",
    "Remeshing",
    "RemeshingConfig",
    "ShapeConfig",
    "Surface",
    "SurfaceKind",
    "SurfaceMesh",
    "SurfaceTerms",
    "Tetrahedra",
    "TetrahedraConfig",
    "crease_aware_smoothness",
    "crease_sparsity",
    "dihedral",
    "signed_distance",
    "surface",
]
