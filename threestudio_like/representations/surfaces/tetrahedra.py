"""Deep marching tetrahedra's geometry (Shen et al. 2021, DMTet): a signed-distance value and a
movement for every point of a tetrahedral grid, and marching tetrahedra.

The grid is the body-centred cubic one: corners and centres of cubes; every face of a cube and the
two centres beside it make four equal tetrahedra.
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
from .tables import TETRAHEDRON, tetrahedron_table

REACH = 0.3
"""Share of a cell by which a grid point may move: a tetrahedron's height is 0.7 of a cell."""


@dataclass(frozen=True, kw_only=True)
class TetrahedraConfig:
    """Sizes of the grid."""

    size: Size = 48
    """Cubes along an edge of the cube [-1, 1]^3; about twelve tetrahedra each."""


def tetrahedral_grid(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (P, 3) over [-1, 1]^3, those of the cubic grid first and then the centres, and
    tetrahedra (T, 4) int32 of positive volume. They fill all but half cells at the border."""
    line = size + 1
    corners = grid_points(size)
    numbers = torch.arange(size)
    z, y, x = torch.meshgrid(numbers, numbers, numbers, indexing="ij")
    middle = (torch.stack([x, y, z], -1).view(-1, 3) + 0.5) / size * 2 - 1
    points = torch.cat([corners, middle])
    stride = (1, line, line * line)
    cell = (1, size, size * size)
    tets = []
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        at = [x, y, z]
        inner = (at[axis] > 0).view(-1)
        high = (x + size * y + size * size * z).view(-1)[inner]
        first = (x + line * y + line * line * z).view(-1)[inner]
        ring = [first, first + stride[b], first + stride[b] + stride[c], first + stride[c]]
        above, below = high + line**3, high - cell[axis] + line**3
        for k in range(4):
            tets.append(torch.stack([below, ring[k], ring[(k + 1) % 4], above], 1))
    tet = torch.cat(tets)
    a, b_, c_, d = (points[tet[:, k]] for k in range(4))
    volume = ((b_ - a) * torch.linalg.cross(c_ - a, d - a)).sum(-1)
    turned = volume < 0
    tet[turned] = tet[turned][:, [0, 2, 1, 3]]
    return points, tet.int()


def marching_tetrahedra(
    points: torch.Tensor, sdf: torch.Tensor, tets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vertices (V, 3) where the distances `sdf` (P,) change their sign along the edges of
    tetrahedra (T, 4), faces (F, 3) counter-clockwise seen from outside, and the crossed edges
    (V, 2). Differentiable in points (P, 3) and sdf."""
    inside = sdf.detach() < 0
    bits = torch.tensor([1, 2, 4, 8], device=sdf.device, dtype=torch.int32)
    code = (inside[tets.long()].int() * bits).sum(1)
    active = ((code > 0) & (code < 15)).nonzero()[:, 0]
    table = torch.from_numpy(tetrahedron_table()).to(sdf.device)[code[active].long()]
    row, which = (table[..., 0] >= 0).nonzero().unbind(1)
    ends = torch.from_numpy(TETRAHEDRON).to(sdf.device)[table[row, which]]
    pair = tets[active[row]].long()[torch.arange(len(row), device=sdf.device)[:, None, None], ends]
    pair = pair.sort(-1)[0].view(-1, 2)
    key, number = torch.unique(pair[:, 0] * len(sdf) + pair[:, 1], return_inverse=True)
    edge = torch.stack([key // len(sdf), key % len(sdf)], 1)
    low, high = sdf[edge[:, :1]], sdf[edge[:, 1:]]
    vertices = (low * points[edge[:, 1]] - high * points[edge[:, 0]]) / (low - high)
    return vertices, number.view(-1, 3), edge


class Tetrahedra(Surface):
    """DMTet's geometry. Parameters: sdf (P,) in cells, negative inside; moved (P, 3), positions
    through tanh within a share of a cell."""

    grid: torch.Tensor
    tets: torch.Tensor
    border: torch.Tensor

    def __init__(self, config: TetrahedraConfig | None = None) -> None:
        super().__init__()
        self.config = config or TetrahedraConfig()
        grid, tets = tetrahedral_grid(self.config.size)
        self.register_buffer("grid", grid, persistent=False)
        self.register_buffer("tets", tets, persistent=False)
        # Also the centres of the outermost cubes: beyond them the grid has holes.
        edge = 1 - 1.5 / self.config.size
        self.register_buffer("border", (grid.abs() > edge).any(-1), persistent=False)
        self.sdf = nn.Parameter((grid.norm(dim=-1) - 0.5) * self.config.size / 2)
        self.moved = nn.Parameter(torch.zeros_like(grid))

    def distances(self) -> torch.Tensor:
        """The signed distances (P,) in cells; the border is outside."""
        kept = torch.where(self.border, self.sdf.clamp_min(0.5), self.sdf)
        return torch.where(kept.abs() < 1e-6, torch.full_like(kept, 1e-6), kept)

    def _march(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        places = self.grid + (2 * REACH / self.config.size) * self.moved.tanh()
        return marching_tetrahedra(places, self.distances(), self.tets)

    def surface(self) -> SurfaceMesh:
        """See `Surface.surface`."""
        points, tri, _ = self._march()
        return SurfaceMesh(points, tri)

    @torch.no_grad()
    def begin(self, mesh: Mesh) -> None:
        """See `Surface.begin`."""
        self.moved.zero_()
        begin_with(self, self.sdf, self.grid, mesh=mesh, cell=2 / self.config.size)

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """Distances and movements, both in cells."""
        return [
            ParameterGroup("sdf", [self.sdf], rate_of(rates, "sdf", "2e-2")),
            ParameterGroup("deform", [self.moved], rate_of(rates, "deform", "2e-2")),
        ]

    def mesh_terms(
        self, mesh: SurfaceMesh, weights: Mapping[str, float]
    ) -> dict[str, torch.Tensor]:
        """Also the entropy of sign changes."""
        found = super().mesh_terms(mesh, weights)
        if weights.get("sign_changes", 0) > 0:
            _, _, edges = self._march()
            found["sign_changes"] = weights["sign_changes"] * sign_entropy(self.distances(), edges)
        return found
