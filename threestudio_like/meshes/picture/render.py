"""Pictures of assets by the rasteriser: textured with flat lighting, lit, or as shaded clay."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
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
        shape = pixels.shape[:2]
        flat = pixels.reshape(-1, 4)
        index = (flat[:, 3] > 0).nonzero()[:, 0]
        seen = flat[index]
        unit = None
        if self.normals is not None:
            unit = F.normalize(interpolate(self.normals, self.faces, seen[None])[0], dim=-1)
        colours = torch.empty(len(index), 3)
        opacities = torch.ones(len(index)) if self.seen_through else None
        for number, here in self._by_part(seen):
            own = None if unit is None else unit[here]
            look, opacity = self._look(number, seen[here], own)
            colours[here] = look
            if opacities is not None and opacity is not None:
                opacities[here] = opacity
        colour = torch.full((len(flat), 3), float(background))
        colour[index] = colours
        if opacities is None:
            return colour.view(*shape, 3), None
        covered = torch.zeros(len(flat))
        covered[index] = opacities
        return colour.view(*shape, 3), covered.view(shape)

    def _by_part(self, seen: torch.Tensor) -> Iterator[tuple[int, torch.Tensor | slice]]:
        """The number of each mesh that pixels (N, 4) show, and which of them show it."""
        if len(self.parts) == 1:
            if len(seen):
                yield 0, slice(None)
            return
        owner = torch.searchsorted(self.first_face, seen[:, 3].long() - 1, right=True) - 1
        for number in owner.unique().tolist():
            yield number, (owner == number).nonzero()[:, 0]

    def _look(
        self, number: int, seen: torch.Tensor, unit: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The colours (N, 3) and the opacities (N,) of a mesh at pixels (N, 4) that show it, with
        unit normals (N, 3)."""
        part = self.parts[number]
        plain = self.clay or part.grey
        values = None
        if part.attributes is not None and (not plain or self.seen_through):
            values = self._values(number, part.attributes, seen)
        opacity = part.opacity(values, not self.clay) if self.seen_through else None
        if plain:
            assert unit is not None
            return clay_light(unit), opacity
        return self._lit(part, values, unit), opacity

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

    def draw(
        self, matrix: np.ndarray, size: int, background: float, supersample: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The picture (S, S, 3) and the mask (S, S) from one camera (4, 4)."""
        edge = size * supersample
        clip = self.homogeneous @ torch.from_numpy(np.ascontiguousarray(matrix, np.float32)).T
        pixels = rasterize(clip, self.faces, edge, width=edge)
        if self.seen_through:
            colour, covered = self.layers(clip, pixels, background)
        else:
            colour, covered = self.shade(pixels, background)[0], (pixels[..., 3] > 0).float()
        whole = torch.cat([colour.clamp(0, 1), covered[..., None]], -1).permute(2, 0, 1)[None]
        whole = F.avg_pool2d(whole, supersample)[0]
        return whole[:3].permute(1, 2, 0).numpy(), whole[3].numpy()

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
            pixels = rasterize(
                clip, self.faces, height, width=width, beyond=behind(pixels, through)
            )
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
    drawn = [body.draw(matrix, size, background, supersample) for matrix in view_projection]
    return Picture(np.stack([image for image, _ in drawn]), np.stack([mask for _, mask in drawn]))


@torch.no_grad()
def render_frames(
    asset: Asset,
    view_projection: np.ndarray,
    size: int,
    background: float = 1.0,
    supersample: int = 2,
    lights: Iterable[Light] | None = None,
) -> Iterator[Picture]:
    """The pictures of `render_asset` one after the other, as pictures of one camera, so that a long
    film needs the memory of one of its frames.

    Args:
        lights: the light of every frame; without them the base colour is shown.
    """
    body: _Body | None = None
    for matrix, light in zip(view_projection, itertools.repeat(None) if lights is None else lights):
        body = body or _Body(list(asset.meshes.values()), False, light)
        body.light = light
        image, mask = body.draw(matrix, size, background, supersample)
        yield Picture(image[None], mask[None])


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
        Asset({"": mesh}),
        view_projection,
        size,
        background=background,
        clay=clay,
        supersample=supersample,
        light=light,
    )
