"""`reconstruct --method relief`: any picture to a closed shape. Front and thickness are optimised
for this picture; its outline, depth and normals, round sections and symmetry are all that is asked,
and no network says what it shows. Further photos of the object cut away what they do not show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt

from ....engine.errors import CollapseError, ConfigError
from ....engine.loop import Stage, StagePlan
from ....engine.schema.bounds import Count, Elevation, OptionalSize, Share, Size
from ....meshes.mesh import Mesh
from ....priors.depth import load_depth
from ....priors.framing import Similarity
from ....stages.mesh import MeshStageConfig
from ..back_projection import ProjectionConfig
from ..known import WIDE, Known, predict_normals
from ..maps import DepthMap, framed_map
from ..method import Colour, PictureRequest, PictureSystem, ShapeFound
from ..photo import Photo
from ..pose import Pose, PoseConfig, seen_from
from .guess import DepthGuess, guess_depth
from .photos import PlacedPhoto, place_photos
from .surface import (
    Inside,
    Relief,
    ReliefTerms,
    SolidView,
    outline_of,
    slopes_of,
    solid_mesh,
    solve_relief,
    spread,
    turn_to,
)
from .turned import Likely, likely_turned

BROAD = math.radians(40)
"""Angle between two views from which their outlines bound the depth better than round sections."""


@dataclass(frozen=True, kw_only=True)
class ReliefConfig:
    """Picture to shape."""

    depth: str = "toybox"
    """Depth estimator: the embedded one, a name, a folder, or "none"."""
    trust: Share = 0.5
    """Weight of an estimated depth by that of a known one."""
    terms: ReliefTerms = field(default_factory=ReliefTerms)
    elevation: Elevation = 5.0
    """Of the camera, degrees, where neither you nor the depth estimator says one."""
    turned: bool = True
    """Things whose outline and depth say so are closed as if they had been turned about an upright
    axis, as bottles, bowls and lamps are."""
    mirror: bool = True
    """Where the azimuth is known: add what the picture shows of one side to the other, within the
    outline."""
    size: Size = 160
    """Points along the edge of the grid from which the surface is extracted."""
    faces: Count = 16000
    """Face budget; 0 keeps all."""


def _colours() -> ProjectionConfig:
    return ProjectionConfig(size=512, grazing=0.1, mirror=False, rim=1, complete="method")


@dataclass(frozen=True, kw_only=True)
class ReliefReconstruction(PictureSystem):
    """Configuration of `reconstruct --method relief`."""

    shape: ReliefConfig = field(default_factory=ReliefConfig)
    colour: ProjectionConfig = field(default_factory=_colours)
    mesh: MeshStageConfig = field(default_factory=MeshStageConfig)
    """A mesh of the shape, optimised at the end; switched on by --refine-mesh or its steps."""
    resolution: OptionalSize = 0
    """0; the maps' size is --shape.terms.size."""

    @property
    def wants_prior(self) -> bool:
        """See `PictureSystem`."""
        return False

    @property
    def takes_views(self) -> bool:
        """See `PictureSystem`."""
        return True

    def with_faces(self, faces: int) -> ReliefReconstruction:
        """See `PictureSystem`."""
        return replace(self, shape=replace(self.shape, faces=faces))

    def check(self) -> None:
        """See `PictureSystem`."""
        if self.resolution:
            raise ConfigError(
                "means nothing to this method", "--resolution", "Say --shape.terms.size"
            )
        if self.shape.depth != "none":
            load_depth(self.shape.depth)

    def plans(self, request: PictureRequest) -> list[StagePlan]:
        """Nothing is trained: the maps are the solution of one linear system."""
        return []

    def result(self, request: PictureRequest, stages: dict[str, Stage]) -> ShapeFound:
        """The closed shape, of one photo or of several."""
        request.events.status("shape: front, thickness and a closed back", force=True)
        found = reconstruct_relief(request.photo, self.shape, request.known, seed=request.seed)
        if found.figures["taken for turned"]:
            request.events.say(
                "The shape is taken for one that was turned about an upright axis, by its outline "
                "and its depth (--shape.turned false: it is not)."
            )
        return found


def outline_at(photo: Photo, size: int) -> np.ndarray:
    """The outline (S, S) bool of a photo in its frame, of one pixel at least."""
    mask = photo.mask(size).numpy()
    inside: np.ndarray = mask > 0.5
    return inside if inside.any() else mask >= mask.max()


