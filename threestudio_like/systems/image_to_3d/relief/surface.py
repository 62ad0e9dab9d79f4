"""The visible surface of a picture and how thick the thing is behind it: maps that are optimised
for one picture, and the closed solid between them.

The thickness is that of a shape with round sections (the inflation of Igarashi et al. 1999 by a
Poisson equation); the visible surface follows depth and normals where they are known. What couples
both is the middle surface between front and back, which is smooth. All terms are squares, so that
the best maps are one sparse linear system away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, gaussian_filter, maximum_filter
from scipy.sparse import coo_matrix, csr_matrix, diags, vstack
from scipy.sparse.linalg import spsolve

from ....engine.schema.bounds import Share, Size, Weight
from ....meshes.mesh import Mesh
from ....meshes.surface.extraction import decimate, isosurface, relax
from ....meshes.surface.normals import vertex_normals

ROUND = 3.0
"""Right hand side of the inflation's Poisson equation: between 2, which makes strips round, and 4,
which makes discs round."""


@dataclass(frozen=True, kw_only=True)
class ReliefTerms:
    """Weights of what the maps are asked for, a pixel each."""

    depth: Weight = 1.0
    """That the front lies at the known depth."""
    normals: Weight = 2.0
    """That its slopes are those of the known normals."""
    round: Weight = 0.3
    """That the thickness is that of round sections."""
    back: Share = 0.0
    """How much of the thickness is the one that a depth estimator with a back says, where there is
    one; the rest is that of round sections, which came as near to the truth (docs/results/backs.md)
    and asks nothing of a picture."""
    smooth: Weight = 3.0
    """That the middle surface is smooth."""
    jump: Weight = 0.06
    """Step of depth between neighbouring pixels, in units of the frame's half width, from which
    they are taken to belong to different parts."""
    symmetric: Weight = 0.5
    """That both halves are alike, where the outline is its own mirror image."""
    size: Size = 112
    """Pixels along the edge of the maps."""


@dataclass
class Relief:
    """Front and thickness (S, S) of what a camera sees, as depths along its axis, where `inside`
    (S, S) bool; symmetric: whether the halves were taken for alike. All lengths are in units of the
    frame's half width at the object."""

    front: np.ndarray
    thickness: np.ndarray
    inside: np.ndarray
    symmetric: bool = False

    @property
    def score(self) -> float:
        """How far the solid is from an extruded slab: 1 minus the thickness at the outline by that
        of the middle. 0 for a slab, near 1 for round sections."""
        distance = distance_transform_edt(np.pad(self.inside, 1))[1:-1, 1:-1]
        rim = self.inside & (distance <= 2)
        middle = self.inside & (distance >= 0.6 * distance.max())
        return float(1 - self.thickness[rim].mean() / max(self.thickness[middle].mean(), 1e-6))


def inflated(inside: np.ndarray) -> np.ndarray:
    """Thickness (S, S), in units of half the edge, of the shape with round sections whose outline
    is `inside` (S, S) bool."""
    size = inside.shape[0]
    number = np.cumsum(inside).reshape(inside.shape) - 1
    count = int(inside.sum())
    # The height is 0 at the border of the outermost pixels, not at the middles of those beyond.
    padded = np.pad(inside, 1)
    beside = sum(
        np.roll(padded, by, axis)[1:-1, 1:-1].astype(int) for by in (-1, 1) for axis in (0, 1)
    )
    diagonal = 8.0 - np.asarray(beside)[inside]
    rows, columns, values = [np.arange(count)], [np.arange(count)], [diagonal]
    for axis in (0, 1):
        one, two = _neighbours(number, inside, axis)
        rows += [one, two]
        columns += [two, one]
        values += [np.full(len(one), -1.0)] * 2
    matrix = csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (count, count)
    )
    step = 2 / size
    height = np.zeros(inside.shape)
    height[inside] = np.sqrt(np.maximum(spsolve(matrix, np.full(count, ROUND * step**2)), 0))
    return 2 * height


