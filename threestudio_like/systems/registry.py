"""The systems by name. A new one is one file:

    @system("mine", "one line", task="image-to-3d")
    @dataclass(frozen=True, kw_only=True)
    class Mine(System[PictureRequest, ShapeFound]):
        def plans(self, request): ...
        def result(self, request, stages): ...

in a file given with --plugins, or in a package with an entry point in the group
"threestudio_like.systems".
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeVar

from ..engine.errors import ConfigError, did_you_mean
from ..engine.registry import Registry
from ..priors.diffusion import DiffusionPrior
from .system import VERBS, System, SystemKind, Task

S = TypeVar("S", bound=type)
ROOM = "threestudio_like.systems"


def _at(place: str) -> Callable[[], Any]:
    """A function that imports "module:Class" or "module:Class.preset" when it is called, and calls
    that."""

    def make() -> Any:
        module, _, path = place.partition(":")
        found: Any = importlib.import_module(f"{ROOM}.{module}")
        return reduce(getattr, path.split("."), found)()

    return make


def _kind(
    summary: str, task: Task, place: str, *presets: str, more: Mapping[str, str] | None = None
) -> SystemKind:
    """`presets` are methods of the class at `place`; `more` are functions elsewhere, by name."""
    own = {p: _at(f"{place}.{p}") for p in presets}
    others = {p: _at(other) for p, other in (more or {}).items()}
    return SystemKind(summary=summary, task=task, presets={"default": _at(place), **own, **others})


SYSTEMS: Registry[SystemKind] = Registry(
    "system",
    "threestudio_like.systems",
    SystemKind,
    built_in={
        "latent-nerf": _kind(
            "a field of Stable-Diffusion latents (Metzer et al. 2022)",
            "text-to-3d",
            "text_to_3d.latent_nerf:LatentNerf",
            "paper",
            more={
                "mvdream": "text_to_3d.views:latent_nerf",
                "mv-adapter": "text_to_3d.views:latent_nerf_by_six",
            },
        ),
        "dreamfusion": _kind(
            "an RGB field, distillation through the encoder (Poole et al. 2022)",
            "text-to-3d",
            "text_to_3d.dreamfusion:DreamFusion",
            "paper",
            more={
                "magic3d": "text_to_3d.magic3d:magic3d",
                "mvdream": "text_to_3d.views:dreamfusion",
                "mv-adapter": "text_to_3d.views:dreamfusion_by_six",
                "prolificdreamer": "text_to_3d.prolificdreamer:prolificdreamer",
                "vsd": "text_to_3d.prolificdreamer:small",
            },
        ),
        "fantasia3d": _kind(
            "a mesh by its normals, then its colours (Chen et al. 2023)",
            "text-to-3d",
            "text_to_3d.fantasia3d:Fantasia3D",
            "paper",
        ),
        "dreamgaussian": _kind(
            "3D Gaussians, then their mesh and its texture (Tang et al. 2023)",
            "text-to-3d",
            "text_to_3d.dreamgaussian:DreamGaussian",
            "paper",
        ),
        "latent-paint": _kind(
            "the texture of a given mesh, geometry kept (Metzer et al. 2022)",
            "texturing",
            "texturing.latent_paint:LatentPaint",
            "paper",
            more={"prolificdreamer": "texturing.published:prolificdreamer"},
        ),
        "cisp": _kind(
            "one picture to a shape by CISP and voxel diffusion (Sbrolli et al. 2024)",
            "image-to-3d",
            "image_to_3d.cisp:CispReconstruction",
            "paper",
        ),
        "g3dr": _kind(
            "one picture and its depth to a triplane in one pass (Reddy et al. 2024)",
            "image-to-3d",
            "image_to_3d.g3dr:G3drReconstruction",
        ),
        "relief": _kind(
            "any picture, or several of one object, to a closed shape: outline, depth, symmetry",
            "image-to-3d",
            "image_to_3d.relief.reconstruction:ReliefReconstruction",
        ),
        "field": _kind(
            "one picture to a field: reference view, depth, CLIP and score distillation",
            "image-to-3d",
            "image_to_3d.field_optimisation:PictureOptimisation",
            more={
                "zero123": "image_to_3d.views:zero123",
                "stable-zero123": "image_to_3d.views:stable_zero123",
                "zero123plus": "image_to_3d.views:zero123plus",
                "imagedream": "image_to_3d.views:imagedream",
                "magic123": "image_to_3d.views:magic123",
            },
        ),
        "comboverse": _kind(
            "several objects of one picture, placed by spatially-aware distillation "
            "(Chen et al. 2024)",
            "scene",
            "scene.comboverse:Comboverse",
            "paper",
        ),
        "rgb-refinement": _kind(
            "a finished run refined in RGB through the encoder (Metzer et al. 2022)",
            "refinement",
            "text_to_3d.rgb_refinement:RgbRefinement",
            *("paper", "magic3d", "prolificdreamer"),
        ),
    },
    aliases={"optimise": "field", "optimize": "field"},
)


def names(task: str) -> list[str]:
    """Every system of a task (or of a command that runs systems), the package's own first."""
    wanted = VERBS.get(task, task)
    return [name for name, kind in SYSTEMS.items() if kind.task == wanted]


def system_kind(name: str, task: str = "", where: str = "--system") -> SystemKind:
    """A system of a task (or of a command). Raises ConfigError on an unknown name, or one of
    another task."""
    kind, wanted = SYSTEMS.get(name, where), VERBS.get(task, task)
    if wanted and kind.task != wanted:
        raise ConfigError(
            f'"{name}" is a system for {kind.task}, not for {wanted}',
            where,
            f"For {wanted}: {', '.join(names(wanted))}",
        )
    return kind


def configuration(
    name: str, preset: str = "default", task: str = "", where: str = "--system"
) -> Any:
    """The configuration of a system's preset. Raises ConfigError on an unknown name or preset, or a
    system of another task."""
    kind = system_kind(name, task, where)
    if preset not in kind.presets:
        raise ConfigError(
            f'the system "{name}" has no preset "{preset}"',
            "--preset",
            did_you_mean(preset, kind.presets),
        )
    return kind.presets[preset]()


def name_of(configuration: Any) -> str:
    """The name of the system that a configuration belongs to; empty where there is none."""
    for name, kind in SYSTEMS.items():
        if kind.task == configuration.task and type(kind.presets["default"]()) is type(
            configuration
        ):
            return name
    return ""


def preset_for(name: str, wanted: str, prior: DiffusionPrior) -> str:
    """The preset that "auto" means: the one that the prior asks for, "paper" for priors that know
    no cameras, where the system has them, and "default" for all others."""
    if wanted != "auto":
        return wanted
    there = SYSTEMS.get(name).presets
    if prior.facts.preset in there:
        return prior.facts.preset
    return "paper" if prior.facts.camera is None and "paper" in there else "default"


def system(
    name: str,
    summary: str,
    *,
    task: Task,
    presets: Mapping[str, Callable[[], System[Any, Any]]] | None = None,
) -> Callable[[S], S]:
    """Register the decorated configuration class as a system; its defaults are the preset
    "default"."""

    def register(made: S) -> S:
        made.task = task  # type: ignore[attr-defined]
        every: dict[str, Callable[[], Any]] = {"default": made, **(presets or {})}
        SYSTEMS.add(name, SystemKind(summary=summary, task=task, presets=every))
        return made

    return register
