"""Continuous remeshing (Palfinger 2022): the vertices themselves move, and between the steps edges
are split, collapsed and flipped, so that triangles stay well shaped while the surface travels far.

The wanted length of an edge follows the optimisation: where a vertex is pulled the same way step
after step, triangles become larger and travel faster, for a step is a share of an edge; where it is
pulled to and fro they become smaller, and details come.

There is room for `vertices` of them from the beginning, of which the first `count` are there, so
that optimiser, checkpoints, ranks and forecasts of memory need no other rules. The genus is that
of the shape that it begins with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...engine.errors import ConfigError, ExportError
from ...engine.schema.bounds import Count, Number, Positive, Share
from ...engine.stage import ParameterGroup, Step
from ...meshes.mesh import Mesh
from ...meshes.surface.extraction import decimate
from ...meshes.surface.normals import vertex_normals
from ...meshes.surface.remesh import Remeshed, remesh
from ..representation import Rates, rate_of
from .surface import Surface, SurfaceMesh

MEMORY = 0.8
"""Share of the former mean of a vertex's gradients, and of their squares, in the present one."""
SPEED = 0.3
"""Length of the mean gradient, of the root of the mean square, above which triangles grow."""
GAIN = 0.2
"""By how much they grow in a step for every unit above, or shrink below."""
FACES = 2.1
"""Faces that there is room for, a vertex: two, and four more for every hole."""


@dataclass(frozen=True, kw_only=True)
class RemeshingConfig:
    """Sizes of the triangles, in scene units, and when they change."""

    vertices: Number = 12000
    """Vertices at most: where there is no room, edges stay longer than wanted."""
    edge: Positive = 0.04
    """Length of the edges at the beginning."""
    shortest: Positive = 0.015
    longest: Positive = 0.15
    every: Count = 3
    """Steps between two times that the mesh is changed; 0 for never."""
    until: Share = 0.9
    """Fraction of the stage after which it is not."""
    tolerance: Share = 0.5
    """Share of the wanted length by which an edge may differ from it."""
    relaxed: Share = 0.2
    """Share of the way to the mean of its neighbours that a vertex of a smooth part goes, within
    the surface, every time that the mesh is changed."""

    def check(self, place: str) -> None:
        """Raise ConfigError where the first length is not between the limits; `place` is the
        configuration's dotted name."""
        if not self.shortest <= self.edge <= self.longest:
            raise ConfigError(
                f"edges of {self.edge} are not between {self.shortest} and {self.longest}",
                f"{place}.edge",
                "Choose shortest <= edge <= longest",
            )


