"""The regularisers of a field: their weights, and their terms in a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..engine.schedule import Schedule
from ..engine.schema.bounds import ScheduleText
from ..guidance.regularisers import distortion, nearness, opacity_entropy, orientation, sparsity
from ..renderers import Cameras
from ..renderers.rendering import Rendering
from .model import FieldModel


@dataclass(frozen=True, kw_only=True)
class Regularisation:
    """Schedules of weights; "0" switches a term off. Opacity terms are means over pixels, volume
    terms over the grid."""

    opacity_entropy: ScheduleText = "0"
    sparsity: ScheduleText = "0"
    orientation: ScheduleText = "0"
    distortion: ScheduleText = "0"
    nearness: ScheduleText = "0"
    """Mean distance of what is seen: of the shapes that explain the pictures, the largest."""
    density_variation: ScheduleText = "0"
    feature_variation: ScheduleText = "0"


def regularisation_terms(
    weights: dict[str, Schedule],
    parts: FieldModel,
    rendering: Rendering,
    cameras: Cameras | None,
    fraction: float,
) -> dict[str, torch.Tensor]:
    """The weighted regularisers of a step, by name."""
    terms: dict[str, torch.Tensor] = {}

    def value(name: str) -> float:
        return weights[name](fraction)

    rays = rendering.opacity.numel()
    if value("opacity_entropy") > 0:
        terms["entropy"] = value("opacity_entropy") * opacity_entropy(rendering.opacity)
    if value("sparsity") > 0:
        terms["sparsity"] = value("sparsity") * sparsity(rendering.opacity)
    if value("nearness") > 0:
        terms["nearness"] = value("nearness") * nearness(rendering.depth, rendering.opacity)
    if value("distortion") > 0 and rendering.samples is not None:
        terms["distortion"] = value("distortion") * distortion(rendering.samples, rays)
    if value("orientation") > 0 and rendering.samples is not None and cameras is not None:
        normals = parts.renderer.normals(parts.field, rendering.samples.points)
        terms["orientation"] = value("orientation") * orientation(
            rendering.samples,
            normals,
            cameras.to(normals.device).rays()[1].reshape(-1, 3),
            rays=rays,
        )
    terms.update(parts.field.regularisation({name: value(name) for name in weights}))
    return terms


def schedules(config: Regularisation) -> dict[str, Schedule]:
    """The parsed schedules of a `Regularisation`."""
    return {name: Schedule.parse(text, f"regularise.{name}") for name, text in vars(config).items()}
