"""Which field, and its sizes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from . import (
    Field,
    HashGridConfig,
    HashGridField,
    TriplaneConfig,
    TriplaneField,
    VoxelField,
    VoxelGridConfig,
)


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """Which field, and its sizes."""

    kind: Literal["voxels", "hash", "triplane"] = "voxels"
    voxels: VoxelGridConfig = field(default_factory=VoxelGridConfig)
    hash: HashGridConfig = field(default_factory=HashGridConfig)
    triplane: TriplaneConfig = field(default_factory=TriplaneConfig)

    def build(
        self, channels: int, seed: int, start: torch.Tensor | None = None, sigmoid: bool = False
    ) -> Field:
        """The field; `start` (C,) are a voxel field's first features, `sigmoid` keeps its features
        in [0, 1] (RGB), whatever the configuration of its kind says."""
        if self.kind == "voxels":
            return VoxelField(replace(self.voxels, sigmoid=sigmoid), channels, start)
        if self.kind == "triplane":
            return TriplaneField(replace(self.triplane, sigmoid=sigmoid), channels, seed)
        return HashGridField(replace(self.hash, sigmoid=sigmoid), channels, seed)
