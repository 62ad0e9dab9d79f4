"""A field with its renderer and its background: what a stage moves and what a system leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..engine.loop import ParameterGroup, Stage
from ..engine.random import RandomStream
from ..guidance.registry import GuidanceContext
from ..meshes.mesh import Asset, Mesh
from ..priors.diffusion import CameraProtocol, DiffusionPrior
from ..renderers import BackgroundSample, Cameras, FieldRenderer, RingCameras
from ..renderers.rendering import Rendering
from ..representations import Field, LearningRates

Decode = Callable[[torch.Tensor], torch.Tensor]
"""Features (B, H, W, C) -> display RGB (B, H, W, 3) in [0, 1]."""


class AssetModel(Protocol):
    """What a system for text to 3D leaves: something that becomes an asset, and is shown by cameras
    of a distance and a field of view in degrees."""

    distance: float
    fov_y: float

    def to_asset(
        self, config: Any, pieces: int, name: str, provenance: dict[str, Any]
    ) -> tuple[Asset, dict[str, Any]]:
        """The asset by a `field_to_mesh.AssetConfig`, of at most `pieces` connected objects, and
        figures of how it was made."""


@dataclass
class FieldModel:
    """A field with its renderer, the background's module if it learns, and how features are
    shown."""

    field: Field
    renderer: FieldRenderer
    decode: Decode
    background: nn.Module | None = None
    distance: float = 3.0
    fov_y: float = 40.0
    modules: dict[str, nn.Module] = field(default_factory=dict)
    surface: Callable[[], Mesh] | None = None
    """Gives the textured mesh that was made of the field already; it becomes the asset."""

    @staticmethod
    def of(stage: Stage, decode: Decode, protocol: CameraProtocol) -> FieldModel:
        """The field that a finished stage leaves."""
        found: Any = stage.modules
        parts = FieldModel(
            found["field"], found["renderer"], decode, background=found.get("background")
        )
        return parts.seen_by(protocol)

    def seen_by(self, protocol: CameraProtocol) -> FieldModel:
        """The same parts, shown by cameras of this distance and field of view."""
        self.distance, self.fov_y = protocol.distance, protocol.fov_y
        return self

    def guidance_context(
        self, stage: str, prompt: str, prior: DiffusionPrior, seed: int, encode: bool
    ) -> GuidanceContext:
        """What the guidances of a stage are built for; `encode` where the field is RGB."""

        def render(cameras: Cameras, random: RandomStream | None = None) -> Rendering:
            shape = (len(cameras), cameras.height, cameras.width, self.field.channels)
            behind = BackgroundSample(torch.zeros(shape))
            return self.renderer.render(self.field, cameras, behind, random)

        return GuidanceContext(
            stage=stage,
            prompt=prompt,
            prior=prior,
            encode=encode,
            decode=self.decode,
            representation=self.field,
            render=render,
            seed=seed,
        )

    def to_asset(
        self, config: Any, pieces: int, name: str, provenance: dict[str, Any]
    ) -> tuple[Asset, dict[str, Any]]:
        """See `AssetModel` and `field_to_mesh.make_asset`; the figures tell of fog, too."""
        from .field_to_mesh import make_asset, mean_field_opacity

        asset, found = make_asset(self, config, pieces, name=name, provenance=provenance)
        return asset, {**found, "fog": mean_field_opacity(self, asset.mesh)}

    def all_modules(self) -> dict[str, nn.Module]:
        """Everything that a checkpoint must hold."""
        found: dict[str, nn.Module] = {
            "field": self.field,
            "renderer": self.renderer,
            **self.modules,
        }
        if self.background is not None:
            found["background"] = self.background
        return found


def parameter_groups(parts: FieldModel, rates: LearningRates) -> list[ParameterGroup]:
    """Adam groups of a field (and its background)."""
    groups = parts.field.parameter_groups(vars(rates))
    if parts.background is not None:
        groups.append(
            ParameterGroup("background", list(parts.background.parameters()), rates.background)
        )
    return groups


@torch.no_grad()
def preview(parts: FieldModel, size: int, background: BackgroundSample | None = None) -> np.ndarray:
    """Four turns of the field and its opacity below, (2 S, 4 S, 3) uint8."""
    cameras = RingCameras(count=4, elevation=15.0, distance=parts.distance, fov_y=parts.fov_y).all(
        size
    )
    sample = background or BackgroundSample(torch.zeros(4, size, size, parts.field.channels))
    rendering = parts.renderer.render(parts.field, cameras, sample)
    colour = parts.decode(rendering.features)
    opacity = rendering.opacity.expand(-1, -1, -1, 3)
    if colour.shape[1] != size:
        opacity = F.interpolate(opacity.permute(0, 3, 1, 2), colour.shape[1:3]).permute(0, 2, 3, 1)
    rows = torch.cat([torch.cat(list(colour), 1), torch.cat(list(opacity), 1)], 0)
    return (rows.clamp(0, 1) * 255).byte().cpu().numpy()


def figures(opacity: torch.Tensor) -> dict[str, float]:
    """What the watchdog looks at, of opacities (B, H, W, 1)."""
    border = torch.cat(
        [
            opacity[:, 0].flatten(),
            opacity[:, -1].flatten(),
            opacity[:, :, 0].flatten(),
            opacity[:, :, -1].flatten(),
        ]
    )
    half = ((opacity > 0.1) & (opacity < 0.9)).float().mean()
    return {"opacity": float(opacity.mean()), "half": float(half), "border": float(border.mean())}
