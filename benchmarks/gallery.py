"""The README's sheet: the first twenty prompts, textured and as clay, from the benchmark's exported
files (of the default edition, every category).

Run after benchmarks/text_to_3d.py: python benchmarks/gallery.py
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from PIL import Image
from tables import ROOT
from worlds import add_world, prompts, runs, world_at_hand

from threestudio_like.meshes.mesh import Asset
from threestudio_like.meshes.picture import render_mesh
from threestudio_like.renderers import Cameras

SIZE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_world(parser)
    parser.parse_args()
    camera = Cameras.orbit(
        torch.tensor([math.radians(30)]),
        torch.tensor([math.radians(20)]),
        3.0,
        math.radians(40),
        SIZE,
        SIZE,
    )
    tiles = []
    for prompt in prompts(world_at_hand(), count=20):
        path = runs("") / f"{prompt.replace(' ', '-')}-0" / "asset.glb"
        mesh = Asset.load(path).mesh
        pair = [
            render_mesh(mesh, camera.view_projection().numpy(), SIZE, 0.97, clay).image[0]
            for clay in (False, True)
        ]
        tiles.append(np.concatenate(pair, 1))
    rows = [np.concatenate(tiles[i : i + 4], 1) for i in range(0, 20, 4)]
    sheet = np.rint(np.concatenate(rows, 0).clip(0, 1) * 255).astype(np.uint8)
    path = ROOT / "docs" / "pictures" / "twenty-categories.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, quality=90, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
