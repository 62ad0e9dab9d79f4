"""The choice of a field and its sizes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from ..engine.schema.by_name import ConfigsByName, chosen
from .field import Field
from .gaussians import GaussianCloud, GaussianConfig
from .hash_grid import HashGridConfig, HashGridField
from .registry import REPRESENTATIONS, FieldRequest, RepresentationKind
from .triplane import TriplaneConfig, TriplaneField
from .voxel_grid import VoxelField, VoxelGridConfig


def _voxels(config: VoxelGridConfig, request: FieldRequest) -> Field:
    shown = replace(config, sigmoid=request.display)
    return VoxelField(shown, request.channels, request.features)


def _hash(config: HashGridConfig, request: FieldRequest) -> Field:
    return HashGridField(replace(config, sigmoid=request.display), request.channels, request.seed)


def _triplane(config: TriplaneConfig, request: FieldRequest) -> Field:
    return TriplaneField(replace(config, sigmoid=request.display), request.channels, request.seed)


def _gaussians(config: GaussianConfig, request: FieldRequest) -> Field:
    shown = replace(config, sigmoid=request.display)
    return GaussianCloud(shown, request.channels, request.seed, request.features)


VOXELS = RepresentationKind(
    summary="a dense grid, the fastest on a CPU", config=VoxelGridConfig, build=_voxels
)
HASH = RepresentationKind(
    summary="a multi-resolution grid and a small perceptron (Müller et al. 2022)",
    config=HashGridConfig,
    build=_hash,
)
TRIPLANE = RepresentationKind(
    summary="three feature planes and a small decoder (Chan et al. 2022)",
    config=TriplaneConfig,
    build=_triplane,
)
GAUSSIANS = RepresentationKind(
    summary="3D Gaussians, drawn by splatting (Kerbl et al. 2023)",
    config=GaussianConfig,
    build=_gaussians,
)


class OtherFields(ConfigsByName):
    """Those of plug-ins' kinds of fields."""

    registry = REPRESENTATIONS
    own = ("voxels", "hash", "triplane", "gaussians")


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """The kind of field, and the sizes of each kind."""

    kind: str = "voxels"
    """voxels, hash, triplane, gaussians, or a plug-in's."""
    voxels: VoxelGridConfig = field(default_factory=VoxelGridConfig)
    hash: HashGridConfig = field(default_factory=HashGridConfig)
    triplane: TriplaneConfig = field(default_factory=TriplaneConfig)
    gaussians: GaussianConfig = field(default_factory=GaussianConfig)
    others: OtherFields = field(default_factory=OtherFields)
    """Configurations of plug-ins' kinds: --representation.mine.radius 0.5."""

    def __post_init__(self) -> None:
        REPRESENTATIONS.check(self.kind, "representation.kind")

    def build(
        self, channels: int, seed: int, start: torch.Tensor | None = None, sigmoid: bool = False
    ) -> Field:
        """Build the field.

        `start` (C,) are the initial features of a voxel field. `sigmoid` keeps the features in [0,
        1] (RGB), whatever the configuration of the kind says.
        """
        request = FieldRequest(channels=channels, seed=seed, features=start, display=sigmoid)
        return REPRESENTATIONS.get(self.kind).build(chosen(self), request)
