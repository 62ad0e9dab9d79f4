"""The choice of a surface and its sizes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...engine.schema.by_name import ConfigsByName, chosen
from .flexicubes import FlexiCubes, FlexiCubesConfig
from .registry import SURFACES, SurfaceKind
from .remeshing import Remeshing, RemeshingConfig
from .surface import Surface
from .tetrahedra import Tetrahedra, TetrahedraConfig

FLEXICUBES = SurfaceKind(
    summary="dual marching cubes with weights, which hold sharp edges (Shen et al. 2023)",
    config=FlexiCubesConfig,
    build=FlexiCubes,
)
TETRAHEDRA = SurfaceKind(
    summary="marching tetrahedra of a grid that moves (DMTet, Shen et al. 2021)",
    config=TetrahedraConfig,
    build=Tetrahedra,
)
REMESHING = SurfaceKind(
    summary="a mesh that is remeshed while its vertices move (Palfinger 2022)",
    config=RemeshingConfig,
    build=Remeshing,
)


class OtherSurfaces(ConfigsByName):
    """Those of plug-ins' kinds of surfaces."""

    registry = SURFACES
    own = ("flexicubes", "tetrahedra", "remeshing")


@dataclass(frozen=True, kw_only=True)
class ShapeConfig:
    """The kind of surface, and the sizes of each kind."""

    kind: str = "flexicubes"
    """flexicubes, tetrahedra, remeshing, or a plug-in's."""
    flexicubes: FlexiCubesConfig = field(default_factory=FlexiCubesConfig)
    tetrahedra: TetrahedraConfig = field(default_factory=TetrahedraConfig)
    remeshing: RemeshingConfig = field(default_factory=RemeshingConfig)
    others: OtherSurfaces = field(default_factory=OtherSurfaces)
    """Configurations of plug-ins' kinds."""

    def __post_init__(self) -> None:
        SURFACES.check(self.kind, "mesh.shape.kind")

    def build(self) -> Surface:
        """The surface, as it is before it begins with a mesh."""
        return SURFACES.get(self.kind).build(chosen(self))
