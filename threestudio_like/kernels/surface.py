"""The operations on surfaces: rasterise, interpolate, look up and antialias. Four orthogonal
functions and two tables.

    pixels = rasterize(clip, tri, height, width)
    uv = interpolate(corner_uv, tri, pixels)
    colour = texture(texels, uv, texture_level(clip, tri, corner_uv, pixels, texels.shape[-1]))
    picture = antialias(colour, pixels, clip, edge_table(tri))
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field

import numpy as np
import torch

from .dispatch import implementation
from .reference import raster

LAYER_ROUNDINGS = 4
"""Distance of two layers of depth peeling, in roundings of z/w = 1."""


def rasterize(
    clip: torch.Tensor,  # [V, 4] or [B, V, 4]
    tri: torch.Tensor,  # [F, 3] int32
    height: int,
    width: int,
    beyond: torch.Tensor | None = None,  # [H, W] or [B, H, W] z/w
) -> torch.Tensor:  # [H, W, 4] or [B, H, W, 4]: u, v, z/w, triangle + 1 (0 where nothing is hit)
    """The nearest triangle at every pixel centre, in OpenGL's convention with row 0 at the top.
    Both sides of a triangle are visible.

    Triangles that cross the camera plane are cut exactly, and what lies outside of the near and far
    planes (z/w outside [-1, 1]) is not drawn. Differentiable in `clip` through u, v (weights of
    corners 0 and 1) and z/w; changes of visibility are differentiated by `antialias`.

    With `beyond`, only what lies strictly behind that depth is drawn: a layer of depth peeling (see
    `behind`), without a gradient.
    """
    if clip.ndim not in (2, 3) or clip.shape[-1] != 4 or tri.ndim != 2 or tri.shape[1] != 3:
        raise ValueError(
            f"rasterize needs clip [(B,) V, 4] and tri [F, 3], got {list(clip.shape)} and "
            f"{list(tri.shape)}"
        )
    many = clip if clip.ndim == 3 else clip[None]
    if beyond is None:
        out = implementation("rasterize", raster.rasterize, clip)(many, tri, height, width)
    else:
        shape = (len(many), height, width)
        if beyond.ndim != clip.ndim or beyond.numel() != len(many) * height * width:
            raise ValueError(f"beyond must be {list(shape)}, got {list(beyond.shape)}")
        serve = implementation("peel", raster.peel, clip, beyond)
        out = serve(many.detach(), tri, height, width, beyond.detach().reshape(shape))
    # A view and not an index, so that its gradient needs no copy.
    return out if clip.ndim == 3 else out.squeeze(0)


def behind(pixels: torch.Tensor, through: torch.Tensor) -> torch.Tensor:
    """The depth for `rasterize` beyond which the next layer is seen: behind what `pixels` (..., 4)
    show where one sees `through` (...) bool, and nowhere else.

    A few roundings lie between the layers, so that two triangles that share an edge on the centre
    of a pixel are one layer.
    """
    depth = pixels[..., 2].detach()
    depth = depth + LAYER_ROUNDINGS * torch.finfo(depth.dtype).eps
    return torch.where(through, depth, torch.full_like(depth, 2.0))


def interpolate(
    attributes: torch.Tensor,  # [V, C]
    tri: torch.Tensor,  # [F, 3] int32
    pixels: torch.Tensor,  # [H, W, 4] or [B, H, W, 4] from `rasterize`
) -> torch.Tensor:  # [H, W, C] or [B, H, W, C], zero where nothing is hit
    """Perspective-correct vertex attributes at every pixel; differentiable in `attributes` and in
    u, v of `pixels`."""
    serve = implementation("interpolate", raster.interpolate, attributes, pixels)
    out = serve(attributes, tri, pixels if pixels.ndim == 4 else pixels[None])
    return out if pixels.ndim == 4 else out.squeeze(0)


@dataclass(frozen=True)
class EdgeTable:
    """The edges of a mesh: edges (E, 2) and opposite (E, 2) int32, the opposite corners of an
    edge's two faces, or -1 for none; and the faces tri (F, 3).

    An edge of more than two faces has one row for every two of them.
    """

    edges: torch.Tensor
    opposite: torch.Tensor
    tri: torch.Tensor
    _looked_for_seams: list[bool] = field(default_factory=list, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.edges)

    def renumbered(self, at: torch.Tensor) -> EdgeTable:
        """The same table for other vertex numbers: `at` (V,) is the new number of each vertex."""
        at = at.to(self.edges.device).int()
        opposite = torch.where(self.opposite >= 0, at[self.opposite.long().clamp_min(0)], -1)
        return EdgeTable(at[self.edges.long()], opposite.int(), at[self.tri.long()])

    def seams(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows (N,) and (N,) of borders that lie on one another, two by two: equal ends at
        points (V, K), but different vertices."""
        border = (self.opposite[:, 1] < 0).nonzero()[:, 0]
        if not len(border):
            # A closed surface has none, and places need not be compared.
            return border, border
        place = torch.unique(points.detach(), dim=0, return_inverse=True)[1]
        ends = place[self.edges[border].long()].sort(1)[0]
        order = torch.argsort(ends[:, 0] * len(points) + ends[:, 1], stable=True)
        ends, border = ends[order], border[order]
        same = (ends[1:] == ends[:-1]).all(1)
        # Of three on one another the first two are a seam: every other one of a row of equals.
        number = torch.arange(len(same), device=same.device)
        begin = torch.where(same, -1, number).cummax(0)[0] if len(same) else number
        one = (same & ((number - begin) % 2 == 1)).nonzero()[:, 0]
        return border[one], border[one + 1]

    def sewn(self, points: torch.Tensor) -> EdgeTable:
        """The table in which borders that lie on one another at points (V, K) are one edge of two
        faces."""
        one, two = self.seams(points)
        opposite = self.opposite.clone()
        opposite[one, 1] = opposite[two, 0]
        keep = torch.ones(len(self), dtype=torch.bool, device=opposite.device)
        keep[two] = False
        return EdgeTable(self.edges[keep], opposite[keep], self.tri)

    def tell_of_seams(self, clip: torch.Tensor) -> None:
        """Warn where borders lie on one another at clip (V, 4); it is looked for once a table."""
        if not self._looked_for_seams:
            self._looked_for_seams.append(True)
            count = len(self.seams(clip)[0])
            if count:
                warnings.warn(
                    f"antialias: {count} seam edges are not welded and count as borders, so the "
                    "gradient of the outline is too large; call edge_table(tri, points)",
                    stacklevel=3,
                )


