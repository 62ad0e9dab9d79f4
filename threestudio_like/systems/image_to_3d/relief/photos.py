"""The cameras of several photos of one object: told, or found by how well their outlines agree."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from ....engine.errors import InputError
from ....priors.framing import FILL, Similarity, boxes
from ..known import WIDE, Known, View
from ..photo import Photo
from ..pose import Pose, PoseConfig
from .surface import SolidView, outline_of, turn_to

STEPS = 24
"""Azimuths that are tried for a photo whose own nobody says."""
COARSE = 44
"""Points along the edge of the grid on which outlines are compared."""


@dataclass(frozen=True)
class PlacedPhoto:
    """A photo with its camera: azimuth and elevation in radians, the square of the picture that the
    camera sees, how the camera was found; poses: its distance and field of view, once the shape has
    its size."""

    photo: Photo
    azimuth: float
    elevation: float
    frame: Similarity
    note: str = ""
    poses: PoseConfig | None = None

    @property
    def pose(self) -> Pose:
        """The camera's direction."""
        return Pose(self.azimuth, self.elevation, 1.0)


@dataclass(frozen=True)
class Placement:
    """All photos with their cameras, the first one first; distance and field of view (degrees) of
    all; agreement: the smallest share of an outline that what all photos leave covers."""

    photos: list[PlacedPhoto]
    camera: tuple[float, float]
    agreement: float = 1.0


def place_photos(
    photo: Photo,
    known: Known,
    direction: tuple[float, float],
    camera: tuple[float, float],
    *,
    still: bool = True,
) -> Placement:
    """The photos' cameras. Either each photo is framed so that the object is as tall as in the
    first one, or, where all pictures are of one size, the camera stood still and the object turned
    about the middle of the picture: what explains the outlines better is taken.

    Args:
        direction: azimuth and elevation of the first one. camera: distance and field of view of
            the frame of the first one.
        still: whether a camera that stood still is thought of.

    Raises:
        InputError: a photo's azimuth is to be found, and no camera explains it.
    """
    frames = [photo.similarity, *(same_height(v.photo, photo) for v in known.views)]
    if not known.views:
        return Placement([PlacedPhoto(photo, *direction, frames[0])], camera)
    shots = [photo, *(v.photo for v in known.views)]
    found = []
    try:
        found.append(_placed(photo, known, direction, camera, frames=frames))
    except InputError as error:
        refused = error
    if still and len({s.pixels.shape[:2] for s in shots}) == 1:
        frames = [whole_frame(shots)] * len(shots)
        tangent = math.tan(math.radians(camera[1]) / 2) * frames[0].side / photo.similarity.side
        wide = (WIDE / tangent, math.degrees(2 * math.atan(tangent)))
        with suppress(InputError):
            found.append(_placed(photo, known, direction, wide, frames=frames))
    if not found:
        raise refused
    return max(found, key=lambda p: p.agreement)


def _placed(
    photo: Photo,
    known: Known,
    direction: tuple[float, float],
    camera: tuple[float, float],
    frames: list[Similarity],
) -> Placement:
    """The placement with these frames; raises as `place_photos`."""
    placed = [PlacedPhoto(photo, *direction, frames[0])]
    for number, (view, frame) in enumerate(zip(known.views, frames[1:])):
        elevation = direction[1] if view.elevation is None else view.elevation
        if view.azimuth is not None:
            note = f"azimuth {math.degrees(view.azimuth):.0f}°, as told"
            placed.append(PlacedPhoto(view.photo, view.azimuth, elevation, frame, note=note))
            continue
        placed.append(_searched(placed, view, frame, elevation, camera, number=number + 2))
    views = [_view(p.photo, p.frame, p.azimuth, p.elevation, camera=camera) for p in placed]
    points = _lattice()
    inside = points[torch.stack([v(points) for v in views]).amin(0) > 0]
    return Placement(placed, camera, min(_covered(v, inside) for v in views))


def whole_frame(photos: list[Photo]) -> Similarity:
    """The square about the middle of pictures of one size in which every object fits."""
    height, width = photos[0].pixels.shape[:2]
    middle = torch.tensor([width / 2, height / 2] * 2)
    reach = max(
        float((boxes(torch.from_numpy(p.pixels[None, ..., 3]), 0.5)[0] - middle).abs().max())
        for p in photos
    )
    return Similarity(width / 2, height / 2, 2 * reach / FILL)


def _lattice() -> torch.Tensor:
    line = torch.linspace(-FILL * 1.3, FILL * 1.3, COARSE) * WIDE
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return torch.stack([x, y, z], -1).view(-1, 3)


