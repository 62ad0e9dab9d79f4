"""FlexiCubes (Shen et al. 2023, "Flexible Isosurface Extraction for Gradient-Based Mesh
Optimization"): dual marching cubes of a signed-distance grid with weights that move the vertices.

Equations by their numbers in the paper: crossings of edges (5), dual vertices (6), the midpoint of
a quad (7), the deviation of dual vertices (8) and the entropy of sign changes (9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ...engine.schema.bounds import Size
from ...engine.stage import ParameterGroup
from ...meshes.mesh import Mesh
from ..representation import Rates, rate_of
from .signed_distance import begin_with, grid_points, sign_entropy
from .surface import Surface, SurfaceMesh
from .tables import dual_table, edge_corners

REACH = 0.49
"""Share of a cell by which a grid point may move."""


@dataclass(frozen=True, kw_only=True)
class FlexiCubesConfig:
    """Sizes of the grid."""

    size: Size = 64
    """Cells along an edge of the cube [-1, 1]^3."""


@dataclass
class DualVertices:
    """Dual vertices of a grid and what they are made of.

    points (V, 3); cube (V,) the place of each one's cube among the A active ones; number (A, 12)
    the vertex that an edge of an active cube belongs to, or -1; rank (N^3,) the places of all cubes
    among the active ones, or -1; deviation () of the vertices from their crossings.
    """

    points: torch.Tensor
    cube: torch.Tensor
    number: torch.Tensor
    rank: torch.Tensor
    deviation: torch.Tensor


def corner_numbers(cubes: torch.Tensor, size: int) -> torch.Tensor:
    """The grid points (A, 8) of cubes (A,), numbers over size^3 cells and (size + 1)^3 points, both
    with x first."""
    x, y, z = cubes % size, cubes // size % size, cubes // (size * size)
    line = size + 1
    first = (z * line + y) * line + x
    bits = torch.arange(8, device=cubes.device)
    offset = (bits & 1) + line * (bits >> 1 & 1) + line * line * (bits >> 2 & 1)
    return first[:, None] + offset


def cube_codes(inside: torch.Tensor, size: int) -> torch.Tensor:
    """The configuration (size^3,) of every cube: bit c is set where its corner c is inside
    ((size + 1)^3,) bool."""
    grid = inside.view(size + 1, size + 1, size + 1).int()
    code = torch.zeros(size, size, size, dtype=torch.int32, device=inside.device)
    for c in range(8):
        x, y, z = c & 1, c >> 1 & 1, c >> 2 & 1
        code += grid[z : z + size, y : y + size, x : x + size] << c
    return code.view(-1).long()


def flipped_cubes(active: torch.Tensor, code: torch.Tensor, size: int) -> torch.Tensor:
    """Which active cubes (A,) share a face that one patch crosses twice on both of its sides; see
    `tables.dual_table`."""
    joined = torch.from_numpy(dual_table().joined).to(code.device)
    face = joined[code[active]]
    has = face >= 0
    axis, side = face.clamp_min(0) // 2, face.clamp_min(0) % 2
    step = torch.tensor([1, size, size * size], device=code.device)[axis]
    # Outer corners are outside, so a face with two inner ones has a cube on either side.
    other = (active + torch.where(side == 1, step, -step)).clamp(0, size**3 - 1)
    return has & (joined[code[other]] == torch.where(side == 1, face - 1, face + 1))


def active_cubes(sdf: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The cubes (A,) that the surface of distances ((N + 1)^3,) passes through, and the codes
    (N^3,) of all cubes, see `cube_codes`."""
    code = cube_codes(sdf.detach() < 0, size)
    return ((code > 0) & (code < 255)).nonzero()[:, 0], code


