"""Prompts with sketches that match them and sketches that do not: how well the shape is followed,
and what is still recognised.

Resumable: every finished run is a line of outputs/benchmark/sketch_shape.jsonl.

Run: python benchmarks/sketch_shape.py [--workers 2] [--fresh]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import numpy as np
from tables import ROOT, publish, table

OUT = ROOT / "outputs" / "benchmark" / "sketch_shape"
RESULTS = ROOT / "outputs" / "benchmark" / "sketch_shape.jsonl"
MATCHING = {
    "a red chair": "chair",
    "a green mug": "mug",
    "an orange table": "table",
    "a blue sofa": "sofa",
    "a brown house": "house",
    "a pink mushroom": "mushroom",
    "a yellow rocket": "rocket",
    "a purple bottle": "bottle",
    "a red lamp": "lamp",
    "a white snowman": "snowman",
}
DIFFERENT = {
    "a red chair": "stool",
    "a blue sofa": "l_shape",
    "an orange table": "arch",
    "a green mug": "bottle",
    "a purple bottle": "snowman",
    "a red lamp": "mushroom",
    "a brown house": "rocket",
    "a green tree": "lamp",
    "a pink vase": "mug",
    "a yellow rocket": "house",
}
CURVE = (0.0, 0.2, 0.4, 0.6, 0.8)
CURVED = ("a red chair", "a blue sofa", "an orange table", "a green mug")
BAND = 0.05
"""Points nearer than this to the sketch's surface (scene units) are not counted: there the prior
decides."""


def jobs() -> list[tuple[str, str, str, float]]:
    """(prompt, sketch, kind, strictness)."""
    from threestudio_like.guidance.sketch_shape import SketchConfig

    usual = SketchConfig().strictness
    out = [(p, s, "matching", usual) for p, s in MATCHING.items()] + [
        (p, s, "different", usual) for p, s in DIFFERENT.items()
    ]
    out += [
        (p, DIFFERENT[p], "different", strict)
        for strict in CURVE
        for p in CURVED
        if strict != usual
    ]
    return out


def work(job: tuple[str, str, str, float]) -> None:
    import torch

    torch.set_num_threads(1)
    from threestudio_like import AssetOptions, RunOptions, generate
    from threestudio_like.guidance.sketch_files import read_sketch
    from threestudio_like.guidance.sketch_shape import SketchConfig
    from threestudio_like.kernels import surface_tree, winding_number
    from threestudio_like.metrics.evaluation import evaluate

    prompt, name, kind, strictness = job
    folder = OUT / f"{prompt.replace(' ', '-')}-{name}-{strictness}"
    if folder.exists():
        shutil.rmtree(folder)
    sketch = ROOT / "assets" / "shapes" / f"{name}.yaml"
    began, cpu = time.perf_counter(), time.process_time()
    result = generate(
        prompt,
        sketch=sketch,
        strictness=strictness,
        asset=AssetOptions(turntable=False),
        run=RunOptions(out=folder, quiet=True),
    )
    line = {
        "prompt": prompt,
        "sketch": name,
        "kind": kind,
        "strictness": strictness,
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        **evaluate(folder, prompt, None),
    }
    axis = torch.linspace(-1, 1, 64)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1).view(-1, 3)
    mesh = result.asset.mesh
    inside = (
        winding_number(
            surface_tree(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces)), points
        )
        > 0.5
    )
    line["iou"] = read_sketch(SketchConfig(path=str(sketch), grid=0)).agreement(
        inside, points, BAND
    )
    with open(RESULTS, "a") as file:
        file.write(json.dumps(line) + "\n")


def report() -> None:
    from PIL import Image

    from threestudio_like.guidance.sketch_files import load_sketch
    from threestudio_like.guidance.sketch_shape import SketchConfig
    from threestudio_like.meshes.frames import Normalisation
    from threestudio_like.meshes.mesh import Asset, Mesh
    from threestudio_like.meshes.picture import render_asset
    from threestudio_like.renderers import RingCameras

    usual = SketchConfig().strictness
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]

    def mean(group: list[dict], key: str) -> float:
        return float(np.mean([x[key] for x in group]))

    keys = ["iou", "judge: category", "judge: colour", "cpu"]
    some = {
        k: [x for x in lines if x["kind"] == k and x["strictness"] == usual]
        for k in ("matching", "different")
    }
    rows = [[k, len(g), *(mean(g, key) for key in keys)] for k, g in some.items() if g]
    rows.append(["goal, matching", 10, ">= 0.85", ">= 0.85", "-", "-"])
    curve = []
    for strict in CURVE:
        group = [
            x
            for x in lines
            if x["kind"] == "different" and x["strictness"] == strict and x["prompt"] in CURVED
        ]
        if group:
            curve.append([strict, len(group), *(mean(group, key) for key in keys)])
    each = [
        [x["kind"], x["prompt"], x["sketch"], *(x[k] for k in keys)]
        for g in some.values()
        for x in sorted(g, key=lambda x: x["iou"])
    ]
    camera = RingCameras(count=8, elevation=20.0).all(160)[[1]].view_projection().numpy()
    tiles = []
    for line in [*some["matching"], *some["different"]]:
        mesh = load_sketch(ROOT / "assets" / "shapes" / f"{line['sketch']}.yaml").mesh
        placed = Mesh(
            Normalisation.of(mesh.vertices).apply(mesh.vertices), mesh.faces
        ).with_creases()
        asset = Asset.load(
            OUT
            / f"{line['prompt'].replace(' ', '-')}-{line['sketch']}-{line['strictness']}"
            / "asset.glb"
        )
        pictures = [
            render_asset(Asset({"s": placed}), camera, 160, 0.97, clay=True),
            render_asset(asset, camera, 160, 0.97),
        ]
        tiles.append(
            np.concatenate([np.rint(p.image[0] * 255).astype(np.uint8) for p in pictures], 1)
        )
    while len(tiles) % 5:
        tiles.append(np.full_like(tiles[0], 247))
    sheet = np.concatenate(
        [np.concatenate(tiles[i : i + 5], 1) for i in range(0, len(tiles), 5)], 0
    )
    Image.fromarray(sheet).save(
        ROOT / "docs" / "pictures" / "sketches.jpg", quality=86, optimize=True
    )
    header = ["", "runs", "IoU with the sketch", "judge: category", "judge: colour", "CPU s"]
    body = (
        "Volume IoU of the exported mesh with the sketch over 64^3 points farther than "
        f"{BAND} from the sketch's surface. Default strictness {usual}.\n\n"
        + table(header, rows)
        + "\n\nStrictness, on four sketches that do not match their prompt "
        f"({', '.join(f'{p} on {DIFFERENT[p]}' for p in CURVED)}):\n\n"
        + table(["strictness", *header[1:]], curve)
        + "\n\nEach run:\n\n"
        + table(["kind", "prompt", "sketch", "IoU", "category", "colour", "CPU s"], each)
        + "\n\n![sketches and what became of them](../pictures/sketches.jpg)\n"
    )
    samples = [x for group in some.values() for x in group]
    command = "python benchmarks/sketch_shape.py"
    publish("sketch_shape", "Following a sketch shape", command, body, samples)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if arguments.fresh:
        RESULTS.unlink(missing_ok=True)
    lines = [json.loads(x) for x in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []
    done = {(x["prompt"], x["sketch"], x["kind"], x["strictness"]) for x in lines}
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
        for _ in pool.imap_unordered(work, [j for j in jobs() if j not in done]):
            pass
    report()


if __name__ == "__main__":
    Path(OUT).mkdir(parents=True, exist_ok=True)
    main()
