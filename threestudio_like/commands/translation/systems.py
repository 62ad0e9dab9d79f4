"""threestudio's systems, by the command and the configuration that they become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ...engine.errors import ConfigError
from ...guidance.choice import Guidances
from ...guidance.image_refinement import RefinementConfig
from ...guidance.score_distillation import ScoreDistillationConfig
from ...representations import LearningRates
from ...representations.config import FieldConfig
from ...representations.surfaces import SurfaceTerms
from ...stages.distillation import DistillationConfig
from ...stages.mesh.config import MeshRates
from ...stages.painting import PaintingConfig, PaintTerms
from ...stages.painting_rounds import PaintRoundsConfig
from ...stages.regularisers import Regularisation
from ...systems.image_to_3d.field_optimisation import PictureOptimisation, StartConfig
from ...systems.image_to_3d.reference_view import PictureTerms
from ...systems.text_to_3d.dreamfusion import DreamFusion
from ...systems.text_to_3d.fantasia3d import Fantasia3D
from ...systems.text_to_3d.latent_nerf import LatentNerf
from ...systems.text_to_3d.rgb_refinement import RgbRefinement
from ...systems.texturing.latent_paint import LatentPaint
from .reading import Document


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a system becomes.

    Attributes:
        command: that runs it.
        system: its name there.
        base: makes the configuration that values are put into: the published method without what
            this toolkit adds to it.
        stage: the configuration of its distillation.
        channels: of the features.
        geometry: the part that takes the place of any geometry, where the command is given one.
        note: what is different as a whole.
        score: the configuration of its score distillation, in the stage's.
    """

    command: str
    system: str
    base: Callable[[], Any]
    stage: str = "distil"
    channels: int = 3
    geometry: str = ""
    note: str = ""
    score: str = "guidance"
    meshed: bool = False
    """Whether its stage is a mesh stage, which has a surface of its own."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Beginnings of keys, and what they are in this system."""


def _plain_stage() -> DistillationConfig:
    """A stage that nothing is added to."""
    return DistillationConfig(
        cameras="uniform",
        guidance=ScoreDistillationConfig(weighting="dreamfusion"),
        rates=LearningRates(table="1e-2", mlp="1e-2"),
        regularise=Regularisation(),
    )


def _representation() -> FieldConfig:
    """DreamFusion's field with all levels open, as a grid is that says nothing of them."""
    made = DreamFusion.paper().representation
    return replace(made, hash=replace(made.hash, open_levels="0"))


def _field() -> DreamFusion:
    return replace(
        DreamFusion.paper(),
        representation=_representation(),
        distil=_plain_stage(),
        background="random",
    )


def _latent() -> LatentNerf:
    return replace(LatentNerf.paper(), distil=_plain_stage(), background="solid")


def _refined() -> RgbRefinement:
    return replace(RgbRefinement.paper(), rgb=_plain_stage())


def _picture() -> PictureOptimisation:
    return PictureOptimisation(
        start=StartConfig(source="nothing"),
        representation=_representation(),
        renderer=DreamFusion.paper().renderer,
        terms=PictureTerms(norm="l2", depth=0.0, clip=0.0, scale_gradients=False),
        distil=_plain_stage(),
    )


def _painted() -> LatentPaint:
    return LatentPaint(
        start=PaintRoundsConfig(refine=RefinementConfig(times=())),
        rgb=PaintingConfig(
            cameras="uniform",
            guidance=ScoreDistillationConfig(weighting="dreamfusion"),
            terms=PaintTerms(variation="0", offsets="0"),
        ),
        pbr=PaintingConfig(),
    )


def _second_stage() -> RgbRefinement:
    """A mesh stage that nothing is added to, on the field of a run."""
    plain = RgbRefinement.magic3d()
    stage = replace(
        plain.mesh,
        guidance=ScoreDistillationConfig(weighting="dreamfusion"),
        terms=SurfaceTerms(),
        rates=MeshRates(),
    )
    return replace(plain, mesh=stage)


def _normals_of_a_field() -> RgbRefinement:
    """The same, which looks at normals and moves the shape alone."""
    plain = _second_stage()
    return replace(plain, mesh=replace(plain.mesh, look="normals", move="shape"))


def _geometry_of_fantasia() -> Fantasia3D:
    plain = Fantasia3D.paper()
    geometry = replace(
        plain.geometry, guidance=ScoreDistillationConfig(weighting="dreamfusion"), latent_share=0.0
    )
    return replace(plain, geometry=geometry, appearance=replace(plain.appearance, steps=0))


def _two_priors() -> PictureOptimisation:
    """A picture's field that is distilled by two priors."""
    second = {"second-prior": {"weight": "1", "distil": {"weighting": "dreamfusion"}}}
    plain = _picture()
    guidances = Guidances().updated(second, "guidances.")
    return replace(plain, distil=replace(plain.distil, guidances=guidances))


