"""Regularisers of a configuration that its stages have nothing to weigh by: they are said, for a
term that changes nothing is easily taken for one that does not help."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from ..engine.schedule import Schedule
from ..representations.config import FieldConfig
from .regularisers import OF_SAMPLES, Regularisation
from .rounds import RoundsConfig

OF_GRIDS = ("density_variation", "feature_variation")
"""Terms of neighbouring points of a grid."""
OF_PICTURES = tuple(name for name in OF_SAMPLES if name != "distortion")
"""Terms that want whole pictures and their cameras; rounds draw single rays."""


def idle_terms(config: Any) -> list[str]:
    """A line for every stage of a system's configuration that has terms with a weight which change
    nothing: those of grids where the field is none, of samples along rays where nothing is sampled,
    and of whole pictures in rounds."""
    return [
        f"{', '.join(names)} of {place} {'change' if len(names) > 1 else 'changes'} nothing: {why}"
        for place, names, why in _found(config, "", kind="")
    ]


def _found(config: Any, place: str, kind: str) -> Iterator[tuple[str, list[str], str]]:
    """Where, which terms and why, of a configuration and all that it holds.

    Args:
        kind: of the field that is optimised, as far as what is around it says.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return
    if getattr(config, "steps", 1) == 0 or getattr(config, "iterations", 1) == 0:
        return
    own = getattr(config, "representation", None)
    kind = own.kind if isinstance(own, FieldConfig) else kind
    terms = getattr(config, "regularise", None)
    if isinstance(terms, Regularisation) and not (
        isinstance(config, RoundsConfig) and not config.refine.times
    ):
        for names, why in _reasons(kind, rounds=isinstance(config, RoundsConfig)):
            weighed = [name for name in names if _has_weight(terms, name)]
            if weighed:
                yield f"{place}regularise", weighed, why
    for item in dataclasses.fields(config):
        yield from _found(getattr(config, item.name), f"{place}{item.name}.", kind=kind)


def _reasons(kind: str, rounds: bool) -> Iterator[tuple[tuple[str, ...], str]]:
    """Terms that mean nothing to a kind of field (those of plug-ins are not known), and why."""
    if kind in ("hash", "triplane", "gaussians"):
        yield OF_GRIDS, f"{kind} is no grid of voxels"
    if kind == "gaussians":
        yield OF_SAMPLES, "Gaussians have no samples along rays"
    elif rounds:
        yield OF_PICTURES, "rounds draw single rays"


def _has_weight(terms: Regularisation, name: str) -> bool:
    return max(Schedule.parse(getattr(terms, name), f"regularise.{name}").values()) > 0
