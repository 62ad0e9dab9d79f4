"""The choice of a field and its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..engine.config import OpenConfig, to_dict, update
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


OWN = ("voxels", "hash", "triplane", "gaussians")
"""Kinds that have a key of their own in `FieldConfig`."""


class OtherFields(OpenConfig):
    """Typed configurations of plug-ins' kinds of fields, by name; those that are not named have
    their defaults.

    Args:
        configs: name -> an instance of the kind's configuration.
    """

    takes_unknown = True

    def __init__(self, configs: Mapping[str, Any] | None = None) -> None:
        self._configs = dict(configs or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OtherFields) and self._configs == other._configs

    def __hash__(self) -> int:
        return hash(tuple(self._configs))

    def __repr__(self) -> str:
        return f"OtherFields({self._configs})"

    def of(self, name: str) -> Any:
        """The configuration of a kind. Raises ConfigError."""
        return self._configs.get(name) or REPRESENTATIONS.get(name).config()

    def names(self) -> list[str]:
        """The plug-ins' kinds."""
        return [n for n in REPRESENTATIONS.names() if n not in OWN]

    def updated(self, values: Mapping[str, Any], where: str) -> OtherFields:
        """See `OpenConfig`."""
        configs = dict(self._configs)
        for name, own in values.items():
            REPRESENTATIONS.check(name, f"{where}{name}")
            configs[name] = update(self.of(name), own, prefix=f"{where}{name}.")
        return OtherFields(configs)

    def plain(self) -> dict[str, Any]:
        """See `OpenConfig`."""
        return {name: to_dict(config) for name, config in self._configs.items()}


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
        own = getattr(self, self.kind) if self.kind in OWN else self.others.of(self.kind)
        return REPRESENTATIONS.get(self.kind).build(own, request)
