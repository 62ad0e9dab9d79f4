"""Which method reconstructs a picture: the one that is named, or with "auto" CISP where its shape
fits, and a relief that is optimised for the picture where it does not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ....engine.errors import CollapseError
from ....engine.events import Events
from ....priors.diffusion import DiffusionPrior
from ....priors.registry import EMBEDDED
from ....runs.configure import configure
from ....runs.prior import fit_guidance
from ....systems import registry
from ....systems.image_to_3d.fit import Fit, measure_fit, taken_over, with_word
from ....systems.image_to_3d.known import Known
from ....systems.image_to_3d.method import PictureRequest, PictureSystem, ShapeFound
from ....systems.image_to_3d.relief.reconstruction import ReliefReconstruction

BEST = "cisp"
"""The method that "auto" begins with: the one that measures best (docs/results/reconstruct.md)."""
FALLBACK = "relief"
"""The method that "auto" takes where that one does not fit."""


def name_of(options: Any) -> str:
    """The name of the method of which an option's values are."""
    return BEST if options.system == "auto" else registry.SYSTEMS.canonical(options.system)


def method_configuration(
    options: Any,
    system: Any = None,
    prior: DiffusionPrior | None = None,
    events: Events | None = None,
) -> PictureSystem:
    """The method's configuration, everything that it needs at hand; `prior` decides over preset
    and guidance, where it is known, which is told. Raises ConfigError, ModelError."""
    preset = chosen_preset(options, prior)
    preset = "default" if preset == "auto" else preset
    base = system or registry.configuration(
        name_of(options), preset, "reconstruct", where="--method"
    )
    if system is None and prior is not None and events is not None:
        base = fit_guidance(base, prior, events)
    config: PictureSystem = configure(options, base)
    config.check()
    return config


def chosen_preset(options: Any, prior: DiffusionPrior | None) -> str:
    """The preset that the options mean: the prior's own, where they leave it open and the method
    has it; "auto" where nobody says one."""
    wanted = str(options.method.preset)
    if prior is None or wanted != "auto":
        return wanted
    own = prior.facts.preset
    return own if own in registry.SYSTEMS.get(name_of(options)).presets else wanted


def needs_relief(known: Known) -> str:
    """What is known that the relief alone makes use of; empty where nothing is."""
    if known.views:
        return "several photos"
    if known.depth is not None:
        return "--depth"
    return "--normal" if known.normals is not None else ""


def shape_fit(found: ShapeFound, request: PictureRequest, method: str) -> Fit:
    """How well a shape fits, before it has colours."""
    depth = request.known.depth or EMBEDDED
    return with_word(measure_fit(found, request.photo, depth=depth), method)


def said_of(fit: Fit) -> str:
    """A fit's word and figures in half a sentence."""
    text = f"{fit.word if fit.word != 'doubtful' else 'is doubtful'}"
    text += f" (silhouette IoU {fit.silhouette:.2f}"
    return text + (f", depth agreement {fit.depth:.2f})" if math.isfinite(fit.depth) else ")")


def by_auto(
    config: PictureSystem, request: PictureRequest, faces: int | None = None
) -> tuple[PictureSystem, ShapeFound, str]:
    """What "auto" means for a picture: the configuration, its shape, and the method's name; with a
    face budget, if one was asked for. Raises CollapseError, ModelError."""
    events = request.events
    reason = needs_relief(request.known)
    if reason:
        events.say(f"auto: {reason} given, so the shape is made by --method relief.")
    elif not (request.world_knows or request.maybe):
        # What the embedded world does not know, its shapes do not fit: none is sampled.
        events.say(
            "auto: the embedded world does not know what this is; a relief is optimised "
            "for this picture."
        )
    else:
        try:
            found = config.result(request, {})
            fit = shape_fit(found, request, BEST)
        except CollapseError as error:
            reason = error.what
        else:
            if taken_over(fit, request.world_knows, request.part):
                return config, found, BEST
            reason = f"its shape {said_of(fit)}"
            if fit.word == "fits":
                reason += ", not closely enough for a thing that the embedded world may not know"
        events.say(f"auto: cisp is left, {reason}; a relief is optimised for this picture.")
    relief = ReliefReconstruction()
    mesh = getattr(config, "mesh", None)
    if mesh is not None:
        relief = replace(relief, mesh=mesh)
    if faces is not None:
        relief = relief.with_faces(faces)
    relief.check()
    return relief, relief.result(request, {}), FALLBACK
