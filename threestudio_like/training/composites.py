"""Composites with a known alpha: toybox objects cut out, bent, painted over and lit anew, before
photographic clutter and other objects, with shadows, noise and JPEG's blocks."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..toybox.clutter import backgrounds
from ..toybox.editions import edition
from ..toybox.parallel import stored
from ..toybox.render import render, view_projection

SIZE = 128
OTHERS = 2
"""At most so many other objects stand behind."""
VIEWS = 1 << 46
"""Added to a world's seed, so that cameras draw from streams of their own."""


@dataclass
class Composites:
    """Objects (N, SIZE, SIZE, 4) uint8, colours times alpha, each filling its picture, and
    backgrounds (M, S, S, 3) uint8 with S > SIZE."""

    objects: np.ndarray
    behind: np.ndarray

    def __len__(self) -> int:
        return len(self.objects)

    def draw(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (count, SIZE, SIZE, 3) in [0, 1] and the alpha (count, SIZE, SIZE) of what each
        shows."""
        random = _Random(count, generator)
        behind = self._behind(random)
        side = random.between(0.35, 1.0)
        # Now and then an object leaves the frame.
        room = torch.where(random.happens(0.12), 0.9, 1 - side)
        place = (random.between(-1, 1, 2) * room[:, None]).clamp(-0.9, 0.9)
        place[:, 1] += 0.15 * room * (1 - place[:, 1].abs())
        object_ = self._object(random, side, place)
        for _ in range(OTHERS):
            behind = self._another(random, behind, side)
        behind = behind * _shadow(random, object_[:, 3], side, place)[:, None]
        alpha = object_[:, 3]
        picture = object_[:, :3] + behind * (1 - object_[:, 3:])
        return _photographed(random, picture).permute(0, 2, 3, 1), alpha

    def _behind(self, random: _Random) -> torch.Tensor:
        """Windows (B, 3, SIZE, SIZE) of backgrounds, mirrored or not."""
        corners = random.whole(self.behind.shape[1] - SIZE + 1, 2).tolist()
        picked = random.whole(len(self.behind)).tolist()
        found = np.stack(
            [self.behind[n, y : y + SIZE, x : x + SIZE] for n, (y, x) in zip(picked, corners)]
        )
        out = torch.from_numpy(found).permute(0, 3, 1, 2).float() / 255
        return torch.where(random.happens(0.5).view(-1, 1, 1, 1), out.flip(3), out)

    def _object(self, random: _Random, side: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """Objects (B, 4, SIZE, SIZE), colours times alpha, of new colours, textures and light.

        Args:
            side: (B,) of their frames, as shares of the picture's edge.
            place: (B, 2) of their middles, in [-1, 1].
        """
        picked = random.whole(len(self.objects)).numpy()
        rgba = torch.from_numpy(self.objects[picked]).permute(0, 3, 1, 2).float() / 255
        count = len(rgba)
        mixed = torch.eye(3) + 0.35 * random.normal(3, 3) * random.happens(0.6).view(-1, 1, 1)
        mixed = mixed / mixed.sum(2, keepdim=True).abs().clamp_min(0.3)
        colours = torch.einsum("bij,bjhw->bihw", mixed, rgba[:, :3])
        # Another surface: the tones of some background over the object's own.
        tones = self._behind(random).mean(1, keepdim=True)
        tones = tones / tones.mean((2, 3), keepdim=True).clamp_min(0.05)
        share = (random.between(0, 0.9) * random.happens(0.35)).view(-1, 1, 1, 1)
        line = torch.linspace(-1, 1, SIZE)
        angle, slope = random.between(0, 2 * math.pi), random.between(0, 0.45)
        light = (
            line.view(1, 1, -1) * angle.cos().view(-1, 1, 1)
            + line.view(1, -1, 1) * angle.sin().view(-1, 1, 1)
        ) * slope.view(-1, 1, 1)
        bright = random.between(0.6, 1.25).view(-1, 1, 1, 1)
        colours = colours * (1 + share * (tones - 1)) * (bright * (1 + light[:, None]))
        rgba = torch.cat([colours.clamp(0, 1).minimum(rgba[:, 3:]), rgba[:, 3:]], 1)
        turn = 0.2 * random.normal() * random.happens(0.4)
        wide = (0.15 * random.normal()).clamp(-0.4, 0.4).exp()
        flip = torch.where(random.happens(0.5), -1.0, 1.0)
        grid = F.affine_grid(
            _affine(side * wide * flip, side, turn, place), [count, 4, SIZE, SIZE], False
        )
        # Not finer than the picture: small ones are blurred before they are sampled.
        out = F.grid_sample(_blurred(rgba, 0.35 / side - 0.3), grid, align_corners=False)
        return out.clamp(0, 1)

    def _another(self, random: _Random, behind: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
        """Something else behind: smaller than what is shown, cut by the picture's edge, or well out
        of focus."""
        rows = random.happens(0.22).nonzero()[:, 0]
        if not len(rows):
            return behind
        some = _Random(len(rows), random.generator)
        kind = some.whole(3)
        small = side[rows] * some.between(0.2, 0.55)
        size = torch.where(kind == 0, small, some.between(0.3, 1.1))
        place = some.between(-1, 1, 2)
        beyond = place / place.abs().amax(1, keepdim=True).clamp_min(1e-3)
        place = torch.where((kind == 1)[:, None], beyond * (0.9 + 0.4 * size[:, None]), place)
        other = self._object(some, size, place)
        other = _blurred(other, torch.where(kind == 2, some.between(2, 5), some.between(0, 2)))
        return behind.index_copy(0, rows, other[:, :3] + behind[rows] * (1 - other[:, 3:]))


class _Random:
    """Random numbers for a batch of `count` pictures."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator

    def between(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Numbers (B, ...) of an interval."""
        return low + (high - low) * torch.rand(self.count, *shape, generator=self.generator)

    def normal(self, *shape: int) -> torch.Tensor:
        """Normal numbers (B, ...)."""
        return torch.randn(self.count, *shape, generator=self.generator)

    def whole(self, end: int, *shape: int) -> torch.Tensor:
        """Whole numbers (B, ...) from 0 to below `end`."""
        return torch.randint(0, end, (self.count, *shape), generator=self.generator)

    def happens(self, share: float) -> torch.Tensor:
        """Which of the pictures (B,) are among a share of them."""
        return self.between(0, 1) < share


def _affine(
    wide: torch.Tensor, high: torch.Tensor, turn: torch.Tensor, place: torch.Tensor
) -> torch.Tensor:
    """Matrices (B, 2, 3) for `affine_grid` of frames of a size (shares of the picture), turned, and
    with their middle at a place in [-1, 1]."""
    rows = torch.stack(
        [
            torch.stack([turn.cos() / wide, turn.sin() / wide], 1),
            torch.stack([-turn.sin() / high, turn.cos() / high], 1),
        ],
        1,
    )
    return torch.cat([rows, -(rows @ place[:, :, None])], 2)


def _blurred(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Maps (B, C, H, W), each blurred by a Gaussian of its own deviation (B,) in pixels; of none
    or less stays as it is."""
    reach = int(min(12, math.ceil(2.5 * max(float(sigma.max()), 0.0))))
    if reach == 0:
        return x
    count, channels = x.shape[:2]
    line = torch.arange(-reach, reach + 1, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (line[None] / sigma.clamp_min(0.05)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = x.reshape(1, count * channels, *x.shape[2:])
    flat = F.conv2d(flat, kernel[:, None, :, None], padding=(reach, 0), groups=count * channels)
    flat = F.conv2d(flat, kernel[:, None, None, :], padding=(0, reach), groups=count * channels)
    return flat.view_as(x)


def _shadow(
    random: _Random, alpha: torch.Tensor, side: torch.Tensor, place: torch.Tensor
) -> torch.Tensor:
    """Light (B, SIZE, SIZE) that an object with an alpha leaves on the floor that it stands on: the
    alpha flattened, leaning to a side, and soft."""
    foot = place[:, 1] + side
    flat, lean = random.between(0.15, 0.55), random.between(-1, 1)
    # A row above the foot shows the alpha of a row further up.
    rows = torch.stack(
        [
            torch.stack([torch.ones_like(lean), lean / flat, -lean / flat * foot], 1),
            torch.stack([torch.zeros_like(lean), 1 / flat, foot - foot / flat], 1),
        ],
        1,
    )
    grid = F.affine_grid(rows, [len(alpha), 1, SIZE, SIZE], False)
    cast = F.grid_sample(alpha[:, None], grid, align_corners=False)
    near = _blurred(torch.maximum(cast, 0.8 * alpha.roll(3, 1)[:, None]), random.between(0.5, 4))
    depth = random.between(0.15, 0.65) * random.happens(0.65)
    return 1 - depth.view(-1, 1, 1) * near[:, 0].clamp(0, 1)


def _photographed(random: _Random, picture: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, H, W) as a camera gives them back: a cast, darker corners, some blur, noise,
    and of every second a JPEG."""
    cast = 1 + 0.06 * random.normal(3, 1, 1)
    line = torch.linspace(-0.5, 0.5, SIZE)
    corner = 1 - random.between(0, 0.5).view(-1, 1, 1, 1) * (line[:, None] ** 2 + line**2)
    picture = _blurred(picture * cast * corner, random.between(-0.3, 0.8))
    picture = picture + random.between(0, 0.03).view(-1, 1, 1, 1) * random.normal(3, SIZE, SIZE)
    bytes_ = (picture.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    quality, packed = random.whole(60).tolist(), random.happens(0.5).tolist()
    out = [_jpeg(p, 38 + q) if j else p for p, q, j in zip(bytes_, quality, packed)]
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).float() / 255


def _jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _one(job: tuple[int, int, str, str]) -> np.ndarray:
    """An object (SIZE, SIZE, 4) uint8, colours times alpha, that fills its picture."""
    seed, index, split, world = job
    thing = edition(world).draw(seed, index, split)
    rng = np.random.Generator(np.random.Philox(key=[seed + VIEWS, index]))
    azimuth, elevation = rng.uniform(-np.pi, np.pi), np.deg2rad(rng.uniform(-10, 50))
    fov = float(rng.uniform(0.35, 1.0))
    camera = view_projection(azimuth, elevation, 1.15 / np.sin(fov / 2), fov_y=fov)[None]
    view = render(thing, camera, 2 * SIZE, np.zeros((1, 3), np.float32))
    rgba = np.concatenate([view.image[0], view.mask[0][..., None]], -1)
    rows, columns = np.flatnonzero(rgba[..., 3].any(1)), np.flatnonzero(rgba[..., 3].any(0))
    if not len(rows):
        return np.zeros((SIZE, SIZE, 4), np.uint8)
    cut = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    square = np.zeros((max(cut.shape), max(cut.shape), 4), np.float32)
    top, left = ((len(square) - n) // 2 for n in cut.shape[:2])
    square[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    x = torch.from_numpy(square).permute(2, 0, 1)[None]
    small = F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True)[0]
    return (small.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


def composites(
    folder: Path,
    seed: int,
    count: int,
    split: str = "train",
    workers: int = 1,
    world: str = "twenty",
) -> Composites:
    """What composites of `count` objects of a world are made of, stored under `folder`; there is
    one background for four objects."""
    kind = "" if world == "twenty" else f"-{world}"
    path = folder / f"cut-outs-{split}-{seed}-{count}{kind}.npy"
    jobs = ((seed, n, split, world) for n in range(count))
    objects = stored(path, count, _one, jobs, workers)
    return Composites(objects, backgrounds(folder, seed, max(4, count // 4), workers))
