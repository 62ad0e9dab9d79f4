"""`reconstruct --method g3dr`: one pass of G3DR's generator makes a triplane of the picture and its
depth; the triplane becomes a mesh."""

from __future__ import annotations

import math
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
from ...priors.depth import EMBEDDED_SPAN, FRAME_HALF_WIDTH, DepthPrior, load_depth
from ...priors.framing import FILL
from ...priors.networks.triplane_generator import TriplaneGenerator
from ...priors.registry import embedded_folder
from ...representations import TriplaneConfig, TriplaneField
from ...stages.mesh import MeshStageConfig
from .back_projection import ProjectionConfig
from .g3dr_cameras import DEPTH_NEAR, GREY, WALL, CanonicalCamera
from .method import Colour, PictureRequest, PictureSystem, ShapeFound
from .photo import Photo
from .pose import PoseConfig, seen_from
from .relief.surface import turn_to
from .viewpoint import Viewpoint, ViewpointConfig, find_viewpoint

CAMERA = CanonicalCamera()
POSES = PoseConfig(distance=CAMERA.radius, fov_y=CAMERA.fov)
"""The canonical camera as a camera of an orbit."""


@dataclass(frozen=True, kw_only=True)
class G3drConfig:
    """Picture to shape."""

    model: str = ""
    """Folder that `train g3dr` has written; empty for the embedded model."""
    depth: str = "toybox"
    """Depth estimator: the embedded one, a name or a folder."""
    back: Literal["halfway", "mirror", "flat", "field"] = "halfway"
    """What closes the side that no view has shown. mirror: the visible surface mirrored at the
    depth of the object's middle. flat: solid as far back as anything is visible. halfway: between
    these two, which comes nearest to the truth. field: what the field says, which reaches to the
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
        field_ = planes_of(photo, self.shape)
        volume = volume_of(field_, photo, self.shape)
        view = viewpoint_of(request, self.shape.viewpoint) if self.shape.upright else None
        return shape_of_volume(volume, field_, photo, config=self.shape, view=view)


def viewpoint_of(
    request: PictureRequest, config: ViewpointConfig, level: float = 0.8
) -> Viewpoint | None:
    """The direction of a picture, known or by the prior; None where it knows no cameras, or none
    without a picture or other views beside."""
    prior, photo, known = request.prior, request.photo, request.known
    if request.view is not None:
        return request.view
    if known.azimuth is not None and known.elevation is not None:
        return Viewpoint(known.azimuth, known.elevation, FILL, margin=1.0)
    facts = prior.facts
    if facts.camera is None or facts.wants_reference or not facts.single_views:
        if known.azimuth is None and known.elevation is None:
            return None
        return Viewpoint(known.azimuth or 0.0, known.elevation or 0.0, FILL, margin=1.0)
    request.events.status("shape: from where the picture was taken", force=True)
    size = prior.facts.image_size
    found = find_viewpoint(
        lambda fill: photo.framed(size, level, fill),
        level,
        request.prompt,
        prior=prior,
        config=config,
        seed=request.seed,
    )
    if known.azimuth is not None:
        found = replace(found, azimuth=known.azimuth)
    if known.elevation is not None:
        found = replace(found, elevation=known.elevation)
    request.events.record(
        "viewpoint", azimuth=found.azimuth, elevation=found.elevation, margin=found.margin
    )
    return found


def frame_depth(picture: torch.Tensor, mask: torch.Tensor, prior: DepthPrior) -> torch.Tensor:
    """Depth (S, S) of a framed picture (1, S, S, 3) in the frame's units, from one before the
    object's middle to one behind it.

    The embedded estimator speaks in these units. Others are stretched over the mask (S, S), as if
    the object were as deep as wide.
    """
    with torch.no_grad():
        depth = prior.predict(picture)[0]
    if prior.inverse:
        depth = -depth
    if prior.framed:
        return depth
    inside = depth[mask > 0.5]
    low, high = (float(v) for v in inside.quantile(torch.tensor([0.02, 0.98])))
    half = FILL * FRAME_HALF_WIDTH
    return 1 + half * (2 * ((depth - low) / max(high - low, 1e-6)).clamp(0, 1) - 1)


@torch.no_grad()
def planes_of(photo: Photo, config: G3drConfig) -> TriplaneField:
    """The triplane of a picture, in the frame of the canonical camera."""
    model = load_generator(config.model)
    size = model.config.size
    picture, mask = photo.framed(size, GREY), photo.mask(size)
    depth = frame_depth(picture, mask, load_depth(config.depth))
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


def placed(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Places (N, 2) in the canonical picture, x right and y down in [-1, 1], and distances (N,) of
    points (N, 3)."""
    eye = torch.tensor([0.0, 0.0, CAMERA.radius])
    off = points - eye
    reach = math.tan(math.radians(CAMERA.fov) / 2) * -off[:, 2:]
    return torch.cat([off[:, :1] / reach, -off[:, 1:2] / reach], 1), off.norm(dim=-1)


