"""What a mesh stage begins with: the shape, the colours and the views of what was there before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from ...meshes.mesh import Mesh
from ...meshes.points import sample_surface
from ...meshes.surface.extraction import ExtractionConfig
from ...priors.diffusion import Reference
from ...renderers import BackgroundSample, Cameras
from ...renderers.mesh import MeshRenderer
from ...renderers.rendering import Rendering
from ...representations import Field
from ...representations.surfaces import SurfaceMesh
from ..field_to_mesh import field_mesh, surface_colour
from ..model import FieldModel
from .targets import GivenView, Teacher

Colour = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Points (N, 3) and unit normals (N, 3) -> RGB (N, 3) in [0, 1]."""


@dataclass
class MeshStart:
    """What a mesh stage begins with; all of it is asked for only where a stage begins afresh.

    Attributes:
        mesh: the shape, closed and within [-1, 1]^3.
        colour: of points on it; None for grey.
        teacher: renders what was there before, which the stage is held to; None for nothing.
        given: pictures that are known.
        coloured: whether the teacher's colours count.
        reference: a picture of the object, for priors that want one.
        distance, fov_y: of the cameras that show it, scene units and degrees.
    """

    mesh: Callable[[], Mesh]
    colour: Colour | None = None
    teacher: Teacher | None = None
    given: list[GivenView] = field(default_factory=list)
    coloured: bool = True
    reference: Reference | None = None
    distance: float = 3.0
    fov_y: float = 40.0

    @staticmethod
    def of_field(parts: FieldModel, extraction: ExtractionConfig, pieces: int = 1) -> MeshStart:
        """A field: its surface at the level that its own views agree with, with its volume kept."""

        def mesh() -> Mesh:
            return field_mesh(parts, replace(extraction, pieces=pieces, faces=0))[0]

        return MeshStart(
            mesh,
            surface_colour(parts),
            _views_of(parts),
            distance=parts.distance,
            fov_y=parts.fov_y,
        )

    @staticmethod
    def of_mesh(
        mesh: Mesh,
        colour: Colour | None = None,
        *,
        distance: float = 3.0,
        fov_y: float = 40.0,
        taught: bool = True,
    ) -> MeshStart:
        """A mesh with its colours, of which pictures are taken where it is `taught`."""
        return MeshStart(
            lambda: mesh,
            colour,
            mesh_views(mesh, colour) if taught else None,
            distance=distance,
            fov_y=fov_y,
        )


def _views_of(parts: FieldModel) -> Teacher:
    def teacher(cameras: Cameras) -> Rendering:
        shape = (len(cameras), cameras.height, cameras.width, parts.field.channels)
        seen = parts.renderer.render(parts.field, cameras, BackgroundSample(torch.zeros(shape)))
        # What is half transparent shows less of itself, and the surface will be opaque.
        solid = seen.opacity.clamp_min(1e-3)
        colours = parts.decode(seen.features / solid) * seen.opacity
        return Rendering(
            colours,
            seen.opacity,
            seen.depth / solid * (seen.opacity > 0.5),
            background=torch.zeros_like(colours),
        )

    return teacher


def mesh_views(mesh: Mesh, colour: Colour | None = None) -> Teacher:
    """Renders a mesh with the colours of its points; grey without any."""
    points, tri = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces).long()
    shape, field_ = SurfaceMesh(points, tri), SurfaceColours(mesh, colour)

    def teacher(cameras: Cameras) -> Rendering:
        black = torch.zeros(len(cameras), cameras.height, cameras.width, 3)
        return MeshRenderer().render(shape, cameras, BackgroundSample(black), appearance=field_)

    return teacher


class SurfaceColours(Field):
    """A field whose colours are those of the nearest point of a mesh, however far, so that a
    surface that moves keeps its colours. It holds no matter.

    Args:
        colour: of points and normals; None for grey everywhere.
        samples: points of the surface whose colours are asked for.
    """

    channels = 3

    def __init__(self, mesh: Mesh, colour: Colour | None, samples: int = 40000) -> None:
        super().__init__()
        cloud = sample_surface(mesh, samples)
        assert cloud.normals is not None
        points, normals = (
            torch.from_numpy(part.astype(np.float32)) for part in (cloud.points, cloud.normals)
        )
        grey = torch.full((samples, 3), 0.5)
        with torch.no_grad():
            self.colours = grey if colour is None else colour(points, normals).cpu().clamp(0, 1)
        self._tree = cKDTree(cloud.points)

    @torch.no_grad()
    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """No density (N,), and colours (N, 3)."""
        place = points.cpu().double().numpy()
        colours = self.colours[torch.from_numpy(self._tree.query(place)[1])]
        return torch.zeros(len(points), device=points.device), colours.to(points)
