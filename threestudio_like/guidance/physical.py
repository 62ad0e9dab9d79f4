"""Physical terms for ComboVerse's placement: support, non-penetration, stable poses and depth
order.

They are an addition of this project, and each is optional.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..engine.schema.bounds import Number, Size, Weight
from ..kernels.distance import nearest, surface_tree, winding_number
from ..meshes.mesh import Mesh, join
from ..meshes.points import sample_surface
from ..representations.placed_scene import Body, PlacedScene


@dataclass(frozen=True, kw_only=True)
class PhysicalConfig:
    """Weights of the terms; 0 leaves a term out. Lengths are measured relative to the size of the
    smaller object."""

    support: Weight = 1.0
    """Nothing floats: an object that is on another touches it, and every other object stands on the
    common floor."""
    penetration: Weight = 4.0
    """No object penetrates another."""
    stability: Weight = 0.5
    """The middle of an object that is on another lies above it, and objects stand upright."""
    order: Weight = 1.0
    """An object that hides another, or that the prompt places in front of it, is nearer."""
    points: Number = 400
    """Number of points on the surface of every object."""
    grid: Size = 40
    """Number of cells along an edge of the distance fields."""


@dataclass
class DistanceField:
    """Signed distances to a body, negative inside, on a grid over its bounding box and a margin.

    values (1, 1, D, H, W), low and high (3,).
    """

    values: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    @staticmethod
    def of(body: Body, size: int = 40, margin: float = 0.2) -> DistanceField:
        """Measure the distances to the nearest triangle, with the sign of the winding number, so
        that open and overlapping surfaces are allowed."""
        mesh = join(list(body.meshes.values()))
        low, high = (
            torch.from_numpy(f(mesh.vertices, 0).astype(np.float32)) for f in (np.min, np.max)
        )
        spread = margin * (high - low).max()
        low, high = low - spread, high + spread
        lines = [torch.linspace(float(a), float(b), size) for a, b in zip(low, high)]
        z, y, x = torch.meshgrid(lines[2], lines[1], lines[0], indexing="ij")
        queries = torch.stack([x, y, z], -1).view(-1, 3)
        tree = surface_tree(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces))
        distance = nearest(tree, queries)[0]
        inside = winding_number(tree, queries) > 0.5
        values = torch.where(inside, -distance, distance).view(1, 1, size, size, size)
        return DistanceField(values, low, high)

    def to(self, device: torch.device) -> DistanceField:
        """The same field on another device."""
        return DistanceField(self.values.to(device), self.low.to(device), self.high.to(device))

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Signed distances (P,) at points (P, 3) of the body's frame; differentiable. Outside of
        the grid, the distance to the grid is added."""
        share = (points - self.low) / (self.high - self.low) * 2 - 1
        distance = F.grid_sample(
            self.values, share.view(1, 1, 1, -1, 3), padding_mode="border", align_corners=True
        ).view(-1)
        nearest_inside = torch.minimum(torch.maximum(points, self.low), self.high)
        beyond = (points - nearest_inside).square().sum(-1)
        return distance + torch.where(
            beyond > 0, beyond.clamp_min(1e-12).sqrt(), torch.zeros_like(beyond)
        )


@dataclass
class Bond:
    """A relation between two objects: `kind` is a relation of the lexicon, `one` and `two` are
    numbers of objects."""

    one: int
    kind: str
    two: int


@dataclass
class _Still:
    """Properties of an object that do not change."""

    points: torch.Tensor
    field: DistanceField
    middle: torch.Tensor
    extent: float


