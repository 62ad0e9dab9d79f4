"""How values of threestudio's signed-distance geometries become those of a mesh stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .rules import Outcome, Rule, Scene, alone
from .values import NoTranslation, number, whole


def tetrahedra(scene: Scene, value: Any) -> Outcome:
    """The edge of a tetrahedral grid: as many points as threestudio's file of this name has, whose
    cells are finer than the cube's edge over the number."""
    return Outcome(values={"@.shape.tetrahedra.size": max(8, round(0.4 * whole(value)))})


def deformable(scene: Scene, value: Any) -> Outcome:
    """Whether grid points move; follows `optimiser`, which gives them their rate."""
    return Outcome() if value else Outcome(values={"@.rates.deform": "0"})


def fixed_shape(scene: Scene, value: Any) -> Outcome:
    """A shape that stays as it is."""
    return Outcome(values={"@.move": "colours"} if value else {})


def first_shape(scene: Scene, value: Any) -> Outcome:
    """What a signed distance begins as."""
    if value is None:
        return Outcome()
    if value != "sphere":
        raise NoTranslation(f'"{value}": a surface begins as a sphere, or as the run before')
    return Outcome(values={"@.begin": "sphere"})


def latent_share(scene: Scene, value: Any) -> Outcome:
    """Steps of normals and mask as latents, as a share of the run."""
    return Outcome(values={"@.latent_share": min(1.0, round(number(value) / scene.steps, 9))})


def inherited(scene: Scene, value: Any) -> Outcome:
    """Whether colours begin as those of the run before."""
    if scene.command == "texture":
        return Outcome(values={"--begin": True} if value else {})
    if not value:
        return Outcome()
    return Outcome(
        verdict="part",
        note="a hash grid of colours begins anew; --mesh.colours.kind voxels does not",
    )


MESH_RULES: dict[str, Callable[..., Rule]] = {
    f.__name__: alone(f)
    for f in (tetrahedra, deformable, fixed_shape, first_shape, latent_share, inherited)
}
"""These rules by the names that options.yaml has for them."""
