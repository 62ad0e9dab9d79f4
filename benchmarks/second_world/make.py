"""Write the pictures of the second world that benchmarks read: benchmarks/second_world/pictures.

The true meshes are not stored: `shapes.draw` and `scenes.compose` make them again from the seed.

Run: python -m benchmarks.second_world.make [--objects 60] [--scenes 40]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from .render import Light, Views, render
from .scenes import compose
from .shapes import draw

FOLDER = Path(__file__).resolve().parent / "pictures"
SEED, SIZE = 4001, 256


def camera(index: int, kind: int) -> tuple[float, float, Light]:
    """Azimuth and elevation in radians, and the light, of picture `index`: objects are seen from
    all sides, scenes from within 20 degrees of the front."""
    rng = np.random.Generator(np.random.Philox(key=[SEED + (1 << 34) + kind, index]))
    azimuth = rng.uniform(-np.pi, np.pi) if kind == 0 else np.deg2rad(rng.uniform(-20, 20))
    light = Light.draw(rng)
    # The sun stands on the camera's side, as where one takes a photograph.
    light = Light(
        light.azimuth + float(azimuth), light.elevation, light.sun, light.sky, light.warmth
    )
    return float(azimuth), float(np.deg2rad(rng.uniform(0, 35))), light


def view_of(index: int, kind: int, size: int = SIZE) -> tuple[Views, dict[str, Any]]:
    """The picture of object (kind 0) or scene (kind 1) `index`, and what the index file says."""
    azimuth, elevation, light = camera(index, kind)
    facts: dict[str, Any] = {"seed": SEED, "index": index}
    facts |= {"azimuth": azimuth, "elevation": elevation}
    floor = None
    if kind == 0:
        thing = draw(SEED, index)
        facts |= {"category": thing.category, "colour": thing.colour, "pattern": thing.pattern}
        facts |= {"kind": thing.kind, "caption": thing.name}
    else:
        scene = compose(SEED, index)
        thing, floor = scene.whole(), scene.floor
        facts |= {"caption": scene.caption, "relations": scene.relations}
        facts |= {"objects": [t.name for t in scene.things], "floor": floor is not None}
    angles = np.array([azimuth]), np.array([elevation])
    return render(thing, *angles, size, light, floor, edge=3, sky_rays=6, seed=index), facts


def main() -> None:
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=60)
    parser.add_argument("--scenes", type=int, default=40)
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    facts: dict[str, list[dict[str, Any]]] = {"objects": [], "scenes": []}
    for kind, (name, count) in enumerate(
        (("objects", arguments.objects), ("scenes", arguments.scenes))
    ):
        for index in range(count):
            views, about = view_of(index, kind)
            pixels = np.rint(views.image[0].clip(0, 1) * 255).astype(np.uint8)
            about["file"] = f"{name[:-1]}-{index:02d}.webp"
            picture = Image.fromarray(pixels)
            if about.get("floor"):
                picture = picture.convert("RGB")
            picture.save(FOLDER / about["file"], quality=90, alpha_quality=100, method=6)
            facts[name].append(about)
    (FOLDER / "index.json").write_text(json.dumps(facts, indent=1) + "\n")
    total = sum(p.stat().st_size for p in FOLDER.iterdir())
    print(f"{len(facts['objects'])} objects, {len(facts['scenes'])} scenes, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
