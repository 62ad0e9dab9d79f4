"""A mesh that a stage makes of a field when it begins, and whose texture it refines (the second
stage of DreamGaussian).

The mesh is not known before the stage before it has ended; it is a part of what a checkpoint and a
kept model hold, so that neither needs the field's own stage again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.schedule import Schedule
from ..engine.schema.bounds import Count, Size
from ..guidance.guidance import GuidanceInputs
from ..guidance.registry import GuidanceContext
from ..guidance.score_distillation import ScoreDistillationConfig
from ..guidance.weighted import (
    GuidanceFigures,
    WeightedGuidance,
    guidance_groups,
    guidance_modules,
    guidance_terms,
    own_views,
    recover_guidances,
    shrink_guidances,
)
from ..meshes.mesh import Asset, Mesh
from ..meshes.texture.atlas import join_atlas
from ..meshes.texture.unwrap import unwrap
from ..renderers import Background, Cameras, StratifiedCameras, SurfaceConfig, SurfaceRenderer
from ..representations import TexturedMesh
from .demand import Demand, Place, surface_demand
from .distilling import DistillingConfig, sampler_of_prior
from .field_to_mesh import AssetConfig, field_mesh, surface_colour, surface_settings
from .model import FieldModel
from .painting import PaintRates, PaintTerms, SurfaceModel, paint_terms, parsed, preview
from .snapshots import surface_snapshot


@dataclass(frozen=True, kw_only=True)
class TextureConfig(DistillingConfig):
    """Refinement of the texture of a field's mesh; 0 steps leave the colours of the field."""

    steps: Count = 50
    guidance: ScoreDistillationConfig = field(
        default_factory=lambda: ScoreDistillationConfig(
            scale=3.0,
            rescale=0.5,
            weighting="clean",
            t_max="0.4->0.1",
            shared_time=True,
            clamp=3.5,
            joint_views=True,
            image_residual=True,
        )
    )
    texels: Size = 256
    """Texels along the edge of the atlas."""
    cameras: StratifiedCameras = field(default_factory=StratifiedCameras)
    rates: PaintRates = field(default_factory=lambda: PaintRates(texels="0.03->0.003"))
    terms: PaintTerms = field(default_factory=lambda: PaintTerms(seam="200", variation="30"))
    surface: AssetConfig = field(default_factory=AssetConfig)
    """How the mesh is extracted and unwrapped."""

    def demand(self, place: Place) -> Demand:
        """See `DistillingConfig.demand`."""
        return surface_demand(place, self.cameras.batch, self.texels)


