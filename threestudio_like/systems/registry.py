"""The systems by name: the built-in ones, and those of plug-ins (entry points in the group
"threestudio_like.systems")."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from ..engine.errors import ConfigError, did_you_mean
from .image_to_3d.cisp import CispReconstruction
from .image_to_3d.field_optimisation import PictureOptimisation
from .image_to_3d.g3dr import G3drReconstruction
from .scene.comboverse import ComposeConfig
from .system import Registered
from .text_to_3d.dreamfusion import DreamFusion
from .text_to_3d.latent_nerf import LatentNerf
from .texturing.latent_paint import LatentPaint

BUILT_IN = {
    "latent-nerf": Registered(
        "latent-nerf",
        "a field of Stable-Diffusion latents (Metzer et al. 2022)",
        {"default": LatentNerf, "paper": LatentNerf.paper},
    ),
    "dreamfusion": Registered(
        "dreamfusion",
        "an RGB field, distillation through the encoder (Poole et al. 2022)",
        {"default": DreamFusion, "paper": DreamFusion.paper},
    ),
    "latent-paint": Registered(
        "latent-paint",
        "the texture of a given mesh, geometry kept (Metzer et al. 2022)",
        {"default": LatentPaint, "paper": LatentPaint.paper},
        "texture",
    ),
    "cisp": Registered(
        "cisp",
        "one picture to a shape by CISP and voxel diffusion (Sbrolli et al. 2024)",
        {"default": CispReconstruction, "paper": CispReconstruction.paper},
        "reconstruct",
    ),
    "g3dr": Registered(
        "g3dr",
        "one picture and its depth to a triplane in one pass (Reddy et al. 2024)",
        {"default": G3drReconstruction},
        "reconstruct",
    ),
    "optimise": Registered(
        "optimise",
        "one picture to a field: reference view, depth, CLIP and score distillation",
        {"default": PictureOptimisation},
        "reconstruct",
    ),
    "comboverse": Registered(
        "comboverse",
        "several objects of one picture, placed by spatially-aware distillation (Chen et al. 2024)",
        {"default": ComposeConfig, "open": ComposeConfig.open, "paper": ComposeConfig.paper},
        "compose",
    ),
}
"""Systems that come with the package."""


def plug_ins() -> tuple[dict[str, Registered], dict[str, str]]:
    """Systems of installed plug-ins, and for each broken one the reason. A plug-in's object is a
    `Registered`."""
    found, broken = {}, {}
    for point in entry_points(group="threestudio_like.systems"):
        try:
            loaded = point.load()
            if not isinstance(loaded, Registered):
                raise TypeError(f"is a {type(loaded).__name__}, not a Registered")
            found[point.name] = loaded
        except Exception as error:
            broken[point.name] = f"{type(error).__name__}: {error}"
    return found, broken


def names(verb: str = "generate") -> list[str]:
    """Every system that can be asked for by a verb."""
    return [
        name
        for name, registered in {**BUILT_IN, **plug_ins()[0]}.items()
        if registered.verb == verb
    ]


def configuration(name: str, preset: str, verb: str | None = None) -> Any:
    """The configuration of a system's preset. Raises ConfigError on an unknown name, or one of
    another verb."""
    registered = BUILT_IN.get(name) or plug_ins()[0].get(name)
    if registered is None:
        raise ConfigError(
            f'there is no system "{name}"',
            "--system",
            did_you_mean(name, names(verb or "generate")),
        )
    if verb is not None and registered.verb != verb:
        raise ConfigError(
            f'"{name}" belongs to the verb {registered.verb}',
            "--system",
            f"For {verb}: {', '.join(names(verb))}",
        )
    if preset not in registered.presets:
        raise ConfigError(
            f'the system "{name}" has no preset "{preset}"',
            "--preset",
            did_you_mean(preset, registered.presets),
        )
    return registered.presets[preset]()