class Remeshing(Surface):
    """A mesh whose vertices move. Parameters: moved (vertices, 3), in wanted lengths from the
    places where the vertices were before the step. Raises ConfigError where the first length is
    not between the limits."""

    places: torch.Tensor
    tri: torch.Tensor
    sizes: torch.Tensor
    pull: torch.Tensor
    square: torch.Tensor
    count: torch.Tensor

    def __init__(self, config: RemeshingConfig | None = None) -> None:
        super().__init__()
        self.config = config or RemeshingConfig()
        self.config.check("mesh.shape.remeshing")
        room = self.config.vertices
        self.moved = nn.Parameter(torch.zeros(room, 3))
        self.register_buffer("places", torch.zeros(room, 3))
        self.register_buffer("tri", torch.zeros(int(FACES * room), 3, dtype=torch.int32))
        self.register_buffer("sizes", torch.full((room,), self.config.edge))
        self.register_buffer("pull", torch.zeros(room, 3))
        self.register_buffer("square", torch.zeros(room))
        self.register_buffer("count", torch.zeros(2, dtype=torch.int64))
        self.begin(_ball(0.5))

    def surface(self) -> SurfaceMesh:
        """See `Surface.surface`."""
        vertices, faces = (int(n) for n in self.count)
        points = self.places + self.sizes[:, None] * self.moved
        return SurfaceMesh(points[:vertices], self.tri[:faces].long())

    @torch.no_grad()
    def begin(self, mesh: Mesh) -> None:
        """See `Surface.begin`. Triangles become as large as `edge` says, or as there is room for.
        Raises ExportError where even the coarsest ones do not fit."""
        edge, room = self.config.edge, self.config.vertices
        # Vertices of equal triangles of the wanted edge that cover the surface.
        wanted = mesh.area / (np.sqrt(3) / 2 * edge**2)
        edge *= max(1.0, np.sqrt(wanted / (0.7 * room)))
        coarse = decimate(mesh, max(64, int(3 * mesh.area / (np.sqrt(3) / 4 * edge**2))))
        for _ in range(8):
            own = Remeshed.of(coarse.vertices, coarse.faces, np.full(len(coarse.vertices), edge))
            own, _ = remesh(own, self.config.tolerance, rounds=20, relaxed=0.5)
            if len(own.points) <= room and len(own.faces) <= len(self.tri):
                break
            edge *= 1.2
        else:
            raise ExportError(
                f"the shape does not fit into {room} vertices",
                "mesh.shape.remeshing.vertices",
                "Raise it",
            )
        points = _with_volume(own.points, own.faces, mesh.volume)
        self._take(Remeshed(points, own.faces, own.sizes, own.ends))
        self.moved.zero_()
        self.pull.zero_()
        self.square.zero_()

    def _take(self, mesh: Remeshed) -> None:
        vertices, faces = len(mesh.points), len(mesh.faces)
        device = self.places.device
        self.places[:vertices] = torch.from_numpy(mesh.points).to(self.places)
        self.sizes[:vertices] = torch.from_numpy(mesh.sizes).to(self.sizes)
        self.tri[:faces] = torch.from_numpy(mesh.faces).to(device, torch.int32)
        self.count.copy_(torch.tensor([vertices, faces]))

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """The movements, in wanted lengths of an edge."""
        return [ParameterGroup("moved", [self.moved], rate_of(rates, "moved", "5e-2"))]

    @torch.no_grad()
    def before_step(self, step: Step) -> Mapping[nn.Parameter, torch.Tensor]:
        """Change the mesh where it is time; returns the former row of every row, or -1 where it is
        new. A vertex in the middle of an edge goes on as the edge's first end did."""
        config = self.config
        due = config.every > 0 and step.index > 0 and step.index % config.every == 0
        if not due or step.fraction >= config.until:
            return {}
        vertices, faces = (int(n) for n in self.count)
        own = Remeshed.of(
            self.places[:vertices].double().cpu().numpy(),
            self.tri[:faces].cpu().numpy(),
            self.sizes[:vertices].double().cpu().numpy(),
        )
        changed, _ = remesh(own, config.tolerance, self._room(), relaxed=config.relaxed)
        self._take(changed)
        ends = torch.from_numpy(changed.ends).to(self.places.device)
        for values in (self.pull, self.square):
            values[: len(ends)] = (0.5 * (values[ends[:, 0]] + values[ends[:, 1]])).clone()
        rows = torch.full((config.vertices,), -1, dtype=torch.long, device=self.places.device)
        rows[: len(ends)] = ends[:, 0]
        return {self.moved: rows}

    def _room(self) -> int:
        """Vertices that there may be, as there have to be places for the faces too."""
        vertices, faces = (int(n) for n in self.count)
        return min(self.config.vertices, vertices + (len(self.tri) - faces) // 2)

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """The movement becomes the place, and the wanted lengths follow the gradients."""
        self.places += self.sizes[:, None] * self.moved
        self.moved.zero_()
        gradient = self.moved.grad
        if gradient is None:
            return
        self.pull.lerp_(gradient.to(self.pull), 1 - MEMORY)
        self.square.lerp_(gradient.to(self.square).square().sum(-1), 1 - MEMORY)
        speed = self.pull.norm(dim=-1) / self.square.sqrt().clamp_min(1e-30)
        # What no view has seen is pulled nowhere, and stays.
        seen = self.square > 0
        grown = self.sizes * (1 + GAIN * (speed - SPEED))
        kept = grown.clamp(self.config.shortest, self.config.longest)
        self.sizes.copy_(torch.where(seen, kept, self.sizes))

    def changes_topology(self) -> bool:
        """See `Surface.changes_topology`: the genus stays, and the faces do not."""
        return True


def _ball(radius: float) -> Mesh:
    import trimesh

    round_ = trimesh.creation.icosphere(3, radius=radius)
    return Mesh(round_.vertices.astype(np.float32), round_.faces.astype(np.int32))


def _with_volume(points: np.ndarray, faces: np.ndarray, volume: float) -> np.ndarray:
    """Points moved along their normals until the mesh encloses a volume, as coarser triangles cut
    off what is round."""
    for _ in range(4):
        mesh = Mesh(points.astype(np.float32), faces.astype(np.int32))
        lacking = volume - mesh.volume
        if abs(lacking) < 1e-5 * abs(volume) or mesh.area <= 0:
            break
        normals = vertex_normals(mesh.vertices, mesh.faces)
        points = points + lacking / mesh.area * normals
    return points
