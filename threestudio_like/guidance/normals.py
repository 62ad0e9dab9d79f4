"""Score distillation of the shape alone: pictures of its normals, by what a diffusion prior knows
of such pictures (its normal domain).

Published relatives: Fantasia3D (Chen et al. 2023) shows normals to a prior of colours; RichDreamer
(Qiu et al. 2024) and HumanNorm (Huang et al. 2024) train priors of normals, which is what is asked
here. A colour cannot tell a dent from a shade; a normal can.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from ..engine.errors import ConfigError
from ..engine.schema.bounds import NoiseTime, NoiseTimes, Share, Weight
from ..priors.diffusion import DiffusionPrior, Domain, Space
from ..renderers.cameras import Cameras
from ..renderers.rendering import Rendering
from ..representations.field import Field
from ..representations.surfaces.surface import Surface
from .guidance import Guidance, GuidanceInputs, GuidanceOutput
from .registry import Beside, GuidanceContext, GuidanceKind, Subject
from .regularisers import per_ray
from .score_distillation import (
    ScoreDistillation,
    ScoreDistillationConfig,
    Weighting,
    check_score,
)
from .second_prior import SecondLoadConfig, check_beside, load_beside

LEAST = 0.01
"""Weight in its ray below which a sample's normal is not looked at; each asks six densities."""
GREY = 0.5
"""Level behind the normals where the stage's own background is no grey."""


@dataclass(frozen=True, kw_only=True)
class NormalsConfig(ScoreDistillationConfig):
    """Score distillation of rendered normals. The defaults are those of the embedded prior's RGB
    stages."""

    prior: str = ""
    """The prior that knows normals, as for --prior; empty for the run's own."""
    load: SecondLoadConfig = field(default_factory=SecondLoadConfig)
    scale: float = 3.0
    rescale: Share = 0.5
    weighting: Weighting = "clean"
    t_max: NoiseTimes | NoiseTime = "0.9->0.2"
    shared_time: bool = True
    clamp: Weight = 3.5
    image_residual: bool = True
    joint_views: bool = True


def normal_pictures(
    normals: torch.Tensor, opacity: torch.Tensor, background: torch.Tensor
) -> torch.Tensor:
    """Pictures (B, H, W, 3) of normals: (n + 1) / 2 before the background.

    Args:
        normals: (B, H, W, 3), weighted by the opacity: where half of a pixel is covered, half as
            long. opacity: (B, H, W, 1). background: (B, H, W, 3) or one that is broadcast.
    """
    return (normals + opacity) / 2 + (1 - opacity) * background


def in_space(normals: torch.Tensor, cameras: Cameras, space: Space) -> torch.Tensor:
    """Normals (B, H, W, 3) of world axes in those of a prior's pictures: turned into the axes of
    the B cameras for "camera"."""
    if space == "world":
        return normals
    turn = cameras.camera_to_world[:, None, None, :3, :3].to(normals)
    return (normals[..., None, :] @ turn)[..., 0, :]


def rendered_normals(rendering: Rendering, representation: object) -> torch.Tensor:
    """Normals (B, H, W, 3) in world axes of a rendering, weighted by its opacity; differentiable.

    A renderer's own are taken where it gives them. Of a field, the normals of a ray's samples are
    summed by their weights, and have the length one where the ray is stopped: a soft surface is
    shown as sharp as the prior's pictures are.

    Raises:
        ConfigError: there are none.
    """
    if rendering.normals is not None and rendering.samples is None:
        return rendering.normals
    samples = rendering.samples
    if samples is None or not isinstance(representation, Field):
        raise ConfigError(
            "this renderer gives no normals",
            "--guidance.normals",
            "Leave it out, or switch the stage's renderer.normals on",
        )
    counts = samples.weights.detach() > LEAST
    some = replace(samples, ray=samples.ray[counts])
    weighted = samples.weights[counts, None] * representation.normals(samples.points[counts])
    total = per_ray(some, weighted, rendering.opacity.numel())
    unit = torch.nn.functional.normalize(total, dim=-1, eps=1e-4)
    return unit.view(*rendering.opacity.shape[:-1], 3) * rendering.opacity


class NormalGuidance(ScoreDistillation):
    """Score distillation of pictures of the normals.

    Args:
        prior: that knows normals.
        context: of the stage. Where this renders latents, or pictures smaller than half of the
            prior's, the normals are drawn anew in the prior's size.
        config: scales and times.

    Raises:
        ConfigError: nothing that is optimised has a shape.
        ModelError: the prior knows no normals.
    """

    domain: Domain = "normal"

    def __init__(
        self, prior: DiffusionPrior, context: GuidanceContext, config: NormalsConfig
    ) -> None:
        if not isinstance(context.representation, (Field, Surface)):
            raise _no_shape()
        prior.facts.check_domain("normal")
        super().__init__(prior, context.prompt, config, True, context.reference)
        self.context = context

    def shown(
        self, rendering: Rendering, inputs: GuidanceInputs
    ) -> tuple[Rendering, GuidanceInputs]:
        """The rendering with pictures of its normals as features, and what the prior is told."""
        context, size = self.context, self.prior.facts.image_size
        behind, level = rendering.background[..., :3], inputs.background
        if not context.encode or 2 * rendering.features.shape[1] <= size:
            inputs = replace(inputs, cameras=inputs.cameras.resized(size, size))
            rendering = context.render(inputs.cameras, inputs.random)
            level = GREY if level is None else level
        if level is not None:
            behind = rendering.opacity.new_full((1, 1, 1, 3), float(level))
        normals = rendered_normals(rendering, context.representation)
        turned = in_space(normals, inputs.cameras, self.prior.facts.normal_space)
        picture = normal_pictures(turned, rendering.opacity, behind)
        pictures = Rendering(
            picture, rendering.opacity, rendering.depth, background=behind.expand_as(picture)
        )
        return pictures, replace(inputs, background=level, control=None)

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """The loss of score distillation of the B pictures of normals."""
        return super().__call__(*self.shown(rendering, inputs))


def _of(first: DiffusionPrior, config: NormalsConfig) -> DiffusionPrior:
    return load_beside(first, config.prior, config.load) if config.prior else first


def _build(context: GuidanceContext, config: NormalsConfig) -> Guidance:
    return NormalGuidance(_of(context.prior, config), context, config)


def _beside(first: DiffusionPrior, config: NormalsConfig) -> Beside:
    prior = _of(first, config)
    prior.facts.check_domain("normal")
    return Beside(prior=prior, entries=4 if config.perp_neg > 0 else 2, encodes=True)


def _no_shape() -> ConfigError:
    return ConfigError(
        "looks at shapes, and this stage changes none", "--guidance.normals", "Leave it out"
    )


def _check(subject: Subject, config: NormalsConfig) -> None:
    if subject.moves in ("colours", "scene"):
        raise _no_shape()
    if config.prior:
        check_beside(config.prior, "--guidance.normals.prior", subject, config)
    elif subject.prior is not None:
        subject.prior.facts.check_domain("normal")
    prior = None if config.prior else subject.prior
    check_score(replace(subject, prior=prior, encode=True), config)


NORMALS = GuidanceKind(
    summary="the shape's normals, by the prior's pictures of normals",
    config=NormalsConfig,
    build=_build,
    beside=_beside,
    check=_check,
)