def edge_table(tri: torch.Tensor, points: torch.Tensor | None = None) -> EdgeTable:
    """The edge table of faces (F, 3) int.

    The two sides of a seam must be one edge, because otherwise every seam counts as a border. They
    are if they share their vertices, or with the positions `points` (V, 3), if these are equal; the
    gradient of a seam then belongs to the vertices of one side.
    """
    table = _edges_of(tri)
    return table if points is None else table.sewn(points)


def _edges_of(tri: torch.Tensor) -> EdgeTable:
    faces = tri.detach().cpu().numpy().astype(np.int64)
    if len(faces) == 0:
        empty = torch.zeros(0, 2, dtype=torch.int32, device=tri.device)
        return EdgeTable(empty, empty, tri)
    ends = np.concatenate([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]])
    ends.sort(1)
    corner = faces.T.reshape(-1)
    order = np.argsort(ends[:, 0] * (int(faces.max()) + 1) + ends[:, 1], kind="stable")
    ends, corner = ends[order], corner[order]
    same = (ends[1:] == ends[:-1]).all(1)
    # Position of every half edge among equal ones; the pairs (0, 1), (2, 3), … share a row.
    start = np.concatenate([[0], np.nonzero(~same)[0] + 1])
    rank = np.arange(len(ends)) - np.repeat(start, np.diff([*start, len(ends)]))
    even = rank % 2 == 0
    follows = np.concatenate([rank[1:] % 2 == 1, [False]])
    opposite = np.stack([corner, np.where(follows, np.roll(corner, -1), -1)], 1)[even]
    own, far = (
        torch.from_numpy(part.astype(np.int32)).to(tri.device) for part in (ends[even], opposite)
    )
    return EdgeTable(own, far, tri)


def silhouette_pairs(
    clip: torch.Tensor,  # [V, 4]
    table: EdgeTable,
    pixels: torch.Tensor,  # [H, W, 4]
) -> torch.Tensor:  # [N, 3] int64: inside pixel, outside pixel (indices into H * W), edge
    """Neighbouring pixels that a silhouette edge separates, ordered by (direction, position). Not
    differentiable."""
    serve = implementation("silhouette_pairs", raster.silhouette_pairs, clip, pixels)
    return serve(clip.detach(), table.edges, table.opposite, pixels.detach())


