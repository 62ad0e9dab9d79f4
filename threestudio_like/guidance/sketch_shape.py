"""Sketch-Shape (Metzer et al. 2022, section 3.2; METHODS 1.10): a coarse shape as soft guidance of
a volume's occupancy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from ..engine.random import RandomStream
from ..engine.schema.bounds import Count, OptionalSize, Positive, Share
from ..kernels import SurfaceTree, nearest, surface_tree, trilinear, winding_number
from ..renderers.rendering import Rendering
from ..representations.field import Field
from .guidance import Guidance, GuidanceInputs, GuidanceOutput

CLAMP = 0.01
"""Logarithms are taken of values from CLAMP to 1 - CLAMP, so that the slope of the loss in the
opacity is +-ln 99."""


@dataclass(frozen=True, kw_only=True)
class SketchConfig:
    """How closely a sketch shape is followed."""

    path: str = ""
    """Mesh file or YAML list of primitives; empty for no sketch."""
    strictness: Share = 0.6
    """From 0 (the sketch is ignored) to 1 (the surface is the sketch's). Sets weight and sigma
    unless they are given."""
    weight: float = -1.0
    """Weight of the loss; a negative value derives it from the strictness."""
    sigma: float = -1.0
    """Width of the band about the sketch's surface, in scene units, inside which the prior decides.
    A negative value derives it from the strictness; 0 means no band."""
    form: Literal["code", "paper"] = "code"
    """Weight across the band: code is 1 - exp(-d^2 / (2 sigma^2)), paper is 1 - exp(-d^2 / (2
    sigma))."""
    delta: Positive = 0.2
    """Length in scene units over which a density becomes the opacity that is compared."""
    placement: Literal["box", "mean"] = "box"
    """box: the centre of the bounding box at the origin, the farthest vertex at 0.95. mean: the
    mean of the vertices at the origin, the farthest vertex at `scale` (as published)."""
    scale: Positive = 0.7
    grid: OptionalSize = 72
    """Points along the edge of the grid that the sketch's distances are baked into; 0 measures
    every sample against the mesh."""
    samples: Count = 32768
    """Largest number of rendering samples that are guided in a step. They are drawn at random and
    stand for all samples; 0 takes every sample, as published."""
    points: Count = 8192
    """Number of random points of the cube that are guided as well, because empty regions are never
    sampled by the rendering."""

    @property
    def on(self) -> bool:
        """Whether there is a sketch to follow."""
        return bool(self.path) and self.strictness > 0 and self.weight != 0

    def idle(self, words: Sequence[str], place: str) -> str:
        """See `stages.idle_values`: without a sketch the rest means nothing."""
        return "" if self.path or words[0] == "path" else "there is no --sketch"

    def chosen_weight(self) -> float:
        """The weight; if it is not given, it follows from the strictness: 0 at 0, 0.004 at one
        half, and ten times as much every 0.22."""
        if self.weight >= 0:
            return self.weight
        return 0.004 * 10 ** (4.5 * (self.strictness - 0.5)) if self.strictness > 0 else 0.0

    def chosen_sigma(self) -> float:
        """The width of the band; if it is not given, it follows from the strictness: 0.2 at 0, 0.1
        at one half, 0 at 1."""
        return self.sigma if self.sigma >= 0 else 0.2 * (1 - self.strictness)


def band_weight(
    distance: torch.Tensor, sigma: float, form: Literal["code", "paper"] = "code"
) -> torch.Tensor:
    """Weight W (N,) of distances (N,) to the surface: 0 on the surface and towards 1 away from it.

    It is 1 everywhere if sigma is not positive (METHODS 1.10).
    """
    if sigma <= 0:
        return torch.ones_like(distance)
    return 1 - torch.exp(-distance.square() / (2 * (sigma * sigma if form == "code" else sigma)))


def shape_cross_entropy(opacity: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """-[a log c(g) + (1 - a) log c(1 - g)] of the opacity a and the sketch's occupancy g, both
    (N,).

    It is linear in a (METHODS 1.10).
    """
    g = inside.to(opacity)
    return -(
        opacity * g.clamp(CLAMP, 1 - CLAMP).log()
        + (1 - opacity) * (1 - g).clamp(CLAMP, 1 - CLAMP).log()
    )


class SketchShape(Guidance):
    """Guidance by a sketch shape.

    The sketch may be any set of triangles: a point is inside if its generalised winding number
    exceeds one half.

    Args:
        vertices: (V, 3) in the scene's frame.
        faces: (F, 3).
        config: weight, band and grid.
    """

    def __init__(self, vertices: torch.Tensor, faces: torch.Tensor, config: SketchConfig) -> None:
        self.config = config
        self.tree: SurfaceTree = surface_tree(vertices, faces)
        self._grid: torch.Tensor | None = None
        if config.grid > 0:
            line = torch.linspace(-1, 1, config.grid)
            z, y, x = torch.meshgrid(line, line, line, indexing="ij")
            signed = self.exact(torch.stack([x, y, z], -1).view(-1, 3))
            self._grid = signed.view(config.grid, config.grid, config.grid, 1)

    def exact(self, points: torch.Tensor) -> torch.Tensor:
        """Signed distance (N,) of points (N, 3) to the sketch's surface, negative inside."""
        distance = nearest(self.tree, points)[0]
        return torch.where(winding_number(self.tree, points) > 0.5, -distance, distance)

    def signed_distance(self, points: torch.Tensor) -> torch.Tensor:
        """The same as `exact`, or its trilinear interpolation if a grid was baked."""
        if self._grid is None:
            return self.exact(points)
        self._grid = self._grid.to(points)
        return trilinear(points, self._grid)[:, 0]

    def terms(self, points: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
        """The loss (N,) at every point, for points (N, 3) and density (N,). Differentiable in the
        density."""
        opacity = (-torch.expm1(-self.config.delta * density)).clamp(0, 1.1)
        signed = self.signed_distance(points.detach())
        weight = band_weight(signed.abs(), self.config.chosen_sigma(), self.config.form)
        return weight * shape_cross_entropy(opacity, signed < 0)

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """The sum over all samples of the step's renderings, as published.

        It is estimated from `samples` of them, with equally many of every view. For a microbatch it
        is `microbatches` times the sum over its own views, so that the mean over the microbatches
        is the whole sum.
        """
        assert rendering.samples is not None
        points, density = rendering.samples.points, rendering.samples.density
        views, microbatches = len(rendering.opacity), inputs.random.microbatches
        if not 0 < self.config.samples < len(points) * microbatches:
            total = self.terms(points, density).sum() * microbatches
            return GuidanceOutput(total, {"shape": total.detach()})
        each = max(1, self.config.samples // (views * microbatches))
        edges = rendering.samples.offsets[:: (len(rendering.samples.offsets) - 1) // views].to(
            points.device
        )
        begin, count = edges[:-1, None], edges.diff()[:, None]
        drawn = inputs.random.uniform("sketch samples", (views, each), points.device).double()
        pick = (begin + (drawn * count).long()).clamp(max=len(points) - 1).flatten()
        # A view without samples contributes nothing.
        terms = self.terms(points[pick], density[pick]).view(views, each) * (
            count * microbatches / each
        )
        total = terms.sum()
        return GuidanceOutput(total, {"shape": total.detach()})

    def everywhere(self, field: Field, random: RandomStream) -> torch.Tensor:
        """The sum over random points of the cube, also in cells that are not occupied (an addition
        of this project)."""
        points = random.whole.uniform("sketch", (self.config.points, 3), field.device) * 2 - 1
        return self.terms(points, field.density(points)).sum()

    def agreement(self, inside: torch.Tensor, points: torch.Tensor, band: float) -> float:
        """IoU of an occupancy (N,) bool at points (N, 3) with the sketch's, over the points farther
        than `band` from its surface."""
        signed = self.exact(points)
        counted = signed.abs() > band
        mine, sketch = inside & counted, (signed < 0) & counted
        union = int((mine | sketch).sum())
        return int((mine & sketch).sum()) / union if union else math.nan


class FollowSketch(Guidance):
    """A sketch as the guidance of a stage: the rendering's samples, as published, and random points
    of the cube besides.

    Args:
        sketch: the shape.
        field: what is optimised.
        weight: what the loss is multiplied by.
    """

    def __init__(self, sketch: SketchShape, field: Field, weight: float = 1.0) -> None:
        self.sketch, self.field, self.weight = sketch, field, weight

    def __call__(self, rendering: Rendering, inputs: GuidanceInputs) -> GuidanceOutput:
        """The weighted sum over both."""
        total, figures = self.sketch(rendering, inputs)
        if self.sketch.config.points > 0:
            total = total + self.sketch.everywhere(self.field, inputs.random)
        return GuidanceOutput(self.weight * total, figures)


class SketchField(Field):
    """The sketch as a volume of one colour: opaque inside and empty outside.

    Args:
        features: (C,) of every point.
        density: density inside, per scene unit.
        edge: width of the transition at the surface, in scene units.
    """

    def __init__(
        self, sketch: SketchShape, features: torch.Tensor, density: float = 14.0, edge: float = 0.03
    ) -> None:
        super().__init__()
        self.sketch, self.features, self.channels = sketch, features, len(features)
        self.opaque, self.edge = density, edge

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Density (N,) and features (N, C) at points (N, 3)."""
        density = self.opaque * torch.sigmoid(-self.sketch.signed_distance(points) / self.edge * 4)
        return density, self.features.expand(len(points), -1)