def same_height(photo: Photo, other: Photo) -> Similarity:
    """The frame of a photo in which its object is as tall as in the frame of another one."""
    tall = [boxes(torch.from_numpy(p.pixels[None, ..., 3]), 0.5)[0] for p in (photo, other)]
    heights = [float(b[3] - b[1]) for b in tall]
    own = photo.similarity
    return Similarity(own.x, own.y, heights[0] * other.similarity.side / heights[1])


def _searched(
    placed: list[PlacedPhoto],
    view: View,
    frame: Similarity,
    elevation: float,
    camera: tuple[float, float],
    number: int,
) -> PlacedPhoto:
    """The azimuth under which no photo shows what another one cuts away."""
    others = [_view(p.photo, p.frame, p.azimuth, p.elevation, camera=camera) for p in placed]
    points = _lattice()
    there = torch.stack([v(points) for v in others]).amin(0) > 0
    points = points[there]
    outline = outline_of(view.photo.mask(96, frame))
    scores, colours = [], []
    for step in range(STEPS):
        azimuth = 2 * math.pi * step / STEPS
        mine = _view(view.photo, frame, azimuth, elevation, camera=camera, outline=outline)
        kept = points[mine(points) > 0]
        covered = [_covered(v, kept) for v in (*others, mine)]
        scores.append(min(covered))
        colours.append(_likeness(placed[0], view.photo, frame, others[0], mine, points=kept))
    total = np.array(scores) + 0.3 * np.array(colours)
    best = int(total.argmax())
    if scores[best] < 0.6:
        raise InputError(
            f"photo {number} agrees with the first one from no side "
            f"(at best {100 * scores[best]:.0f} % of the outlines)",
            "reconstruct",
            "Give photos of one object from one height, or say their --azimuths",
        )
    apart = [
        k for k in range(STEPS) if min(abs(k - best), STEPS - abs(k - best)) * 360 / STEPS > 40
    ]
    rival = max(apart, key=lambda k: total[k])
    azimuth = 2 * math.pi * best / STEPS
    note = f"azimuth {math.degrees(azimuth):.0f}° found, outlines agree by {scores[best]:.2f}"
    # Views that are near each other agree whatever they show: a small difference decides nothing.
    if total[best] - total[rival] < 0.1:
        note += f"; undecided: {360 * rival / STEPS:.0f}° fits as well. Say --azimuths"
    return PlacedPhoto(view.photo, azimuth, elevation, frame, note=note)


def _view(
    photo: Photo,
    frame: Similarity,
    azimuth: float,
    elevation: float,
    camera: tuple[float, float],
    outline: torch.Tensor | None = None,
) -> SolidView:
    shape = outline_of(photo.mask(96, frame)) if outline is None else outline
    return SolidView(turn_to(azimuth, elevation), camera[0], WIDE, shape)


def _covered(view: SolidView, points: torch.Tensor, size: int = 32) -> float:
    """Share of an outline that points (N, 3) cover."""
    edge = view.outline.shape[0]
    wanted = torch.nn.functional.interpolate(
        (view.outline > 0).float()[None, None], (size, size), mode="area"
    )[0, 0]
    full = wanted > 0.9
    if not len(points) or not bool(full.any()) or edge < size:
        return 0.0
    place = ((view.place(points)[0] + 1) / 2 * size).long().clamp(0, size - 1)
    hit = torch.zeros(size, size, dtype=torch.bool)
    hit[place[:, 1], place[:, 0]] = True
    return float((hit & full).sum() / full.sum())


def _likeness(
    first: PlacedPhoto,
    photo: Photo,
    frame: Similarity,
    one: SolidView,
    two: SolidView,
    points: torch.Tensor,
) -> float:
    """How alike two photos colour what both see, from 0 to 1: of every row of the solid the colours
    that each photo shows on the side that both look at."""
    if not len(points):
        return 0.0
    middle = torch.nn.functional.normalize(one.turn[:, 2] + two.turn[:, 2], dim=0)
    if not bool(torch.isfinite(middle).all()) or float(one.turn[:, 2] @ two.turn[:, 2]) < -0.7:
        return 0.5
    # The outermost points towards both cameras, one of every row.
    out = points @ middle
    row = ((points[:, 1] - points[:, 1].min()) / (2.6 * WIDE / COARSE)).long()
    best = torch.full((int(row.max()) + 1,), -1e9).scatter_reduce(0, row, out, "amax")
    chosen = points[out >= best[row] - 1e-6]
    found = []
    for p, f, v in ((first.photo, first.frame, one), (photo, frame, two)):
        colours, _ = p.colours(64, f)
        grid = v.place(chosen)[0].view(1, 1, -1, 2)
        found.append(
            torch.nn.functional.grid_sample(
                colours.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False
            )[0, :, 0]
        )
    return 1 - min(1.0, 2 * float((found[0] - found[1]).abs().mean()))
