"""What the differentiable surfaces share: the mesh that a step draws, and the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from ...kernels import EdgeTable, edge_table
from ...meshes.mesh import Mesh
from ..representation import Representation
from . import terms


@dataclass
class SurfaceMesh:
    """A triangle mesh of one step, differentiable in its points.

    points (V, 3) float; tri (F, 3) int64, counter-clockwise seen from outside; deviation (), the
    regulariser of the kind that made it (0 where it has none). Faces that are parts of one polygon
    share their vertices like all others.
    """

    points: torch.Tensor
    tri: torch.Tensor
    deviation: torch.Tensor | None = None
    _edges: list[EdgeTable] = field(default_factory=list, repr=False, compare=False)

    def edges(self) -> EdgeTable:
        """The edges with their opposite corners, for `kernels.antialias` and the regularisers;
        made once."""
        if not self._edges:
            self._edges.append(edge_table(self.tri))
        return self._edges[0]

    def face_normals(self) -> torch.Tensor:
        """Unit normals (F, 3), zero for a face without an area."""
        a, b, c = (self.points[self.tri[:, k]] for k in range(3))
        return F.normalize(torch.linalg.cross(b - a, c - a), dim=-1)

    def detached(self) -> Mesh:
        """The same as a mesh of numpy arrays, without vertices that no face uses."""
        points = self.points.detach().float().cpu().numpy()
        faces = self.tri.cpu().numpy().astype("int32")
        return Mesh(points, faces).keep_faces(torch.ones(len(faces), dtype=torch.bool).numpy())


class Surface(Representation):
    """A closed surface within [-1, 1]^3 whose shape is optimised."""

    channels = 0
    resamples = True

    def surface(self) -> SurfaceMesh:
        """The mesh of the present parameters, differentiable in all of them."""
        raise TypeError(f"{type(self).__name__} does not define its surface")

    def mesh(self) -> Mesh:
        """The mesh as it is exported: few faces where those of `surface` are split for the
        gradient's sake."""
        with torch.no_grad():
            return self.surface().detached()

    def begin(self, mesh: Mesh) -> None:
        """Begin with the surface of a closed mesh within [-1, 1]^3, with its volume kept. Raises
        ExportError where the kind is too coarse to hold any of it."""
        raise TypeError(f"{type(self).__name__} does not begin with a mesh")

    def changes_topology(self) -> bool:
        """Whether faces may appear and vanish from step to step."""
        return True

    def mesh_terms(
        self, mesh: SurfaceMesh, weights: Mapping[str, float]
    ) -> dict[str, torch.Tensor]:
        """Weighted regularisers of this kind and of every mesh, by name; see `SurfaceTerms`."""
        return terms.weighted(mesh.points, mesh.tri, mesh.edges(), weights)
