"""`reconstruct --method field`: a field is optimised until its picture is the given one and its
other sides are what the priors expect.

Reference view, depth up to a scale and a shift, gradient scaling about the known surface (G3DR,
METHODS 3.6), CLIP on novel views, and score distillation; from nothing, from CISP's shape or from
G3DR's triplane.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F

from ...engine.errors import CollapseError, ConfigError
from ...engine.loop import Stage, StagePlan, Step
from ...engine.schema.bounds import (
    Count,
    Degrees,
    Elevation,
    Number,
    OptionalSize,
    Share,
    Weight,
)
from ...guidance.score_distillation import ScoreDistillationConfig
from ...meshes.mesh import Mesh
from ...meshes.surface.extraction import ExtractionConfig
from ...meshes.surface.voxels import voxelise
from ...meshes.verification import psnr
from ...priors.clip import load_clip
from ...priors.depth import load_depth
from ...priors.framing import boxes
from ...priors.latent_rgb import show_rgb
from ...priors.registry import EMBEDDED
from ...renderers import RandomBackground, VolumeConfig, renderer_for
from ...renderers.backgrounds import BackgroundSample
from ...representations import GaussianCloud, LearningRates, TriplaneConfig, VoxelGridConfig
from ...representations.config import FieldConfig
from ...stages.distillation import DistillationConfig, configured_stage
from ...stages.field_to_mesh import field_mesh, surface_colour
from ...stages.mesh import MeshStageConfig
from ...stages.model import FieldModel, parameter_groups
from ...stages.regularisers import Regularisation
from ...stages.snapshots import field_snapshot
from .back_projection import ProjectionConfig
from .cisp import CispConfig, CispReconstruction
from .fit import measure_fit, taken_over, with_word
from .g3dr import G3drConfig, G3drReconstruction, viewpoint_of
from .method import Colour, PictureRequest, PictureSystem, ShapeFound
from .photo import Photo
from .pose import Pose, PoseConfig, matching_cut, seen_from
from .reference_view import PictureTerms, ReferenceView, picture_terms
from .relief.reconstruction import ReliefConfig, ReliefReconstruction
from .viewpoint import ViewpointConfig


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """What the field begins as."""

    source: Literal["auto", "nothing", "cisp", "g3dr", "relief"] = "auto"
    """auto: CISP's shape where it fits the picture, else a relief of the picture; then the embedded
    prior is not asked, for it would pull towards what it knows."""
    cisp: CispConfig = field(default_factory=CispConfig)
    relief: ReliefConfig = field(default_factory=ReliefConfig)
    g3dr: G3drConfig = field(default_factory=G3drConfig)
    viewpoint: ViewpointConfig = field(default_factory=ViewpointConfig)
    azimuth: Degrees = 0.0
    """Of the camera that took the picture, degrees, where neither a shape nor the prior tells."""
    elevation: Elevation = 0.0
    """Its elevation, degrees; like the azimuth."""
    steps: Count = 120
    """Steps in which the field is fitted to the shape."""
    points: Number = 12000
    density: Weight = 40.0
    """Density inside the shape, per scene unit."""


def _distil() -> DistillationConfig:
    return DistillationConfig(
        steps=120,
        weight=0.5,
        guidance=ScoreDistillationConfig(
            scale=3.0,
            rescale=0.5,
            weighting="clean",
            t_max="0.7->0.2",
            shared_time=True,
            clamp=3.5,
            joint_views=True,
            image_residual=True,
        ),
        rates=LearningRates(voxels="0.05->0.01", table="0.01->0.002"),
        regularise=Regularisation(
            opacity_entropy="0->4 @ 40..100%",
            sparsity="0.5",
            density_variation="0.05",
            feature_variation="0.3",
        ),
    )


@dataclass(frozen=True, kw_only=True)
class PictureOptimisation(PictureSystem):
    """Configuration of `reconstruct --method field`."""

    start: StartConfig = field(default_factory=StartConfig)
    representation: FieldConfig = field(
        default_factory=lambda: FieldConfig(
            kind="voxels",
            voxels=VoxelGridConfig(size=64, smooth=1.2),
            triplane=TriplaneConfig(blob_strength=0.0),
        )
    )
    renderer: VolumeConfig = field(default_factory=lambda: VolumeConfig(samples=64, occupancy=40))
    terms: PictureTerms = field(default_factory=PictureTerms)
    distil: DistillationConfig = field(default_factory=_distil)
    depth_model: str = "toybox"
    clip_model: str = "toybox"
    extraction: ExtractionConfig = field(default_factory=lambda: ExtractionConfig(faces=8000))
    colour: ProjectionConfig = field(default_factory=lambda: ProjectionConfig(complete="method"))
    mesh: MeshStageConfig = field(default_factory=MeshStageConfig)
    """A mesh of the shape, optimised at the end; switched on by --refine-mesh or its steps."""
    resolution: OptionalSize = 0
    """Height and width of the renderings; 0 takes the prior's picture size."""
    levels: tuple[Share, Share] = (0.3, 0.9)
    """Grey levels of the background, drawn every step."""

    @property
    def wants_prior(self) -> bool:
        """See `PictureSystem`."""
        return True

    @property
    def wants_depth(self) -> bool:
        """Whether anything asks for the picture's depth."""
        return self.terms.depth > 0 or self.terms.scale_gradients

    @property
    def surface(self) -> ExtractionConfig:
        """See `PictureSystem`."""
        return self.extraction

    def with_surface(self, surface: ExtractionConfig) -> Self:
        """See `PictureSystem`."""
        return replace(self, extraction=surface)

    @property
    def twin(self) -> Path | None:
        """See `PictureSystem`."""
        return CispReconstruction(shape=self.start.cisp).twin

    def check(self) -> None:
        """See `PictureSystem`."""
        if self.start.steps < 0 or self.distil.steps < 1:
            raise ConfigError("needs at least one step", "--distil.steps", "Raise it")
        if self.start.source != "nothing":
            self._starter().check()
        if self.wants_depth:
            load_depth(self.depth_model)
        if self.terms.clip > 0:
            load_clip(self.clip_model)

    def _starter(self, source: str = "") -> PictureSystem:
        source = source or self.start.source
        if source == "g3dr":
            return G3drReconstruction(shape=self.start.g3dr)
        if source == "relief":
            return ReliefReconstruction(shape=self.start.relief)
        return CispReconstruction(shape=self.start.cisp)

    def _started(self, request: PictureRequest) -> tuple[ShapeFound, bool]:
        """The shape that the field begins as, and whether the embedded world knows it."""
        source = self.start.source
        if source != "auto":
            return self._starter().result(request, {}), source != "relief"
        reason = "the embedded world does not know what this is"
        if request.world_knows or request.maybe:
            try:
                found = self._starter("cisp").result(request, {})
                depth = request.known.depth or EMBEDDED
                fit = with_word(measure_fit(found, request.photo, depth=depth), "cisp")
            except CollapseError as error:
                reason = error.what
            else:
                if taken_over(fit, request.world_knows, request.part):
                    return found, True
                reason = f"cisp's shape fits too little (silhouette IoU {fit.silhouette:.2f})"
        request.events.say(f"field: {reason}; it begins as a relief of the picture.")
        return self._starter("relief").result(request, {}), False

    def plans(self, request: PictureRequest) -> list[StagePlan]:
        """The fit to the start, if there is one, and the optimisation."""
        plans = []
        if self.start.source != "nothing" and self.start.steps > 0:
            plans.append(StagePlan("start", lambda done: self._fit(request)))
        plans.append(StagePlan("picture", lambda done: self._optimise(done, request)))
        return plans

    def result(self, request: PictureRequest, stages: dict[str, Stage]) -> ShapeFound:
        """The optimised field as a mesh."""
        parts = FieldModel.of(stages["picture"], show_rgb, request.protocol)
        return self._result(parts, request.photo, self._beginning(request))

    def _beginning(self, request: PictureRequest) -> Beginning:
        """What the field starts from; made once for a request."""
        return request.once("beginning", lambda: self._begin(request))

    def _begin(self, request: PictureRequest) -> Beginning:
        photo, protocol = request.photo, request.protocol
        poses = replace(self.start.cisp.pose, distance=protocol.distance, fov_y=protocol.fov_y)
        found: ShapeFound | None = None
        known, told = True, request.known
        if self.start.source == "nothing":
            view = viewpoint_of(request, self.start.viewpoint)
            azimuth, elevation = (
                math.radians(self.start.azimuth),
                math.radians(self.start.elevation),
            )
            given = Pose(
                azimuth if told.azimuth is None else told.azimuth,
                elevation if told.elevation is None else told.elevation,
                0.0,
            )
            pose = given if view is None else Pose(view.azimuth, view.elevation, 0.0)
            frame = photo.frame(view.fill if view is not None else 0.8)
        else:
            found, known = self._started(request)
            pose = found.pose
            if found.cut is not None:
                poses, frame = found.poses, found.cut
            else:
                box = boxes(torch.from_numpy(photo.pixels[None, ..., 3]), 0.5)[0]
                frame = matching_cut(found.mesh, pose, poses, box=box)
        size = self.resolution or request.prior.facts.image_size
        reference = ReferenceView.of(
            photo,
            frame,
            pose,
            poses=poses,
            size=size,
            depth_model=self.depth_model if self.wants_depth else "",
            known=told.depth if self.wants_depth else None,
        )
        return Beginning(found, pose, poses, reference=reference, known=known)

    def _parts(self, request: PictureRequest) -> FieldModel:
        made = self.representation.build(3, request.seed, sigmoid=True)
        return FieldModel(
            made,
            renderer_for(made, self.renderer, request.limits.samples.get("distil")),
            show_rgb,
        ).seen_by(request.protocol)

    def _fit(self, request: PictureRequest) -> Stage:
        """Regression of density and colours at random points: any representation learns them."""
        parts, config, begin = self._parts(request), self.start, self._beginning(request)
        found, reference = begin.found, begin.reference
        assert found is not None
        colour = found.colour or reference.colour_of_points()
        if isinstance(parts.field, GaussianCloud):
            return _begun_on_mesh(parts, parts.field, found.mesh, colour)
        inside = torch.from_numpy(voxelise(found.mesh, 64).astype(np.float32)).permute(2, 1, 0)[
            None, None
        ]

        def loss(step: Step) -> dict[str, torch.Tensor]:
            points = step.random.uniform("points", (config.points, 3)) * 2 - 1
            share = F.grid_sample(inside, points.view(1, 1, 1, -1, 3), align_corners=False).view(-1)
            known = colour(points, torch.zeros_like(points))
            points, share, known = (v.to(parts.field.device) for v in (points, share, known))
            density, features = parts.field(points)
            length = 2.0 / self.renderer.samples
            alpha, wanted = (
                -torch.expm1(-density * length),
                -torch.expm1(-config.density * share * length),
            )
            near = (share > 0.02).float()
            off = ((features - known).square().sum(-1) * near).sum() / near.sum().clamp_min(1)
            return {"density": 4 * (alpha - wanted).square().mean(), "colour": off}

        rates = replace(self.distil.rates, voxels="0.3->0.05", table="0.02->0.005")
        return Stage(
            "start",
            config.steps,
            parts.all_modules(),
            groups=parameter_groups(parts, rates),
            loss=loss,
            snapshot=lambda: field_snapshot(parts),
        )

    def _optimise(self, done: dict[str, Stage], request: PictureRequest) -> Stage:
        parts, reference = self._parts(request), self._beginning(request).reference
        if "start" in done:
            parts.field.load_state_dict(done["start"].modules["field"].state_dict())
        context = parts.guidance_context(
            "picture", request.prompt, request.prior, seed=request.seed, encode=True
        )
        context = replace(context, reference=reference.told())
        distil, terms = self.distil, self.terms
        if not self._beginning(request).known and request.prior.facts.vocabulary is not None:
            # Its words and its pictures are of another world: they would pull towards that.
            distil, terms = replace(distil, weight=0.0), replace(terms, clip=0.0)
        return configured_stage(
            distil,
            parts,
            context,
            background=RandomBackground.grey(*self.levels),
            size=reference.size,
            extra=picture_terms(terms, reference, parts, clip_model=self.clip_model),
            option="distil",
        )

    def _result(self, parts: FieldModel, photo: Photo, begin: Beginning) -> ShapeFound:
        pose, poses, reference = begin.pose, begin.poses, begin.reference
        mesh, figures = field_mesh(parts, self.extraction)
        began = begin.found
        if began is not None and began.cut is not None:
            fits = [
                measure_fit(replace(began, mesh=m), photo).silhouette for m in (mesh, began.mesh)
            ]
            figures["silhouette IoU of the field"] = fits[0]
            if fits[0] < fits[1] - 0.01:
                # Thin parts are lost in the field's grid: the relief that it began as has them.
                mesh, figures["shape"] = began.mesh, "the relief's: the field has lost thin parts"
        with torch.no_grad():
            own = parts.renderer.render(
                parts.field, reference.camera, BackgroundSample(reference.picture[None] * 0)
            )
        wanted = (reference.picture * reference.mask[..., None]).numpy()
        figures["reference PSNR, dB"] = psnr(
            own.features[0].numpy(), wanted, np.ones(wanted.shape[:2], bool)
        )
        seen = seen_from(
            mesh, photo.mask(poses.size), poses, azimuth=pose.azimuth, elevation=pose.elevation
        )
        return ShapeFound(
            mesh,
            replace(seen, rival=pose.rival),
            poses,
            colour=_detached(surface_colour(parts)),
            figures=figures,
            cut=None if began is None else began.cut,
        )


def _begun_on_mesh(parts: FieldModel, cloud: GaussianCloud, mesh: Mesh, colour: Colour) -> Stage:
    """Gaussians begin as discs on the shape: a stage without steps."""

    def prepare(step: Step) -> None:
        vertices = torch.from_numpy(mesh.vertices.astype(np.float32))
        colours = colour(vertices, torch.zeros_like(vertices)).clamp(0, 1)
        cloud.load_mesh(vertices, torch.from_numpy(mesh.faces), colours)

    return Stage(
        "start",
        0,
        parts.all_modules(),
        groups=cloud.parameter_groups(),
        loss=lambda step: {},
        prepare=prepare,
    )


def _detached(colour: Any) -> Colour:
    @torch.no_grad()
    def found(points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        return colour(points, normals)

    return found


@dataclass(frozen=True)
class Beginning:
    """The shape that the field begins as (None for nothing), the picture's camera, and the picture
    as that camera sees it; known: whether the embedded world knows such a shape."""

    found: ShapeFound | None
    pose: Pose
    poses: PoseConfig
    reference: ReferenceView
    known: bool = True