@torch.no_grad()
def volume_of(field_: TriplaneField, photo: Photo, config: G3drConfig) -> np.ndarray:
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
    if config.back != "field":
        volume = closed(volume, config.back)
    return volume.numpy()


def closed(volume: torch.Tensor, back: str = "halfway", level: float = 0.5) -> torch.Tensor:
    """The volume (D, H, W) filled from the first surface that a viewer on +Z meets to a back.

    Args:
        back: "mirror": the surface's mirror image at the middle of the object; a convex thing turns
            away from the viewer where it is widest, and is about as deep behind as before. "flat":
            where the visible surface ends. "halfway": between the two.
        level: where matter begins.
    """
    size = volume.shape[0]
    front = volume.flip(0).cummax(0).values.flip(0)
    solid = front > level
    # Index of the front surface of every column, counted from -Z.
    top = torch.where(
        solid.any(0),
        (size - 1) - solid.flip(0).int().argmax(0),
        torch.full_like(solid[0], -1, dtype=torch.long),
    )
    known = top >= 0
    if not bool(known.any()):
        return volume
    top = without_horns(top, max(1, round(size / 24)))
    heights = top[known].float()
    index = torch.arange(size).view(-1, 1, 1).float()
    # Never thinner than a few cells.
    thin = 0.06 * size
    # The outermost depths are the estimator's least sure ones. A fifth of a ball's picture lies
    # below the root of a fifth of its height.
    share = 0.2**0.5
    middle = (float(heights.quantile(0.2)) - share * float(heights.quantile(0.98))) / (1 - share)
    mirrored = middle - (top.float() - middle).clamp(min=thin)
    flat = torch.minimum(heights.quantile(0.02), top.float() - thin)
    low = {"mirror": mirrored, "flat": flat}.get(back, (mirrored + flat) / 2)
    inside = (index <= top) & (index >= low.clamp_min(1)) & known
    return torch.where(
        inside, torch.maximum(front, front.new_tensor(0.9)), torch.zeros_like(volume)
    )


def without_horns(top: torch.Tensor, rim: int = 2) -> torch.Tensor:
    """Heights (H, W) of the visible surface, -1 where nothing is, at the outline no higher than the
    surface within: an outline's pixels see what is behind it too, and their depth is the least
    sure."""
    known = (top >= 0).float()[None, None]
    within = -F.max_pool2d(1 - known, 2 * rim + 1, 1, rim) + 1
    near = F.max_pool2d(
        torch.where(within > 0, top.float()[None, None], -1.0), 4 * rim + 1, 1, 2 * rim
    )[0, 0].long()
    return torch.where(
        (within[0, 0] == 0) & (near >= 0) & (top >= 0), torch.minimum(top, near), top
    )


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
    return ShapeFound(mesh, pose, replace(POSES), colour=colour)
