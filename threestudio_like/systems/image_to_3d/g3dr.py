"""`reconstruct --method g3dr`: one pass of G3DR's generator makes a triplane of the picture and its
depth; the triplane becomes a mesh."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt

from ...engine.errors import CollapseError, ConfigError
from ...engine.loop import Stage, StagePlan
from ...engine.places import user_path
from ...engine.schema.bounds import OptionalSize
from ...meshes.mesh import Mesh
from ...meshes.surface.extraction import (
    ExtractionConfig,
    decimate,
    isosurface,
    largest_pieces,
    opaqueness,
)
from ...meshes.surface.fidelity import keeping_blur
from ...meshes.surface.smoothing import flatten, relax
from ...priors.depth import EMBEDDED_SPAN, load_depth
from ...priors.framing import FILL
from ...priors.networks.triplane_generator import TriplaneGenerator
from ...priors.registry import embedded_folder
from ...representations import TriplaneConfig, TriplaneField
from ...stages.mesh import MeshStageConfig
from .back_projection import ProjectionConfig
from .backs import CAMERA, FrameSides, bounded, calmed, closed, frame_sides, placed
from .g3dr_cameras import DEPTH_NEAR, GREY, WALL
from .method import Colour, PictureRequest, PictureSystem, ShapeFound
from .photo import Photo
from .pose import PoseConfig, seen_from
from .relief.surface import turn_to
from .viewpoint import Viewpoint, ViewpointConfig, find_viewpoint

POSES = PoseConfig(distance=CAMERA.radius, fov_y=CAMERA.fov)
"""The canonical camera as a camera of an orbit."""


@dataclass(frozen=True, kw_only=True)
class G3drConfig:
    """Picture to shape."""

    model: str = ""
    """Folder that `train g3dr` has written; empty for the embedded model."""
    depth: str = "toybox"
    """Depth estimator: the embedded one, a name or a folder."""
    back: Literal["estimated", "halfway", "mirror", "flat", "field"] = "estimated"
    """What closes the side that no view has shown. estimated: the back that the depth estimator has
    learnt; halfway where it knows none, which is said. mirror: the visible surface mirrored at the
    depth of the object's middle. flat: solid as far back as anything is visible. halfway: between
    these two, and nearer to the truth than either. field: what the field says, which reaches to the
    wall."""
    hidden: Literal["picture", "field"] = "picture"
    """Colours of what no view has shown. picture: those of the visible surface before it. field:
    what the field says, which pales towards the wall's grey behind what novel views of the training
    have shown."""
    carve: bool = True
    """Keep only what projects into the picture's mask."""
    upright: bool = True
    """Turn the shape by the direction from which the prior thinks that the picture was taken;
    otherwise the picture's camera is the front."""
    viewpoint: ViewpointConfig = field(default_factory=ViewpointConfig)
    extraction: ExtractionConfig = field(
        default_factory=lambda: ExtractionConfig(size=96, faces=8000, blur=0.8, relax=10, flatten=0)
    )


@lru_cache(maxsize=2)
def load_generator(folder: str = "") -> TriplaneGenerator:
    """G3DR's generator from a folder, or the embedded one. Raises ModelError."""
    return TriplaneGenerator.load(user_path(folder) if folder else embedded_folder("g3dr"))


def _colours() -> ProjectionConfig:
    return ProjectionConfig(complete="method")


@dataclass(frozen=True, kw_only=True)
class G3drReconstruction(PictureSystem):
    """Configuration of `reconstruct --method g3dr`."""

    shape: G3drConfig = field(default_factory=G3drConfig)
    colour: ProjectionConfig = field(default_factory=_colours)
    mesh: MeshStageConfig = field(default_factory=MeshStageConfig)
    """A mesh of the shape, optimised at the end; switched on by --refine-mesh or its steps."""
    resolution: OptionalSize = 0
    """Pixels of the generator's picture; 0 takes the model's own, the only one that it can."""

    @property
    def surface(self) -> ExtractionConfig:
        """See `PictureSystem`."""
        return self.shape.extraction

    def with_surface(self, surface: ExtractionConfig) -> Self:
        """See `PictureSystem`."""
        return replace(self, shape=replace(self.shape, extraction=surface))

    @property
    def wants_prior(self) -> bool:
        """See `PictureSystem`."""
        return self.shape.upright

    def check(self) -> None:
        """See `PictureSystem`."""
        if self.resolution:
            raise ConfigError(
                "has no say in the size of the generator's pictures", "--resolution", "Leave it out"
            )
        load_generator(self.shape.model)
        load_depth(self.shape.depth)

    def plans(self, request: PictureRequest) -> list[StagePlan]:
        """Nothing is optimised: one pass of the generator makes the triplane."""
        return []

    def result(self, request: PictureRequest, stages: dict[str, Stage]) -> ShapeFound:
        """The triplane's shape."""
        photo = request.photo
        request.events.status("shape: from the picture and its depth to a triplane", force=True)
        sides = sides_of(photo, self.shape)
        if self.shape.back == "estimated" and sides.back is None:
            request.events.status(
                "shape: the depth estimator knows no back: closed halfway", force=True
            )
        field_ = planes_of(photo, self.shape, sides)
        volume = volume_of(field_, photo, self.shape, sides)
        view = None
        if self.shape.upright:
            view = viewpoint_of(request, self.shape.viewpoint, estimated=sides.elevation)
        return shape_of_volume(volume, field_, photo, config=self.shape, view=view)