class KeptSurface(nn.Module):
    """A textured mesh whose geometry is a part of its state.

    Args:
        size: texels along an edge.
    """

    vertices: torch.Tensor
    faces: torch.Tensor
    uv: torch.Tensor
    normals: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.texels = nn.Parameter(torch.full((1, 3, size, size), 0.5))
        self.register_buffer("vertices", torch.zeros(0, 3))
        self.register_buffer("faces", torch.zeros(0, 3, dtype=torch.int32))
        self.register_buffer("uv", torch.zeros(0, 2))
        self.register_buffer("normals", torch.zeros(0, 3))
        # In a tuple, for it is no module of its own: its texels are these.
        self._surface: tuple[TexturedMesh, torch.Tensor] | None = None

    @torch.no_grad()
    def take(self, mesh: Mesh) -> None:
        """Take over an unwrapped mesh; colours come by `colour`."""
        mesh = mesh if mesh.normals is not None else mesh.with_normals()
        assert mesh.uv is not None
        assert mesh.normals is not None
        device = self.texels.device
        self.vertices = torch.from_numpy(mesh.vertices.astype(np.float32)).to(device)
        self.faces = torch.from_numpy(mesh.faces.astype(np.int32)).to(device)
        self.uv = torch.from_numpy(mesh.uv.astype(np.float32)).to(device)
        self.normals = torch.from_numpy(mesh.normals.astype(np.float32)).to(device)
        self._surface = None

    def geometry(self) -> Mesh:
        """The mesh without its texture."""
        return Mesh(
            self.vertices.cpu().numpy(),
            self.faces.cpu().numpy(),
            uv=self.uv.cpu().numpy(),
            normals=self.normals.cpu().numpy(),
        )

    def surface(self) -> TexturedMesh:
        """The mesh as it is rendered, with these texels. Made once for a geometry."""
        known, made_of = self._surface or (None, None)
        if known is None or made_of is not self.vertices:
            known = TexturedMesh(join_atlas(Asset({"object": self.geometry()}), self.size), 3)
            known.to(self.texels.device)
            self._surface = (known, self.vertices)
        known.texels = self.texels
        return known

    @torch.no_grad()
    def textured(self) -> Mesh:
        """The mesh with its texture (R, R, 3) uint8."""
        picture = self.surface().padded()[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy()
        return replace(self.geometry(), texture=np.rint(picture * 255).astype(np.uint8))


@torch.no_grad()
def mesh_of_field(kept: KeptSurface, parts: FieldModel, config: AssetConfig, pieces: int) -> None:
    """Extract the surface of a field and unwrap it; its colours are the first texels."""
    settings = replace(surface_settings(config, config.extraction), pieces=pieces)
    mesh, _ = field_mesh(parts, settings)
    mesh, _ = unwrap(mesh, kept.size, config.unwrap_seconds)
    kept.take(mesh.with_normals())
    surface = kept.surface()
    at = surface.texel_geometry()
    found = surface_colour(parts)(at.points.cpu(), at.normals.cpu())
    kept.texels[0][:, at.rows, at.columns] = found.clamp(0, 1).t().to(kept.texels)


def texture_stage(
    config: TextureConfig,
    kept: KeptSurface,
    parts: FieldModel,
    context: GuidanceContext,
    background: Background,
    size: int,
    pieces: int = 1,
) -> Stage:
    """The stage that makes the mesh of `parts` and refines its texture.

    Args:
        size: height and width of the renderings.
        pieces: how many connected objects the mesh has.
    """
    context, size = config.seen_by(context, size)
    main, guidances = config.guide(context)
    sampler = sampler_of_prior(context) or config.cameras
    every = [WeightedGuidance("distil", main, Schedule.parse(config.weight)), *guidances]
    weights = parsed(config.terms)
    renderer = SurfaceRenderer(SurfaceConfig())
    shown = GuidanceFigures()
    looked: list[Cameras] = []

    def model() -> SurfaceModel:
        return SurfaceModel(kept.surface(), renderer, parts.decode)

    def prepare(step: Step) -> None:
        home = kept.texels.device
        mesh_of_field(kept, parts, config.surface, pieces)
        kept.to(home)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        random, surface = step.random, kept.surface()
        cameras = own_views(sampler.sample(random, size, step.fraction), step, every)
        looked[:] = [cameras]
        sample = background.sample(cameras, step.microbatch_random)
        rendering = renderer.render(surface, cameras, sample, step.microbatch_random)
        solid = (rendering.opacity > 0.99).float()
        rendering.features = solid * rendering.features + (1 - solid) * rendering.features.detach()
        inputs = GuidanceInputs(
            cameras, step.fraction, step.microbatch_random, background=sample.level
        )
        terms = guidance_terms(every, rendering, inputs, figures=shown)
        terms.update(paint_terms(weights, surface, step.fraction))
        return terms

    def after_step(step: Step) -> None:
        with torch.no_grad():
            kept.texels.clamp_(0, 1)

    return Stage(
        context.stage,
        config.steps,
        {
            "surface": kept,
            "field": parts.field,
            "renderer": parts.renderer,
            **guidance_modules(every),
        },
        groups=[
            ParameterGroup("texels", [kept.texels], config.rates.texels),
            *guidance_groups(every),
        ],
        loss=loss,
        shared=True,
        prepare=prepare,
        after_step=after_step,
        preview=lambda: preview(model(), size),
        snapshot=lambda: surface_snapshot(model(), *looked),
        figures=shown,
        recover=lambda verdict: recover_guidances(every, verdict),
        shrink=lambda: shrink_guidances(every),
        result=("surface", "field"),
    )