def dual_vertices(
    points: torch.Tensor,  # [(N + 1)^3, 3]
    sdf: torch.Tensor,  # [(N + 1)^3], negative inside
    active: torch.Tensor,  # [A], from `active_cubes`
    code: torch.Tensor,  # [N^3], from there too
    alpha: torch.Tensor,  # [A, 8], positive
    beta: torch.Tensor,  # [A, 12], positive
    size: int,
) -> DualVertices:
    """The dual vertices of all patches: weighted means of the crossings of their edges.
    Differentiable in points, sdf, alpha and beta."""
    table = dual_table()
    device = sdf.device
    flip = flipped_cubes(active, code, size).long()
    patch = torch.from_numpy(table.patch).to(device)[code[active], flip]
    count = torch.from_numpy(table.count).to(device)[code[active], flip]
    first = count.cumsum(0) - count
    number = torch.where(patch >= 0, first[:, None] + patch, -1)
    total = int(count.sum())
    row, edge = (patch >= 0).nonzero().unbind(1)
    vertex = number[row, edge]
    ends = torch.from_numpy(edge_corners()).to(device)[edge]
    corner = corner_numbers(active, size)[row[:, None], ends]
    weight = sdf[corner] * alpha[row[:, None], ends]
    low, high = weight[:, :1], weight[:, 1:]
    at = points[corner]
    crossing = (low * at[:, 1] - high * at[:, 0]) / (low - high)
    share = beta[row, edge]
    whole = torch.zeros(total, dtype=sdf.dtype, device=device).index_add(0, vertex, share)
    summed = torch.zeros(total, 3, dtype=sdf.dtype, device=device)
    place = summed.index_add(0, vertex, share[:, None] * crossing) / whole[:, None]
    rank = torch.full((size**3,), -1, dtype=torch.long, device=device)
    rank[active] = torch.arange(len(active), device=device)
    return DualVertices(
        place,
        cube=torch.arange(len(active), device=device).repeat_interleave(count),
        number=number,
        rank=rank,
        deviation=_deviation(place, crossing, vertex),
    )


def _deviation(place: torch.Tensor, crossing: torch.Tensor, vertex: torch.Tensor) -> torch.Tensor:
    """Mean over the vertices (V, 3) of the mean absolute deviation of their distances to their
    crossings (C, 3), whose vertices are `vertex` (C,)."""
    if len(place) == 0:
        return place.sum()
    distance = (crossing - place[vertex]).square().sum(-1).clamp_min(1e-20).sqrt()
    count = torch.bincount(vertex, minlength=len(place)).to(distance)
    empty = torch.zeros_like(count)
    mean = empty.index_add(0, vertex, distance) / count
    off = (distance - mean[vertex]).abs()
    return (empty.index_add(0, vertex, off) / count).mean()


def dual_quads(dual: DualVertices, sdf: torch.Tensor, size: int) -> torch.Tensor:
    """The quads (Q, 4) of dual vertices, one for every crossed grid edge, counter-clockwise seen
    from outside. The border of the grid must be outside."""
    line = size + 1
    inside = (sdf.detach() < 0).view(line, line, line)
    stride = (1, size, size * size)
    quads = []
    for axis in range(3):
        dim = 2 - axis
        low, high = inside.narrow(dim, 0, size), inside.narrow(dim, 1, size)
        z, y, x = (low != high).nonzero().unbind(1)
        b, c = (axis + 1) % 3, (axis + 2) % 3
        cube = x + size * y + size * size * z
        corners = []
        for back_b, back_c in ((0, 0), (1, 0), (1, 1), (0, 1)):
            around = cube - back_b * stride[b] - back_c * stride[c]
            corners.append(dual.number[dual.rank[around], 4 * axis + back_b + 2 * back_c])
        quad = torch.stack(corners, 1)
        outwards = low[z, y, x]
        quads.append(torch.where(outwards[:, None], quad, quad.flip(1)))
    return torch.cat(quads)


def split_quads(
    points: torch.Tensor, quads: torch.Tensor, gamma: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (V + Q, 3) and triangles (4 Q, 3): every quad with a vertex between the middles of its
    diagonals, weighted by the products of gamma (V,) at their ends. Differentiable in both."""
    g = gamma[quads]
    one, two = (g[:, 0] * g[:, 2])[:, None], (g[:, 1] * g[:, 3])[:, None]
    at = points[quads]
    first, second = (at[:, 0] + at[:, 2]) / 2, (at[:, 1] + at[:, 3]) / 2
    middle = (one * first + two * second) / (one + two)
    number = len(points) + torch.arange(len(quads), device=quads.device)
    tri = torch.stack(
        [torch.stack([quads[:, k], quads[:, (k + 1) % 4], number], 1) for k in range(4)], 1
    )
    return torch.cat([points, middle]), tri.reshape(-1, 3)


def cut_quads(quads: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Triangles (2 Q, 3): every quad cut along the diagonal with the larger product of gamma
    (V,)."""
    g = gamma[quads]
    along = (g[:, 0] * g[:, 2] > g[:, 1] * g[:, 3])[:, None, None]
    first = torch.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], 1)
    second = torch.stack([quads[:, [0, 1, 3]], quads[:, [1, 2, 3]]], 1)
    return torch.where(along, first, second).reshape(-1, 3)


