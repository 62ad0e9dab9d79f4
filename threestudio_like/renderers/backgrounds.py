"""Backgrounds behind the object: a solid colour, a random grey level, or a learned environment."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import nn

from ..engine.random import RandomStream
from ..kernels import interpolate, rasterize
from .cameras import Cameras


@dataclass
class BackgroundSample:
    """A background for every pixel.

    values (B, H, W, C). `level` is the grey level in [0, 1] that a conditioned prior receives, or
    None if the background has no such level.
    """

    values: torch.Tensor
    level: float | None = None

    def to(self, device: torch.device | str) -> BackgroundSample:
        """The same sample on another device."""
        return BackgroundSample(self.values.to(device), self.level)


class Background(Protocol):
    """A background, which is sampled once a step for all cameras."""

    def sample(self, cameras: Cameras, random: RandomStream) -> BackgroundSample:
        """The values behind every pixel of every camera."""


@dataclass(frozen=True, kw_only=True)
class SolidBackground:
    """One colour (C,) for every pixel. A grey RGB colour also has a level."""

    value: torch.Tensor

    def sample(self, cameras: Cameras, random: RandomStream) -> BackgroundSample:
        """The colour for every pixel."""
        shape = (len(cameras), cameras.height, cameras.width, len(self.value))
        grey = len(self.value) == 3 and bool((self.value == self.value[0]).all())
        return BackgroundSample(self.value.expand(shape), float(self.value[0]) if grey else None)


@dataclass(frozen=True, kw_only=True)
class RandomBackground:
    """A grey level that is drawn anew at every step.

    Args:
        levels: (K,) grey levels in [0, 1].
        pictures: (K, h, w, C), the appearance of each level in the field's space: latents of a grey
            picture, or the grey itself.
    """

    levels: torch.Tensor
    pictures: torch.Tensor

    @staticmethod
    def grey(low: float = 0.25, high: float = 1.0, count: int = 16) -> RandomBackground:
        """A background of grey RGB levels."""
        levels = torch.linspace(low, high, count)
        return RandomBackground(
            levels=levels, pictures=levels.view(-1, 1, 1, 1).expand(-1, 1, 1, 3)
        )

    def pick(self, index: int, cameras: Cameras) -> BackgroundSample:
        """Level number `index` behind every camera."""
        picture = self.pictures[index]
        if picture.shape[:2] != (cameras.height, cameras.width):
            channels_first = picture.permute(2, 0, 1)[None]
            picture = nn.functional.interpolate(
                channels_first, (cameras.height, cameras.width), mode="nearest"
            )[0].permute(1, 2, 0)
        return BackgroundSample(picture.expand(len(cameras), -1, -1, -1), float(self.levels[index]))

    def sample(self, cameras: Cameras, random: RandomStream) -> BackgroundSample:
        """One random level for all cameras of the step."""
        return self.pick(int(random.integers("background", 0, len(self.levels))), cameras)


@dataclass(frozen=True, kw_only=True)
class AugmentedBackground:
    """Another background, which a step replaces with probability `random_aug_prob` by one random
    colour (C,) in [0, 1) for each view: no object can hide in it (threestudio's random_aug)."""

    inner: Background
    random_aug_prob: float
    channels: int = 3

    def sample(self, cameras: Cameras, random: RandomStream) -> BackgroundSample:
        """The background behind every camera."""
        if float(random.whole.uniform("random background")) >= self.random_aug_prob:
            return self.inner.sample(cameras, random)
        colour = random.uniform("background colour", (len(cameras), 1, 1, self.channels))
        return BackgroundSample(colour.expand(-1, cameras.height, cameras.width, -1))


def spherical_harmonics(directions: torch.Tensor) -> torch.Tensor:
    """The nine real spherical harmonics up to order 2 of unit directions (..., 3); returns (...,
    9), orthonormal on the sphere."""
    x, y, z = directions.unbind(-1)
    one, two, three, four = (
        1 / (4 * torch.pi) ** 0.5,
        (3 / (4 * torch.pi)) ** 0.5,
        (15 / (4 * torch.pi)) ** 0.5,
        (5 / (16 * torch.pi)) ** 0.5,
    )
    return torch.stack(
        [
            torch.full_like(x, one),
            *(-two * y, two * z, -two * x),
            *(three * x * y, -three * y * z, four * (3 * z * z - 1), -three * x * z),
            three / 2 * (x * x - y * y),
        ],
        -1,
    )


class LearnedBackground(nn.Module):
    """A small perceptron of the ray direction: 6 octaves and one hidden layer of 64 (METHODS 1.2).

    It is kept weak on purpose, so that it does not learn the object.

    Args:
        channels: C of the field.
        sigmoid: whether to apply a sigmoid to the output, for RGB.
        octaves: of the direction's frequencies; 0 for its nine spherical harmonics instead
            (threestudio).
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        bias: whether layers add a bias.
    """

    def __init__(
        self,
        channels: int,
        sigmoid: bool = False,
        octaves: int = 6,
        hidden: int = 64,
        seed: int = 0,
        layers: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.octaves, self.sigmoid = octaves, sigmoid
        sizes = [3 + 6 * octaves if octaves else 9, *[hidden] * layers, channels]
        linear = [nn.Linear(a, b, bias=bias) for a, b in itertools.pairwise(sizes)]
        self.layers = nn.Sequential(linear[0])
        for layer in linear[1:]:
            self.layers.extend([nn.ReLU(), layer])
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in linear:
                # The bias too within the root of the layer's inputs, as the published codes have.
                bound = layer.in_features**-0.5
                for p in layer.parameters():
                    p.copy_((torch.rand(p.shape, generator=generator) * 2 - 1) * bound)

    def forward(self, directions: torch.Tensor) -> torch.Tensor:
        """Map unit directions (..., 3) to values (..., C)."""
        if self.octaves:
            scaled = (
                directions[..., None, :]
                * (2.0 ** torch.arange(self.octaves)).to(directions)[:, None]
            )
            encoded = torch.cat(
                [directions, scaled.sin().flatten(-2), scaled.cos().flatten(-2)], -1
            )
        else:
            encoded = spherical_harmonics(directions)
        out = self.layers(encoded)
        return out.sigmoid() if self.sigmoid else out

    def sample(self, cameras: Cameras, random: RandomStream) -> BackgroundSample:
        """The value of the environment along every ray."""
        return BackgroundSample(self(cameras.to(next(self.parameters()).device).rays()[1]))


def learned_background(
    network: Literal["frequencies", "harmonics"],
    channels: int,
    sigmoid: bool = False,
    seed: int = 0,
) -> LearnedBackground:
    """A learned background by its network: that of METHODS 1.2, or threestudio's."""
    if network == "frequencies":
        return LearnedBackground(channels, sigmoid=sigmoid, seed=seed)
    return LearnedBackground(
        channels, sigmoid=sigmoid, octaves=0, hidden=16, seed=seed, layers=2, bias=False
    )


class SphereBackground(nn.Module):
    """An environment sphere seen from inside, with features at every face corner (METHODS 1.11).

    The features are initially uniform in [0, 1).

    Args:
        channels: C.
        rows: number of rows of faces from pole to pole; there are twice as many columns.
    """

    points: torch.Tensor
    tri: torch.Tensor

    def __init__(self, channels: int, rows: int = 10, radius: float = 10.0, seed: int = 0) -> None:
        super().__init__()
        polar = torch.arange(rows + 1) * (torch.pi / rows)
        turn = torch.arange(2 * rows + 1) * (torch.pi / rows)
        grid = (
            torch.stack(
                [
                    polar[:, None].sin() * turn.sin(),
                    polar[:, None].cos().expand(-1, 2 * rows + 1),
                    polar[:, None].sin() * turn.cos(),
                ],
                -1,
            )
            * radius
        )
        corner = [
            grid[:-1, :-1],
            grid[1:, :-1],
            grid[1:, 1:],
            grid[:-1, :-1],
            grid[1:, 1:],
            grid[:-1, 1:],
        ]
        self.register_buffer("points", torch.stack(corner, 2).reshape(-1, 3), persistent=False)
        self.register_buffer(
            "tri", torch.arange(len(self.points), dtype=torch.int32).view(-1, 3), persistent=False
        )
        generator = torch.Generator().manual_seed(seed)
        self.features = nn.Parameter(torch.rand(len(self.points), channels, generator=generator))

    def sample(self, cameras: Cameras, random: RandomStream) -> BackgroundSample:
        """The sphere as every camera sees it."""
        homogeneous = torch.cat([self.points, torch.ones_like(self.points[:, :1])], 1)
        clip = homogeneous @ cameras.to(homogeneous.device).view_projection().transpose(1, 2)
        pixels = rasterize(clip, self.tri, cameras.height, width=cameras.width)
        return BackgroundSample(interpolate(self.features, self.tri, pixels))
