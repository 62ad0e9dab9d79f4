"""Photographic clutter of our own making: objects of known alpha before walls, floors, textures
and other things that are out of focus, in light that casts shadows, with noise, as JPEG.

Nothing here is used by a training: backgrounds are drawn from other generators than the toybox's.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

Field = np.ndarray


@dataclass(frozen=True)
class Composite:
    """A picture (S, S, 3) float32 in [0, 1], the true alpha (S, S), and what lies behind."""

    picture: np.ndarray
    alpha: np.ndarray
    kind: str


def colour(rng: np.random.Generator, grey: float = 0.6) -> np.ndarray:
    """A colour (3,) as rooms and streets have them: most are nearly grey."""
    level = rng.uniform(0.12, 0.9)
    tint = rng.normal(0, 1, 3)
    return np.clip(
        level + (tint - tint.mean()) * (0.04 if rng.random() < grey else 0.16), 0.02, 0.98
    )


def fractal(rng: np.random.Generator, size: int, roughness: float = 0.55, cells: int = 3) -> Field:
    """Noise of all sizes (S, S) in [0, 1]."""
    out, weight = np.zeros((size, size)), 1.0
    while cells < size:
        grid = rng.random((cells + 2, cells + 2))
        out += (
            weight
            * zoom(grid, (size + 2) / (cells + 2), order=1, grid_mode=True, mode="nearest")[
                :size, :size
            ]
        )
        cells, weight = cells * 2, weight * roughness
    return (out - out.min()) / max(float(np.ptp(out)), 1e-9)


def mixed(a: np.ndarray, b: np.ndarray, share: Field) -> np.ndarray:
    """Two colours mixed by a field (S, S): (S, S, 3)."""
    return a + (b - a) * share[..., None]


def plane(rng: np.random.Generator, size: int) -> tuple[Field, Field]:
    """Coordinates on a wall, turned a little and bent by its relief."""
    y, x = np.mgrid[0:size, 0:size] / size
    angle = rng.normal(0, 0.12)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    bend = rng.uniform(0, 0.02)
    return u + bend * fractal(rng, size), v + bend * fractal(rng, size)


def gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    """A studio's paper: one colour that falls off."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    share = np.clip(0.5 + x * np.cos(angle) + y * np.sin(angle), 0, 1)
    base = colour(rng)
    return mixed(base, np.clip(base + rng.uniform(-0.3, 0.3), 0, 1), share)


def plaster(rng: np.random.Generator, size: int) -> np.ndarray:
    """A rough wall, or grass, gravel and leaves, by its roughness and colours."""
    rough = rng.uniform(0.4, 0.95)
    return mixed(
        colour(rng, 0.5), colour(rng, 0.5), fractal(rng, size, rough, int(rng.integers(3, 12)))
    )


def wood(rng: np.random.Generator, size: int) -> np.ndarray:
    """Boards with grain and joints."""
    u, v = plane(rng, size)
    boards = rng.integers(3, 9)
    number = np.floor(v * boards).astype(int)
    tone = rng.random(32)[number % 32]
    grain = fractal(rng, size, 0.7, 4)
    lines = 0.5 + 0.5 * np.sin(2 * np.pi * (v * boards * 6 + 3 * grain + u))
    base = np.array([0.55, 0.38, 0.22]) * rng.uniform(0.5, 1.5)
    shade = 0.75 + 0.25 * tone + 0.12 * lines
    return np.clip(base * (shade * (1 - 0.6 * ((v * boards) % 1 < 0.05)))[..., None], 0, 1)


def bricks(rng: np.random.Generator, size: int) -> np.ndarray:
    """Bricks, or tiles where they are square."""
    u, v = plane(rng, size)
    rows = rng.integers(4, 13)
    wide = 1.0 if rng.random() < 0.4 else 2.2
    row = np.floor(v * rows)
    across = u * rows / wide + (row % 2) * (0.5 if wide > 1 else 0)
    gap = ((v * rows) % 1 < 0.08) | ((across % 1) < 0.08 / wide)
    tone = rng.random((64, 64))[row.astype(int) % 64, np.floor(across).astype(int) % 64]
    face = mixed(colour(rng, 0.3), colour(rng, 0.6), 0.6 * tone + 0.4 * fractal(rng, size))
    return np.where(gap[..., None], colour(rng), face)


def stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    """A curtain, a blind, a checked cloth."""
    u, v = plane(rng, size)
    count = rng.integers(4, 22)
    share = 0.5 + 0.5 * np.sin(2 * np.pi * count * u)
    if rng.random() < 0.4:
        share = (share + 0.5 + 0.5 * np.sin(2 * np.pi * count * v)) / 2
    return mixed(colour(rng), colour(rng), share ** rng.uniform(0.5, 2))


def things(rng: np.random.Generator, size: int) -> np.ndarray:
    """A shelf, a street: boxes and round things, one before the other, with shaded faces."""
    picture = plaster(rng, size)
    y, x = np.mgrid[0:size, 0:size] / size
    for _ in range(int(rng.integers(6, 22))):
        cx, cy, w, h = rng.random(), rng.random(), rng.uniform(0.03, 0.22), rng.uniform(0.03, 0.28)
        angle = rng.normal(0, 0.3)
        a = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        b = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        inside = (
            (np.abs(a) < w) & (np.abs(b) < h)
            if rng.random() < 0.6
            else (a / w) ** 2 + (b / h) ** 2 < 1
        )
        shade = np.clip(1 + rng.normal(0, 0.3) * a / w + rng.normal(0, 0.3) * b / h, 0.3, 1.6)
        picture = np.where(inside[..., None], colour(rng, 0.4) * shade[..., None], picture)
    return np.clip(picture, 0, 1)


WALLS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "paper": gradient,
    "plaster": plaster,
    "wood": wood,
    "bricks": bricks,
    "stripes": stripes,
    "things": things,
}


def floored(rng: np.random.Generator, wall: np.ndarray, horizon: float) -> np.ndarray:
    """A floor below the horizon, its texture in perspective."""
    size = len(wall)
    name = str(rng.choice(["paper", "plaster", "wood", "bricks"]))
    flat = WALLS[name](rng, size)
    y, x = np.mgrid[0:size, 0:size] / size
    depth = np.clip((y - horizon) / (1 - horizon), 1e-3, 1)
    rows = (1 / (1.15 - depth) - 0.87) / 5.8 * (size - 1)
    columns = ((x - 0.5) * (0.35 + 0.65 * depth) + 0.5) * (size - 1)
    seen = np.stack(
        [map_coordinates(flat[..., c], [rows, columns], order=1, mode="mirror") for c in range(3)],
        -1,
    )
    return np.where((y > horizon)[..., None], seen, wall)


def backdrop(rng: np.random.Generator, size: int, kind: str) -> np.ndarray:
    """What lies behind (S, S, 3), out of focus by some, in uneven light."""
    wall = WALLS[kind](rng, size)
    if rng.random() < 0.6:
        wall = floored(rng, wall, rng.uniform(0.45, 0.8))
    blur = rng.choice([0.0, 0.004, 0.012, 0.03]) * size
    if blur:
        wall = gaussian_filter(wall, (blur, blur, 0))
    light = 1 + rng.uniform(0.05, 0.35) * (fractal(rng, size, 0.3, 2) - 0.5) * 2
    return np.clip(wall * light[..., None], 0, 1)


def shadow(rng: np.random.Generator, alpha: np.ndarray) -> np.ndarray:
    """Light (S, S) that is left where the object, flattened on the floor, takes it away."""
    size = len(alpha)
    rows = np.flatnonzero((alpha > 0.5).any(1))
    foot, tall = rows[-1], max(int(rows[-1] - rows[0]), 1)
    y, x = np.mgrid[0:size, 0:size].astype(float)
    squash, lean = rng.uniform(0.12, 0.4), rng.uniform(-0.8, 0.8)
    above = (foot - y) / squash
    cast = map_coordinates(alpha, [foot - above, x + lean * (foot - y) / squash * 0.4], order=1)
    contact = (
        np.exp(-(((y - foot) / (0.04 * tall + 2)) ** 2)) * gaussian_filter(alpha[foot], 4)[None]
    )
    soft = gaussian_filter(np.maximum(cast, contact), rng.uniform(0.006, 0.03) * size)
    return 1 - rng.uniform(0.25, 0.65) * np.clip(soft, 0, 1)