def solve_relief(
    inside: np.ndarray,
    depth: np.ndarray | None,
    terms: ReliefTerms,
    *,
    sure: np.ndarray | None = None,
    slopes: np.ndarray | None = None,
    thickness: np.ndarray | None = None,
) -> Relief:
    """The maps that agree best with all terms.

    Args:
        inside: (S, S) bool, the outline; at least one pixel.
        depth: (S, S) along the camera's axis, in units of half the edge; None where none is known.
        sure: (S, S) in [0, 1] or above, the weight of each depth beside `terms.depth`.
        slopes: (S, S, 2), change of the front's depth a pixel to the right and a pixel down; nan
            where unknown.
        thickness: (S, S), an estimated one, in units of half the edge.
    """
    number = np.cumsum(inside).reshape(inside.shape) - 1
    count = int(inside.sum())
    thick = inflated(inside)
    if thickness is not None:
        thick = np.where(inside, (1 - terms.back) * thick + terms.back * thickness, thick)
    equations = _Equations(2 * count)
    pixel = np.arange(count)
    known = np.zeros(count) if depth is None else depth[inside]
    if depth is not None and terms.depth > 0:
        weight = terms.depth * (np.ones(count) if sure is None else sure[inside])
        equations.add([(pixel, 1.0), (pixel + count, -0.5)], known, weight)
    equations.add([(pixel + count, 1.0)], thick[inside], np.full(count, terms.round))
    for axis in (0, 1):
        one, two = _neighbours(number, inside, axis)
        apart = np.abs(known[one] - known[two]) > terms.jump
        weight = np.where(apart, 0.02, 1.0) * terms.smooth
        equations.add([(two, 1.0), (one, -1.0)], np.zeros(len(one)), weight)
        wanted = thick[inside][two] - thick[inside][one]
        equations.add([(two + count, 1.0), (one + count, -1.0)], wanted, weight / 3)
        if slopes is not None and terms.normals > 0:
            slope = slopes[inside][:, 1 - axis]
            slope = (slope[one] + slope[two]) / 2
            ok = np.isfinite(slope)
            a, b = one[ok], two[ok]
            parts = [(b, 1.0), (a, -1.0), (b + count, -0.5), (a + count, 0.5)]
            equations.add(parts, slope[ok], np.full(len(a), terms.normals))
    mirrored = mirror_of(inside)
    if mirrored is not None and terms.symmetric > 0:
        other = number[:, mirrored]
        pairs = inside & inside[:, mirrored]
        one, two = number[pairs], other[pairs]
        for start in (0, count):
            parts = [(one + start, 1.0), (two + start, -1.0)]
            equations.add(parts, np.zeros(len(one)), np.full(len(one), terms.symmetric))
    if depth is None:
        # Nothing else says where the middle surface lies.
        equations.add([(pixel, 1.0)], np.zeros(count), np.full(count, 1e-3))
    found = equations.solve()
    middle, thickness = (np.zeros(inside.shape) for _ in range(2))
    middle[inside], thickness[inside] = found[:count], np.maximum(found[count:], 0)
    return Relief(middle - thickness / 2, thickness, inside, symmetric=mirrored is not None)


def mirror_of(inside: np.ndarray, least: float = 0.9) -> np.ndarray | None:
    """For every column (S,) of an outline (S, S) the one that mirrors it, where both halves agree
    by an IoU of `least`; None elsewhere."""
    columns = np.flatnonzero(inside.any(0))
    index = (columns[0] + columns[-1] - np.arange(inside.shape[1])).clip(0, inside.shape[1] - 1)
    other = inside[:, index]
    overlap = np.logical_and(inside, other).sum() / np.logical_or(inside, other).sum()
    return index if overlap >= least else None


