"""Things that were turned about an upright axis, as bottles, bowls and lamps are: one outline says
all of their shape.

The solid is the largest one about the axis that nowhere leaves the outline, which is the visual
hull (Laurentini 1994) of the same outline seen from all around. A camera that stands higher than
the true one cannot see a flat base as flat as the picture has it, so that the outline says how high
it may stand at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_erosion, binary_fill_holes

from ....meshes.surface.extraction import iou
from .surface import SolidView, mirror_of, turn_to

AROUND = 24
"""Directions about the axis from which the outline is held against the solid."""
LIKE_ITSELF = 0.94
"""IoU of an outline and its mirror image below which nothing was turned."""
LOWER = tuple(range(0, 25, 4))
"""Degrees by which the camera may stand lower than was estimated."""
DOUBT = 4e-4
"""What a degree of that costs beside the IoU of the outlines."""
CIRCLE = 0.975
"""IoU of an outline and a circle of its size above which it is one."""
HOLES = 0.001
"""Share of holes in an outline above which nothing was turned."""
FITS = 0.97
"""IoU of the solid's outline and the picture's below which it was not."""
BULGE = (0.5, 1.8)
UNLIKE = 0.15
"""Within what a thing's estimated front is that of something turned; see `Likely`."""
STRAIGHT = 0.95
"""Share of a ray's slope that the hull's side must have to be one that rays made."""
ROUND, BENT = 0.25, 0.9
"""What the side beside it must have at least for an end that goes on round, and at most of it a
little farther on; a ball's has 0.5 to 0.7, and then three quarters of that."""
NARROW = 0.3
"""Share of its greatest radius below which a top is no opening."""
LEAST = 20
"""Pixels of 64 x 64 below which nothing is said of a front."""


@dataclass(frozen=True)
class TurnedSolid:
    """A solid about an upright axis; see `surface.Inside` for what it says of points.

    Attributes:
        axis: (3,), a point of the axis. profile: (H, R), distances by height and radius, positive
            inside, over heights in [-reach, reach] and radii in [0, reach]; world units.
        low, high: heights of a flat base and a flat top.
    """

    axis: torch.Tensor
    profile: torch.Tensor
    reach: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def extent(self) -> float:
        """Half the edge of a cube about the origin that holds the solid."""
        heights = torch.linspace(-self.reach, self.reach, len(self.profile))
        rows, columns = (self.profile > 0).nonzero(as_tuple=True)
        kept = (heights[rows] >= self.low) & (heights[rows] <= self.high)
        if not kept.any():
            return self.reach
        wide = (float(columns[kept].max()) + 2) * self.reach / (self.profile.shape[1] - 1)
        wide += float(self.axis.norm())
        return max(wide, float(heights[rows[kept]].abs().max())) + 0.05 * self.reach

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """See `surface.Inside`."""
        off = points - self.axis
        radius = off[:, [0, 2]].norm(dim=1)
        place = torch.stack([2 * radius / self.reach - 1, off[:, 1] / self.reach], 1)
        value = F.grid_sample(
            self.profile[None, None], place.view(1, 1, -1, 2), "bilinear", "border", True
        )[0, 0, 0]
        return torch.minimum(value, torch.minimum(off[:, 1] - self.low, self.high - off[:, 1]))


def ball_of(view: SolidView, size: int = 160) -> TurnedSolid | None:
    """The ball that a circle is the outline of, wherever the camera stands; None of any other
    outline.

    Args:
        view: of the outline alone. size: see `turned_solid`.
    """
    inside = (view.outline > 0).numpy()
    edge = inside.shape[0]
    v, u = ((axis.mean() + 0.5) / edge * 2 - 1 for axis in inside.nonzero())
    wide = 2 / edge * math.sqrt(inside.sum() / math.pi)
    line = (np.arange(edge) + 0.5) / edge * 2 - 1
    if iou(inside, np.hypot(line - u, line[:, None] - v) < wide) < CIRCLE:
        return None
    middle = torch.tensor([u * view.reach, -v * view.reach, 0.0], dtype=torch.float32)
    away = math.hypot(view.distance, float(middle.norm()))
    radius = away * math.sin(math.atan(wide * view.reach / view.distance))
    middle, reach = view.turn @ middle, 1.6 * view.reach
    heights, radii = torch.linspace(-reach, reach, 2 * size), torch.linspace(0, reach, size)
    profile = radius - torch.hypot(heights[:, None] - middle[1], radii)
    return TurnedSolid(middle * torch.tensor([1.0, 0.0, 1.0]), profile, reach)


