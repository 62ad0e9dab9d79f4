"""Training pictures of the toybox: groups of four views at exact quarter turns, stored as arrays on
disk."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engine.output import new_file, write_file
from .editions import edition
from .parallel import each
from .render import Views, render, view_projection

VIEWS = 4
"""Number of views of a group. They share elevation and background, and are at exact quarter turns.
"""


@dataclass
class Groups:
    """N objects, each seen from four sides.

    images (N, 4, S, S, 3) uint8; azimuth (N, 4) and elevation (N,) in radians; background (N,) grey
    level in [0, 1]; captions, N texts without view words; category and colour, N words (of the
    first object); normals, pictures (N, 4, S, S, 3) uint8 of the same views (`normal_picture`), or
    None where they were not drawn.
    """

    images: np.ndarray
    azimuth: np.ndarray
    elevation: np.ndarray
    background: np.ndarray
    captions: list[str]
    category: list[str]
    colour: list[str]
    normals: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.captions)


def view_word(azimuth: float, elevation: float) -> str:
    """The view word (METHODS 1.5) of a toybox picture: overhead above 60 degrees, else front, side
    or back."""
    if elevation >= math.radians(60.0) - 1e-6:
        return "overhead"
    turn = math.degrees(azimuth) % 360.0
    if turn <= 35.0 or turn >= 325.0:
        return "front"
    return "back" if 145.0 <= turn <= 215.0 else "side"


def normal_picture(views: Views, background: float) -> np.ndarray:
    """Pictures (B, H, W, 3) in [0, 1] of normals: (n + 1) / 2 of the unit normal in world axes,
    over a grey level, with the soft edges of the colours' mask."""
    drawn = (views.normal + 1) / 2
    return drawn * views.mask[..., None] + np.float32(background) * (1 - views.mask[..., None])


@dataclass(frozen=True)
class World:
    """Selects a world for groups: see `world.draw`. `size` is the edge length of a picture in
    pixels; `normals` asks for pictures of normals beside those of colours."""

    seed: int
    size: int = 64
    split: str = "train"
    scenes: float = 0.0
    every_pair: bool = False
    patterned: bool = False
    edition: str = "twenty"
    normals: bool = False


def _draw_group(
    job: tuple[World, int],
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, float, float, str, str, str]:
    """Pictures of colours and of normals (4, S, S, 3) uint8, azimuths (4,), elevation, background,
    caption, category and colour of one group."""
    world, index = job
    known = edition(world.edition)
    obj = known.draw(
        world.seed,
        index,
        world.split,
        scenes=world.scenes,
        every_pair=world.every_pair,
        patterned=world.patterned,
    )
    rng = np.random.Generator(np.random.Philox(key=[world.seed + (1 << 40), index]))
    azimuth = (rng.uniform(0, 2 * np.pi) + np.arange(VIEWS) * (np.pi / 2)).astype(np.float32)
    elevation = np.float32(
        np.deg2rad(rng.uniform(60, 80) if rng.random() < 0.08 else rng.uniform(-10, 45))
    )
    background = np.float32(1.0 if rng.random() < 0.3 else rng.uniform(0.25, 1.0))
    cameras = np.stack([view_projection(float(a), float(elevation)) for a in azimuth])
    views = render(
        obj, cameras, world.size, backgrounds=np.full((VIEWS, 3), background, np.float32)
    )
    phrase = obj.phrases[0]
    pictures = np.rint(views.image * 255).astype(np.uint8)
    normals = None
    if world.normals:
        normals = np.rint(normal_picture(views, float(background)) * 255).astype(np.uint8)
    return (
        pictures,
        normals,
        azimuth,
        float(elevation),
        float(background),
        known.caption_of(obj, rng),
        phrase.category,
        phrase.colour or "",
    )


def draw_groups(
    seed: int,
    count: int,
    size: int = 64,
    split: str = "train",
    scenes: float = 0.0,
    begin: int = 0,
    every_pair: bool = False,
    patterned: bool = False,
    workers: int = 1,
    world: str = "twenty",
    normals: bool = False,
) -> Groups:
    """Render groups `begin` to `begin + count` of an edition; deterministic by (seed, split)."""
    chosen = World(
        seed,
        size,
        split,
        scenes=scenes,
        every_pair=every_pair,
        patterned=patterned,
        edition=world,
        normals=normals,
    )
    images = np.empty((count, VIEWS, size, size, 3), np.uint8)
    shapes = np.empty_like(images) if normals else None
    azimuth, elevation = np.empty((count, VIEWS), np.float32), np.empty(count, np.float32)
    background = np.empty(count, np.float32)
    words: list[tuple[str, str, str]] = []
    with each(_draw_group, ((chosen, begin + n) for n in range(count)), workers) as drawn:
        for n, (pictures, shape, around, above, behind, *said) in enumerate(drawn):
            images[n], azimuth[n], elevation[n], background[n] = pictures, around, above, behind
            if shapes is not None and shape is not None:
                shapes[n] = shape
            words.append((said[0], said[1], said[2]))
    captions, category, colour = (list(column) for column in zip(*words))
    return Groups(
        images,
        azimuth,
        elevation,
        background=background,
        captions=captions,
        category=category,
        colour=colour,
        normals=shapes,
    )


def cached_groups(
    folder: Path,
    seed: int,
    count: int,
    size: int = 64,
    split: str = "train",
    scenes: float = 0.0,
    every_pair: bool = False,
    patterned: bool = False,
    workers: int = 1,
    world: str = "twenty",
    normals: bool = False,
) -> Groups:
    """The result of `draw_groups`, stored under `folder`, so that a resumed training need not
    render again."""
    kind = ("-all" if every_pair else "") + ("-patterned" if patterned else "")
    kind += "" if world == "twenty" else f"-{world}"
    kind += "-normals" if normals else ""
    stem = folder / f"{split}-{seed}-{count}-{size}-{int(scenes * 100)}{kind}"
    if stem.with_suffix(".json").is_file():
        facts = json.loads(stem.with_suffix(".json").read_text())
        arrays = np.load(stem.with_suffix(".npz"), allow_pickle=False)
        images = np.load(stem.with_suffix(".npy"), mmap_mode="c", allow_pickle=False)
        shapes = None
        if normals:
            shapes = np.load(stem.with_suffix(".normals.npy"), mmap_mode="c", allow_pickle=False)
        return Groups(
            images,
            arrays["azimuth"],
            arrays["elevation"],
            background=arrays["background"],
            normals=shapes,
            **facts,
        )
    groups = draw_groups(
        seed,
        count,
        size,
        split=split,
        scenes=scenes,
        every_pair=every_pair,
        patterned=patterned,
        workers=workers,
        world=world,
        normals=normals,
    )
    # This is the program's own cache: what an interrupted call has left is replaced.
    with new_file(stem.with_suffix(".npy"), force=True) as path:
        np.save(path, groups.images)
    if groups.normals is not None:
        with new_file(stem.with_suffix(".normals.npy"), force=True) as path:
            np.save(path, groups.normals)
    with new_file(stem.with_suffix(".npz"), force=True) as path:
        np.savez(
            path,
            azimuth=groups.azimuth,
            elevation=groups.elevation,
            background=groups.background,
        )
    facts = {"captions": groups.captions, "category": groups.category, "colour": groups.colour}
    write_file(stem.with_suffix(".json"), json.dumps(facts).encode(), force=True)
    return groups
