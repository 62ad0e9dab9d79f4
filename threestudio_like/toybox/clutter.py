"""Photographic clutter to stand before: walls and floors of many textures, heaps of things, out of
focus by some and unevenly lit. What the salient object network learns to leave out.

The benchmarks have generators of their own, which no training sees (benchmarks/clutter.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from .parallel import stored
from .rooms import muted

SEED = 1 << 45
"""Added to a world's seed, so that backgrounds draw from streams of their own."""
SIZE = 192
"""Edge length in pixels; windows of it are used."""
BLURS = (0.0, 0.003, 0.01, 0.025)
"""How far out of focus a background is, as shares of its edge."""

Rng = np.random.Generator


def cloud(rng: Rng, size: int, slope: float) -> np.ndarray:
    """Noise (size, size) in [0, 1] whose amplitudes fall with frequency to the power of `slope`:
    that of photographs is about 1 (Field 1987)."""
    y = np.fft.fftfreq(size)[:, None]
    x = np.fft.rfftfreq(size)[None]
    frequency = np.hypot(y, x)
    frequency[0, 0] = np.inf
    phase = np.exp(2j * np.pi * rng.random(frequency.shape))
    out = np.fft.irfft2(frequency**-slope * phase, (size, size))
    return (out - out.min()) / max(float(np.ptp(out)), 1e-9)


def blend(rng: Rng, share: np.ndarray) -> np.ndarray:
    """Two colours mixed by shares (H, W): (H, W, 3). The second is now and then wholly another."""
    one = muted(rng)
    other = muted(rng) if rng.random() < 0.5 else np.clip(one * rng.uniform(0.5, 1.5), 0.03, 0.97)
    return one + (other - one) * share[..., None]


