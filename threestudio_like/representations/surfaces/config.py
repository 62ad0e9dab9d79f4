"""The choice of a surface and its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...engine.config import OpenConfig, to_dict, update
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
OWN = ("flexicubes", "tetrahedra", "remeshing")
"""Kinds that have a key of their own in `ShapeConfig`."""


class OtherSurfaces(OpenConfig):
    """Typed configurations of plug-ins' kinds of surfaces, by name; those that are not named have
    their defaults.

    Args:
        configs: name -> an instance of the kind's configuration.
    """

    takes_unknown = True

    def __init__(self, configs: Mapping[str, Any] | None = None) -> None:
        self._configs = dict(configs or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OtherSurfaces) and self._configs == other._configs

    def __hash__(self) -> int:
        return hash(tuple(self._configs))

    def __repr__(self) -> str:
        return f"OtherSurfaces({self._configs})"

    def of(self, name: str) -> Any:
        """The configuration of a kind. Raises ConfigError."""
        return self._configs.get(name) or SURFACES.get(name).config()

    def names(self) -> list[str]:
        """The plug-ins' kinds."""
        return [n for n in SURFACES.names() if n not in OWN]

    def updated(self, values: Mapping[str, Any], where: str) -> OtherSurfaces:
        """See `OpenConfig`."""
        configs = dict(self._configs)
        for name, own in values.items():
            SURFACES.check(name, f"{where}{name}")
            configs[name] = update(self.of(name), own, prefix=f"{where}{name}.")
        return OtherSurfaces(configs)

    def plain(self) -> dict[str, Any]:
        """See `OpenConfig`."""
        return {name: to_dict(config) for name, config in self._configs.items()}


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
        name = SURFACES.canonical(self.kind)
        own = getattr(self, name) if name in OWN else self.others.of(name)
        return SURFACES.get(name).build(own)