def antialias(
    colour: torch.Tensor,  # [H, W, C] or [B, H, W, C]
    pixels: torch.Tensor,  # [H, W, 4] or [B, H, W, 4] from `rasterize`
    clip: torch.Tensor,  # [V, 4] or [B, V, 4]
    table: EdgeTable,  # of the faces that were rasterised, seams welded: see `edge_table`
) -> torch.Tensor:  # as `colour`
    """Blend neighbouring pixels across silhouette edges according to where the edge lies between
    their centres.

    Differentiable in `colour` and in `clip`: this is how the shape of a silhouette gets a gradient.
    Silhouettes are found by walking along the edges, and not from the triangle of each pixel, so
    that the gradient is also correct for triangles smaller than a pixel. Surfaces are opaque, and a
    part that is thinner than a pixel and covers no centre is not seen. Warns once a table of seams
    that are not welded.
    """
    if colour.ndim == 3:
        return antialias(colour[None], pixels[None], clip[None], table=table)[0]
    if len(clip):
        table.tell_of_seams(clip[0])
    return implementation("antialias", _antialias, colour, pixels, clip)(
        colour, pixels, clip, table
    )


def _antialias(
    colour: torch.Tensor, pixels: torch.Tensor, clip: torch.Tensor, table: EdgeTable
) -> torch.Tensor:
    out = []
    for picture, seen, points in zip(colour, pixels, clip):
        # Also where there is no pair: the picture then has a gradient in `clip`, which is zero.
        pairs = silhouette_pairs(points, table, seen)
        out.append(raster.blend(picture, points, table.edges, pairs=pairs))
    return torch.stack(out)


def texture(
    texels: torch.Tensor,  # [1, C, Ht, Wt], row 0 at v = 1
    uv: torch.Tensor,  # [..., 2], v upwards
    level: torch.Tensor | None = None,  # [...] mip level, 0 = full resolution
    mode: str = "bilinear",
) -> torch.Tensor:  # [..., C]
    """Texture lookup, clamped at the border, and between two mip levels if `level` is given. The
    mode is "bilinear", "nearest" or "bicubic".

    Differentiable in `texels`, and in `uv` unless the mode is "nearest". torch's own sampler is
    used, unless the vendors' kernels were chosen.
    """
    return implementation("texture", raster.texture, texels, uv)(texels, uv, level, mode)


@torch.no_grad()
def texture_level(
    clip: torch.Tensor,  # [B, V, 4]
    tri: torch.Tensor,  # [F, 3] int32
    uv: torch.Tensor,  # [V, 2]
    pixels: torch.Tensor,  # [B, H, W, 4] from `rasterize`
    resolution: int | tuple[int, int],
) -> torch.Tensor:  # [B, H, W]
    """The mip level at which a texel is about as large as a pixel: half the log2 of the texels per
    pixel, for each triangle. `resolution` is the texture's height and width, or both in one.

    It is zero for triangles that cross the camera plane. Not differentiable.
    """
    faces = tri.long()
    height, width = pixels.shape[1:3]
    high, wide = (resolution, resolution) if isinstance(resolution, int) else resolution
    corner = uv[faces]
    a, b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    texels = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs() * high * wide
    w = clip[..., 3]
    screen = clip[..., :2] / torch.where(w > 1e-6, w, torch.ones_like(w))[..., None]
    point = screen[:, faces] * clip.new_tensor([width / 2, height / 2])
    c, d = point[:, :, 1] - point[:, :, 0], point[:, :, 2] - point[:, :, 0]
    area = (c[..., 0] * d[..., 1] - c[..., 1] * d[..., 0]).abs()
    level = 0.5 * (texels.clamp_min(1e-12) / area.clamp_min(1e-6)).log2()
    level = torch.where((w[:, faces] > 1e-6).all(-1), level, torch.zeros_like(level)).clamp(
        0, math.log2(max(high, wide))
    )
    hit = pixels[..., 3].long() - 1
    return level.gather(1, hit.clamp_min(0).flatten(1)).view(hit.shape) * (hit >= 0)
