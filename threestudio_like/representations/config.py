"""Which field, and its sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass
class FieldConfig:
    """Which field, and its sizes."""

    kind: Literal["voxels", "hash", "triplane"] = "voxels"
    voxels: VoxelGridConfig = field(default_factory=VoxelGridConfig)
    hash: HashGridConfig = field(default_factory=HashGridConfig)
    triplane: TriplaneConfig = field(default_factory=TriplaneConfig)

    def build(
        self, channels: int, seed: int, start: torch.Tensor | None = None, sigmoid: bool = False
    ) -> Field:
        """The field; `start` (C,) are a voxel field's first features."""
        if self.kind == "voxels":
            self.voxels.sigmoid = sigmoid
            return VoxelField(self.voxels, channels, start)
        if self.kind == "triplane":
            self.triplane.sigmoid = sigmoid
            return TriplaneField(self.triplane, channels, seed)
        self.hash.sigmoid = sigmoid
        return HashGridField(self.hash, channels, seed)