def viewpoint_of(
    request: PictureRequest,
    config: ViewpointConfig,
    level: float = 0.8,
    estimated: float | None = None,
) -> Viewpoint | None:
    """The direction of a picture, known or by the prior; None where it knows no cameras, or none
    without a picture or other views beside.

    Args:
        estimated: the elevation in radians that a depth estimator says; what is known goes before.
    """
    prior, photo, known = request.prior, request.photo, request.known
    if request.view is not None:
        return request.view
    if known.azimuth is not None and known.elevation is not None:
        return Viewpoint(known.azimuth, known.elevation, FILL, margin=1.0)
    facts = prior.facts
    elevation = estimated if known.elevation is None else known.elevation
    if facts.camera is None or facts.wants_reference or not facts.single_views:
        if known.azimuth is None and elevation is None:
            return None
        return Viewpoint(known.azimuth or 0.0, elevation or 0.0, FILL, margin=1.0)
    request.events.status("shape: from where the picture was taken", force=True)
    size = prior.facts.image_size
    found = find_viewpoint(
        lambda fill: photo.framed(size, level, fill),
        level,
        request.prompt,
        prior=prior,
        config=config,
        seed=request.seed,
        elevation=elevation,
    )
    if known.azimuth is not None:
        found = replace(found, azimuth=known.azimuth)
    request.events.record(
        "viewpoint", azimuth=found.azimuth, elevation=found.elevation, margin=found.margin
    )
    return found


def sides_of(photo: Photo, config: G3drConfig) -> FrameSides:
    """What the depth estimator says of a picture, in the frame of the canonical camera."""
    size = load_generator(config.model).config.size
    mask = photo.mask(size)
    return calmed(frame_sides(photo.framed(size, GREY), mask, load_depth(config.depth)), mask)


@torch.no_grad()
def planes_of(photo: Photo, config: G3drConfig, sides: FrameSides | None = None) -> TriplaneField:
    """The triplane of a picture, in the frame of the canonical camera; `sides` where they have been
    estimated already."""
    model = load_generator(config.model)
    size = model.config.size
    picture, mask = photo.framed(size, GREY), photo.mask(size)
    depth = (sides or sides_of(photo, config)).front
    wall = WALL * EMBEDDED_SPAN
    distance = DEPTH_NEAR + torch.where(
        mask > 0.5, depth.clamp(0, wall), torch.full_like(depth, wall)
    )
    planes = model(picture.permute(0, 3, 1, 2) * 2 - 1, distance[None, None])
    return field_of(model, planes)


def field_of(model: TriplaneGenerator, planes: torch.Tensor) -> TriplaneField:
    """Planes (1, 3, F, R, R) of a generator and its decoder as a field that can be optimised
    further."""
    own = model.config
    config = TriplaneConfig(
        resolution=own.size,
        features=own.features,
        hidden=own.hidden,
        levels=own.levels,
        axes=own.axes,
        activation="softplus",
        density_scale=own.gain,
        blob_strength=0.0,
        blob_width=0.4,
        start=own.bias,
        sigmoid=True,
        replicate=own.relief,
    )
    made = TriplaneField(config, 3)
    with torch.no_grad():
        made.planes.copy_(planes)
        made.decoder.load_state_dict(model.decoder.state_dict())
    return made


def lattice(size: int) -> torch.Tensor:
    """Grid points (size^3, 3) of [-1, 1]^3, z outermost, as volumes (D, H, W) are stored."""
    line = torch.linspace(-1, 1, size)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return torch.stack([x, y, z], -1).view(-1, 3)