_TEXT = Target(command="generate", system="dreamfusion", base=_field)
_PICTURE = Target(
    command="reconstruct",
    system="field",
    base=_picture,
    note="behind the object lie grey levels, drawn anew every step",
)
_MESH = Target(
    command="texture",
    system="latent-paint",
    base=_painted,
    stage="rgb",
    geometry="custom-mesh",
    note="the mesh is scaled to a radius of 0.95, and its colours are not lit",
)
_GREY = "behind the object lie grey levels, drawn anew every step"
_REFINED_MESH = Target(
    command="refine",
    system="rgb-refinement",
    base=_second_stage,
    stage="mesh",
    note=_GREY,
    meshed=True,
    renamed=(("representation.", "mesh.colours."), ("resolution", "mesh.resolution")),
)
_NORMALS = replace(
    _REFINED_MESH,
    base=_normals_of_a_field,
    note="normals lie on black, as colours in the scene's axes",
)
_FANTASIA = Target(
    command="generate",
    system="fantasia3d",
    base=_geometry_of_fantasia,
    stage="geometry",
    note="distances and movements of grid points are optimised themselves, not by a network",
    meshed=True,
    renamed=(("representation.", "geometry.colours."), ("resolution", "geometry.resolution")),
)
TARGETS: dict[str, Target] = {
    "dreamfusion-system": _TEXT,
    "efficient-dreamfusion-system": _TEXT,
    "magic3d-system": _TEXT,
    "prolificdreamer-system": _TEXT,
    "latentnerf-system": Target(command="generate", system="latent-nerf", base=_latent, channels=4),
    "sjc-system": Target(command="generate", system="latent-nerf", base=_latent, channels=4),
    "fantasia3d-system": _FANTASIA,
    "image-condition-dreamfusion-system": _PICTURE,
    "zero123-system": _PICTURE,
    "magic123-system": replace(_PICTURE, base=_two_priors),
}
"""Systems that become something, where they refine and texture nothing."""
OTHERS: dict[tuple[str, str], Target] = {
    ("magic3d-system", "refinement"): _REFINED_MESH,
    ("fantasia3d-system", "texture"): _MESH,
    ("latentnerf-system", "refinement"): Target(
        command="refine",
        system="rgb-refinement",
        base=_refined,
        stage="rgb",
        geometry="the refined run's",
    ),
}
"""Systems by what they are told to do instead."""
PROLIFIC = {"geometry": _NORMALS, "texture": _MESH}
"""ProlificDreamer's later stages, by what its system is told."""
WHY: dict[str, str] = {
    "textmesh-system": "a signed-distance geometry is not made here",
    "sdi-system": "noise is drawn, not found by inversion",
    "control4d-multiview-system": "pictures of many views are not edited",
    "instructnerf2nerf-system": "pictures of many views are not edited",
    "zero123-simple-system": "its guidance is the unified one of Zero-1-to-3",
}
"""Systems that become nothing."""
FRAME = _TEXT
"""What the keys of such a system are held against one by one."""


VARIATIONAL = ("stable-diffusion-vsd-guidance", "vsd")
"""What guidance_type says where a copy of the prior learns the renderings."""


def is_variational(document: Document) -> bool:
    """Whether a file asks for variational score distillation."""
    return (
        document.get("system.guidance_type") == VARIATIONAL[0]
        or document.get("system.guidance.guidance_type") == VARIATIONAL[1]
    )


def variational(target: Target) -> Target:
    """The same with variational score distillation in its stage."""

    def base() -> Any:
        config = target.base()
        stage = getattr(config, target.stage)
        guidances = Guidances().updated({"main": "vsd", "vsd": {}}, "guidances.")
        return replace(config, **{target.stage: replace(stage, guidances=guidances)})

    return replace(target, base=base, score="guidances.vsd")


def target_of(document: Document) -> Target:
    """What the system of a file becomes. Raises ConfigError where nothing does."""
    found = _system_of(document)
    return variational(found) if is_variational(document) else found


def _system_of(document: Document) -> Target:
    name = str(document.get("system_type"))
    stage = document.get("system.stage", "coarse")
    if name == "prolificdreamer-system" and stage in PROLIFIC:
        return PROLIFIC[stage]
    for (system, switch), target in OTHERS.items():
        if system == name and document.get(f"system.{switch}", False):
            return target
    refined = document.get("system.refinement", False) or stage == "geometry"
    if name in TARGETS and not refined:
        return TARGETS[name]
    why = WHY.get(name, "there is no such system in threestudio's own package")
    if document.get("system.refinement", False) and name in TARGETS:
        why = "the mesh of a picture is refined in its own run, by reconstruct --refine-mesh"
    raise ConfigError(
        f'"{name}" becomes nothing here: {why}', document.where, "See docs/threestudio.md"
    )
