"""Pictures of assets by the rasteriser: textured with flat lighting, lit, or as shaded clay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ...kernels import behind, interpolate, rasterize
from ..mesh import Asset, Mesh
from .appearance import Appearance

LAYERS = 8
"""Largest number of surfaces behind one another that a pixel shows, where one sees through."""

Light = Callable[[torch.Tensor], torch.Tensor]
"""Maps unit normals (..., 3) to irradiance (..., 1 or 3): the display value of a white matt
surface."""


@dataclass
class Picture:
    """Rendered pictures: image (B, S, S, 3) float32 in [0, 1] and mask (B, S, S) in [0, 1]."""

    image: np.ndarray
    mask: np.ndarray


def clay_light(normals: torch.Tensor) -> torch.Tensor:
    """Three fixed lights on warm grey: maps unit normals (..., 3) to colours (..., 3)."""
    lights = torch.tensor([[0.5, 0.7, 0.5], [-0.7, 0.3, 0.4], [0.1, 0.4, -0.9]])
    strength = torch.tensor([0.55, 0.3, 0.3])
    lit = 0.18 + ((normals @ F.normalize(lights, dim=-1).T).clamp_min(0) * strength).sum(
        -1, keepdim=True
    )
    return lit.clamp(0, 1) * torch.tensor([0.92, 0.90, 0.87])


class _Body:
    """All meshes of an asset as one for the rasteriser, and how each of them looks."""

    def __init__(self, meshes: list[Mesh], clay: bool, light: Light | None) -> None:
        self.clay, self.light = clay, light
        self.parts = [Appearance(m) for m in meshes]
        self.counts = [len(m.faces) for m in meshes]
        self.offsets = np.cumsum([0, *(len(m.vertices) for m in meshes)])
        self.first_face = torch.from_numpy(np.cumsum([0, *self.counts])[:-1])
        self.faces = torch.from_numpy(
            np.concatenate([m.faces + o for m, o in zip(meshes, self.offsets)]).astype(np.int32)
        )
        points = np.concatenate([m.vertices for m in meshes]).astype(np.float32)
        self.homogeneous = torch.from_numpy(
            np.concatenate([points, np.ones((len(points), 1), np.float32)], 1)
        )
        self.normals = None
        if clay or light is not None or any(p.grey for p in self.parts):
            each = [(m if m.normals is not None else m.with_normals()).normals for m in meshes]
            self.normals = torch.from_numpy(
                np.concatenate([n for n in each if n is not None]).astype(np.float32)
            )
        self.seen_through = any(p.holes or (p.veils and not clay) for p in self.parts)

    def shade(
        self, pixels: torch.Tensor, background: float
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The colours (H, W, 3) of what `pixels` show, on a grey background, and its opacity (H,
        W), 0 where they show nothing; None where everything is opaque."""
        hit = pixels[..., 3] > 0
        unit = None
        if self.normals is not None:
            unit = F.normalize(interpolate(self.normals, self.faces, pixels), dim=-1)
        colour = torch.full((*hit.shape, 3), float(background))
        opacity = hit.float() if self.seen_through else None
        owner = torch.searchsorted(self.first_face, pixels[..., 3].long() - 1, right=True) - 1
        for number, part in enumerate(self.parts):
            here = hit & (owner == number) if len(self.parts) > 1 else hit
            if not bool(here.any()):
                continue
            plain = self.clay or part.grey
            values = None
            if part.attributes is not None and (not plain or opacity is not None):
                values = self._values(number, part.attributes, pixels[here])
            if opacity is not None:
                opacity[here] = part.opacity(values, not self.clay)
            own = None if unit is None else unit[here]
            if plain:
                assert own is not None
                colour[here] = clay_light(own)
            else:
                colour[here] = self._lit(part, values, own)
        return colour, opacity

    def _values(self, number: int, attributes: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """The attributes (N, A) of a mesh at pixels (N, 4) that show it."""
        first, own = int(self.first_face[number]), own.clone()[None]
        own[..., 3] -= first
        faces = self.faces[first : first + self.counts[number]] - int(self.offsets[number])
        return interpolate(attributes, faces, own)[0]

    def _lit(
        self, part: Appearance, values: torch.Tensor | None, unit: torch.Tensor | None
    ) -> torch.Tensor:
        shown = part.colour(values)
        if self.light is None or unit is None or part.material.unlit:
            return shown
        shown, glow = shown * self.light(unit), part.glow(values)
        return shown if glow is None else shown + glow

    def layers(
        self, clip: torch.Tensor, pixels: torch.Tensor, background: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The colours (H, W, 3) of all surfaces behind one another and how much of the background
        they hide (H, W), by depth peeling from front to back."""
        height, width = pixels.shape[:2]
        total, left = torch.zeros(height, width, 3), torch.ones(height, width)
        for _ in range(LAYERS):
            colour, opacity = self.shade(pixels, background)
            assert opacity is not None
            total += (left * opacity)[..., None] * colour.clamp(0, 1)
            left = left * (1 - opacity)
            through = (pixels[..., 3] > 0) & (opacity < 1)
            if not bool(through.any()):
                break
            pixels = rasterize(clip, self.faces, height, width, behind(pixels, through))
        return total + left[..., None] * float(background), 1 - left


@torch.no_grad()
def render_asset(
    asset: Asset,
    view_projection: np.ndarray,
    size: int,
    background: float = 1.0,
    clay: bool = False,
    supersample: int = 2,
    light: Light | None = None,
) -> Picture:
    """Render all meshes of an asset from several cameras.

    Materials are honoured: vertex colour times texture times material, the sampler's wrapping and
    filter, and the alpha mode. What a mask cuts out is not in the picture's mask either, and one
    sees what lies behind; what is blended lies on it, up to `LAYERS` surfaces deep.

    Args:
        view_projection: (B, 4, 4) world to clip space.
        size: pixels along the edge.
        background: grey level in [0, 1].
        clay: ignore the colours and shade by the normals under three fixed lights; what a mask
            cuts out stays cut out, and what is blended is solid.
        supersample: number of samples along the edge of a pixel.
        light: irradiance on the surface, to which what glows is added; without it the base colour
            is shown.
    """
    body = _Body(list(asset.meshes.values()), clay, light)
    images, masks = [], []
    edge = size * supersample
    for matrix in view_projection:
        clip = body.homogeneous @ torch.from_numpy(np.ascontiguousarray(matrix, np.float32)).T
        pixels = rasterize(clip, body.faces, edge, edge)
        if body.seen_through:
            colour, covered = body.layers(clip, pixels, background)
        else:
            colour, covered = body.shade(pixels, background)[0], (pixels[..., 3] > 0).float()
        whole = torch.cat([colour.clamp(0, 1), covered[..., None]], -1).permute(2, 0, 1)[None]
        whole = F.avg_pool2d(whole, supersample)[0]
        images.append(whole[:3].permute(1, 2, 0).numpy())
        masks.append(whole[3].numpy())
    return Picture(np.stack(images), np.stack(masks))


def render_mesh(
    mesh: Mesh,
    view_projection: np.ndarray,
    size: int,
    background: float = 1.0,
    clay: bool = False,
    supersample: int = 2,
    light: Light | None = None,
) -> Picture:
    """The same as `render_asset`, for one mesh."""
    return render_asset(
        Asset({"": mesh}), view_projection, size, background, clay, supersample, light
    )