@torch.no_grad()
def volume_of(
    field_: TriplaneField, photo: Photo, config: G3drConfig, sides: FrameSides | None = None
) -> np.ndarray:
    """Opaqueness (D, H, W) in [0, 1] of what belongs to the object: before the wall, inside the
    mask, its back closed."""
    size = config.extraction.size
    points = lattice(size)
    place, distance = placed(points)
    # The training's wall stands behind everything.
    share = (distance < DEPTH_NEAR + EMBEDDED_SPAN * WALL - 0.15).float()
    if config.carve:
        mask = photo.mask(128)[None, None]
        share = share * F.grid_sample(mask, place.view(1, 1, -1, 2), align_corners=False)[0, 0, 0]
    # What does not count is not asked for: most of the lattice lies beside the mask.
    asked = share.nonzero()[:, 0]
    density = torch.zeros(len(points))
    density[asked] = torch.cat([field_.density(p) for p in points[asked].split(1 << 17)])
    soft = torch.from_numpy(opaqueness(density.numpy(), 8.0 / size)) * share
    volume = soft.view(size, size, size)
    if config.back == "field":
        return volume.numpy()
    if config.back != "estimated":
        return closed(volume, config.back).numpy()
    back = (sides or sides_of(photo, config)).back
    return (closed(volume) if back is None else bounded(volume, photo.mask(128), back)).numpy()


def turn_of(view: Viewpoint | None) -> torch.Tensor:
    """The rotation (3, 3) that brings the canonical camera's frame into the world in which the
    object stands upright."""
    if view is None:
        return torch.eye(3)
    return turn_to(view.azimuth, view.elevation)


def colour_of(field_: TriplaneField, turn: torch.Tensor, reach: float = 0.04) -> Colour:
    """What the field says of a surface's colour in the world: a little below the surface, seen in
    the canonical frame."""

    @torch.no_grad()
    def colour(points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        found = []
        for p, n in zip(points.split(1 << 15), normals.split(1 << 15)):
            inner = ((p - reach / 2 * n) @ turn).clamp(-1, 1)
            found.append(field_(inner)[1].clamp(0, 1))
        return torch.cat(found) if found else points.new_zeros(0, 3)

    return colour


def colour_through(photo: Photo, turn: torch.Tensor, size: int = 192) -> Colour:
    """Every point of the world has the colour of the picture's pixel before it, the picture
    continued beyond its mask by what is nearest.

    Args:
        turn: (3, 3), brings the canonical camera's frame into the world.
        size: pixels along the edge of the picture that is read.
    """
    colours, mask = photo.colours(size, photo.similarity)
    outside = mask[0].numpy() < 0.95
    rows, columns = distance_transform_edt(outside, return_distances=False, return_indices=True)
    picture = colours[0][torch.from_numpy(rows), torch.from_numpy(columns)].permute(2, 0, 1)[None]

    def colour(points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        place, _ = placed(points @ turn)
        return F.grid_sample(
            picture, place.view(1, 1, -1, 2), padding_mode="border", align_corners=False
        )[0, :, 0].t()

    return colour


def shape_of_volume(
    volume: np.ndarray,
    field_: TriplaneField,
    photo: Photo,
    config: G3drConfig,
    view: Viewpoint | None,
) -> ShapeFound:
    """The mesh of a triplane's opaqueness (D, H, W), turned upright. Raises CollapseError where
    nothing is solid."""
    settings = config.extraction
    volume = keeping_blur(volume, settings.blur)
    mesh = isosurface(volume, 0.5) or isosurface(volume, float(volume.max()) / 2)
    if mesh is None:
        raise CollapseError(
            "the triplane holds nothing solid",
            "g3dr",
            "Give a picture that shows the object more clearly",
        )
    mesh = decimate(relax(largest_pieces(mesh, settings.pieces), settings.relax), settings.faces)
    mesh = flatten(mesh, settings.flatten)
    turn = turn_of(view)
    mesh = Mesh(np.ascontiguousarray(mesh.vertices @ turn.numpy().T, np.float32), mesh.faces)
    azimuth, elevation = (0.0, 0.0) if view is None else (view.azimuth, view.elevation)
    pose = seen_from(mesh, photo.mask(POSES.size), POSES, azimuth=azimuth, elevation=elevation)
    colour = colour_of(field_, turn) if config.hidden == "field" else colour_through(photo, turn)
    return ShapeFound(mesh, pose, replace(POSES), colour=colour, one_sided=True)
