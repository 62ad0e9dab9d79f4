"""From a finished field to a verified asset."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from ..engine.schema.bounds import OptionalSize, Size, Weight
from ..meshes.mesh import Asset, Mesh
from ..meshes.surface.extraction import ExtractionConfig, extract, silhouette
from ..meshes.texture.bake import bake
from ..meshes.texture.unwrap import unwrap
from ..priors.latent_rgb import show_rgb
from ..renderers import BackgroundSample, RingCameras, VolumeRenderer
from ..representations import Field, density_volume, sample_grid
from .model import AssetModel, Decode, FieldModel


@dataclass(frozen=True, kw_only=True)
class AssetConfig:
    """From field to asset."""

    extraction: ExtractionConfig = field(default_factory=ExtractionConfig)
    resolution: OptionalSize = 0
    """Number of grid points along an edge from which the surface is extracted; 0 takes
    `extraction.size`."""
    smooth: Weight = 1.0
    """How much the surface is smoothed: 0 leaves the field's own level set, 1 is as much as
    `extraction` says (blur, relax and flatten), 2 twice as much."""
    texture: Size = 512
    """Texture size in pixels."""
    unwrap_seconds: Weight = 20.0
    """Time limit of xatlas before the fallback."""

    @property
    def points(self) -> int:
        """Grid points along an edge from which the surface is extracted."""
        return self.resolution or self.extraction.size


def surface_settings(config: AssetConfig, base: ExtractionConfig) -> ExtractionConfig:
    """How a field's surface is extracted: `base` at the resolution and smoothness that the asset's
    configuration asks for."""
    return replace(
        base,
        size=config.resolution or base.size,
        blur=base.blur * config.smooth,
        relax=round(base.relax * config.smooth),
        flatten=round(base.flatten * config.smooth),
    )


def evaluation_ring(parts: AssetModel, count: int = 8, elevation: float = 15.0) -> RingCameras:
    """The ring on which an asset is shown, compared and judged."""
    return RingCameras(count=count, elevation=elevation, distance=parts.distance, fov_y=parts.fov_y)


@torch.no_grad()
def field_mesh(parts: FieldModel, settings: ExtractionConfig) -> tuple[Mesh, dict[str, Any]]:
    """The mesh of a field at the level that agrees best with its opacity from twelve sides, and
    figures of the extraction."""
    rings = [
        evaluation_ring(parts).all(64),
        RingCameras(count=4, elevation=50.0, distance=parts.distance, fov_y=parts.fov_y).all(64),
    ]
    opacity, matrices = [], []
    for cameras in rings:
        behind = BackgroundSample(torch.zeros(len(cameras), 64, 64, parts.field.channels))
        opacity.append(
            parts.renderer.render(parts.field, cameras, behind).opacity[..., 0].cpu().numpy()
        )
        matrices.append(cameras.view_projection().numpy())
    volume = density_volume(parts.field, settings.size).numpy()

    def density_at(points: np.ndarray) -> np.ndarray:
        near = torch.from_numpy(np.clip(points, -1, 1)).split(1 << 17)
        return torch.cat([sample_grid(parts.field, p)[0].cpu() for p in near]).numpy()

    mesh, figures = extract(
        volume,
        np.concatenate(matrices),
        np.concatenate(opacity),
        config=settings,
        density_at=density_at,
    )
    return mesh, dict(figures)


@torch.no_grad()
def make_asset(
    parts: FieldModel, config: AssetConfig, pieces: int, name: str, provenance: dict[str, Any]
) -> tuple[Asset, dict[str, Any]]:
    """Extract, unwrap and bake a field; figures of each step.

    Args:
        pieces: how many connected objects to keep.
        name: of the mesh node.
    """
    if parts.surface is not None:
        return Asset({name: parts.surface()}, provenance), {"surface": "refined as a mesh"}
    settings = replace(surface_settings(config, config.extraction), pieces=pieces)
    mesh, figures = field_mesh(parts, settings)
    mesh, how = unwrap(mesh, config.texture, config.unwrap_seconds)
    mesh = bake(mesh.with_normals(), surface_colour(parts), config.texture)
    return Asset({name: mesh}, provenance), {**figures, "unwrap": how}


def surface_colour(parts: FieldModel, reach: float = 0.06, samples: int = 9) -> Any:
    """A colour function for baking: the field rendered along the inward normal, from `reach`
    outside to `reach` inside."""

    def colour(points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        out = []
        offsets = torch.linspace(1.0, -1.0, samples) * reach
        step = 2 * reach / (samples - 1)
        for p, n in zip(points.split(1 << 15), normals.split(1 << 15)):
            along = (p[None] + offsets[:, None, None] * n[None]).clamp(-1, 1)
            density, features = sample_grid(parts.field, along.reshape(-1, 3))
            alpha = -torch.expm1(-density.view(samples, -1) * step)
            # The innermost sample is opaque: every texel gets a colour.
            alpha[-1] = 1.0
            clear = torch.cat([torch.ones_like(alpha[:1]), (1 - alpha[:-1]).cumprod(0)])
            weights = (clear * alpha)[..., None]
            out.append((weights * features.view(samples, len(p), -1)).sum(0))
        return parts.decode(torch.cat(out))

    return colour


def mean_field_opacity(parts: FieldModel, mesh: Mesh, size: int = 64) -> float:
    """Fog: mean opacity of the volume outside the mesh's silhouette over the evaluation ring."""
    cameras = evaluation_ring(parts).all(size)
    behind = BackgroundSample(torch.zeros(len(cameras), size, size, parts.field.channels))
    with torch.no_grad():
        opacity = parts.renderer.render(parts.field, cameras, behind).opacity[..., 0].cpu().numpy()
    inside = silhouette(mesh, cameras.view_projection().numpy(), size)
    outside = ~np.stack([binary_dilation(m, iterations=2) for m in inside])
    return float(opacity[outside].mean())


def field_to_asset(
    field: Field,
    renderer: VolumeRenderer,
    *,
    decode: Decode | None = None,
    config: AssetConfig | None = None,
    name: str = "object",
    pieces: int = 1,
) -> Asset:
    """The asset of a field that was optimised in a loop of one's own.

    Args:
        field: of RGB features (C = 3), or of others with `decode`.
        renderer: that it was optimised with.
        decode: features (.., C) -> RGB (.., 3) in [0, 1]; features as they are, clamped, by
            default.
        config: texture size, faces, extraction.
        name: of the mesh.
        pieces: how many connected objects to keep.

    Returns:
        A textured mesh in the unit sphere, ready for `Asset.save`.
    """
    model = FieldModel(field, renderer, decode or show_rgb)
    asset, _ = make_asset(model, config or AssetConfig(), pieces, name=name, provenance={})
    return asset