def relief_of(
    photo: Photo, config: ReliefConfig, known: Known, guess: DepthGuess, seed: int = 0
) -> Relief:
    """The maps of a picture. Raises ModelError."""
    size = config.terms.size
    frame = photo.similarity
    inside = outline_at(photo, size)
    normals = known.normals
    if isinstance(normals, str):
        normals = predict_normals(normals, photo, seed)
    slopes = None
    if normals is not None:
        vectors, there = framed_map(normals, photo, frame, size)
        length = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
        slopes = np.where(there[..., None], slopes_of(vectors / length), np.nan)
    terms = config.terms
    if isinstance(known.depth, DepthMap) and known.depth.distances:
        # What is known exactly needs no symmetry, and its front is not smoothed away.
        terms = replace(terms, symmetric=0.0, depth=20 * terms.depth, jump=0.03)
    return solve_relief(
        inside, guess.depth, terms, sure=guess.sure, slopes=slopes, thickness=guess.thickness
    )


def solid_view(
    photo: Photo,
    frame: Similarity,
    camera: tuple[float, float],
    turn: torch.Tensor,
    thinnest: float = 0.0,
) -> SolidView:
    """The outline of a photo as its camera (distance, field of view) sees it; no strip of it is
    narrower than `thinnest`, in world units."""
    return SolidView(turn, camera[0], WIDE, outline_of(photo.mask(384, frame), thinnest / WIDE))


def with_relief(view: SolidView, relief: Relief, thinnest: float, back: bool) -> SolidView:
    """The view with a relief's front, and its back unless other views bound the depth."""
    front = (
        relief.front + relief.thickness / 2 - np.maximum(relief.thickness, thinnest) / 2
    ) * WIDE
    far = front + np.maximum(relief.thickness, thinnest) * WIDE
    there = relief.inside
    return replace(
        view,
        front=spread(front + view.distance, there),
        back=spread(far + view.distance, there) if back else None,
    )


@torch.no_grad()
def reconstruct_relief(
    photo: Photo, config: ReliefConfig, known: Known, seed: int = 0
) -> ShapeFound:
    """The closed shape of a picture, or of several photos of one object.

    Raises:
        CollapseError: nothing is left, of a picture without an object or of photos that show
            different things.
    """
    inside = outline_at(photo, config.terms.size)
    guess = guess_depth(photo, inside, known, config.depth, config.trust)
    elevation, azimuth = _elevation(config, known, guess), known.azimuth or 0.0
    exact = isinstance(known.depth, DepthMap) and known.depth.distances
    direction, camera = (azimuth, elevation), known.camera(photo)
    placement = place_photos(photo, known, direction, camera, still=not exact)
    if not _bounded(placement.photos):
        # The first photo's relief counts, in its own frame.
        placement = place_photos(photo, known, direction, camera, still=False)
    placed, camera = placement.photos, placement.camera
    relief = relief_of(photo, config, known, guess, seed)
    cell = 2 * WIDE / config.size
    # Half of 1.7 cells is more than the way from any point to the nearest of the grid's plane.
    views = [
        solid_view(p.photo, p.frame, camera, turn_to(p.azimuth, p.elevation), 1.7 * cell)
        for p in placed
    ]
    bounded = _bounded(placed)
    if not bounded or exact:
        views[0] = with_relief(views[0], relief, 2.5 * cell, back=not bounded)
        mirrored = _mirrored(views[0]) if config.mirror and known.azimuth is not None else None
        if mirrored is not None and not bounded:
            views = [_Both(views[0], mirrored), *views[1:]]  # type: ignore[list-item]
    reach = 1.25 * WIDE if bounded else reach_of(relief, camera[0], turn_to(azimuth, elevation))
    turned = _turned(views[0], config, known, guess, (azimuth, elevation))
    solids: Sequence[Inside] = views
    if turned is not None:
        solids, reach = [turned.solid], turned.solid.extent
        placed = [replace(placed[0], elevation=turned.elevation)]
    mesh = solid_mesh(solids, config.size, config.faces, reach=reach)
    if mesh is None:
        raise CollapseError(
            "nothing is left of the object" + (": the photos do not agree" if placed[1:] else ""),
            "relief",
            "Say their --azimuths" if placed[1:] else "Give a picture that shows it more clearly",
        )
    return _found(mesh, placed, camera, relief, turned)


def _turned(
    view: SolidView,
    config: ReliefConfig,
    known: Known,
    guess: DepthGuess,
    direction: tuple[float, float],
) -> Likely | None:
    """The turned solid that a single picture shows; None where it shows none, or where more is
    known of its sides than an outline."""
    if not config.turned or known.views or known.normals is not None:
        return None
    if guess.depth is None or guess.known:
        return None
    front = guess.depth * WIDE
    likely = likely_turned(view, front, direction, free=known.elevation is None)
    return likely if likely is not None and likely.convincing else None


def _elevation(config: ReliefConfig, known: Known, guess: DepthGuess) -> float:
    """Of the camera, radians: what is known, what the estimator says, or the configuration's. Of
    several photos the estimator has seen one alone, and says nothing."""
    if known.elevation is not None:
        return known.elevation
    if guess.elevation is not None and not known.views:
        return guess.elevation
    return math.radians(config.elevation)