class FlexiCubes(Surface):
    """A signed-distance grid whose points move, with FlexiCubes' weights for every cube.

    Parameters, with N = `config.size`: sdf ((N + 1)^3,) in cells, negative inside; moved
    ((N + 1)^3, 3), positions through tanh within half a cell; weights (N^3, 21): alpha (8), beta
    (12) and gamma (1) of every cube through 1 + tanh and a sigmoid.
    """

    grid: torch.Tensor
    border: torch.Tensor

    def __init__(self, config: FlexiCubesConfig | None = None) -> None:
        super().__init__()
        self.config = config or FlexiCubesConfig()
        size = self.config.size
        grid = grid_points(size)
        self.register_buffer("grid", grid, persistent=False)
        self.register_buffer("border", (grid.abs() > 1 - 1e-6).any(-1), persistent=False)
        self.sdf = nn.Parameter((grid.norm(dim=-1) - 0.5) * size / 2)
        self.moved = nn.Parameter(torch.zeros_like(grid))
        self.weights = nn.Parameter(torch.zeros(size**3, 21))

    def distances(self) -> torch.Tensor:
        """The signed distances ((N + 1)^3,) in cells; the border is outside."""
        kept = torch.where(self.border, self.sdf.clamp_min(0.5), self.sdf)
        # Never exactly 0, where a crossing would lie on two edges at once.
        return torch.where(kept.abs() < 1e-6, torch.full_like(kept, 1e-6), kept)

    def places(self) -> torch.Tensor:
        """The grid points ((N + 1)^3, 3) where they have moved to."""
        return self.grid + (2 * REACH / self.config.size) * self.moved.tanh()

    def _dual(self) -> tuple[DualVertices, torch.Tensor, torch.Tensor]:
        size, sdf = self.config.size, self.distances()
        active, code = active_cubes(sdf, size)
        weights = self.weights[active]
        shares = 1 + 0.99 * weights[:, :20].tanh()
        dual = dual_vertices(
            self.places(),
            sdf,
            active,
            code=code,
            alpha=shares[:, :8],
            beta=shares[:, 8:],
            size=size,
        )
        gamma = weights[dual.cube, 20].sigmoid()
        return dual, dual_quads(dual, sdf, size), gamma

    def surface(self) -> SurfaceMesh:
        """The mesh with four triangles for every quad."""
        dual, quads, gamma = self._dual()
        points, tri = split_quads(dual.points, quads, gamma)
        return SurfaceMesh(points, tri, dual.deviation * (self.config.size / 2))

    @torch.no_grad()
    def mesh(self) -> Mesh:
        """The mesh with two triangles for every quad."""
        dual, quads, gamma = self._dual()
        return SurfaceMesh(dual.points, cut_quads(quads, gamma)).detached()

    @torch.no_grad()
    def begin(self, mesh: Mesh) -> None:
        """See `Surface.begin`."""
        self.moved.zero_()
        self.weights.zero_()
        begin_with(self, self.sdf, self.grid, mesh=mesh, cell=2 / self.config.size)

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """Distances, movements and weights, all in cells."""
        return [
            ParameterGroup("sdf", [self.sdf], rate_of(rates, "sdf", "2e-2")),
            ParameterGroup("deform", [self.moved], rate_of(rates, "deform", "2e-2")),
            ParameterGroup("weights", [self.weights], rate_of(rates, "weights", "2e-2")),
        ]

    def mesh_terms(
        self, mesh: SurfaceMesh, weights: Mapping[str, float]
    ) -> dict[str, torch.Tensor]:
        """Also L_dev and the entropy of sign changes."""
        found = super().mesh_terms(mesh, weights)
        if weights.get("deviation", 0) > 0 and mesh.deviation is not None:
            found["deviation"] = weights["deviation"] * mesh.deviation
        if weights.get("sign_changes", 0) > 0:
            sdf = self.distances()
            found["sign_changes"] = weights["sign_changes"] * sign_entropy(sdf, _axis_edges(self))
        return found


def _axis_edges(surface: FlexiCubes) -> torch.Tensor:
    """The grid edges (E, 2) whose ends lie on different sides."""
    line = surface.config.size + 1
    inside = (surface.sdf.detach() < 0).view(line, line, line)
    found = []
    for axis, stride in enumerate((1, line, line * line)):
        dim = 2 - axis
        low, high = inside.narrow(dim, 0, line - 1), inside.narrow(dim, 1, line - 1)
        z, y, x = (low != high).nonzero().unbind(1)
        first = (z * line + y) * line + x
        found.append(torch.stack([first, first + stride], 1))
    return torch.cat(found)


__all__ = [
    "DualVertices",
    "FlexiCubes",
    "FlexiCubesConfig",
    "active_cubes",
    "cut_quads",
    "dual_quads",
    "dual_vertices",
    "split_quads",
]