class PhysicalTerms:
    """The physical terms of a scene.

    Args:
        scene: its objects.
        bonds: relations between them.
        order: pairs (front, back) of objects of which one hides the other.
        upright: whether +Y of the world is known to be up (a known elevation); without it, support
            and stability have no direction.

    Example:
        >>> terms = PhysicalTerms(scene, [Bond(0, "on", 1)], [], PhysicalConfig())  # doctest: +SKIP
        >>> sum(terms.losses().values()).backward()  # doctest: +SKIP
    """

    def __init__(
        self,
        scene: PlacedScene,
        bonds: Sequence[Bond],
        order: Sequence[tuple[int, int]],
        config: PhysicalConfig,
        upright: bool = True,
    ) -> None:
        self.scene, self.bonds, self.config, self.upright = scene, list(bonds), config, upright
        # What stands on another thing, or under it, hides it or is hidden without being nearer.
        stacked = {frozenset((b.one, b.two)) for b in bonds if b.kind in ("on", "under")}
        self.order = sorted(
            {
                *(pair for pair in order if frozenset(pair) not in stacked),
                *((b.one, b.two) for b in bonds if b.kind == "in front of"),
                *((b.two, b.one) for b in bonds if b.kind == "behind"),
            }
        )
        known: dict[int, _Still] = {}
        for body in scene.bodies:
            if id(body) not in known:
                known[id(body)] = _still(join(list(body.meshes.values())), body, config)
        self.still = [known[id(body)] for body in scene.bodies]
        # An object under another one stands on the floor, unless a relation places something below
        # it.
        self.on = {b.one: b.two for b in bonds if b.kind == "on"}

    def world_points(self) -> list[torch.Tensor]:
        """Surface points (P, 3) of every object in the world."""
        device = self.scene.points.device
        if self.still[0].points.device != device:
            self.still = [
                _Still(
                    s.points.to(device), s.field.to(device), s.middle.to(device), extent=s.extent
                )
                for s in self.still
            ]
        return [self.scene.place_points(n, still.points) for n, still in enumerate(self.still)]

    def gap(self, one: int, two: int, points: torch.Tensor) -> torch.Tensor:
        """Signed distances (P,) of points (P, 3) of object `one` to object `two`, in the world's
        units."""
        return (
            self.still[two].field.at(self.scene.own_points(two, points)) * self.scene.scales()[two]
        )

    def losses(self) -> dict[str, torch.Tensor]:
        """The weighted terms by name; a term is zero if its condition holds."""
        config, out = self.config, {}
        points = self.world_points()
        # One wait for the device, and another one in `_near`, whatever the number of objects.
        scales = self.scene.scales().detach().tolist()
        sizes = [still.extent * scale for still, scale in zip(self.still, scales)]
        if config.penetration > 0:
            out["penetration"] = config.penetration * self._penetration(points, sizes)
        if config.support > 0 and self.upright:
            out["support"] = config.support * self._support(points, sizes)
        if config.stability > 0 and self.upright:
            out["stability"] = config.stability * self._stability(points, sizes)
        if config.order > 0 and self.order:
            out["order"] = config.order * self._order(sizes)
        return out

    def _penetration(self, points: list[torch.Tensor], sizes: list[float]) -> torch.Tensor:
        total = points[0].new_zeros(())
        for one, two in _near(points):
            smaller = min(sizes[one], sizes[two])
            depth = (-self.gap(one, two, points[one])).clamp_min(0) / smaller
            # The deepest points count by their depth, and many shallow ones by their mean.
            total = total + depth.max() + 4 * depth.mean()
        return total

    def _support(self, points: list[torch.Tensor], sizes: list[float]) -> torch.Tensor:
        total = points[0].new_zeros(())
        bottoms = [soft_lowest(p[:, 1], 0.01 * s) for p, s in zip(points, sizes)]
        standing = [n for n in range(len(points)) if n not in self.on]
        if len(standing) > 1:
            # The largest object gives the best estimate of the floor.
            floor = bottoms[max(standing, key=lambda n: sizes[n])]
            for n in standing:
                total = total + ((bottoms[n] - floor) / sizes[n]).abs()
        for one, two in self.on.items():
            gap = self.gap(one, two, points[one])
            lowest = soft_lowest(gap, 0.01 * sizes[one])
            total = total + (lowest / min(sizes[one], sizes[two])).clamp_min(0)
        return total

    def _stability(self, points: list[torch.Tensor], sizes: list[float]) -> torch.Tensor:
        total = points[0].new_zeros(())
        up = self.scene.rotations()[:, 1, 1]
        total = total + (1 - up).sum()
        for one, two in self.on.items():
            middle = self.scene.place_points(one, self.still[one].middle[None])[0]
            bottom = soft_lowest(points[one][:, 1], 0.01 * sizes[one])
            below = torch.stack([middle[0], bottom - 0.05 * sizes[one], middle[2]])
            total = total + (self.gap(one, two, below[None])[0] / sizes[one]).clamp_min(0)
        return total

    def _order(self, sizes: list[float]) -> torch.Tensor:
        total = self.scene.depth.new_zeros(())
        for front, back in self.order:
            margin = 0.25 * (sizes[front] + sizes[back]) / 2
            total = total + (
                (self.scene.depth[front, 0] - self.scene.depth[back, 0] + margin) / margin
            ).clamp_min(0)
        return total

    @torch.no_grad()
    def report(self) -> dict[str, float]:
        """The largest penetration depth and the largest gap below any object, both in scene units,
        and the largest tilt in degrees."""
        points = self.world_points()
        deepest, floating = 0.0, 0.0
        for one, two in _near(points):
            deepest = max(deepest, float((-self.gap(one, two, points[one])).max()))
        for one in range(len(points)):
            floating = max(floating, self.floating(one, points))
        up = self.scene.rotations()[:, 1, 1].clamp(-1, 1)
        return {
            "penetration depth": max(deepest, 0.0),
            "floating distance": floating,
            "tilt, degrees": float(up.arccos().max().rad2deg()),
        }

    @torch.no_grad()
    def floating(self, one: int, points: list[torch.Tensor] | None = None) -> float:
        """How far an object is above the floor or above the object that is nearest to it, whichever
        is less. The floor is the lowest point of the scene."""
        points = points or self.world_points()
        floor = min(float(p[:, 1].min()) for p in points)
        gap = float(points[one][:, 1].min()) - floor
        for two in range(len(points)):
            if two != one:
                gap = min(gap, max(0.0, float(self.gap(one, two, points[one]).min())))
        return max(gap, 0.0)