def reach_of(relief: Relief, distance: float, turn: torch.Tensor) -> float:
    """Half the edge of the cube, in the world's axes, that holds a relief."""
    size = relief.inside.shape[0]
    row, column = np.nonzero(relief.inside)
    corners = []
    for depth in (relief.front, relief.front + relief.thickness):
        away = depth[relief.inside] * WIDE
        wide = (1 + away / distance) * WIDE
        x, y = ((column + 0.5) / size * 2 - 1) * wide, (1 - (row + 0.5) / size * 2) * wide
        corners.append(np.stack([x, y, -away], 1) @ turn.numpy().T)
    # A pixel and the thinnest part more.
    return float(np.abs(np.concatenate(corners)).max()) + 4 * WIDE / size


def _bounded(placed: list[PlacedPhoto]) -> bool:
    """Whether two views are far enough apart (not opposite) for outlines to bound the depth."""
    first = placed[0]
    return any(abs(math.sin(p.azimuth - first.azimuth)) > math.sin(BROAD) for p in placed[1:])


def _mirrored(view: SolidView) -> SolidView:
    """The view of the mirror image at x = 0."""
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    return replace(view, turn=flip @ view.turn)


@dataclass(frozen=True)
class _Both:
    """What either of two views holds to be inside, within the outline of the first: the plane of
    symmetry is not known well enough for the mirrored outline to cut anything away."""

    one: SolidView
    two: SolidView

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        value = torch.maximum(self.one(points), self.two(points))
        value = torch.minimum(value, replace(self.one, front=None, back=None)(points))
        # Nothing stands before the visible surface.
        assert self.one.front is not None
        return torch.minimum(value, replace(self.one, back=None)(points))


def _found(
    mesh: Mesh,
    placed: list[PlacedPhoto],
    camera: tuple[float, float],
    relief: Relief,
    turned: Likely | None,
) -> ShapeFound:
    """The shape brought to its size: the first camera looks at the middle of what it sees."""
    first = placed[0]
    turn = turn_to(first.azimuth, first.elevation)
    depth = mesh.vertices @ turn.numpy()[:, 2]
    middle = float(depth.min() + depth.max()) / 2
    points = mesh.vertices.astype(np.float64)
    distance, shift = camera[0], np.zeros(3)
    if len(placed) == 1:
        shift = turn.numpy()[:, 2].astype(np.float64) * middle
        distance = camera[0] - middle
    scale = 0.95 / float(np.linalg.norm(points - shift, axis=1).max())
    mesh = Mesh(np.ascontiguousarray((points - shift) * scale, np.float32), mesh.faces)
    poses = PoseConfig(distance=distance * scale, fov_y=camera[1])
    others = [replace(p, poses=poses) for p in placed[1:]]
    # Of one photo, what is seen from behind has the colours before it.
    colour = picture_colour(
        first.photo, first.frame, Pose(first.azimuth, first.elevation, 1.0), poses
    )
    pose = seen_from(
        mesh,
        first.photo.mask(poses.size),
        poses,
        azimuth=first.azimuth,
        elevation=first.elevation,
    )
    figures: dict[str, object] = {
        "relief score": relief.score,
        "halves taken for alike": relief.symmetric,
        "taken for turned": turned is not None,
        **{f"photo {k + 2}": p.note for k, p in enumerate(placed[1:])},
    }
    return ShapeFound(
        mesh,
        pose,
        poses,
        colour=colour,
        figures=figures,
        cut=first.frame,
        others=others,
        one_sided=not _bounded(placed),
    )


def picture_colour(photo: Photo, frame: Similarity, pose: Pose, poses: PoseConfig) -> Colour:
    """Every point has the colour of the picture's pixel before it, the picture continued beyond its
    mask by what is nearest."""
    size = 384
    colours, mask = photo.colours(size, frame)
    solid = mask[0].numpy() > 0.95
    solid = solid if solid.any() else mask[0].numpy() >= float(mask.max())
    rows, columns = distance_transform_edt(~solid, return_distances=False, return_indices=True)
    picture = colours[0][torch.from_numpy(rows), torch.from_numpy(columns)].permute(2, 0, 1)[None]
    matrix = pose.camera(poses, size).view_projection()[0]

    @torch.no_grad()
    def colour(points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        clip = torch.cat([points, torch.ones_like(points[:, :1])], 1) @ matrix.t()
        place = clip[:, :2] / clip[:, 3:].clamp_min(1e-6)
        grid = torch.stack([place[:, 0], -place[:, 1]], -1).view(1, 1, -1, 2)
        return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)[0, :, 0].t()

    return colour
