"""The stage that optimises a surface and its colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from ...engine.loop import ParameterGroup, Stage, Step
from ...engine.progress import put
from ...engine.schedule import Schedule
from ...guidance.guidance import GuidanceInputs
from ...guidance.registry import GuidanceContext
from ...guidance.score_distillation import ScoreDistillation
from ...guidance.weighted import (
    GuidanceFigures,
    WeightedGuidance,
    guidance_groups,
    guidance_modules,
    guidance_terms,
    own_views,
    recover_guidances,
    shrink_guidances,
)
from ...kernels.devices import MAIN
from ...meshes.mesh import Mesh
from ...meshes.surface.extraction import isosurface
from ...priors.diffusion import DiffusionPrior
from ...renderers import BackgroundSample, RingCameras, draw_light
from ...renderers.mesh import MeshRenderer
from ...renderers.rendering import Rendering
from ...representations.surfaces import Surface, SurfaceMesh
from ..distilling import sampler_of_prior
from ..snapshots import mesh_snapshot
from .config import MeshStageConfig
from .model import MeshModel, preview
from .start import MeshStart, SurfaceColours
from .targets import Targets, target_cameras


def mesh_model(config: MeshStageConfig, start: MeshStart, seed: int) -> MeshModel:
    """The surface and the colours of a stage, before they begin with anything."""
    return MeshModel(
        config.shape.build(),
        config.colours.build(3, seed, torch.full((3,), 0.0), sigmoid=True),
        MeshRenderer(config.renderer),
        distance=start.distance,
        fov_y=start.fov_y,
    )


def begin(config: MeshStageConfig, model: MeshModel, start: MeshStart, targets: Targets) -> None:
    """Give a model the shape and the colours of what was there before, and take the targets."""
    home = model.surface.device
    modules = [*model.modules().values(), targets]
    for module in modules:
        put(module, MAIN)
    mesh = start.mesh() if config.begin == "before" else sphere(config.radius)
    model.surface.begin(mesh)
    if config.begin == "before" and model.appearance.resamples:
        model.appearance.load_resampled(SurfaceColours(mesh, start.colour))
    if start.teacher is not None:
        targets.fill(start.teacher, start.coloured)
    for module in modules:
        put(module, home)


def sphere(radius: float) -> Mesh:
    """A sphere about the origin."""
    line = torch.linspace(-1, 1, 49)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    away = torch.stack([x, y, z], -1).norm(dim=-1)
    mesh = isosurface((radius - away).numpy(), 0.0)
    assert mesh is not None
    return mesh


class MeshGuidances:
    """The guidances of a mesh stage: of its colours or normals through the encoder, and at the
    beginning of normals and mask as latents."""

    def __init__(self, config: MeshStageConfig, context: GuidanceContext) -> None:
        self.config, self.prior = config, context.prior
        self.figures = GuidanceFigures()
        self.sampler = sampler_of_prior(context) or config.sampler()
        main, more = config.guide(context)
        self.every = [WeightedGuidance("distil", main, Schedule.parse(config.weight)), *more]
        self.early: list[WeightedGuidance] = []
        config.check_latents(context.prior, context.stage)
        if config.latent_share > 0:
            # What is for pictures waits until there are any.
            score = replace(config.guidance, image_residual=False, image_loss=0.0)
            latent = ScoreDistillation(
                context.prior, context.prompt, score, reference=context.reference
            )
            self.early = [WeightedGuidance("distil", latent, Schedule.parse(config.weight))]

    def now(self, fraction: float) -> list[WeightedGuidance]:
        """Those of a step at this fraction of the stage."""
        return self.early if self.early and fraction < self.config.latent_share else self.every

    def terms(self, step: Step, model: MeshModel, mesh: SurfaceMesh) -> dict[str, torch.Tensor]:
        """The weighted losses of a step, by name."""
        rendering, inputs = self.render(step, model, mesh)
        return guidance_terms(self.now(step.fraction), rendering, inputs, figures=self.figures)

    def render(
        self, step: Step, model: MeshModel, mesh: SurfaceMesh
    ) -> tuple[Rendering, GuidanceInputs]:
        """The views of a step, as its guidances look at them."""
        config, facts = self.config, self.prior.facts
        latent = self.now(step.fraction) is self.early and bool(self.early)
        size = config.pixels(facts.image_size)
        drawn = self.sampler.sample(step.random, size, step.fraction)
        cameras = own_views(drawn, step, self.now(step.fraction))
        level = 0.0
        if config.look == "colours":
            u = float(step.random.uniform("background"))
            level = config.levels[0] + (config.levels[1] - config.levels[0]) * u
        behind = BackgroundSample(torch.full((1, size, size, 3), level))
        appearance = model.appearance if config.look == "colours" else None
        random = step.microbatch_random
        light = draw_light(config.shading, cameras, random, step.fraction)
        found = model.renderer.render(
            mesh, cameras, behind, random, appearance=appearance, light=light
        )
        if latent:
            assert found.normals is not None
            shown = torch.cat([found.normals, found.opacity], -1)
            found = replace(found, features=shown, background=torch.zeros_like(shown))
        found = averaged(found, facts.latent_size if latent else facts.image_size)
        inputs = GuidanceInputs(
            cameras,
            step.fraction,
            step.microbatch_random,
            background=level if config.look == "colours" else None,
        )
        return found, inputs


def averaged(rendering: Rendering, size: int) -> Rendering:
    """A rendering whose pixels are means of those of a larger one; the same where it is not larger
    than `size`."""
    if rendering.features.shape[1] <= size:
        return rendering

    def smaller(values: torch.Tensor) -> torch.Tensor:
        planes = values.permute(0, 3, 1, 2)
        return F.adaptive_avg_pool2d(planes, size).permute(0, 2, 3, 1)

    return Rendering(
        smaller(rendering.features),
        smaller(rendering.opacity),
        smaller(rendering.depth),
        background=smaller(rendering.background),
        normals=None if rendering.normals is None else smaller(rendering.normals),
    )


def mesh_groups(config: MeshStageConfig, model: MeshModel) -> list[ParameterGroup]:
    """Adam's groups of what moves, with the configuration's numbers."""
    groups: list[ParameterGroup] = []
    if config.move != "colours":
        groups += model.surface.parameter_groups(vars(config.rates))
    if config.move != "shape":
        groups += model.appearance.parameter_groups(vars(config.rates))
    return config.optimiser.applied(groups)


def mesh_stage(
    name: str,
    config: MeshStageConfig,
    start: MeshStart,
    *,
    prompt: str = "",
    prior: DiffusionPrior | None = None,
    seed: int = 0,
    before: Surface | None = None,
) -> Stage:
    """A stage that moves a surface and its colours.

    Args:
        start: what it begins with, where the configuration says so.
        prompt, prior: of its guidances; without a prior, or with a weight of 0, the targets and
            the regularisers alone move it.
        seed: of the run.
        before: the surface of a mesh stage before this one, which goes on as it is.
    """
    model = mesh_model(config, start, seed)
    if before is not None:
        model.surface = before
    own = target_cameras(config.targets, start.distance, start.fov_y)
    targets = Targets(own if start.teacher is not None else own[:0], start.given)
    guidances: MeshGuidances | None = None
    prior = None if prior is None else config.prior_of(prior)
    if prior is not None and (config.weight > 0 or config.guidances.plain()):
        context = model.guidance_context(name, prompt, prior, seed=seed)
        guidances = MeshGuidances(config, replace(context, reference=start.reference))
    every = [] if guidances is None else [*guidances.early, *guidances.every]
    moves = StageMoves(config, model, targets, guidances)

    def prepare(step: Step) -> None:
        if before is None:
            begin(config, model, start, targets)
        elif start.teacher is not None:
            targets.fill(start.teacher, start.coloured)

    return Stage(
        name,
        config.steps,
        {**model.modules(), "targets": targets, **guidance_modules(every)},
        groups=[*mesh_groups(config, model), *guidance_groups(every)],
        loss=moves.loss,
        shared=True,
        prepare=prepare,
        before_step=moves.before_step,
        after_step=None if config.move == "colours" else model.surface.after_step,
        preview=lambda: preview(model, 96),
        snapshot=lambda: mesh_snapshot(model),
        watch=moves.watch,
        figures=None if guidances is None else guidances.figures,
        recover=lambda verdict: recover_guidances(every, verdict),
        shrink=lambda: shrink_guidances(every),
    )


class StageMoves:
    """What moves a mesh in a step."""

    def __init__(
        self,
        config: MeshStageConfig,
        model: MeshModel,
        targets: Targets,
        guidances: MeshGuidances | None,
    ) -> None:
        self.config, self.model = config, model
        self.targets, self.guidances = targets, guidances
        terms = vars(config.terms).items()
        self.weights = {key: Schedule.parse(text, f"terms.{key}") for key, text in terms}
        self.variation = Schedule.parse(config.colour_variation, "colour-variation")
        self._still: SurfaceMesh | None = None

    def mesh(self) -> SurfaceMesh:
        """The mesh of the present parameters; one for all steps where it does not move."""
        if self.config.move != "colours":
            return self.model.surface.surface()
        if self._still is None:
            with torch.no_grad():
                self._still = self.model.surface.surface()
        return self._still

    def before_step(self, step: Step) -> Mapping[nn.Parameter, torch.Tensor]:
        """See `Representation.before_step`; a surface that stays only follows the run, as its
        colours do."""
        surface = self.model.surface
        self.model.appearance.at(step.fraction)
        if self.config.move != "colours":
            return surface.before_step(step)
        surface.at(step.fraction)
        return {}

    def loss(self, step: Step) -> dict[str, torch.Tensor]:
        """The terms of a step: of the views that are its microbatch's own the guidances', and the
        same targets and regularisers for all microbatches."""
        config, model = self.config, self.model
        mesh = self.mesh()
        terms: dict[str, torch.Tensor] = {}
        if self.guidances is not None:
            terms.update(self.guidances.terms(step, model, mesh))
        views = self.targets.drawn(config.targets, step.random)
        terms.update(
            self.targets.terms(
                config.targets,
                step.fraction,
                views,
                mesh=mesh,
                renderer=model.renderer,
                appearance=model.appearance,
            )
        )
        if config.move != "colours":
            weights = {key: weight(step.fraction) for key, weight in self.weights.items()}
            terms.update(model.surface.mesh_terms(mesh, weights))
        if config.move != "shape" and self.variation(step.fraction) > 0:
            asked = {"feature_variation": self.variation(step.fraction)}
            terms.update(model.appearance.regularisation(asked))
        # A stage in which nothing is asked for stays as it is.
        return terms or {"nothing": mesh.points.sum() * 0}

    @torch.no_grad()
    def watch(self) -> dict[str, float]:
        """What the watchdog looks at: how much of a picture the surface covers."""
        model, size = self.model, 32
        ring = RingCameras(count=2, distance=model.distance, fov_y=model.fov_y).all(size)
        black = BackgroundSample(torch.zeros(2, size, size, 3))
        seen = model.renderer.render(model.surface.surface(), ring, black)
        return {"opacity": float(seen.opacity.mean())}