def _still(mesh: Mesh, body: Body, config: PhysicalConfig) -> _Still:
    cloud = sample_surface(mesh, config.points, 0)
    extent = mesh.vertices.max(0) - mesh.vertices.min(0)
    # Corners show better than any other sample where an object touches the floor.
    ends = mesh.vertices[
        np.unique(np.concatenate([mesh.vertices.argmin(0), mesh.vertices.argmax(0)]))
    ]
    points = torch.from_numpy(np.concatenate([cloud.points, ends]).astype(np.float32))
    middle = torch.from_numpy(cloud.points.mean(0).astype(np.float32))
    return _Still(points, DistanceField.of(body, config.grid), middle, extent=float(extent.max()))


def soft_lowest(values: torch.Tensor, width: float) -> torch.Tensor:
    """A smooth minimum of values (P,): the mean of those within about `width` of the smallest."""
    share = (-(values - values.min()).detach() / max(width, 1e-6)).exp()
    return (share * values).sum() / share.sum()


@torch.no_grad()
def _near(points: Sequence[torch.Tensor]) -> list[tuple[int, int]]:
    """The pairs of different objects, both ways, whose points' (P, 3) bounding boxes overlap."""
    low = torch.stack([p.amin(0) for p in points])
    high = torch.stack([p.amax(0) for p in points])
    meet = ((low[:, None] <= high) & (low <= high[:, None])).all(-1).tolist()
    count = range(len(points))
    return [(one, two) for one in count for two in count if one != two and meet[one][two]]
