"""The configuration of a mesh stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch

from ...engine.errors import ConfigError
from ...engine.memory import MemoryWatch, bytes_of
from ...engine.random import RandomStream
from ...engine.schema.bounds import (
    Bounds,
    Count,
    Number,
    OptionalSize,
    ScheduleText,
    Share,
    Size,
    Weight,
)
from ...engine.schema.by_name import check_chosen
from ...guidance.registry import Moved
from ...guidance.score_distillation import ScoreDistillationConfig
from ...meshes.surface.extraction import ExtractionConfig
from ...priors.diffusion import DiffusionPrior
from ...renderers import BackgroundSample, ShadingConfig, StratifiedCameras, UniformCameras
from ...renderers.camera_samplers import CameraSampler
from ...renderers.mesh import MeshRenderer, MeshRendererConfig
from ...representations import VoxelGridConfig
from ...representations.config import FieldConfig
from ...representations.surfaces import ShapeConfig, SurfaceTerms
from ..demand import Demand, Place
from ..distillation import OptimiserConfig
from ..distilling import DistillingConfig

REFINE_STEPS = 150
"""Steps of `--refine-mesh`, where the configuration has none."""

REHEARSED = (128, 192)
"""Sizes in pixels of the renderings that a forecast of memory is made from: below, what the mesh
itself takes hides what a pixel takes."""


@dataclass(frozen=True, kw_only=True)
class MeshRates:
    """Schedules of learning rates. Those of the surface are in cells of its grid a step."""

    sdf: ScheduleText = "0.05->0.01"
    deform: ScheduleText = "0.02->0.005"
    weights: ScheduleText = "0.02->0.005"
    moved: ScheduleText = "0.05->0.01"
    """Of the vertices of a mesh that is remeshed, in its wanted lengths of an edge a step."""
    points: ScheduleText = "2e-3->5e-4"
    """Of vertices that move themselves, in scene units."""
    voxels: ScheduleText = "0.05->0.01"
    """Of the colours, where a voxel field holds them; `table` and `mlp` are those of others."""
    table: ScheduleText = "1e-2"
    mlp: ScheduleText = "1e-3"


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """What the stage is held to besides its guidances: pictures of what it began with, or given
    ones. Weights are schedules; losses are means over the pixels of a view."""

    views: Number = 12
    """Views of the stage before, around the object at three elevations."""
    batch: Number = 3
    """How many of them a step compares, in turn."""
    size: Size = 96
    """Height and width in pixels."""
    image: ScheduleText = "40"
    """Absolute difference of colours."""
    silhouettes: ScheduleText = "60"
    """Squared difference of the opacity."""
    depth: ScheduleText = "20"
    """Absolute difference of the distance along rays that meet both."""
    normals: ScheduleText = "0"
    """1 - cos of the angle between the normals where both are."""
    given: Weight = 4.0
    """Weight of given pictures, each of which is compared in every step, against one of the
    others."""


@dataclass(frozen=True, kw_only=True)
class MeshStageConfig(DistillingConfig):
    """A stage that optimises a surface and its colours; 0 steps switch it off."""

    steps: Count = 0
    shape: ShapeConfig = field(default_factory=ShapeConfig)
    colours: FieldConfig = field(
        default_factory=lambda: FieldConfig(voxels=VoxelGridConfig(size=80, smooth=0.0))
    )
    """The field of colours. Voxels begin with those of the stage before; other kinds with none."""
    begin: Literal["before", "sphere"] = "before"
    """The shape of the stage before (or the picture's), or a sphere where there is none."""
    extraction: ExtractionConfig = field(default_factory=lambda: ExtractionConfig(faces=0))
    """How the surface of a field before is extracted."""
    radius: Annotated[float, Bounds(low=0, high=0.95, above=True)] = 0.5
    """Of that sphere, in scene units; the surface stays within [-1, 1]^3."""
    resolution: OptionalSize = 0
    """Height and width of the rendering in pixels, 256 to 1024; 0 takes 256, or the prior's picture
    size where that is larger. Larger renderings than the prior's pictures are averaged."""
    move: Literal["both", "shape", "colours"] = "both"
    look: Literal["colours", "normals"] = "colours"
    """What the guidance sees: colours, or the surface's normals as colours (Fantasia3D)."""
    latent_share: Share = 0.0
    """Share of the steps, at the beginning, in which normals and mask are shown as latents of four
    channels, without the encoder (Fantasia3D)."""
    cameras: Literal["stratified", "uniform"] = "stratified"
    stratified: StratifiedCameras = field(default_factory=StratifiedCameras)
    uniform: UniformCameras = field(default_factory=UniformCameras)
    levels: tuple[Share, Share] = (0.3, 0.9)
    """Grey levels of the background, drawn every step; normals lie on black."""
    shading: ShadingConfig = field(default_factory=ShadingConfig)
    """A point light on the colours."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    renderer: MeshRendererConfig = field(default_factory=MeshRendererConfig)
    targets: TargetConfig = field(default_factory=TargetConfig)
    terms: SurfaceTerms = field(
        default_factory=lambda: SurfaceTerms(
            creases="2", smoothness="0.5", deviation="0.5", sign_changes="0.1->0"
        )
    )
    colour_variation: ScheduleText = "0.1"
    """Weight of the colours' total variation, where a voxel field holds them."""
    rates: MeshRates = field(default_factory=MeshRates)
    guidance: ScoreDistillationConfig = field(
        default_factory=lambda: ScoreDistillationConfig(
            scale=3.0,
            rescale=0.5,
            weighting="clean",
            t_max="0.5->0.15",
            shared_time=True,
            clamp=3.5,
            joint_views=True,
            image_residual=True,
        )
    )

    def sampler(self) -> CameraSampler:
        """The camera sampler that is switched on."""
        return self.stratified if self.cameras == "stratified" else self.uniform

    def pixels(self, image_size: int) -> int:
        """Height and width of the rendering, for a prior's picture size."""
        return self.resolution or max(256, image_size)

    def idle(self, words: Sequence[str], place: str) -> str:
        """See `stages.idle_values`: everything is of a stage that is on."""
        if self.steps == 0 and words[0] != "steps":
            more = " (--refine-mesh switches it on)" if place == "mesh." else ""
            return f"--{place}steps is 0{more}"
        if self.latent_share > 0 and words[0] == "guidance":
            # At the beginning it is asked of latents, whatever takes its place afterwards.
            return ""
        return super().idle(words, place)

    def moves(self, place: Place) -> Moved | None:
        """See `DistillingConfig.moves`: a surface."""
        return "mesh"

    def check(self, place: Place) -> None:
        """See `DistillingConfig.check`."""
        super().check(place)
        check_chosen(self.shape, f"{place.name}.shape")
        check_chosen(self.colours, f"{place.name}.colours")
        self.check_latents(place.prior, place.name)

    def check_latents(self, prior: DiffusionPrior, stage: str) -> None:
        """Raise ConfigError where normals and mask cannot be latents of a prior."""
        if self.latent_share > 0 and prior.facts.channels != 4:
            raise ConfigError(
                "shows normals and mask as latents of four channels, and the prior's have "
                f"{prior.facts.channels}",
                f"--{stage}.latent-share",
                "Leave it at 0",
            )

    def demand(self, place: Place) -> Demand:
        """See `DistillingConfig.demand`: a step of the beginning is rendered twice, at two sizes,
        which tells what is kept for the mesh and what for a pixel."""
        surface, colours = self.shape.build(), self.colours.build(3, 0, sigmoid=True)
        views = place.share(len(self.sampler().sample(RandomStream(0, place.name, 0), 8)))
        size = place.pixels or self.pixels(place.prior.facts.image_size)
        held = []
        for small in REHEARSED:
            cameras = self.sampler().sample(RandomStream(0, place.name, 0), small)[:1]
            behind = BackgroundSample(torch.zeros(1, small, small, 3))
            with MemoryWatch() as watch:
                mesh = surface.surface()
                drawn = MeshRenderer(self.renderer).render(
                    mesh, cameras, behind, appearance=colours
                )
                terms = surface.mesh_terms(mesh, {"creases": 1.0, "smoothness": 1.0})
                live = watch.live
                parts = (drawn.features, drawn.opacity, drawn.depth, drawn.normals)
                seen = [part.sum() for part in parts if part is not None]
                torch.stack([*seen, *terms.values()]).sum().backward()
            held.append((live, max(live, watch.peak)))
        first, second = REHEARSED
        each, most = ((b - a) / (second**2 - first**2) for a, b in zip(*held))
        fixed = max(0.0, held[1][1] - most * second**2)
        compared = self.targets.batch * self.targets.size**2
        return Demand(
            place.name,
            views,
            size,
            encode=True,
            samples=views * size**2 + compared,
            parameters=bytes_of(surface) + bytes_of(colours),
            kept=each,
            most=max(each, most),
            # Nothing of a mesh is rendered in chunks.
            chunked=max(each, most),
            parts=place.microbatches,
            grid=int(fixed),
        )