def composite(
    rng: np.random.Generator, rgba: np.ndarray, size: int = 256, kind: str = ""
) -> Composite:
    """An object (S, S, 4) in [0, 1], colours not multiplied by alpha, in a place of its own."""
    kind = kind or str(rng.choice(list(WALLS)))
    behind = backdrop(rng, size, kind)
    solid = np.argwhere(rgba[..., 3] > 0.5)
    low, high = solid.min(0), solid.max(0) + 1
    side = int((high - low).max()) + 4
    share = rng.uniform(0.35, 0.85) * size / side
    cut = np.pad(rgba, ((side, side), (side, side), (0, 0)))
    middle = (low + high) // 2 + side
    cut = cut[
        middle[0] - side // 2 : middle[0] + side // 2, middle[1] - side // 2 : middle[1] + side // 2
    ]
    cut = np.concatenate([cut[..., :3] * cut[..., 3:], cut[..., 3:]], -1)
    edge = max(16, round(side * share))
    scaled = zoom(
        gaussian_filter(cut, (0.5 * side / edge, 0.5 * side / edge, 0)),
        (edge / cut.shape[0], edge / cut.shape[1], 1),
        order=1,
    )[:size, :size]
    room = size - edge
    top = int(np.clip(room * rng.uniform(0.3, 0.95), 0, room))
    left = int(np.clip(room * rng.uniform(0.2, 0.8), 0, room))
    layer = np.zeros((size, size, 4))
    layer[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    alpha = np.clip(layer[..., 3], 0, 1)
    if rng.random() < 0.7:
        behind = behind * shadow(rng, alpha)[..., None]
    cast = 1 + rng.normal(0, 0.05, 3)
    picture = (layer[..., :3] + behind * (1 - alpha[..., None])) * cast
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    picture *= (1 - rng.uniform(0, 0.5) * (x**2 + y**2))[..., None]
    picture = gaussian_filter(picture, (*(2 * [rng.uniform(0.0, 0.7)]), 0))
    picture += rng.normal(0, rng.uniform(0.003, 0.025), picture.shape)
    return Composite(jpeg(picture, int(rng.integers(60, 96))), alpha.astype(np.float32), kind)


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """A picture (S, S, 3) as JPEG gives it back."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8)).save(
        buffer, "JPEG", quality=quality
    )
    return np.asarray(Image.open(buffer), np.float32) / 255


def composites(count: int, seed: int = 90, size: int = 256) -> list[Composite]:
    """Composites of this seed: every second object is one of the toybox's test set, the others are
    of the second world; all kinds of background in turn."""
    from pathlib import Path

    from PIL import Image
    from worlds import world_at_hand

    from threestudio_like.toybox.render import render, view_projection

    others = sorted((Path(__file__).parent / "second_world" / "pictures").glob("object-*.webp"))
    out = []
    for n in range(count):
        rng = np.random.Generator(np.random.Philox(key=[seed, n]))
        if n % 2:
            rgba = np.asarray(Image.open(others[n // 2 % len(others)]).convert("RGBA"), float) / 255
        else:
            obj = world_at_hand("segmenter").draw(seed, n, "test")
            turn = view_projection(rng.uniform(-3, 3), rng.uniform(0.05, 0.5))[None]
            view = render(obj, turn, size, np.zeros((1, 3), np.float32))
            alpha = view.mask[0][..., None]
            rgba = np.concatenate([view.image[0] / np.maximum(alpha, 1e-3), alpha], -1)
        kind = list(WALLS)[n // 2 % len(WALLS)]
        out.append(composite(rng, np.clip(rgba, 0, 1), size, kind))
    return out
