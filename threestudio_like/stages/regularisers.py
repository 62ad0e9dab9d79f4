"""The regularisers of a field: their weights, and their terms in a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..engine.random import RandomStream
from ..engine.schedule import Schedule
from ..engine.schema.bounds import ScheduleText
from ..guidance.regularisers import (
    composited_normals,
    distortion,
    emptiness,
    nearness,
    normal_smooth,
    opacity_entropy,
    opaque,
    orient,
    orientation,
    sparsity,
    z_variance,
)
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
    orient: ScheduleText = "0"
    """threestudio's lambda_orient: as `orientation`, over the rays that meet anything. With
    --accumulate or --ranks these are counted in every part, and parts count alike."""
    opaque: ScheduleText = "0"
    """threestudio's lambda_opaque: binary entropy of the opacity in nats."""
    z_variance: ScheduleText = "0"
    """Spread of what is seen along its ray (HiFA): thin surfaces."""
    normal_smooth: ScheduleText = "0"
    """Squared differences of neighbouring pixels' normals."""
    normal_smooth_3d: ScheduleText = "0"
    """Differences of the normals at the samples and at points near them."""
    normal_reach: ScheduleText = "1e-2"
    """No weight: deviation of those points, in scene units."""
    emptiness: ScheduleText = "0"
    """log(1 + emptiness_scale w) of the samples' weights (score Jacobian chaining)."""
    emptiness_scale: ScheduleText = "10"
    """No weight: the scale in it."""


OF_SAMPLES = (
    *("orientation", "distortion", "orient", "z_variance", "normal_smooth", "normal_smooth_3d"),
    "emptiness",
)
"""Terms that look at the samples along rays."""


def regularisation_terms(
    weights: dict[str, Schedule],
    parts: FieldModel,
    rendering: Rendering,
    cameras: Cameras | None,
    fraction: float,
    random: RandomStream | None = None,
) -> dict[str, torch.Tensor]:
    """The weighted regularisers of a step, by name; `random` draws what some of them need."""
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
    if value("opaque") > 0:
        terms["opaque"] = value("opaque") * opaque(rendering.opacity)
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
    if rendering.samples is not None and cameras is not None:
        terms.update(_of_samples(value, parts, rendering, cameras=cameras, random=random))
    terms.update(parts.field.regularisation({name: value(name) for name in weights}))
    return terms


def _of_samples(
    value: Callable[[str], float],
    parts: FieldModel,
    rendering: Rendering,
    cameras: Cameras,
    random: RandomStream | None,
) -> dict[str, torch.Tensor]:
    """threestudio's terms of the samples along rays."""
    terms: dict[str, torch.Tensor] = {}
    samples = rendering.samples
    assert samples is not None
    if value("z_variance") > 0:
        terms["z_variance"] = value("z_variance") * z_variance(samples, rendering.opacity)
    if value("emptiness") > 0:
        terms["emptiness"] = value("emptiness") * emptiness(samples, value("emptiness_scale"))
    if not any(value(name) > 0 for name in ("orient", "normal_smooth", "normal_smooth_3d")):
        return terms
    normals = parts.renderer.normals(parts.field, samples.points)
    if value("orient") > 0:
        directions = cameras.to(normals.device).rays()[1].reshape(-1, 3)
        found = orient(samples, normals, directions, rendering.opacity)
        terms["orient"] = value("orient") * found
    if value("normal_smooth") > 0:
        picture = composited_normals(samples, normals, rendering.opacity)
        terms["normal_smooth"] = value("normal_smooth") * normal_smooth(picture)
    if value("normal_smooth_3d") > 0:
        random = random or RandomStream(0, "regularisers", 0)
        shape = tuple(samples.points.shape)
        moved = random.whole.normal("normal reach", shape, samples.points.device)
        near = (samples.points + moved * value("normal_reach")).clamp(-1, 1)
        others = parts.renderer.normals(parts.field, near)
        terms["normal_smooth_3d"] = value("normal_smooth_3d") * (normals - others).abs().mean()
    return terms


def schedules(config: Regularisation) -> dict[str, Schedule]:
    """The parsed schedules of a `Regularisation`."""
    return {name: Schedule.parse(text, f"regularise.{name}") for name, text in vars(config).items()}
