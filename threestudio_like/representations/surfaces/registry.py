"""The kinds of differentiable surfaces by name. A new one is one file:

    @surface("mine", "one line", config=MyConfig)
    class Mine(Surface):
        def __init__(self, config: MyConfig): ...

in a file given with --plugins, or in a package with an entry point in the group
"threestudio_like.surfaces".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ...engine.registry import Registry
from .surface import Surface

B = TypeVar("B", bound=Callable[..., Surface])


@dataclass(frozen=True, kw_only=True)
class SurfaceKind:
    """A kind of surface: one line about it, the dataclass of its configuration, and what builds
    it."""

    summary: str
    config: type
    build: Callable[[Any], Surface]


SURFACES: Registry[SurfaceKind] = Registry(
    "surface",
    "threestudio_like.surfaces",
    SurfaceKind,
    built_in={
        "flexicubes": "threestudio_like.representations.surfaces.config:FLEXICUBES",
        "tetrahedra": "threestudio_like.representations.surfaces.config:TETRAHEDRA",
        "remeshing": "threestudio_like.representations.surfaces.config:REMESHING",
    },
    aliases={"dmtet": "tetrahedra", "continuous-remeshing": "remeshing"},
)


def surface(name: str, summary: str, *, config: type) -> Callable[[B], B]:
    """Register what is decorated, a class or function of its configuration, as a kind of
    surface."""

    def register(build: B) -> B:
        SURFACES.add(name, SurfaceKind(summary=summary, config=config, build=build))
        return build

    return register
