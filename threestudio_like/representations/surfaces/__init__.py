"""Differentiable surfaces: signed-distance grids whose mesh is optimised."""

from .config import ShapeConfig
from .flexicubes import FlexiCubes, FlexiCubesConfig
from .registry import SURFACES, SurfaceKind, surface
from .signed_distance import signed_distance
from .surface import Surface, SurfaceMesh
from .terms import SurfaceTerms, crease_aware_smoothness, crease_sparsity, dihedral
from .tetrahedra import Tetrahedra, TetrahedraConfig

__all__ = [
    "SURFACES",
    "FlexiCubes",
    "FlexiCubesConfig",
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
