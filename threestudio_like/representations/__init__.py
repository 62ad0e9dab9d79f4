"""Representations: what an optimisation changes."""

from .decoded import DecodedField
from .field import Field, activate_density, density_blob, truncated_exp
from .gaussians import GaussianCloud, GaussianConfig, Gaussians
from .hash_grid import HashGridConfig, HashGridField
from .placed_scene import Body, PlacedScene, rotation_of
from .representation import LearningRates, Rates, Representation, rate_of
from .textured_mesh import TexelGeometry, TexturedMesh, seam_points
from .triplane import PlaneDecoder, TriplaneConfig, TriplaneField, sample_planes
from .voxel_grid import VoxelField, VoxelGridConfig, density_volume, sample_grid

__all__ = [
    "Body",
    "DecodedField",
    "Field",
    "GaussianCloud",
    "GaussianConfig",
    "Gaussians",
    "HashGridConfig",
    "HashGridField",
    "LearningRates",
    "PlacedScene",
    "PlaneDecoder",
    "Rates",
    "Representation",
    "TexelGeometry",
    "TexturedMesh",
    "TriplaneConfig",
    "TriplaneField",
    "VoxelField",
    "VoxelGridConfig",
    "activate_density",
    "density_blob",
    "density_volume",
    "rate_of",
    "rotation_of",
    "sample_grid",
    "sample_planes",
    "seam_points",
    "truncated_exp",
]