def turned_solid(view: SolidView, size: int = 160) -> TurnedSolid:
    """The largest solid about the upright axis in the middle of an outline that stays within it.

    Args:
        view: of the outline alone.
        size: radii of the profile; twice as many heights.
    """
    columns = (view.outline > 0).any(0).nonzero()[:, 0]
    edge = view.outline.shape[1]
    middle = float(columns[0] + columns[-1] + 1) / edge - 1
    axis = view.turn[:, 0] * middle * view.reach
    reach = 1.6 * view.reach
    heights, radii = torch.linspace(-reach, reach, 2 * size), torch.linspace(0, reach, size)
    y, r = torch.meshgrid(heights, radii, indexing="ij")
    hull = torch.full((2 * size, size), math.inf)
    outline = replace(view, front=None, back=None)
    for angle in torch.arange(AROUND) * (2 * math.pi / AROUND):
        points = torch.stack([r * angle.cos(), y, r * angle.sin()], -1).view(-1, 3) + axis
        hull = torch.minimum(hull, outline(points).view_as(hull))
    return TurnedSolid(axis, hull, reach)


def with_ends(solid: TurnedSolid, view: SolidView) -> TurnedSolid:
    """The solid without the cones below its base and above its top that no view from one elevation
    can see: they begin where the hull's side has the slope of the rays. An end towards which the
    side bends before, as a ball's does, is closed by the ellipsoid that the side goes on as; any
    other is cut flat, and so is the base of what has a broad top."""
    radii, step = _radii(solid), solid.reach / (solid.profile.shape[1] - 1)
    spacing = 2 * solid.reach / (len(radii) - 1)
    inside = np.flatnonzero(radii > 0)
    if not len(inside):
        return solid
    eye = view.turn[:, 2] * view.distance
    ends = (("high", inside[-1], -1), ("low", inside[0], 1))
    sides = [radii[apex::inwards][: len(inside)] for _, apex, inwards in ends]
    heights = [float(apex * spacing - solid.reach) for _, apex, _ in ends]
    # The rays that touch an end rise by so much.
    rises = [abs(float(eye[1]) - h) / float(eye[[0, 2]].norm()) for h in heights]
    rims = []
    for side, rise in zip(sides, rises):
        # The apex lies between two heights: a step more is let pass.
        straight = (side + step) * rise >= STRAIGHT * np.arange(len(side)) * spacing
        rims.append(int(np.argmin(straight)) - 1 if not straight.all() else 0)
    beside = max(6, (len(inside) - sum(rims)) // 5)
    closed = True
    for (name, apex, inwards), side, height, rise, rim in zip(ends, sides, heights, rises, rims):
        slopes = np.diff(side[rim : rim + beside + 1]) * rise / spacing
        bow = _goes_on(side, rim, slopes) if closed and len(slopes) == beside else None
        # What stands open, as a vase does, has a foot to stand on, however its belly bends.
        closed = bow is not None or side[rim] < NARROW * radii.max()
        if not rim or not len(slopes):
            end = float(rim)
        elif bow is not None:
            end = float((bow > 0).argmax())
            solid = _bounded(solid, apex + inwards * np.arange(rim), bow)
        else:
            end = _corner(side, rim, float(slopes[: max(3, beside // 2)].mean()), spacing / rise)
        place = height + inwards * end * spacing
        solid = replace(solid, low=place) if name == "low" else replace(solid, high=place)
    return solid


def _goes_on(side: np.ndarray, rim: int, slopes: np.ndarray) -> np.ndarray | None:
    """Radii (rim,) of a round end as the side beside it goes on, squares that are of second order
    in the height, as an ellipsoid's are; None where the end is not round.

    Args:
        side: radii by steps from the end's apex. rim: where the cone of the rays is left behind.
        slopes: of the side from there on, by that of the rays.
    """
    half = len(slopes) // 2
    near, far = slopes[:half].mean(), slopes[half : 2 * half].mean()
    if rim < 3 or near < ROUND or far > BENT * near:
        return None
    steps = np.arange(rim, rim + len(slopes))
    bow = np.polynomial.Polynomial.fit(steps, side[steps] ** 2, 2)
    found: np.ndarray = np.sqrt(np.maximum(bow(np.arange(rim)), 0))
    # Only what falls to nothing within the cone ends so.
    return found if found[0] == 0 and found[-1] > 0 else None


def _corner(side: np.ndarray, rim: int, beyond: float, steep: float) -> float:
    """At which step from the apex the cone of the rays, whose radius grows by `steep` a step, meets
    the side that grows by `beyond` of that from the step `rim` on."""
    half = max(1, rim // 2)
    over = side[rim] - side[half] - (rim * beyond - half) * steep
    return float(np.clip(over / (steep * max(1 - beyond, 0.1)), 0, rim))


def _bounded(solid: TurnedSolid, rows: np.ndarray, radii: np.ndarray) -> TurnedSolid:
    """The solid that is at these heights' rows no wider than these radii."""
    profile, wide = solid.profile.clone(), torch.from_numpy(radii.astype(np.float32))
    line = torch.linspace(0, solid.reach, profile.shape[1])
    at = torch.from_numpy(np.ascontiguousarray(rows))
    profile[at] = torch.minimum(profile[at], wide[:, None] - line)
    return replace(solid, profile=profile)


def _radii(solid: TurnedSolid) -> np.ndarray:
    """The solid's radius at every height (H,), between the profile's cells; 0 where nothing is."""
    profile = solid.profile.numpy()
    count = (profile > 0).sum(1)
    step = solid.reach / (profile.shape[1] - 1)
    last = np.clip(count - 1, 0, profile.shape[1] - 2)
    row = np.arange(len(profile))
    within, beyond = profile[row, last], profile[row, last + 1]
    share = within / np.maximum(within - beyond, 1e-9)
    return np.where(count > 0, (last + share.clip(0, 1)) * step, 0.0)


def seen_of(
    solid: TurnedSolid, view: SolidView, size: int = 64, steps: int = 160
) -> tuple[np.ndarray, np.ndarray]:
    """What the view's camera sees of a solid: outline (S, S) bool, and depth (S, S) along the axis
    from the origin's, world units; nan outside."""
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    v, u = torch.meshgrid(line, line, indexing="ij")
    away = torch.linspace(-1.6, 1.6, steps) * view.reach
    wide = (view.distance + away) * (view.reach / view.distance)
    local = torch.stack(
        [
            u[..., None] * wide,
            -v[..., None] * wide,
            -away.expand(size, size, steps),
        ],
        -1,
    )
    inside = solid((local @ view.turn.t()).view(-1, 3)).view(size, size, steps) > 0
    there = inside.any(-1)
    first = away[inside.int().argmax(-1)]
    return there.numpy(), torch.where(there, first, torch.full_like(first, math.nan)).numpy()


@dataclass(frozen=True)
class Likely:
    """A turned solid that may be what a picture shows.

    Attributes:
        elevation: of the camera, radians. fits: IoU of both outlines.
        bulge: how much of the estimated front's bulge across the axis is that of the solid: 1 for
            all of it, 0 for something flat. unlike: mean difference of both fronts, world units.
    """

    solid: TurnedSolid
    elevation: float
    fits: float
    bulge: float
    unlike: float

    @property
    def convincing(self) -> bool:
        """Whether outline and depth both say so."""
        return self.fits >= FITS and BULGE[0] <= self.bulge <= BULGE[1] and self.unlike <= UNLIKE


def likely_turned(
    view: SolidView, front: np.ndarray, direction: tuple[float, float], free: bool = True
) -> Likely | None:
    """The turned solid of an outline, with how well it agrees with the estimated front; None where
    the outline is not its own mirror image, or has a hole.

    Args:
        view: of the outline. front: (S, S), estimated depths along its axis, world units.
        direction: azimuth and elevation of the camera, radians; the outline may say another
            elevation where this one is `free`.
    """
    azimuth, elevation = direction
    view = replace(view, front=None, back=None)
    outline = (view.outline > 0).numpy()
    if not outline.any():
        # A speck, of which smoothing has left nothing.
        return None
    # What was turned closes every hole that it could show: a ring on top would be lost.
    if binary_fill_holes(outline).sum() > (1 + HOLES) * outline.sum():
        return None
    if mirror_of(outline, LIKE_ITSELF) is None:
        return None
    inside = F.interpolate((view.outline > 0).float()[None, None], (64, 64), mode="area")[0, 0]
    known = inside.numpy() > 0.5
    here = replace(view, turn=turn_to(azimuth, elevation))
    solid = ball_of(here)
    if solid is None:
        tries = []
        for lower in LOWER if free else (0,):
            tried = elevation - math.radians(lower)
            here = replace(view, turn=turn_to(azimuth, tried))
            hull = turned_solid(here)
            fits = iou(seen_of(hull, here)[0], known)
            tries.append((fits - DOUBT * lower, fits, tried, hull))
        _, fits, elevation, hull = max(tries, key=lambda t: t[0])
        here = replace(view, turn=turn_to(azimuth, elevation))
        solid = with_ends(hull, here)
        there, depth = seen_of(solid, here)
    else:
        there, depth = seen_of(solid, here)
        fits = iou(there, known)
    bulge, unlike = compared(front, there & known, depth)
    return Likely(solid, elevation, fits, bulge, unlike)


def compared(front: np.ndarray, both: np.ndarray, depth: np.ndarray) -> tuple[float, float]:
    """How far an estimated front (S, S) bulges as a solid's depth (T, T) does, row by row: the
    slope of one against the other; and their mean difference. `both` (T, T): where both are."""
    tensor = torch.from_numpy(front.astype(np.float32))[None, None]
    found = F.interpolate(tensor, both.shape, mode="bilinear")[0, 0].numpy()
    core = binary_erosion(both, iterations=2) & np.isfinite(depth)
    if core.sum() < LEAST:
        return 0.0, math.inf
    above = below = 0.0
    for row in np.flatnonzero(core.any(1)):
        here = core[row]
        a = depth[row, here] - depth[row, here].mean()
        b = found[row, here] - found[row, here].mean()
        above, below = above + float((a * b).sum()), below + float((a * a).sum())
    off = found[core] - depth[core]
    return above / max(below, 1e-9), float(np.abs(off - np.median(off)).mean())
