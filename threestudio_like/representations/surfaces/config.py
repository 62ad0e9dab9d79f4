"""The choice of a surface and its sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...engine.schema.by_name import ConfigsByName
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

    def check(self, place: str) -> None:
        """Raise ConfigError where the sizes of the kind do not go together; `place` is the
        configuration's dotted name."""
        check = getattr(self.chosen(), "check", None)
        if check is not None:
            check(f"{place}.{SURFACES.canonical(self.kind)}")

    def chosen(self) -> Any:
        """The configuration of the kind."""
        name = SURFACES.canonical(self.kind)
        return getattr(self, name) if name in OtherSurfaces.own else self.others.of(name)

    def build(self) -> Surface:
        """The surface, as it is before it begins with a mesh."""
        return SURFACES.get(SURFACES.canonical(self.kind)).build(self.chosen())