def paper(rng: Rng, size: int) -> np.ndarray:
    """One colour, lighter to one side."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.7) * (x * np.cos(angle) + y * np.sin(angle))
    return muted(rng) * light[..., None]


def rough(rng: Rng, size: int) -> np.ndarray:
    """Plaster, grass, gravel, sky: clouds of some slope, now and then with hard levels."""
    field = cloud(rng, size, rng.uniform(0.4, 1.8))
    if rng.random() < 0.3:
        levels = rng.integers(2, 5)
        field = np.floor(field * levels).clip(0, levels - 1) / (levels - 1)
    return blend(rng, field)


def profile(rng: Rng, count: int, hard: bool) -> np.ndarray:
    """Levels (256,) along a line: steps of uneven width, or waves."""
    place = np.arange(256) / 256
    if not hard:
        return 0.5 + 0.5 * np.sin(2 * np.pi * (count * place + rng.random()))
    edges = np.sort(rng.random(count))
    return rng.random(count + 1)[np.searchsorted(edges, place)]


def grating(rng: Rng, size: int) -> np.ndarray:
    """Curtains, boards, blinds, plaids: levels along one direction or two, on a bent surface."""
    y, x = np.mgrid[0:size, 0:size] / size
    angle = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.15)
    bend = rng.uniform(0, 0.06) * cloud(rng, size, 1.8)
    u = x * np.cos(angle) + y * np.sin(angle) + bend
    v = y * np.cos(angle) - x * np.sin(angle) + bend
    hard = rng.random() < 0.6
    field = profile(rng, int(rng.integers(3, 26)), hard)[(u * 256).astype(int) % 256]
    if rng.random() < 0.35:
        field = field + profile(rng, int(rng.integers(3, 20)), hard)[(v * 256).astype(int) % 256]
        field = field / 2
    grain = rng.uniform(0, 0.4)
    return blend(rng, (1 - grain) * field + grain * cloud(rng, size, 0.9))


def courses(rng: Rng, size: int) -> np.ndarray:
    """Bricks, tiles, slabs, planks with joints: rows of blocks that are offset, each of a tone."""
    y, x = np.mgrid[0:size, 0:size] / size
    turn = rng.normal(0, 0.1)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    rows, wide = rng.uniform(3, 14), rng.uniform(0.8, 5.0)
    row = np.floor(v * rows)
    along = u * rows / wide + rng.uniform(0, 0.5) * (row % 2)
    joint = rng.uniform(0.02, 0.14)
    in_joint = ((v * rows) % 1 < joint) | (along % 1 < joint / wide)
    tones = rng.random((37, 41))[row.astype(int) % 37, np.floor(along).astype(int) % 41]
    face = blend(rng, 0.7 * tones + 0.3 * cloud(rng, size, 1.0))
    return np.where(in_joint[..., None], muted(rng), face)


def cells(rng: Rng, size: int) -> np.ndarray:
    """Stones, leaves, mosaics: what is nearest to each of many points."""
    count = int(rng.integers(12, 240))
    points = rng.random((count, 2))
    y, x = np.mgrid[0:size, 0:size] / size
    places = np.stack([y, x * rng.uniform(0.4, 2.5)], -1) + 0.02 * cloud(rng, size, 1.5)[..., None]
    far, near = cKDTree(points * [1, places[..., 1].max()]).query(places.reshape(-1, 2), k=2)
    edge = (far[:, 1] - far[:, 0]).reshape(size, size) * np.sqrt(count)
    one, two = muted(rng), muted(rng)
    tint = rng.random((count, 1))
    colours = one + (two - one) * tint + rng.normal(0, 0.04, (count, 3))
    return colours[near[:, 0]].reshape(size, size, 3) * (0.6 + 0.4 * edge.clip(0, 1))[..., None]


def leaves(rng: Rng, size: int) -> np.ndarray:
    """A shelf, a street, a crowd: shapes of all sizes, one before the other, each shaded in its
    own way (dead leaves, Lee, Mumford and Huang 2001)."""
    picture = rough(rng, size) if rng.random() < 0.6 else paper(rng, size)
    y, x = np.mgrid[0:size, 0:size] / size
    for _ in range(int(rng.integers(5, 40))):
        # Radii fall as a power, between 1/50 and 1/4 of the picture.
        radius = 0.02 / (1 - rng.random() * (1 - 0.02 / 0.25))
        shape = rng.uniform(0.4, 1.6)
        angle, power = rng.normal(0, 0.5), float(rng.choice([1.0, 2.0, 2.0, 6.0, 20.0]))
        a, b = x - rng.random(), y - rng.random()
        u = (a * np.cos(angle) + b * np.sin(angle)) / radius
        v = (b * np.cos(angle) - a * np.sin(angle)) / (radius * shape)
        inside = np.abs(u) ** power + np.abs(v) ** power < 1
        shade = 1 + rng.normal(0, 0.25) * u + rng.normal(0, 0.25) * v
        face = muted(rng) * shade[..., None]
        if rng.random() < 0.15:
            face = face * (0.7 + 0.3 * np.sin(rng.uniform(3, 12) * u))[..., None]
        picture = np.where(inside[..., None], face, picture)
    return picture


WALLS: tuple[Callable[[Rng, int], np.ndarray], ...] = (
    paper,
    rough,
    grating,
    courses,
    cells,
    leaves,
    leaves,
)


def floored(rng: Rng, wall: np.ndarray) -> np.ndarray:
    """A floor with a texture of its own below a horizon, in perspective."""
    size = len(wall)
    horizon = rng.uniform(0.4, 0.85)
    flat = WALLS[int(rng.integers(0, 5))](rng, size)
    y, x = np.mgrid[0:size, 0:size] / size
    # A plane at unit height: its distance is one over how far below the horizon it is seen.
    away = 1 / (y - horizon + 0.08).clip(0.08)
    places = [(away * size / 4) % (size - 1), ((x - 0.5) * away * 0.4 + 0.5) % 1 * (size - 1)]
    seen = np.stack([map_coordinates(flat[..., c], places, order=1) for c in range(3)], -1)
    # Far off its texture is too fine to be seen.
    mean = flat.mean((0, 1))
    fine = ((away - 2.5) / 8).clip(0, 1)[..., None]
    floor = seen + (mean - seen) * fine
    return np.where((y > horizon)[..., None], floor, wall)


def background(seed: int, index: int, size: int = SIZE) -> np.ndarray:
    """Background `index` of a world's seed: (size, size, 3) in [0, 1]."""
    rng = np.random.Generator(np.random.Philox(key=[seed + SEED, index]))
    picture = WALLS[int(rng.integers(0, len(WALLS)))](rng, size)
    if rng.random() < 0.5:
        picture = floored(rng, picture)
    blur = float(rng.choice(BLURS)) * size
    if blur:
        picture = gaussian_filter(picture, (blur, blur, 0))
    light = 1 + rng.uniform(0, 0.5) * (cloud(rng, size, 2.0) - 0.5)
    return np.clip(picture * light[..., None], 0, 1).astype(np.float32)


def _one(job: tuple[int, int]) -> np.ndarray:
    return np.rint(background(*job) * 255).astype(np.uint8)


def backgrounds(folder: Path, seed: int, count: int, workers: int = 1) -> np.ndarray:
    """Backgrounds (count, SIZE, SIZE, 3) uint8 of a seed, stored under `folder`."""
    path = folder / f"clutter-{seed}-{count}.npy"
    return stored(path, count, _one, ((seed, n) for n in range(count)), workers)