def slopes_of(normals: np.ndarray, flattest: float = 0.15) -> np.ndarray:
    """Change (S, S, 2) of the depth a pixel to the right and a pixel down that unit normals
    (S, S, 3) of the camera's axes (x right, y up, z to the viewer) mean; nan where a surface is
    seen too flatly."""
    step = 2 / normals.shape[0]
    towards = normals[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.stack([normals[..., 0] / towards, -normals[..., 1] / towards], -1) * step
    return np.where((towards > flattest)[..., None], slopes, np.nan)


def _neighbours(number: np.ndarray, inside: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of pixels and of their neighbours below (axis 0) or right (1), both inside."""
    first = [slice(None), slice(None)]
    second = [slice(None), slice(None)]
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    both = inside[tuple(first)] & inside[tuple(second)]
    return number[tuple(first)][both], number[tuple(second)][both]


class _Equations:
    """Weighted linear equations in `count` unknowns, solved for the least squares."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.rows: list[csr_matrix] = []
        self.right: list[np.ndarray] = []

    def add(
        self, parts: list[tuple[np.ndarray, float]], right: np.ndarray, weight: np.ndarray
    ) -> None:
        """Sum of factor * unknown = right, with a weight (N,) each."""
        lines = np.arange(len(right))
        root = np.sqrt(weight)
        entries = np.concatenate([factor * root for _, factor in parts])
        index = np.concatenate([unknown for unknown, _ in parts])
        shape = (len(right), self.count)
        matrix = coo_matrix((entries, (np.tile(lines, len(parts)), index)), shape)
        self.rows.append(matrix.tocsr())
        self.right.append(right * root)

    def solve(self) -> np.ndarray:
        """The unknowns (count,)."""
        matrix, right = vstack(self.rows).tocsr(), np.concatenate(self.right)
        normal = matrix.T @ matrix + diags(np.full(self.count, 1e-8))
        return spsolve(normal.tocsc(), matrix.T @ right)


Inside = Callable[[torch.Tensor], torch.Tensor]
"""Points (N, 3) of the world -> signed distances (N,), positive within the solid."""


@dataclass(frozen=True)
class SolidView:
    """A solid as one camera knows it: its outline, and front and back of a relief if there is one.

    Attributes:
        turn: (3, 3), brings the camera's axes (x right, y up, z to the viewer) into the world.
        distance: of the camera from the origin, world units. reach: half the width of what it sees
            at the origin, world units.
        outline: (E, E), signed distance to the outline in units of `reach`, positive inside.
        front, back: (S, S), depths along the axis, world units; None where only the outline counts.
    """

    turn: torch.Tensor
    distance: float
    reach: float
    outline: torch.Tensor
    front: torch.Tensor | None = None
    back: torch.Tensor | None = None

    def place(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Places (N, 2) in the picture, x right and y down in [-1, 1], and depths (N,) of points
        (N, 3) of the world."""
        local = points @ self.turn
        depth = self.distance - local[:, 2]
        wide = depth * (self.reach / self.distance)
        return torch.stack([local[:, 0] / wide, -local[:, 1] / wide], 1), depth

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """See `Inside`."""
        place, depth = self.place(points)
        value = _read(self.outline, place) * self.reach
        if self.front is not None:
            value = torch.minimum(value, depth - _read(self.front, place))
        if self.back is not None:
            value = torch.minimum(value, _read(self.back, place) - depth)
        return value


def _read(image: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    return F.grid_sample(
        image[None, None], place.view(1, 1, -1, 2), padding_mode="border", align_corners=False
    )[0, 0, 0]


def turn_to(azimuth: float, elevation: float) -> torch.Tensor:
    """The rotation (3, 3) that brings a camera's axes into the world."""
    a, e = azimuth, elevation
    back = torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
    right = torch.tensor([math.cos(a), 0.0, -math.sin(a)])
    return torch.stack([right, torch.linalg.cross(back, right), back], 1)


def outline_of(mask: torch.Tensor, thinnest: float = 0.0) -> torch.Tensor:
    """Signed distance (E, E) to the border of a mask (E, E) in [0, 1], in units of half the edge,
    positive inside. Strips narrower than `thinnest`, in the same units, are made as wide as that: a
    grid that is too coarse for them would leave crumbs."""
    inside = mask.numpy() > 0.5
    size = inside.shape[0]
    inside = _no_thinner(inside, thinnest * size / 2)
    # Beyond the picture's edge nothing is inside.
    padded = np.pad(inside, 1)
    signed = distance_transform_edt(padded) - distance_transform_edt(~padded)
    signed = np.where(signed > 0, signed - 0.5, signed + 0.5)[1:-1, 1:-1]
    return torch.from_numpy((gaussian_filter(signed, 0.6) * 2 / size).astype(np.float32))


def _no_thinner(inside: np.ndarray, width: float) -> np.ndarray:
    """An outline (E, E) whose strips are at least `width` pixels wide."""
    if width < 1:
        return inside
    padded = np.pad(inside, 1)
    distance = distance_transform_edt(padded)
    # What no disc of that width fits into; of it the ridges, which lie in the middle of strips.
    fitting = distance > width / 2
    opened = distance_transform_edt(~fitting) <= width / 2 if fitting.any() else fitting
    ridge = padded & ~opened & (distance >= maximum_filter(distance, 3))
    if not ridge.any():
        return inside
    wider = padded | (distance_transform_edt(~ridge) < width / 2)
    return wider[1:-1, 1:-1]


def spread(values: np.ndarray, inside: np.ndarray) -> torch.Tensor:
    """A map (S, S) continued beyond `inside` by the nearest value within."""
    rows, columns = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return torch.from_numpy(np.ascontiguousarray(values[rows, columns], np.float32))


@torch.no_grad()
def solid_mesh(
    views: Sequence[Inside], size: int, faces: int, reach: float, smooth: int = 3
) -> Mesh | None:
    """The closed surface of what all views hold to be inside, on size^3 points of a cube of half
    the edge `reach`; None where nothing is."""
    line = torch.linspace(-reach, reach, size)
    cell = 2 * reach / (size - 1)
    layers = []
    y, x = torch.meshgrid(line, line, indexing="ij")
    flat = torch.stack([x, y], -1).view(-1, 2)
    for z in line:
        points = torch.cat([flat, z.expand(len(flat), 1)], 1)
        value = views[0](points)
        for view in views[1:]:
            near = (value > -2 * cell).nonzero()[:, 0]
            if len(near):
                value[near] = torch.minimum(value[near], view(points[near]))
        layers.append(value.clamp(-2 * cell, 2 * cell).view(size, size))
    volume = torch.stack(layers).numpy()
    mesh = isosurface(volume + 2 * cell, 2 * cell)
    if mesh is None:
        return None
    # `isosurface` closes the border of its cube with zeros, which lie two cells outside.
    mesh = relax(Mesh(mesh.vertices * reach, mesh.faces), smooth)
    # Smoothing has shrunk what is thin: it goes back to where the solid ends.
    points = torch.from_numpy(mesh.vertices)
    short = torch.stack([view(points) for view in views]).amin(0).clamp(0, cell).numpy()
    normals = vertex_normals(mesh.vertices, mesh.faces)
    mesh = Mesh((mesh.vertices + normals * short[:, None]).astype(np.float32), mesh.faces)
    return decimate(mesh, faces) if faces and len(mesh.faces) > faces else mesh
