"""A surface with its colours and its renderer: what a mesh stage moves and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ...engine.loop import Stage
from ...engine.random import RandomStream
from ...guidance.registry import GuidanceContext
from ...meshes.mesh import Asset
from ...meshes.surface.extraction import decimate, largest_pieces
from ...meshes.texture.bake import bake
from ...meshes.texture.unwrap import unwrap
from ...priors.diffusion import CameraProtocol, DiffusionPrior
from ...priors.latent_rgb import show_rgb
from ...renderers import BackgroundSample, Cameras, RingCameras
from ...renderers.mesh import MeshRenderer
from ...renderers.rendering import Rendering
from ...representations import Field
from ...representations.surfaces import Surface
from ..field_to_mesh import AssetConfig

CREASE = 35.0
"""Angle in degrees from which an edge of the asset is sharp: its faces share no normals."""


@dataclass
class MeshModel:
    """A surface, the RGB field whose colours it has, and its renderer; `distance` and `fov_y`
    (degrees) of the cameras that show it."""

    surface: Surface
    appearance: Field
    renderer: MeshRenderer
    distance: float = 3.0
    fov_y: float = 40.0

    @staticmethod
    def of(stage: Stage, protocol: CameraProtocol) -> MeshModel:
        """What a finished stage leaves."""
        found: Any = stage.modules
        return MeshModel(
            found["surface"],
            found["appearance"],
            found["renderer"],
            distance=protocol.distance,
            fov_y=protocol.fov_y,
        )

    def modules(self) -> dict[str, nn.Module]:
        """Everything that a checkpoint must hold."""
        return {
            "surface": self.surface,
            "appearance": self.appearance,
            "renderer": self.renderer,
        }

    def guidance_context(
        self, stage: str, prompt: str, prior: DiffusionPrior, seed: int, encode: bool = True
    ) -> GuidanceContext:
        """What the guidances of a stage are built for."""

        def render(cameras: Cameras, random: RandomStream | None = None) -> Rendering:
            shape = (len(cameras), cameras.height, cameras.width, 3)
            behind = BackgroundSample(torch.zeros(shape))
            mesh = self.surface.surface()
            return self.renderer.render(mesh, cameras, behind, random, self.appearance)

        return GuidanceContext(
            stage=stage,
            prompt=prompt,
            prior=prior,
            encode=encode,
            decode=show_rgb,
            representation=self.surface,
            render=render,
            seed=seed,
        )

    @torch.no_grad()
    def colour(self, points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        """Display RGB (N, 3) of surface points (N, 3)."""
        device = self.appearance.device
        pieces = [self.appearance(p.to(device))[1].cpu() for p in points.split(1 << 17)]
        return show_rgb(torch.cat(pieces))

    @torch.no_grad()
    def to_asset(
        self, config: AssetConfig, pieces: int, name: str, provenance: dict[str, Any]
    ) -> tuple[Asset, dict[str, Any]]:
        """Decimate, unwrap and bake; see `field_to_mesh.make_asset`. The surface is the optimised
        one: `resolution` and `smooth` of the export are those of fields."""
        mesh = self.surface.mesh()
        every = int(mesh.components().max()) + 1
        mesh = decimate(largest_pieces(mesh, pieces), config.extraction.faces)
        figures = {"pieces found": float(every), "faces": float(len(mesh.faces))}
        mesh, how = unwrap(mesh, config.texture, config.unwrap_seconds)
        mesh = bake(mesh.with_normals(), self.colour, config.texture).with_creases(CREASE)
        return Asset({name: mesh}, provenance), {**figures, "unwrap": how}


@torch.no_grad()
def preview(model: MeshModel, size: int) -> np.ndarray:
    """Four turns of the colours and of the normals below, (2 S, 4 S, 3) uint8."""
    size = max(size, 96)
    cameras = RingCameras(count=4, elevation=15.0, distance=model.distance, fov_y=model.fov_y)
    views, mesh = cameras.all(size), model.surface.surface()
    grey = BackgroundSample(torch.full((4, size, size, 3), 0.96))
    rows = [
        torch.cat(list(model.renderer.render(mesh, views, grey, appearance=field).features), 1)
        for field in (model.appearance, None)
    ]
    return (torch.cat(rows, 0).clamp(0, 1) * 255).byte().cpu().numpy()
