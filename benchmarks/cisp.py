"""CISP against CLIP on held-out toybox objects (METHODS 2.7): retrieval, shapes sampled under
either embedding with shared seeds, sets of shapes, interpolation, and pictures unlike the
training's.

Resumable: sampled voxels are kept in outputs/benchmark/cisp.

Run: python benchmarks/cisp.py [--models folder] [--images 60] [--shapes 10] [--steps 20] [--fresh]
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import time

import numpy as np
import torch
from tables import publish, table
from worlds import add_world, runs, world_at_hand

THRESHOLDS = (0.0316, 0.02)
POINTS = 2048
KINDS = ("clean", "line drawing", "other shading", "clutter")


def pictures(source, count: int, kind: str) -> torch.Tensor:
    """Framed pictures (count, 64, 64, 3) of a kind."""
    from scipy.ndimage import sobel

    from threestudio_like.priors.framing import framed
    from threestudio_like.priors.networks.contrastive import BACKGROUND

    out = []
    rng = np.random.Generator(np.random.Philox(key=17))
    for n in range(count):
        picture = source.pair(n, 0).image.copy()
        if kind == "line drawing":
            grey = (
                picture[..., :3].astype(float).mean(-1) * (picture[..., 3] / 255)
                + 255
                - picture[..., 3]
            )
            edge = np.hypot(sobel(grey, 0), sobel(grey, 1)) > 90
            picture[..., :3] = np.where(edge[..., None], 30, 250)
        elif kind == "other shading":
            # A light from the side that the training never had, and no colour.
            ramp = np.linspace(0.35, 1.15, picture.shape[1])[None, :, None]
            grey = picture[..., :3].astype(float).mean(-1, keepdims=True)
            picture[..., :3] = np.clip(grey * ramp, 0, 255).repeat(3, -1)
        image = framed(torch.from_numpy(picture[None]), 64, BACKGROUND)
        if kind == "clutter":
            # Patches of other colours behind the object, as a careless cut leaves them.
            alpha = framed(
                torch.from_numpy(
                    np.concatenate([np.full_like(picture[..., :3], 255), picture[..., 3:]], -1)[
                        None
                    ]
                ),
                64,
                0.0,
            )
            behind = torch.full_like(image, BACKGROUND)
            for _ in range(6):
                y, x = rng.integers(0, 48, 2)
                behind[0, y : y + 16, x : x + 16] = torch.from_numpy(
                    rng.random(3).astype(np.float32)
                )
            image = image * alpha + (1 - alpha) * behind
        out.append(image)
    return torch.cat(out)


def sampled(name: str, embeddings: torch.Tensor, model, shapes: int, steps: int) -> np.ndarray:
    """Voxels (images, shapes, R, R, R) bool under embeddings (images, D); the same seeds for every
    name."""
    from threestudio_like.engine.random import RandomStream
    from threestudio_like.priors.voxel_diffusion import VoxelSampling

    path = runs("cisp", "cisp/clip") / f"{name}-{len(embeddings)}-{shapes}-{steps}.npz"
    if path.is_file():
        return (
            np.unpackbits(np.load(path)["bits"], axis=-1)
            .reshape(len(embeddings), shapes, 32, 32, 32)
            .astype(bool)
        )
    out = []
    began = time.perf_counter()
    for n, e in enumerate(embeddings):
        volumes = model.sample(
            e[None], shapes, VoxelSampling(steps=steps), RandomStream(n, "cisp", 0)
        )
        out.append((volumes > 0.5).numpy())
        if n % 10 == 9:
            print(
                f"{name} {n + 1}/{len(embeddings)}  {time.perf_counter() - began:.0f} s", flush=True
            )
    voxels = np.stack(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, bits=np.packbits(voxels.reshape(len(embeddings), shapes, -1), axis=-1))
    return voxels


def cloud(voxels: np.ndarray, seed: int, points: int = POINTS) -> np.ndarray:
    """Points on the smooth mesh of voxels; normalised as the voxels are, to [-1, 1]^3."""
    from threestudio_like.meshes.points import sample_surface
    from threestudio_like.meshes.surface.voxels import to_mesh

    mesh = to_mesh(voxels.astype(np.float32))
    if mesh is None:
        return np.zeros((points, 3))
    return sample_surface(mesh, points, seed).points


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--shapes", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pool", type=int, default=200)
    add_world(parser)
    parser.add_argument("--fresh", action="store_true")
    arguments = parser.parse_args()
    if arguments.fresh:
        shutil.rmtree(runs("cisp", "cisp/clip"), ignore_errors=True)
    from threestudio_like.metrics.point_sets import bootstrap, f_score, set_metrics, voxel_iou
    from threestudio_like.priors.text.tokens import tokenizer_of
    from threestudio_like.priors.voxel_diffusion import lerp, slerp
    from threestudio_like.systems.image_to_3d.cisp import load_models
    from threestudio_like.toybox.pairs import ToyPairs
    from threestudio_like.training.contrastive import BatchSource, ContrastiveTraining, retrieval
    from threestudio_like.training.options import WORLD

    world = world_at_hand("cisp/clip").name
    source = ToyPairs(
        runs("cisp", "cisp/clip") / "data",
        WORLD["test"],
        max(arguments.pool, arguments.images),
        "test",
        2,
        world,
    )
    text = []
    models = {name: load_models(name, arguments.models) for name in ("cisp", "clip")}
    rows = []
    for name, (encoder, _) in models.items():
        config = ContrastiveTraining(model=encoder.config)
        figures = retrieval(
            encoder,
            BatchSource(source, config, tokenizer_of() if name == "clip" else None),
            arguments.pool,
            6,
        )
        rows += [[name, key, value] for key, value in figures.items()]
    text += [
        "Retrieval among 200 held-out objects, ten of each category, mean over six "
        "pictures of each. Objects that no voxel of 32^3 tells apart count as"
        ' one; "strict" counts them apart. Goal: image to shape recall@1 of 0.80.',
        table(["model", "figure", "value"], rows),
    ]
    truth = [source.voxels(n) for n in range(arguments.images)]
    truth_clouds = [cloud(v, 1000 + n) for n, v in enumerate(truth)]
    found: dict[str, dict[str, np.ndarray]] = {}
    sets, ood = [], []
    clouds: dict[str, list[np.ndarray]] = {}
    with torch.no_grad():
        for name, (encoder, model) in models.items():
            voxels = sampled(
                f"{name}-clean",
                encoder.embed(pictures(source, arguments.images, "clean")),
                model,
                arguments.shapes,
                arguments.steps,
            )
            iou = np.array([[voxel_iou(v, t) for v in some] for some, t in zip(voxels, truth)])
            points = [
                [cloud(v, 10 * n + k) for k, v in enumerate(some)] for n, some in enumerate(voxels)
            ]
            clouds[name] = [p[0] for p in points]
            found[name] = {"IoU": iou}
            for threshold in THRESHOLDS:
                found[name][f"F-score @ {threshold}"] = np.array(
                    [
                        [f_score(p, t, threshold) for p in some]
                        for some, t in zip(points, truth_clouds)
                    ]
                )
            for kind, count in (("cd", POINTS), ("emd", 256)):
                metrics = set_metrics(
                    [c[:count] for c in clouds[name]], [c[:count] for c in truth_clouds], kind
                )
                sets += [[name, key, value] for key, value in metrics.items()]
            for kind in KINDS[1:]:
                odd = sampled(
                    f"{name}-{kind.replace(' ', '-')}",
                    encoder.embed(pictures(source, arguments.images, kind)),
                    model,
                    2,
                    arguments.steps,
                )
                values = np.array(
                    [[voxel_iou(v, t) for v in some] for some, t in zip(odd, truth)]
                ).mean(1)
                low, high = bootstrap(values)
                ood.append([name, kind, values.mean(), f"{low:.3f} to {high:.3f}"])
    rows = []
    for key in found["cisp"]:
        line = [key]
        for name in ("cisp", "clip"):
            values = found[name][key]
            low, high = bootstrap(values.mean(1))
            line += [f"{values.mean():.3f} ({low:.3f} to {high:.3f})", values.max(1).mean()]
        ratio = found["cisp"][key].mean(1), found["clip"][key].mean(1)
        rng = np.random.Generator(np.random.Philox(key=5))
        picks = rng.integers(0, len(ratio[0]), (2000, len(ratio[0])))
        ratios = ratio[0][picks].mean(1) / ratio[1][picks].mean(1)
        rows.append(
            [
                *line,
                f"{ratio[0].mean() / ratio[1].mean():.3f} "
                f"({np.quantile(ratios, 0.025):.3f} to {np.quantile(ratios, 0.975):.3f})",
            ]
        )
    text += [
        f"{arguments.images} pictures, {arguments.shapes} shapes each, {POINTS} points, "
        f"shared seeds, DDIM of {arguments.steps} steps, w = 1.5; everything but the embedding"
        " is equal. Lengths are those of [-1, 1]^3. The paper has 0.649 against 0.586 IoU "
        "(ratio 1.107) and 0.414 against 0.333 F-score.",
        table(
            [
                "",
                "CISP, mean (95 %)",
                "best of shapes",
                "CLIP, mean (95 %)",
                "best of shapes",
                "ratio of means (95 %)",
            ],
            rows,
        ),
        "First shape of every picture against the true shapes, as sets (1-NNA 0.5 is best):",
        table(["model", "figure", "value"], sets),
        "Pictures unlike the training's, IoU, two shapes each:",
        table(["model", "pictures", "IoU", "95 %"], ood),
    ]
    rows = []
    with torch.no_grad():
        for name, (encoder, model) in models.items():
            e = encoder.embed(pictures(source, 40, "clean"))
            for way, function in (("slerp", slerp), ("lerp", lerp)):
                lengths, jumps = [], []
                for n in range(0, 20, 2):
                    path = torch.cat(
                        [function(e[n : n + 1], e[n + 20 : n + 21], s / 6) for s in range(7)]
                    )
                    voxels = interpolated(f"{name}-{way}-{n}", path, model, arguments.steps)
                    steps = [1 - voxel_iou(a, b) for a, b in itertools.pairwise(voxels)]
                    straight = max(1 - voxel_iou(voxels[0], voxels[-1]), 1e-3)
                    lengths.append(sum(steps) / straight)
                    jumps.append(max(steps))
                rows.append([name, way, float(np.mean(lengths)), float(np.mean(jumps))])
    text += [
        "Interpolation between two objects of one category in six steps, one seed: length "
        "of the path in 1 - IoU over the distance of its ends (1 is straight), and its"
        " largest jump.",
        table(["model", "way", "path length", "largest jump"], rows),
    ]
    publish("cisp", "CISP", "python benchmarks/cisp.py", "\n\n".join(text))
    (runs("cisp", "cisp/clip") / "figures.json").write_text(
        json.dumps({k: {m: float(v.mean()) for m, v in d.items()} for k, d in found.items()})
    )


def interpolated(name: str, path: torch.Tensor, model, steps: int) -> np.ndarray:
    """Voxels (7, R, R, R) along embeddings, from one and the same noise."""
    from threestudio_like.engine.random import RandomStream
    from threestudio_like.priors.voxel_diffusion import VoxelSampling

    out = [
        model.sample(e[None], 1, VoxelSampling(steps=steps), RandomStream(4, "path", 0))[0] > 0.5
        for e in path
    ]
    return torch.stack(out).numpy()


if __name__ == "__main__":
    main()
