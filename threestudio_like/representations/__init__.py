"""What is optimised."""

from .decoded import DecodedField
from .field import Field, activate_density, density_blob, truncated_exp
from .hash_grid import HashGridConfig, HashGridField
from .voxel_grid import VoxelField, VoxelGridConfig, density_volume, sample_grid

__all__ = ["DecodedField", "Field", "HashGridConfig", "HashGridField", "VoxelField", "VoxelGridConfig", "activate_density", "density_blob",
           "density_volume", "sample_grid", "truncated_exp"]  # fmt: skip
