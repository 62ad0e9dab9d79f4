"""3D Gaussians (Kerbl et al. 2023): positions, scales, rotations, opacities, and colours in
spherical harmonics.

There is room for `capacity` of them from the beginning, and the first `count` are there. So every
step moves tensors of the same shapes: optimiser, checkpoints, ranks and forecasts of memory need no
rule of their own. What a step has to know of all its views, how strongly each Gaussian is pulled
across the pictures, comes as the gradient of a parameter (`screen`) that nothing moves: parts of a
step and ranks average it as they do every gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from torch import nn

from ..engine.random import RandomStream
from ..engine.schema.bounds import Bounds, Number, Positive, ScheduleText, Share
from ..engine.stage import ParameterGroup, Step
from ..kernels.devices import OnHost
from ..kernels.reference.gaussians import rotation_matrices
from .density_query import query
from .field import Field
from .gaussian_rules import DensifyConfig, densify, reset_opacities
from .gaussian_start import Start, ball, discs, of_field, spread
from .harmonics import ZEROTH, coefficients, harmonics
from .representation import Rates, Representation


@dataclass(frozen=True, kw_only=True)
class GaussianRates:
    """Schedules of learning rates (DreamGaussian's; positions in scene units)."""

    positions: ScheduleText = "1e-3->2e-5"
    scales: ScheduleText = "5e-3"
    rotations: ScheduleText = "5e-3"
    opacities: ScheduleText = "5e-2"
    colours: ScheduleText = "1e-2"
    harmonics: ScheduleText = "5e-4"
    """Of the coefficients beyond the first."""


@dataclass(frozen=True, kw_only=True)
class GaussianConfig:
    """How many Gaussians there are, and how they begin."""

    capacity: Number = 8000
    """Gaussians at most."""
    start: Number = 2000
    """Gaussians at first, where they begin from nothing or from a field."""
    radius: Positive = 0.5
    """Of the ball that they fill at first, where they begin from nothing."""
    opacity: Share = 0.1
    """At first, where they begin from nothing."""
    degree: Annotated[int, Bounds(low=0, high=3)] = 0
    """Of the spherical harmonics, 0 to 3; with 0 a colour is the same from all sides."""
    sigmoid: bool = True
    """Whether features are colours: 0.5 more than the harmonics, and not below 0."""
    rates: GaussianRates = field(default_factory=GaussianRates)
    densify: DensifyConfig = field(default_factory=DensifyConfig)


@dataclass(frozen=True)
class Gaussians:
    """The Gaussians that are there: means (N, 3), scales (N, 3), unnormalised quaternions (N, 4),
    w first, opacities (N,) in [0, 1], and harmonics (N, K, C)."""

    means: torch.Tensor
    scales: torch.Tensor
    rotations: torch.Tensor
    opacities: torch.Tensor
    harmonics: torch.Tensor

    def __len__(self) -> int:
        return len(self.means)

    def normals(self) -> torch.Tensor:
        """The shortest axis of each, (N, 3), of either sign. Differentiable in the rotations."""
        axis = self.scales.detach().argmin(-1)
        turned = rotation_matrices(self.rotations)
        return turned.gather(2, axis[:, None, None].expand(-1, 3, 1))[..., 0]


class _Noted(torch.autograd.Function):
    """Centres as they are; on the way back, the sum over views of the gradient's length in the
    picture (from -1 to 1 across it) and the number of views that see each Gaussian become the
    gradient of `screen`."""

    @staticmethod
    def forward(
        ctx: Any, centres: torch.Tensor, screen: torch.Tensor, seen: torch.Tensor, scale: Any
    ) -> torch.Tensor:
        # Sent to the device here: on the way back a GPU would have to wait for it.
        ctx.save_for_backward(seen, centres.new_tensor(scale))
        return centres.view_as(centres)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        seen, scale = ctx.saved_tensors
        seen = seen.to(grad.dtype)
        pull = (grad * scale).norm(dim=-1) * seen
        return grad, torch.stack([pull.sum(0), seen.sum(0)], -1), None, None


class GaussianCloud(Field):
    """3D Gaussians as a representation that `renderers.SplatRenderer` draws.

    As a `Field` it answers at points too: density and features of the Gaussians near them
    (DreamGaussian's local density query), from which a surface is extracted.

    Args:
        config: sizes, rates and rules.
        channels: C of the features: 3 for RGB, 4 in the latent space of a Stable Diffusion prior.
        seed: of the first positions.
        features: (C,) to begin with.
    """

    resamples: ClassVar[bool] = True
    drawn_by: ClassVar[str] = "splats"
    count: torch.Tensor
    pulls: torch.Tensor
    sights: torch.Tensor

    def __init__(
        self,
        config: GaussianConfig | None = None,
        channels: int = 3,
        seed: int = 0,
        features: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        config = config or GaussianConfig()
        self.config, self.channels = config, channels
        room, bands = config.capacity, coefficients(config.degree)
        self.positions = nn.Parameter(torch.zeros(room, 3))
        self.log_scales = nn.Parameter(torch.full((room, 3), -4.0))
        self.rotations = nn.Parameter(torch.tensor([1.0, 0, 0, 0]).repeat(room, 1))
        self.logits = nn.Parameter(torch.zeros(room))
        self.colours = nn.Parameter(torch.zeros(room, 1, channels))
        self.harmonics = nn.Parameter(torch.zeros(room, bands - 1, channels))
        self.screen = nn.Parameter(torch.zeros(room, 2))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self._number = OnHost(int)
        self.register_buffer("pulls", torch.zeros(room))
        self.register_buffer("sights", torch.zeros(room))
        random = RandomStream(seed, "gaussians", 0)
        start = ball(min(config.start, room), config.radius, config.opacity, random)
        if features is None:
            features = torch.full((channels,), 0.5 if config.sigmoid else 0.0)
        self.begin(start, features.detach().to(torch.float32).expand(len(start.points), -1))

    @torch.no_grad()
    def begin(self, start: Start, features: torch.Tensor) -> None:
        """Begin anew from points; those beyond the capacity are left out by their number, evenly.

        Args:
            start: the points with their sizes.
            features: (N, C) at the points.
        """
        room = self.config.capacity
        pick = torch.arange(len(start.points))
        if len(pick) > room:
            pick = (torch.arange(room) * len(pick)) // room
        n, device = len(pick), self.device
        self.count.fill_(n)
        self.positions[:n] = start.points[pick].to(device)
        self.log_scales[:n] = start.scales[pick].clamp_min(1e-5).log().to(device)
        self.rotations[:n] = start.rotations[pick].to(device)
        opacity = start.opacities[pick].clamp(1e-4, 1 - 1e-4)
        self.logits[:n] = torch.logit(opacity).to(device)
        shown = features[pick].to(device) - (0.5 if self.config.sigmoid else 0.0)
        self.colours[:n, 0] = shown / ZEROTH
        self.harmonics[:n] = 0
        self.pulls.zero_()
        self.sights.zero_()

    def __len__(self) -> int:
        return self._number(self.count)

    def gaussians(self) -> Gaussians:
        """Those that are there. Differentiable."""
        n = len(self)
        bands = self.colours[:n]
        if self.harmonics.shape[1]:
            bands = torch.cat([bands, self.harmonics[:n]], 1)
        return Gaussians(
            self.positions[:n],
            self.log_scales[:n].exp(),
            self.rotations[:n],
            torch.sigmoid(self.logits[:n]),
            bands,
        )

    def features(self, own: Gaussians, directions: torch.Tensor | None = None) -> torch.Tensor:
        """Features (..., N, C) of Gaussians seen along unit directions (..., N, 3) from the camera;
        their mean over all sides without."""
        bands = own.harmonics
        if directions is None or bands.shape[1] == 1:
            seen = ZEROTH * bands[:, 0]
        else:
            basis = harmonics(directions, self.config.degree)
            seen = torch.einsum("...nk,nkc->...nc", basis, bands)
        return (seen + 0.5).clamp_min(0) if self.config.sigmoid else seen

    def noted(
        self, centres: torch.Tensor, seen: torch.Tensor, height: int, width: int, views: int
    ) -> torch.Tensor:
        """Projected centres (B, N, 2) whose gradients are noted for the rule of densification.

        Args:
            seen: (B, N) bool. views: of the whole rendering; a loss is a mean over them.
        """
        if not torch.is_grad_enabled() or not centres.requires_grad:
            return centres
        scale = (0.5 * width * views, 0.5 * height * views)
        return _Noted.apply(centres, self.screen[: centres.shape[1]], seen, scale)

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Density (N,) and features (N, C) at points (N, 3)."""
        own = self.gaussians()
        return query(points, own, self.features(own))

    def density(self, points: torch.Tensor) -> torch.Tensor:
        """Density (N,)."""
        own = self.gaussians()
        return query(points, own, None)[0]

    def parameter_groups(self, rates: Rates | None = None) -> list[ParameterGroup]:
        """A group for each kind of number, at the configuration's own rates; `screen` does not
        move."""
        own = self.config.rates
        groups = [
            ParameterGroup("positions", [self.positions], own.positions),
            ParameterGroup("scales", [self.log_scales], own.scales),
            ParameterGroup("rotations", [self.rotations], own.rotations),
            ParameterGroup("opacities", [self.logits], own.opacities),
            ParameterGroup("colours", [self.colours], own.colours),
        ]
        if self.harmonics.shape[1]:
            groups.append(ParameterGroup("harmonics", [self.harmonics], own.harmonics))
        return [*groups, ParameterGroup("screen", [self.screen], "0")]

    def rows(self) -> dict[str, nn.Parameter]:
        """The parameters with a row for each Gaussian, by name."""
        names = ("positions", "log_scales", "rotations", "logits", "colours", "harmonics")
        return {name: getattr(self, name) for name in names}

    def before_step(self, step: Step) -> Mapping[nn.Parameter, torch.Tensor]:
        """Densify, prune and reset as the rules say; returns for each parameter that was rewritten
        the former row of every row, or -1 where it is new: the optimiser's moments follow."""
        rules = self.config.densify
        moved: dict[nn.Parameter, torch.Tensor] = {}
        if rules.due(step):
            moved = densify(self, rules, step.random)
        if rules.resets(step):
            moved |= reset_opacities(self, rules)
        return moved

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Add what the step noted."""
        noted = self.screen.grad
        if noted is not None:
            self.pulls += noted[:, 0]
            self.sights += noted[:, 1]

    @torch.no_grad()
    def load_resampled(self, other: Representation, close: float = 0.0) -> None:
        """Begin from a field with as many channels: points where it is dense, with its features.
        `close` means nothing to points."""
        if not isinstance(other, Field):
            raise TypeError("Gaussians begin from a field, a mesh or points")
        start, features = of_field(other, self.config.start, RandomStream(0, "gaussians", 1))
        self.begin(start, features)

    @torch.no_grad()
    def load_mesh(
        self,
        vertices: torch.Tensor,
        faces: torch.Tensor,
        colours: torch.Tensor | None = None,
        count: int | None = None,
    ) -> None:
        """Begin as flat discs on a mesh.

        Args:
            vertices: (V, 3). faces: (F, 3). colours: (V, C) features; grey by default.
            count: of discs; `config.start` by default.
        """
        count = min(count or self.config.start, self.config.capacity)
        on = spread(vertices, faces, count, RandomStream(0, "gaussians", 2))
        features = torch.full((count, self.channels), 0.5)
        if colours is not None:
            corners = colours.float().cpu()[faces.long().cpu()[on.face]]
            features = (corners * on.weights[..., None]).sum(1)
        self.begin(discs(on.points, on.normals), features)

    def regularisation(self, weights: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """None: total variations are of grids."""
        return {}
