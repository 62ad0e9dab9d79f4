"""Cases of the operations on pixels: rasterising, interpolation, antialiasing and textures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .. import surface
from ..reference import raster
from ..samples import sample_surface, sample_triangles
from .case import Inputs, Results, case, difference, generator_of, gradients_of, leaves


def _picture(large: bool) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    """Clip-space corners, faces, height and width of twenty triangles, or of a mesh with twenty
    thousand."""
    if not large:
        return *sample_triangles(), 20, 24
    points, faces = sample_surface(102, 100)
    clip = torch.cat(
        [points * torch.tensor([1.8, 1.8, -0.9]), torch.full((len(points), 1), 1.5)], 1
    )
    clip[:, 3] -= points[:, 2] * 0.5
    return clip, faces.to(torch.int32), 512, 512


def _rasterize_inputs(large: bool) -> Inputs:
    clip, tri, height, width = _picture(large)
    upstream = torch.randn(1, height, width, 4, generator=generator_of(5))
    return {"clip": clip[None], "tri": tri, "height": height, "width": width, "upstream": upstream}


def _holes(function: Callable[..., Any], like: torch.Tensor) -> torch.Tensor:
    """The number of empty pixels in a picture of 8 x 8 that a plate fills whose corners lie on
    the pixels' centres."""
    number = torch.arange(10 * 10, device=like.device)
    x, y = (2 * (number % 10) - 9) / 8, (2 * (number // 10) - 9) / 8
    clip = torch.stack([x, y, 0.1 * x, torch.ones_like(x)], 1).to(like)
    i = number.view(10, 10)
    p, q, r, s = i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]
    tri = torch.cat([torch.stack(c, -1).view(-1, 3) for c in ((p, q, s), (p, s, r))])
    with torch.no_grad():
        pixels = function(clip[None] * 1.1, tri.to(torch.int32), 8, 8)
    return (pixels[..., 3] == 0).sum().double()


def _drawn(mine: Results, theirs: Results) -> float:
    """The error of pixels and gradients; a surface with holes is wrong altogether."""
    return max(_same_pixels(mine[:2], theirs[:2]), float(mine[2] > 0))


def _same_pixels(mine: Results, theirs: Results) -> float:
    """The share of pixels that show a different triangle, the largest difference of weights and
    depth in all others, and that of the gradients."""
    (one, grad), (two, wanted) = mine, theirs
    one, two = one.detach().cpu().double(), two.detach().cpu()
    same = (one[..., 3] == two[..., 3]) & (two[..., 3] > 0)
    wrong = float((one[..., 3] != two[..., 3]).double().mean())
    return max(
        wrong, float((one[same] - two[same])[:, :3].abs().max()), difference([grad], [wanted])
    )


@case("rasterize", raster.rasterize, 1e-3, make=_rasterize_inputs, compare=_drawn)
def _call_rasterize(function: Callable[..., Any], given: Inputs) -> Results:
    (clip,) = leaves(given["clip"])
    out = function(clip, given["tri"], given["height"], given["width"])
    out.backward(given["upstream"] * (out.detach()[..., 3:] > 0))
    return [out, *gradients_of([clip]), _holes(function, clip)]


def _peel_inputs(large: bool) -> Inputs:
    clip, tri, height, width = _picture(large)
    with torch.no_grad():
        pixels = surface.rasterize(clip[None], tri, height, width=width)
    # Two thirds of the pixels are peeled.
    through = (torch.arange(height * width) % 3 > 0).view(1, height, width) & (pixels[..., 3] > 0)
    return {
        "clip": clip[None],
        "tri": tri,
        "height": height,
        "width": width,
        "beyond": surface.behind(pixels, through),
    }


def _same_layer(mine: Results, theirs: Results) -> float:
    nothing = torch.zeros(())
    return _same_pixels([*mine, nothing], [*theirs, nothing])


@case("peel", raster.peel, 1e-3, make=_peel_inputs, compare=_same_layer)
def _call_peel(function: Callable[..., Any], given: Inputs) -> Results:
    return [function(*(given[name] for name in ("clip", "tri", "height", "width", "beyond")))]


def _interpolate_inputs(large: bool) -> Inputs:
    clip, tri, height, width = _picture(large)
    with torch.no_grad():
        pixels = surface.rasterize(clip[None], tri, height, width=width)
    generator, channels = generator_of(4), 5
    return {
        "tri": tri,
        "pixels": pixels,
        "values": torch.randn(len(clip), channels, generator=generator),
        "upstream": torch.randn(1, height, width, channels, generator=generator),
    }


@case("interpolate", raster.interpolate, 1e-4, make=_interpolate_inputs)
def _call_interpolate(function: Callable[..., Any], given: Inputs) -> Results:
    values, pixels = leaves(given["values"], given["pixels"])
    out = function(values, given["tri"], pixels)
    out.backward(given["upstream"])
    return [out, *gradients_of([values, pixels])]


def _silhouette_inputs(large: bool) -> Inputs:
    clip, tri, height, width = _picture(large)
    height, width = (height, width) if large else (48, 64)
    table = surface.edge_table(tri)
    with torch.no_grad():
        pixels = surface.rasterize(clip, tri, height, width=width)
    return {
        "clip": clip,
        "edges": table.edges,
        "opposite": table.opposite,
        "tri": tri,
        "pixels": pixels,
        "colour": torch.rand(1, height, width, 3, generator=generator_of(8)),
        "upstream": torch.randn(1, height, width, 3, generator=generator_of(9)),
    }


def _same_pairs(mine: Results, theirs: Results) -> float:
    """The share of pixel pairs that only one of the two has: float32 rounding may move an edge
    across the centre of a pixel."""
    one, two = ({tuple(p) for p in found[0].tolist()} for found in (mine, theirs))
    return len(one ^ two) / max(1, len(two))


@case(
    "silhouette_pairs", raster.silhouette_pairs, 0.02, make=_silhouette_inputs, compare=_same_pairs
)
def _call_silhouette_pairs(function: Callable[..., Any], given: Inputs) -> Results:
    return [function(given["clip"], given["edges"], given["opposite"], given["pixels"])]


@case("antialias", surface._antialias, 1e-3, make=_silhouette_inputs)
def _call_antialias(function: Callable[..., Any], given: Inputs) -> Results:
    clip, colour = leaves(given["clip"][None], given["colour"])
    table = surface.EdgeTable(given["edges"], given["opposite"], given["tri"])
    out = function(colour, given["pixels"][None], clip, table)
    out.backward(given["upstream"])
    return [out, *gradients_of([clip, colour])]


def _texture_inputs(large: bool) -> Inputs:
    generator, size, count = generator_of(10), 1024 if large else 16, 512 if large else 20
    return {
        "texels": torch.rand(1, 4, size, size, generator=generator),
        "uv": torch.rand(1, count, count, 2, generator=generator),
        "level": torch.rand(1, count, count, generator=generator) * 3,
        "upstream": torch.randn(1, count, count, 4, generator=generator),
    }


@case("texture", raster.texture, 1e-3, make=_texture_inputs)
def _call_texture(function: Callable[..., Any], given: Inputs) -> Results:
    (texels,) = leaves(given["texels"])
    out = function(texels, given["uv"], given["level"], "bilinear")
    out.backward(given["upstream"])
    return [out, *gradients_of([texels])]
