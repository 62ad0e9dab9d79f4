"""A contact sheet of the second world: a row for every category.

Run: python -m benchmarks.second_world.sheet OUT.png [--only chair car] [--count 6] [--size 128]
"""

from __future__ import annotations

import argparse

import numpy as np

from .render import Light, render
from .shapes import KINDS, draw


def row(category: str, count: int, size: int, seed: int) -> np.ndarray:
    """Pictures (size, count * size, 3) uint8 on light grey: objects of one category, each from a
    side of its own under a light of its own."""
    place = list(KINDS).index(category)
    cells = []
    for n in range(count):
        thing = draw(seed, n * len(KINDS) + place)
        rng = np.random.Generator(np.random.Philox(key=[seed + 7, n]))
        angle = np.array([np.deg2rad(35.0 - 70 * (n % 2) + rng.uniform(-25, 25))])
        image = render(thing, angle, np.deg2rad([rng.uniform(5, 32)]), size, Light.draw(rng)).image
        alpha = image[0, ..., 3:]
        cells.append(image[0, ..., :3] * alpha + 0.93 * (1 - alpha))
    return np.rint(np.concatenate(cells, 1).clip(0, 1) * 255).astype(np.uint8)


def main() -> None:
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--only", nargs="*", default=list(KINDS))
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    rows = [row(c, a.count, a.size, a.seed) for c in a.only]
    Image.fromarray(np.concatenate(rows, 0)).save(a.out)


if __name__ == "__main__":
    main()
