"""A mesh with an atlas of texels, which Latent-Paint optimises (METHODS 1.11).

The vertices are fixed, or move along their normals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import nn

from ..engine.stage import ParameterGroup
from ..kernels import EdgeTable, edge_table, interpolate, texture
from ..kernels.devices import OnHost
from ..meshes.surface.normals import vertex_normals
from ..meshes.texture.atlas import Atlas
from ..meshes.texture.bake import atlas_raster
from .mesh_terms import laplacian_smoothness, normal_consistency
from .representation import Rates, Representation, rate_of


@dataclass
class TexelGeometry:
    """Where the texels of an atlas lie on the surface.

    rows and columns (N,) of the texels inside charts, points and unit normals (N, 3) in the scene's
    frame, and the number of the part (N,) that each texel belongs to.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    points: torch.Tensor
    normals: torch.Tensor
    part: torch.Tensor


class TexturedMesh(Representation):
    """Vertices, faces and an atlas of C channels: 4 in latent space, 3 in RGB, 5 for base colour,
    roughness and metallic.

    Args:
        atlas: the joint atlas; its mesh is in the scene's frame.
        channels: C.
        resolution: texels along an edge of what is optimised; the atlas' own when 0.
        start: first values, (C,) or (C, R, R).
        offsets: optimise a displacement of every vertex along its normal too.
    """

    texels: nn.Parameter
    points: torch.Tensor
    tri: torch.Tensor
    uv: torch.Tensor
    normals: torch.Tensor
    outward: torch.Tensor
    anchors: torch.Tensor
    fill: torch.Tensor
    open: torch.Tensor
    welded: torch.Tensor
    raster: torch.Tensor
    seams: torch.Tensor
    alpha: torch.Tensor | None

    def __init__(
        self,
        atlas: Atlas,
        channels: int,
        resolution: int = 0,
        start: torch.Tensor | None = None,
        offsets: bool = False,
    ) -> None:
        super().__init__()
        self.atlas, self.channels, self.resolution = atlas, channels, resolution or atlas.resolution
        mesh, size = atlas.mesh, self.resolution
        assert mesh.uv is not None
        assert mesh.normals is not None
        self.register_buffer(
            "points", torch.from_numpy(mesh.vertices.astype(np.float32)), persistent=False
        )
        self.register_buffer("tri", torch.from_numpy(mesh.faces.astype(np.int32)), persistent=False)
        self.register_buffer("uv", torch.from_numpy(mesh.uv.astype(np.float32)), persistent=False)
        self.register_buffer(
            "normals", torch.from_numpy(mesh.normals.astype(np.float32)), persistent=False
        )
        welded = mesh.welded()
        self.register_buffer("welded", torch.from_numpy(welded), persistent=False)
        places, first = np.unique(welded, return_index=True)
        smooth = vertex_normals(mesh.vertices[first], welded[mesh.faces])
        self.register_buffer("outward", torch.from_numpy(smooth), persistent=False)
        self.register_buffer(
            "anchors", torch.from_numpy(mesh.vertices[first].astype(np.float32)), persistent=False
        )
        self.offsets = nn.Parameter(torch.zeros(len(places))) if offsets else None
        self._edges: EdgeTable | None = None
        raster = atlas_raster(mesh, size)
        self.register_buffer("raster", raster, persistent=False)
        known = (raster[..., 3] > 0).numpy()
        fill = np.arange(size * size)
        if known.any() and not known.all():
            rows, columns = distance_transform_edt(
                ~known, return_distances=False, return_indices=True
            )
            fill = (rows * size + columns).reshape(-1)
        self.register_buffer("fill", torch.from_numpy(np.ascontiguousarray(fill)), persistent=False)
        self.register_buffer("open", torch.from_numpy(known.reshape(-1)), persistent=True)
        self._open_texels = OnHost(_open_texels)
        values = torch.zeros(channels, size, size)
        if start is not None:
            start = start.to(values)
            values = values + (start if start.ndim == 3 else start[:, None, None])
        self.texels = nn.Parameter(values.reshape(1, channels, size, size).clone())
        self.register_buffer("seams", seam_points(mesh.faces, mesh.uv, welded), persistent=False)
        self.register_buffer("alpha", None, persistent=False)
        self.cutoff = 0.5

    def cut_out(self, alpha: torch.Tensor, cutoff: float = 0.5) -> None:
        """Cut holes into the surface: where `alpha` (R, R) float is below `cutoff`, renderings show
        what lies behind, also from other sides of the same mesh.

        The holes are fixed: nothing is differentiated through them, and no checkpoint holds them.
        Raises ValueError for another size than that of the texels.
        """
        size = self.resolution
        if alpha.shape != (size, size):
            raise ValueError(f"alpha must be [{size}, {size}], got {list(alpha.shape)}")
        padded = alpha.detach().to(self.texels).reshape(-1)[self.fill]
        self.alpha, self.cutoff = padded.view(1, 1, size, size), cutoff

    @torch.no_grad()
    def cut(self, uv: torch.Tensor) -> torch.Tensor:
        """Whether the surface has a hole (...) bool at texture coordinates uv (..., 2)."""
        if self.alpha is None:
            return torch.zeros(uv.shape[:-1], dtype=torch.bool, device=uv.device)
        return texture(self.alpha, uv)[..., 0] < self.cutoff

    @property
    def charts(self) -> torch.Tensor:
        """Texels (R, R) bool whose centre lies in a chart."""
        return self.raster[..., 3] > 0

    @property
    def unlocked(self) -> torch.Tensor:
        """Texels (R * R,) bool that optimisation may change; saved as the buffer `open`."""
        return self.open

    def lock(self, texels: torch.Tensor) -> None:
        """Exclude texels (R, R) bool from optimisation: no later step changes a bit of them."""
        self.open &= ~texels.reshape(-1)

    def padded(self) -> torch.Tensor:
        """The atlas (1, C, R, R) with every chart padded: a texel outside of the charts takes the
        value of the nearest texel inside.

        Gradients reach only the texels that are not locked.
        """
        flat = self.texels.view(self.channels, -1)
        flat = torch.where(self.open, flat, flat.detach())
        return flat[:, self.fill].view(1, self.channels, self.resolution, self.resolution)

    def vertices(self) -> torch.Tensor:
        """Vertex positions (V, 3), displaced by the offsets if there are any."""
        if self.offsets is None:
            return self.points
        return (self.anchors + self.outward * self.offsets[:, None])[self.welded]

    def edges(self) -> EdgeTable:
        """The edge table of the welded faces, indexed by unwelded vertices, for
        `kernels.antialias`."""
        if self._edges is None or self._edges.edges.device != self.tri.device:
            # All vertices that were welded into one have the same position, so any of them will do.
            first = torch.zeros(
                int(self.welded.max()) + 1, dtype=torch.long, device=self.welded.device
            )
            first[self.welded] = torch.arange(len(self.welded), device=self.welded.device)
            self._edges = edge_table(self.welded[self.tri.long()]).renumbered(first)
        return self._edges

    def sample(
        self, uv: torch.Tensor, level: torch.Tensor | None = None, mode: str = "bilinear"
    ) -> torch.Tensor:
        """Sample the atlas at texture coordinates uv (..., 2); returns (..., C).

        `level` (...) is the mip level, and `mode` is "bilinear", "nearest" or "bicubic".
        """
        return texture(self.padded(), uv, level, mode=mode)

    def seam_loss(self) -> torch.Tensor:
        """Mean squared difference between the two sides of every texture seam; 0 without seams."""
        if len(self.seams) == 0:
            return self.texels.sum() * 0
        both = self.sample(self.seams)
        return (both[:, 0] - both[:, 1]).square().mean()

    @torch.no_grad()
    def seam_error(self) -> float:
        """Root mean square of the difference between the two sides of every seam."""
        return float(self.seam_loss().sqrt())

    def offset_loss(self) -> torch.Tensor:
        """Mean squared slope of the offsets along the edges: the difference of the two ends,
        divided by the length of the edge."""
        assert self.offsets is not None
        place = self.welded[self.edges().edges.long()]
        ends, corner = self.offsets[place], self.anchors[place]
        length = (corner[:, 0] - corner[:, 1]).norm(dim=1).clamp_min(1e-4)
        return ((ends[:, 0] - ends[:, 1]) / length).square().mean()

    def moved_surface(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Welded vertices (V, 3) where the offsets put them, faces (F, 3) and edges (E, 2)."""
        assert self.offsets is not None
        points = self.anchors + self.outward * self.offsets[:, None]
        return points, self.welded[self.tri.long()], self.welded[self.edges().edges.long()]

    def variation(self) -> torch.Tensor:
        """Mean squared difference of neighbouring texels of one chart, scaled to an atlas of
        256."""
        texels, inside = self.texels[0], self.charts & self.unlocked.view(self.resolution, -1)
        down = (texels[:, 1:] - texels[:, :-1]).square() * (inside[1:] & inside[:-1])
        across = (texels[:, :, 1:] - texels[:, :, :-1]).square() * (inside[:, 1:] & inside[:, :-1])
        scale = (self.resolution / 256) ** 2 / max(1, self._open_texels(self.raster, self.open))
        return (down.sum() + across.sum()) * scale

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """The texels, and the offsets where vertices may move."""
        groups = [ParameterGroup("texels", [self.texels], rate_of(rates, "texels"))]
        if self.offsets is not None:
            groups.append(
                ParameterGroup("offsets", [self.offsets], rate_of(rates, "offsets", "1e-3"))
            )
        return groups

    def regularisation(self, weights: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """The terms of `stages.painting.PaintTerms`."""
        terms: dict[str, torch.Tensor] = {}
        if weights.get("seam", 0) > 0 and len(self.seams):
            terms["seam"] = weights["seam"] * self.seam_loss()
        if weights.get("variation", 0) > 0:
            terms["variation"] = weights["variation"] * self.variation()
        if weights.get("offsets", 0) > 0 and self.offsets is not None:
            terms["offsets"] = weights["offsets"] * self.offset_loss()
        if weights.get("normal_consistency", 0) > 0 and self.offsets is not None:
            found = normal_consistency(*self.moved_surface())
            terms["normal_consistency"] = weights["normal_consistency"] * found
        if weights.get("laplacian_smoothness", 0) > 0 and self.offsets is not None:
            points, _, edges = self.moved_surface()
            found = laplacian_smoothness(points, edges)
            terms["laplacian_smoothness"] = weights["laplacian_smoothness"] * found
        if weights.get("material", 0) > 0 and self.channels == 5:
            wanted = self.texels.new_tensor([0.9, 0.0]).view(1, 2, 1, 1)
            terms["material"] = weights["material"] * (self.texels[:, 3:] - wanted).square().mean()
        return terms

    def texel_geometry(self) -> TexelGeometry:
        """Positions, normals and parts of all texels inside charts."""
        surface = interpolate(torch.cat([self.points, self.normals], 1), self.tri, self.raster)
        rows, columns = self.charts.nonzero().unbind(1)
        inside = surface[rows, columns]
        face = self.raster[rows, columns, 3].long() - 1
        part = torch.from_numpy(self.atlas.part.astype(np.int64)).to(face.device)[face]
        return TexelGeometry(
            rows,
            columns,
            inside[:, :3],
            normals=nn.functional.normalize(inside[:, 3:], dim=-1),
            part=part,
        )


def seam_points(
    faces: np.ndarray, uv: np.ndarray, welded: np.ndarray, spacing: float = 1 / 256
) -> torch.Tensor:
    """Pairs of texture coordinates (P, 2, 2) of the same surface points on the two sides of the
    seams, sampled about every `spacing` (1 is the width of the atlas).

    Args:
        faces: (F, 3). uv: (V, 2). welded: (V,) number of each vertex's place.
    """
    half = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    place = welded[half]
    turned = place[:, 0] > place[:, 1]
    half[turned], place[turned] = half[turned][:, ::-1], place[turned][:, ::-1]
    order = np.lexsort((place[:, 1], place[:, 0]))
    half, place = half[order], place[order]
    pair = (place[1:] == place[:-1]).all(1)
    one, two = half[:-1][pair], half[1:][pair]
    apart = (np.abs(uv[one] - uv[two]) > 1e-6).any((1, 2)) & (
        place[:-1][pair][:, 0] != place[:-1][pair][:, 1]
    )
    one, two = one[apart], two[apart]
    if len(one) == 0:
        return torch.zeros(0, 2, 2)
    length = np.maximum(
        np.linalg.norm(uv[one[:, 1]] - uv[one[:, 0]], axis=1),
        np.linalg.norm(uv[two[:, 1]] - uv[two[:, 0]], axis=1),
    )
    count = np.clip(np.ceil(length / spacing), 1, 64).astype(int)
    edge = np.repeat(np.arange(len(one)), count)
    along = (np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + 0.5) / count[edge]
    sides = [
        uv[e[edge, 0]] * (1 - along[:, None]) + uv[e[edge, 1]] * along[:, None] for e in (one, two)
    ]
    return torch.from_numpy(np.stack(sides, 1).astype(np.float32))


def _open_texels(raster: torch.Tensor, unlocked: torch.Tensor) -> int:
    return int(((raster[..., 3] > 0).view(-1) & unlocked).sum())
