"""A contact sheet of an edition of the toybox: every category and shape, each from two sides, lit;
with --clay also without colours, under one lamp beside the camera, which shows the shape alone.

Run: python benchmarks/world_sheet.py OUT.png [--world fifty] [--only chair car] [--clay]
     python benchmarks/world_sheet.py OUT.png --drawn 64      objects as trainings see them
     python benchmarks/world_sheet.py --speed 200             images a second at 64 x 64
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from threestudio_like.toybox.dataset import draw_groups
from threestudio_like.toybox.edition import Edition
from threestudio_like.toybox.editions import edition
from threestudio_like.toybox.render import eye, render, view_projection
from threestudio_like.toybox.toy_object import ToyObject
from threestudio_like.toybox.words import Phrase

VIEWS = ((0.5, 0.3), (2.4, 0.25))
"""Azimuth and elevation of the two sides, in radians."""


LAMP = (-0.5, 0.35)
"""Azimuth and elevation of clay's lamp, as seen from the camera, in radians."""


def clay(normal: np.ndarray, mask: np.ndarray, azimuth: float, elevation: float) -> np.ndarray:
    """A picture (S, S, 3) of normals (S, S, 3) in world axes under a lamp that goes with the
    camera, over a light ground."""
    lamp = eye(azimuth + LAMP[0], elevation + LAMP[1], 1.0)
    shade = 0.22 + 0.7 * np.clip(normal @ lamp.astype(np.float32), 0, None)
    return (shade * mask + 0.93 * (1 - mask))[..., None].repeat(3, -1)


def cell(obj: ToyObject, size: int, with_clay: bool = False) -> np.ndarray:
    """Pictures (size, 2 * size, 3) uint8 of an object from two sides; with clay, below them the
    same without colours, (2 * size, 2 * size, 3)."""
    cameras = np.stack([view_projection(*v) for v in VIEWS])
    views = render(obj, cameras, size, np.full((2, 3), 0.93, np.float32), 3)
    rows = [list(views.image)]
    if with_clay:
        # Twice as large and then halved: a pixel's mean of normals has no edges.
        large = render(obj, cameras, 2 * size, np.zeros((2, 3), np.float32))
        both = [clay(n, m, *v) for n, m, v in zip(large.normal, large.mask, VIEWS)]
        rows.append([x.reshape(size, 2, size, 2, 3).mean((1, 3)) for x in both])
    image = np.concatenate([np.concatenate(row, 1) for row in rows])
    return np.rint(image * 255).astype(np.uint8)


def objects(world: Edition, only: list[str], seed: int) -> list[ToyObject]:
    """Every category and shape once, each in a colour of its own."""
    found, colours = [], list(world.vocabulary.colours)
    for category in world.categories:
        if only and category.name not in only:
            continue
        for mode in category.modes or (None,):
            rng = np.random.Generator(np.random.Philox(key=[seed, len(found)]))
            colour = colours[(7 * len(found)) % 8]
            found.append(world.build(Phrase(category.name, colour, mode), rng))
    return found


def speed(world: Edition, count: int) -> float:
    """Images a second of one process, drawing included; the first objects compile and warm up."""
    draw_groups(1, 8, world=world.name)
    began = time.perf_counter()
    draw_groups(2, count, scenes=0.12, world=world.name)
    return 4 * count / (time.perf_counter() - began)


def main() -> None:
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?")
    parser.add_argument("--world", default="fifty")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--drawn", type=int, default=0)
    parser.add_argument("--scenes", type=float, default=0.0)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--clay", action="store_true")
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=int, default=0)
    a = parser.parse_args()
    world = edition(a.world)
    if a.speed:
        print(f"{speed(world, a.speed):.0f} images/s in one process")
    if a.out:
        shown = (
            [world.draw(a.seed, n * 7 + n // 61, scenes=a.scenes) for n in range(a.drawn)]
            if a.drawn
            else objects(world, a.only, a.seed)
        )
        print(
            "\n".join(f"{n // a.columns}:{n % a.columns} {o.caption}" for n, o in enumerate(shown))
        )
        cells = [cell(o, a.size, a.clay) for o in shown]
        cells += [np.full_like(cells[0], 255)] * (-len(cells) % a.columns)
        rows = [
            np.concatenate(cells[i : i + a.columns], 1) for i in range(0, len(cells), a.columns)
        ]
        Image.fromarray(np.concatenate(rows)).save(a.out)


if __name__ == "__main__":
    main()
