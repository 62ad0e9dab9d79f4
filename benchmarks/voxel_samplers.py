"""How many steps the shapes of voxel diffusion need, by sampler: the same pictures, from the same
noise, held against many steps of DDIM and against the true shape.

Pictures of held-out toybox objects through CISP; guidance as `reconstruct` has it.

Run: python benchmarks/voxel_samplers.py [--pictures 12] [--reference 160]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from tables import interval, publish, table
from worlds import add_world, runs, world_at_hand

from threestudio_like.engine.random import RandomStream
from threestudio_like.metrics.point_sets import voxel_iou
from threestudio_like.priors.framing import framed
from threestudio_like.priors.networks.contrastive import BACKGROUND
from threestudio_like.priors.voxel_diffusion import VoxelSampling
from threestudio_like.systems.image_to_3d.cisp import load_models
from threestudio_like.toybox.pairs import ToyPairs

SEED, SHAPES = 2024, 2
TRIED = {
    "dpm": (6, 8, 10, 12, 16, 20),
    "ddim": (12, 20, 40),
}


def embeddings(count: int, encoder: Any) -> tuple[list[torch.Tensor], list[np.ndarray]]:
    """Embeddings (1, D) of held-out pictures, and their objects' voxels (R, R, R) bool."""
    folder, world = runs("voxel_samplers", "cisp/clip"), world_at_hand("cisp/clip").name
    pairs = ToyPairs(folder / "data", SEED, count, "test", world=world)
    size = encoder.config.image.size
    shown = torch.from_numpy(np.stack([pairs.pair(n, 0).image for n in range(count)]))
    with torch.no_grad():
        found = encoder.embed(framed(shown, size, BACKGROUND))
    return [e[None] for e in found], [pairs.voxels(n) for n in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--reference", type=int, default=160, help="steps of DDIM")
    add_world(parser)
    arguments = parser.parse_args()
    encoder, model = load_models("cisp")
    pictures, truths = embeddings(arguments.pictures, encoder)
    ways = {"reference": VoxelSampling(sampler="ddim", steps=arguments.reference)}
    for sampler, several in TRIED.items():
        ways |= {f"{sampler} {n}": VoxelSampling(sampler=sampler, steps=n) for n in several}
    near: dict[str, list[float]] = {name: [] for name in ways}
    right: dict[str, list[float]] = {name: [] for name in ways}
    spent = dict.fromkeys(ways, 0.0)
    for number, (embedding, truth) in enumerate(zip(pictures, truths, strict=True)):
        many = np.empty(0)
        for name, way in ways.items():
            began = time.process_time()
            drawn = model.sample(embedding, SHAPES, way, RandomStream(number, "voxels", 0)) > 0.5
            spent[name] += time.process_time() - began
            shapes = drawn.numpy()
            many = shapes if name == "reference" else many
            pairs = zip(shapes, many, strict=True)
            near[name].append(float(np.mean([voxel_iou(one, two) for one, two in pairs])))
            right[name].append(float(np.mean([voxel_iou(one, truth) for one in shapes])))
        told = {name: round(near[name][-1], 3) for name in ways}
        print(number, told, flush=True)
    default, rows = VoxelSampling(), []
    for name, way in ways.items():
        chosen = " (the default)" if way == default else ""
        low, high = interval(near[name])
        first, last = interval(right[name])
        rows.append(
            [
                f"{'DPM-Solver++' if way.sampler == 'dpm' else 'DDIM'}{chosen}",
                way.steps,
                f"{np.mean(near[name]):.3f} ({low:.3f} to {high:.3f})",
                f"{np.mean(right[name]):.3f} ({first:.3f} to {last:.3f})",
                spent[name] / (SHAPES * len(pictures)),
            ]
        )
    header = ["sampler", "steps", "IoU with the reference's shapes", "IoU with the true shape"]
    text = (
        f"The reference is DDIM with {arguments.reference} steps; every row begins from the same "
        "noise. A step asks the network twice, with the picture and without.\n\n"
    )
    publish(
        "voxel_samplers",
        "How many steps a shape needs",
        f"python benchmarks/voxel_samplers.py --pictures {arguments.pictures}",
        text + table([*header, "CPU seconds a shape"], rows),
        samples=[
            {"picture": n, "way": name, "reference": near[name][n], "truth": right[name][n]}
            for name in ways
            for n in range(len(pictures))
        ],
        frame={"n": f"{len(pictures)} held-out pictures, {SHAPES} shapes each"},
    )


if __name__ == "__main__":
    main()
