"""The generator of G3DR, which maps an RGB-D picture to three feature planes (METHODS 3.3)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ...engine.schema.bounds import Number, Size
from ...representations.triplane import Axes, PlaneDecoder, pyramid, sample_planes
from .contrastive import damaged, read_config
from .weights import save_weights


@dataclass(frozen=True, kw_only=True)
class TriplaneGeneratorConfig:
    """Sizes of the generator. The defaults are the paper's; `toybox()` has those of the embedded
    model."""

    size: Size = 128
    """Pixels along the edge of the picture and texels along the edge of a plane."""
    width: Size = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 8)
    blocks: Number = 2
    heads: Number = 4
    head_width: Number = 32
    positions: Size = 256
    """Channels of the learned positional map that is concatenated with the picture."""
    features: Size = 64
    """Channels of a plane."""
    hidden: Size = 64
    levels: Number = 3
    """Number of resolutions at which planes are read; 1 switches multi-resolution sampling off. It
    changes no parameter."""
    axes: Axes = "proper"
    groups: Number = 8
    position: Literal["ones", "coordinates"] = "ones"
    """Initial values of the positional map. ones: as published; only the zero padding of
    convolutions then tells a texel's position, which takes long to spread. coordinates: sines and
    cosines of rows and columns."""
    relief: bool = False
    """Start as the relief of the given depth. The picture is projected onto the (x, y) plane at its
    surface, the other two planes hold z, the network adds to that, and the decoder initially reads
    it as a surface with the picture's colours, so that few steps are enough. As published, the
    network has to learn the scale, the offset and the path through all its layers."""
    bias: float = -1.0
    gain: float = 1.0
    """The density is gain softplus(raw + bias). A larger gain lets small networks reach hard
    surfaces in few steps."""

    @staticmethod
    def toybox() -> TriplaneGeneratorConfig:
        """64 pixels, for two cores."""
        return TriplaneGeneratorConfig(
            size=64,
            width=24,
            multipliers=(1, 2, 3, 3),
            blocks=1,
            heads=2,
            head_width=16,
            positions=8,
            features=32,
            hidden=64,
            position="coordinates",
            relief=True,
            bias=-4.0,
            gain=20.0,
        )


DISTANCE = 5.0
"""Distance from the canonical camera to the origin (METHODS 3.2)."""
HALF_ANGLE = math.tan(math.radians(9.0))
LAID = 4.0
"""Features of a relief for one unit of the scene, so that the network's additions are of the order
of one."""
STEEPNESS = 60.0
"""Raw density that a relief gains within one unit behind its surface."""


def on_plane(given: torch.Tensor, size: int) -> torch.Tensor:
    """Project pictures with depth (B, 4, S, S), whose rows run up, orthographically onto the plane
    as seen from +Z.

    Returns the colours and the height z of the surface that the canonical camera sees, for every
    texel of [-1, 1]^2: (B, 4, size, size). Outside of the picture its border is continued.
    """
    line = (torch.arange(size, device=given.device) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    place = torch.stack([x, y], -1)[None].expand(len(given), -1, -1, -1)
    # The first and the last pixel lie on the edges of the frame.
    inset = (given.shape[-1] - 1) / given.shape[-1]
    reach = torch.full_like(place[..., :1], DISTANCE)
    last = projected = given
    # Which pixel sees a position depends on the height of the surface there, which in turn depends
    # on the pixel.
    for _ in range(6):
        last, pixel = projected, place / (reach * HALF_ANGLE)
        projected = F.grid_sample(
            given, pixel * inset, mode="bilinear", padding_mode="border", align_corners=False
        )
        slant = (1 + (pixel * HALF_ANGLE).square().sum(-1, keepdim=True)).sqrt()
        reach = (projected[:, 3:].permute(0, 2, 3, 1) / slant).clamp_min(1.0)
        projected = torch.cat([projected[:, :3], reach.permute(0, 3, 1, 2)], 1)
    # In the shadow of an edge no pixel sees the surface, and the iteration alternates between the
    # occluder and what lies behind it.
    projected = torch.where(last[:, 3:] > projected[:, 3:], last, projected)
    return torch.cat([projected[:, :3], DISTANCE - projected[:, 3:]], 1)


def sharpened(planes: torch.Tensor, levels: int, rounds: int = 3) -> torch.Tensor:
    """Planes (B, C, S, S) whose sum over the levels of a pyramid is the given plane (Richardson's
    iteration)."""
    size, estimate = planes.shape[-1], planes / levels
    for _ in range(rounds if levels > 1 else 0):
        read = sum(
            F.interpolate(p, (size, size), mode="bilinear", align_corners=False)
            for p in pyramid(estimate, levels)
        )
        # The eigenvalues of the sum over levels lie between 1 and the number of levels.
        estimate = estimate + (planes - read) * (2 / (1 + levels))
    return estimate


def first_positions(config: TriplaneGeneratorConfig) -> torch.Tensor:
    """The initial positional map (1, P, S, S)."""
    if config.position == "ones":
        return torch.ones(1, config.positions, config.size, config.size)
    line = torch.linspace(-1, 1, config.size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    rows = [x, y]
    octave = 0
    while len(rows) < config.positions:
        rows += [f(2**octave * math.pi / 2 * v) for v in (y, x) for f in (torch.sin, torch.cos)]
        octave += 1
    return torch.stack(rows[: config.positions])[None]


class StandardisedConv(nn.Conv2d):
    """A convolution whose weights have mean zero and variance one for each output (Qiao et al.
    2019)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, C', H, W)."""
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        variance = self.weight.var((1, 2, 3), unbiased=False, keepdim=True)
        weight = (self.weight - mean) * (variance + 1e-5).rsqrt()
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class _Conv(nn.Module):
    def __init__(self, inside: int, outside: int, groups: int) -> None:
        super().__init__()
        self.conv, self.norm = (
            StandardisedConv(inside, outside, 3, padding=1),
            nn.GroupNorm(groups, outside),
        )

    def forward(
        self, x: torch.Tensor, film: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return F.silu(x if film is None else x * (film[0] + 1) + film[1])


class ConvBlock(nn.Module):
    """Two standardised convolutions with a residual connection; the time embedding scales and
    shifts the first."""

    def __init__(self, inside: int, outside: int, time: int, groups: int) -> None:
        super().__init__()
        self.film = nn.Linear(time, 2 * outside)
        self.one, self.two = _Conv(inside, outside, groups), _Conv(outside, outside, groups)
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Apply the block to x (B, C, H, W) with the time embedding (B, T)."""
        scale, shift = self.film(F.silu(time))[..., None, None].chunk(2, 1)
        return self.two(self.one(x, (scale, shift))) + self.skip(x)


class PlaneAttention(nn.Module):
    """Residual attention over pixels: linear (Shen et al. 2021) at high resolution, full in the
    middle of the network."""

    def __init__(self, channels: int, heads: int, head_width: int, linear: bool) -> None:
        super().__init__()
        self.heads, self.linear = heads, linear
        self.norm = nn.GroupNorm(1, channels)
        self.qkv = nn.Conv2d(channels, 3 * heads * head_width, 1, bias=False)
        self.out = nn.Conv2d(heads * head_width, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to the same shape."""
        batch, _, height, width = x.shape
        query, key, value = (
            y.reshape(batch, self.heads, -1, height * width)
            for y in self.qkv(self.norm(x)).chunk(3, 1)
        )
        scale = query.shape[2] ** -0.5
        if self.linear:
            context = key.softmax(-1) @ (value / (height * width)).transpose(2, 3)
            mixed = context.transpose(2, 3) @ (query.softmax(2) * scale)
        else:
            mixed = value @ ((query * scale).transpose(2, 3) @ key).softmax(-1).transpose(2, 3)
        return x + self.out(mixed.reshape(batch, -1, height, width))


class TriplaneGenerator(nn.Module):
    """Maps RGB in [-1, 1] and depth to planes (B, 3, F, S, S), and contains the decoder that reads
    them."""

    def __init__(self, config: TriplaneGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * m for m in config.multipliers]
        time, groups = 4 * config.width, config.groups

        def attention(channels: int, linear: bool = True) -> PlaneAttention:
            return PlaneAttention(channels, config.heads, config.head_width, linear=linear)

        self.position = nn.Parameter(first_positions(config))
        self.stem = nn.Conv2d(4 + config.positions, config.width, 7, padding=3)
        self.time = nn.Sequential(nn.Linear(config.width, time), nn.GELU(), nn.Linear(time, time))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        inside, skips = config.width, []
        for level, width in enumerate(widths):
            blocks = [ConvBlock(inside, inside, time, groups=groups) for _ in range(config.blocks)]
            last = level + 1 == len(widths)
            # Pixel-unshuffle: four pixels become channels, followed by a 1 x 1 convolution.
            change = (
                nn.Conv2d(inside, width, 3, padding=1)
                if last
                else nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * inside, width, 1))
            )
            self.down.append(nn.ModuleList([*blocks, attention(inside), change]))
            skips.append(inside)
            inside = width
        self.middle = nn.ModuleList(
            [
                ConvBlock(inside, inside, time, groups=groups),
                attention(inside, False),
                ConvBlock(inside, inside, time, groups=groups),
            ]
        )
        for level, width in reversed(list(enumerate(widths))):
            skip = skips.pop()
            blocks = [
                ConvBlock(width + skip, width, time, groups=groups) for _ in range(config.blocks)
            ]
            outside = widths[level - 1] if level else config.width
            change = (
                nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="nearest"),
                    nn.Conv2d(width, outside, 3, padding=1),
                )
                if level
                else nn.Conv2d(width, outside, 3, padding=1)
            )
            self.up.append(nn.ModuleList([*blocks, attention(width), change]))
        self.last = ConvBlock(2 * config.width, config.width, time, groups=groups)
        self.out = nn.Conv2d(config.width, 3 * config.features, 1)
        self.decoder = PlaneDecoder(config.features, 3, config.hidden)
        if config.relief:
            self._begin_as_relief()

    @torch.no_grad()
    def _begin_as_relief(self) -> None:
        """Initialise the decoder to read feature 0 as height above the surface and the next three
        features as logits of colours, and the network to add nothing."""
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        hidden, out = self.decoder.hidden, self.decoder.out
        out.weight.zero_()
        for channel, slope in enumerate((-STEEPNESS / LAID, 1.0, 1.0, 1.0)):
            # softplus(v) - softplus(-v) = v, and both layers divide by the root of what comes in.
            factor = (abs(slope) * (hidden.weight.shape[1] * out.weight.shape[1]) ** 0.5) ** 0.5
            for unit, sign in ((2 * channel, 1.0), (2 * channel + 1, -1.0)):
                hidden.weight[unit].zero_()
                hidden.weight[unit, channel] = sign * factor
                out.weight[channel, unit] = sign * math.copysign(factor, slope)
        # Matter begins at the surface itself.
        out.bias[0] = -self.config.bias

    def forward(self, rgb: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        """Map rgb (B, 3, S, S) in [-1, 1] and depth (B, 1, S, S) in scene units to planes (B, 3, F,
        S, S)."""
        batch = len(rgb)
        # The rows of a picture run down, and those of a plane run up with y.
        given = torch.cat([rgb, depth], 1).flip(2)
        x = self.stem(torch.cat([given, self.position.expand(batch, -1, -1, -1)], 1))
        first = x
        # The architecture is that of a denoiser, whose time is fixed to 1.
        half = self.config.width // 2
        angle = torch.exp(
            -torch.arange(half, device=x.device)
            * (torch.log(torch.tensor(10000.0)) / max(1, half - 1))
        )
        features = torch.cat([angle.sin(), angle.cos()])
        time = self.time(F.pad(features, (0, self.config.width - 2 * half)).expand(batch, -1).to(x))
        skips: list[list[torch.Tensor]] = []
        for entry in self.down:
            kept = []
            for block in entry[:-2]:  # type: ignore[index]
                x = block(x, time)
                kept.append(x)
            kept[-1] = x = entry[-2](x)  # type: ignore[index]
            skips.append(kept)
            x = entry[-1](x)  # type: ignore[index]
        x = self.middle[2](self.middle[1](self.middle[0](x, time)), time)
        for entry in self.up:
            for block in entry[:-2]:  # type: ignore[index]
                x = block(torch.cat([x, skips[-1].pop()], 1), time)
            skips.pop()
            x = entry[-1](entry[-2](x))  # type: ignore[index]
        x = self.out(self.last(torch.cat([x, first], 1), time))
        planes = x.view(batch, 3, self.config.features, *x.shape[2:])
        return planes + self._laid(given) if self.config.relief else planes

    def _laid(self, given: torch.Tensor) -> torch.Tensor:
        """The planes (B, 3, F, S, S) before the network has learnt anything.

        The (x, y) plane holds the surface's -z and the logits of its colours, and the other two
        hold z, so that the first feature is the height above the surface.
        """
        size, levels = self.config.size, self.config.levels
        seen = on_plane(given, size)
        colours = 2 * torch.atanh(0.98 * seen[:, :3])
        # The planes are averaged when they are read.
        front = 3 * sharpened(torch.cat([-LAID * seen[:, 3:], colours], 1), levels)
        z = (
            ((torch.arange(size, device=given.device) + 0.5) / size * 2 - 1)
            .view(size, 1)
            .expand(size, size)
        )
        laid = given.new_zeros(len(given), 3, self.config.features, size, size)
        laid[:, 0, :4] = front
        laid[:, 1:, 0] = LAID * z * 1.5 / levels
        return laid

    def read(self, planes: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Raw density (B, N) and colours (B, N, 3) in [0, 1] at points (B, N, 3)."""
        config = self.config
        # A ramp that fades to zero at its end would be read as a second surface there.
        return self.decoder(
            sample_planes(planes, points, config.levels, axes=config.axes, replicate=config.relief)
        )

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors (float16) to a folder. Raises OutputError."""
        save_weights(folder, self.state_dict(), {"kind": "g3dr", **asdict(self.config)})

    @staticmethod
    def load(folder: Path) -> TriplaneGenerator:
        """Read a folder that `save` wrote. Raises ModelError."""
        facts = read_config(folder, "g3dr", "threestudio-like train g3dr")
        try:
            model = TriplaneGenerator(
                TriplaneGeneratorConfig(**{**facts, "multipliers": tuple(facts["multipliers"])})
            )
            model.load_state_dict(
                {k: v.float() for k, v in load_file(str(folder / "model.safetensors")).items()}
            )
        except (KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            raise damaged(folder, error) from None
        return model.eval().requires_grad_(False)
