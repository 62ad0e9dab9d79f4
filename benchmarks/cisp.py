"""CISP against CLIP on objects that no training saw, of the toybox and of the second world (METHODS
2.7): retrieval; shapes sampled under either embedding with shared seeds, beside the nearest
training shape; sets of shapes, interpolation, and pictures unlike the training's.

Resumable: sampled voxels are kept in outputs/benchmark/cisp, by the weights that made them.

Run: python benchmarks/cisp.py [--models FOLDER] [--before FOLDER] [--images 40] [--shapes 3]

--before: folder of earlier models (cisp, voxels-cisp, clip, voxels-clip), for rows beside.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cisp_pools import KINDS, Library, Pool, pools
from tables import interval, publish, resampled, table
from worlds import add_world, runs, world_at_hand

from threestudio_like.engine.random import RandomStream
from threestudio_like.meshes.points import sample_surface
from threestudio_like.meshes.surface.voxels import to_mesh
from threestudio_like.metrics.point_sets import f_score, set_metrics, voxel_iou
from threestudio_like.priors.registry import embedded_folder
from threestudio_like.priors.voxel_diffusion import VoxelSampling, lerp, slerp
from threestudio_like.systems.image_to_3d.cisp import load_models
from threestudio_like.systems.image_to_3d.pose import PoseConfig, find_pose
from threestudio_like.toybox.editions import edition_of
from threestudio_like.training.contrastive import (
    TWINS,
    BatchSource,
    ContrastiveTraining,
    alike,
    embed_all,
    overlaps,
)

NAME, MODEL = "cisp", "cisp/cisp"
NEAR, POINTS = 0.0316, 2048
"""The length within which a point counts as found, and how many points a surface has."""
MEASURES = ("1-NNA", "MMD", "COV")
"""Of `set_metrics`, in its order."""
RERANKED = 10
"""Of how many shapes that an embedding found first the silhouette chooses."""


@dataclass
class Models:
    """An encoder with its generator; `tag` is what the page calls them."""

    tag: str
    encoder: Any
    prior: Any
    key: str
    """Of the weights."""

    @staticmethod
    def of(name: str, folder: str, before: bool = False) -> Models:
        """The models of an embedding, "cisp" or "clip"."""
        encoder, prior = load_models(name, folder)
        place = Path(folder) if folder else embedded_folder("cisp")
        digest = hashlib.sha256()
        for part in (name, f"voxels-{name}"):
            digest.update((place / part / "model.safetensors").read_bytes())
        tag = {"cisp": "CISP", "clip": "CLIP"}[name] + (" before" if before else "")
        return Models(tag, encoder, prior, digest.hexdigest()[:12])

    def shapes(self, pool: Pool, kind: str, images: int, shapes: int) -> np.ndarray:
        """Voxels (images, shapes, R, R, R) bool of the first pictures; the seeds are every
        model's."""
        stem = f"{self.key}-{pool.name}-{kind or 'clean'}-{images}-{shapes}".replace(" ", "-")
        path = runs(NAME, MODEL) / f"{stem}.npz"
        size = self.prior.config.unet.resolution
        if not path.is_file():
            with torch.no_grad():
                embeddings = self.encoder.embed(pool.pictures(images, kind))
            found = []
            for n, one in enumerate(embeddings):
                random = RandomStream(n, "cisp", 0)
                found.append(self.prior.sample(one[None], shapes, VoxelSampling(), random) > 0.5)
                if n % 10 == 9:
                    print(self.tag, pool.name, kind, n + 1, flush=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, bits=np.packbits(torch.stack(found).numpy().reshape(images, -1), -1))
        bits = np.unpackbits(np.load(path, allow_pickle=False)["bits"], axis=-1)
        return bits.reshape(images, shapes, size, size, size).astype(bool)


def silhouette(voxels: np.ndarray, mask: torch.Tensor) -> float:
    """How well a shape's outline agrees with a picture's (S, S), at its best pose."""
    mesh = to_mesh(voxels.astype(np.float32))
    return -1.0 if mesh is None else find_pose(mesh, mask, PoseConfig()).agreement


@torch.no_grad()
def retrieved(models: Models, pool: Pool, reranked: int) -> dict[str, list[float]]:
    """For every object of a pool whether its shape is found, by measure; of the first `reranked`
    objects also among the first ten by the silhouette."""
    batches = BatchSource(pool.source, ContrastiveTraining(model=models.encoder.config))
    out: dict[str, list[np.ndarray]] = {}
    objects = torch.arange(len(pool.source))
    for view in range(pool.source.views(0)):
        one, two, other = embed_all(models.encoder, batches, objects, view=view)
        own, overlap = alike(other), overlaps(other)
        for way, a, b in (("", one, two), ("shape to image ", two, one)):
            unit = [torch.nn.functional.normalize(x, dim=-1) for x in (a, b)]
            order = (unit[0] @ unit[1].t()).argsort(1, descending=True)
            hits = own.gather(1, order)
            for at in (1, 5):
                out.setdefault(f"{way}@{at}", []).append(hits[:, :at].any(1).numpy())
            if way:
                continue
            twins = (overlap >= TWINS).gather(1, order)
            out.setdefault("@1, twins count", []).append(twins[:, 0].numpy())
            out.setdefault("IoU of the first", []).append(overlap[objects, order[:, 0]].numpy())
            if view == 0 and reranked:
                out["@1 by silhouette"] = [
                    own[n, _outlined(order[n, :RERANKED], other, mask)].numpy()[None]
                    for n, mask in enumerate(pool.masks(reranked, PoseConfig().size))
                ]
    found = {k: np.stack(v).astype(float) for k, v in out.items()}
    return {k: (v[:, 0] if "by" in k else v.mean(0)).tolist() for k, v in found.items()}


def _outlined(candidates: torch.Tensor, voxels: torch.Tensor, mask: torch.Tensor) -> int:
    """Which of some shapes of a pool has a picture's outline."""
    agree = [silhouette(voxels[int(c)].numpy(), mask) for c in candidates]
    return int(candidates[int(np.argmax(agree))])


def retrieval(asked: list[Pool], every: list[Models], reranked: int) -> str:
    """The tables of retrieval."""
    rows = []
    for pool, models in itertools.product(asked, every):
        if models.encoder.config.against != "shape":
            continue
        found = retrieved(models, pool, reranked)
        low, high = interval(found["@1"])
        row = [pool.name, models.tag, len(pool.source)]
        row += [f"{np.mean(found['@1']):.3f} ({low:.3f} to {high:.3f})"]
        rows.append(row + [float(np.mean(v)) for k, v in found.items() if k != "@1"])
        measures = [k for k in found if k != "@1"]
        print(rows[-1], flush=True)
    return table(["objects", "embedding", "n", "image to shape @1 (95 %)", *measures], rows)


def cloud(voxels: np.ndarray, seed: int) -> np.ndarray:
    """Points on the smooth mesh of voxels; lengths are those of [-1, 1]^3."""
    mesh = to_mesh(voxels.astype(np.float32))
    return np.zeros((POINTS, 3)) if mesh is None else sample_surface(mesh, POINTS, seed).points


@dataclass
class Held:
    """The pictures of a pool, their true shapes, and how near others are to them."""

    pool: Pool
    images: int
    truths: list[np.ndarray] = field(default_factory=list)
    clouds: list[np.ndarray] = field(default_factory=list)
    iou: dict[str, np.ndarray] = field(default_factory=dict)
    f: dict[str, np.ndarray] = field(default_factory=dict)
    first: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Points of the first shape of every picture."""

    def __post_init__(self) -> None:
        self.truths = [self.pool.source.voxels(n) for n in range(self.images)]
        self.clouds = [cloud(v, 1000 + n) for n, v in enumerate(self.truths)]

    def add(self, name: str, shapes: np.ndarray) -> None:
        """Note shapes (images, K, R, R, R); figures are (images, K)."""
        points = [[cloud(v, 10 * n + k) for k, v in enumerate(s)] for n, s in enumerate(shapes)]
        pairs = list(zip(shapes, points, self.truths, self.clouds))
        self.iou[name] = np.array([[voxel_iou(v, t) for v in some] for some, _, t, _ in pairs])
        self.f[name] = np.array([[f_score(p, t, NEAR) for p in some] for _, some, _, t in pairs])
        self.first[name] = [p[0] for p in points]

    def pick(self, name: str, of: str, which: np.ndarray) -> None:
        """Note of some shapes that with number `which` (images,) for every picture."""
        for figures in (self.iou, self.f):
            figures[name] = np.take_along_axis(figures[of], which[:, None], 1)


def measured(pool: Pool, every: list[Models], library: Library, images: int, shapes: int) -> Held:
    """Floors and sampled shapes of a pool's first pictures."""
    held = Held(pool, images)
    rng = np.random.Generator(np.random.Philox(key=23))
    random = [library.another(pool.category(n), rng) for n in range(images)]
    held.add("floor: a training shape of the category", np.stack(random)[:, None])
    masks = pool.masks(images, PoseConfig().size)
    for models in every:
        if models.encoder.config.against == "shape":
            with torch.no_grad():
                near = library.nearest(models.encoder, pool.pictures(images))
            held.add(f"retrieval: nearest training shape by {models.tag}", near[:, None])
        sampled = models.shapes(pool, "", images, shapes)
        held.add(models.tag, sampled)
        agree = np.array([[silhouette(v, m) for v in some] for some, m in zip(sampled, masks)])
        held.pick(f"{models.tag}, chosen by the silhouette", models.tag, agree.argmax(1))
        held.pick(f"{models.tag}, best by the truth", models.tag, held.iou[models.tag].argmax(1))
        print(pool.name, models.tag, float(held.iou[models.tag].mean()), flush=True)
    return held


def coherence(held: Held) -> str:
    """How near the shapes are to the truth, and the ratio of CISP to CLIP."""
    rows = []
    for name in held.iou:
        row: list[Any] = [name]
        for figures in (held.iou, held.f):
            values = figures[name].mean(1)
            low, high = interval(values)
            row.append(f"{values.mean():.3f} ({low:.3f} to {high:.3f})")
        rows.append(row)
    measures = [("IoU", held.iou), (f"F-score @ {NEAR}", held.f)]
    text = table(["shape", *(f"{m} (95 %)" for m, _ in measures)], rows)
    ratios = []
    for measure, figures in measures:
        floor = figures["floor: a training shape of the category"].mean(1)
        near = figures["retrieval: nearest training shape by CISP"].mean(1)
        for choice in ("", ", chosen by the silhouette"):
            cisp, clip = (figures[n + choice].mean(1) for n in ("CISP", "CLIP"))
            differences = (_mean(cisp - floor), _mean(clip - floor), _mean(cisp - near))
            found = [_ratio(cisp, clip), *differences]
            ratios.append([measure + choice, *(_with_interval(f, held.images) for f in found)])
    header = ["", "CISP / CLIP", "CISP above the floor", "CLIP above the floor"]
    header += ["CISP above its own retrieval"]
    return f"{text}\n\n{table(header, ratios)}"


def _ratio(one: np.ndarray, two: np.ndarray) -> Callable[[np.ndarray], float]:
    """The ratio of the means (N,) of those that are drawn."""
    return lambda some: float(one[some].mean() / two[some].mean())


def _mean(values: np.ndarray) -> Callable[[np.ndarray], float]:
    """The mean of those values (N,) that are drawn."""
    return lambda some: float(values[some].mean())


def _with_interval(measure: Callable[[np.ndarray], float], cases: int) -> str:
    low, high = resampled(measure, cases)
    return f"{measure(np.arange(cases)):.3f} ({low:.3f} to {high:.3f})"


def as_sets(held: Held, tags: list[str]) -> str:
    """The first shape of every picture against the true shapes, as sets."""
    rows = []
    for tag in tags:
        row: list[Any] = [tag]
        for kind, count in (("cd", POINTS), ("emd", 256)):
            one, two = ([c[:count] for c in some] for some in (held.first[tag], held.clouds))
            row += list(set_metrics(one, two, kind).values())
        rows.append(row)
    return table(["shapes", *(f"{m} {k}" for k in ("cd", "emd") for m in MEASURES)], rows)


def unlike(pool: Pool, every: list[Models], images: int) -> str:
    """IoU of two shapes each under pictures unlike the training's."""
    rows = []
    for models, kind in itertools.product(every, KINDS):
        shapes = models.shapes(pool, kind, images, 2)
        truths = (pool.source.voxels(n) for n in range(images))
        values = [np.mean([voxel_iou(v, t) for v in some]) for some, t in zip(shapes, truths)]
        low, high = interval(values)
        rows.append([models.tag, kind, float(np.mean(values)), f"{low:.3f} to {high:.3f}"])
    return table(["embedding", "pictures", "IoU", "95 %"], rows)


@torch.no_grad()
def interpolation(pool: Pool, every: list[Models]) -> str:
    """Paths between two objects of one category in six steps."""
    rows = []
    apart = len(pool.source.categories)
    for models in every:
        e = models.encoder.embed(pool.pictures(2 * apart))
        for way, function in (("slerp", slerp), ("lerp", lerp)):
            lengths, jumps = [], []
            for n in range(0, 20, 2):
                ends = e[n : n + 1], e[n + apart : n + apart + 1]
                path = [function(*ends, s / 6) for s in range(7)]
                # All from one and the same noise.
                voxels = [
                    models.prior.sample(p, 1, VoxelSampling(), RandomStream(4, "path", 0))[0] > 0.5
                    for p in path
                ]
                grids = [v.numpy() for v in voxels]
                steps = [1 - voxel_iou(a, b) for a, b in itertools.pairwise(grids)]
                lengths.append(sum(steps) / max(1 - voxel_iou(grids[0], grids[-1]), 1e-3))
                jumps.append(max(steps))
            rows.append([models.tag, way, float(np.mean(lengths)), float(np.mean(jumps))])
    return table(["embedding", "way", "path length", "largest jump"], rows)


def told_of(pool: Pool) -> str:
    """How many objects and pictures retrieval asks for."""
    return f"{pool.name}: {len(pool.source)} objects in {pool.source.views(0)} views"


def samples(every: list[Held]) -> list[dict[str, Any]]:
    """One raw row a picture: IoU and F-score of the rows of its table, in their order."""
    out = []
    for held in every:
        for n in range(held.images):
            line: dict[str, Any] = {"pool": held.pool.name, "index": n}
            for measure, figures in (("iou", held.iou), ("f", held.f)):
                line[measure] = " ".join(f"{v[n].mean():.3f}" for v in figures.values())
            out.append(line)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="")
    parser.add_argument("--before", default="")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--shapes", type=int, default=3)
    parser.add_argument("--library", type=int, default=6000, help="training shapes")
    parser.add_argument("--second", type=int, default=200, help="objects of the second world")
    add_world(parser)
    arguments = parser.parse_args()
    world = world_at_hand(Path(arguments.models) / "cisp" if arguments.models else MODEL).name
    folder = runs(NAME, MODEL) / "data"
    every = [Models.of(name, arguments.models) for name in ("cisp", "clip")]
    editions = [world]
    if arguments.before:
        every += [Models.of(name, arguments.before, before=True) for name in ("cisp", "clip")]
        editions += [edition_of(Path(arguments.before) / "cisp").name]
    asked = pools(folder, sorted(set(editions)), arguments.second)
    library = Library.of(folder, world, arguments.library)
    chosen = [next(p for p in asked if p.world == world), asked[-1]]
    found = [measured(p, every, library, arguments.images, arguments.shapes) for p in chosen]
    text = [TEXTS["retrieval"], retrieval(asked, every, arguments.images)]
    told = f"{arguments.images} pictures of each world, {arguments.shapes} shapes each, "
    told += f"{arguments.library} "
    text.append(told + TEXTS["shapes"])
    for one in found:
        text += [f"## {one.pool.name[0].upper()}{one.pool.name[1:]}", coherence(one)]
    text += [f"## The rest, {chosen[0].name}", TEXTS["sets"]]
    text.append(as_sets(found[0], [m.tag for m in every]))
    text += [TEXTS["unlike"], unlike(chosen[0], every[:2], arguments.images)]
    text += [TEXTS["paths"], interpolation(chosen[0], every[:2])]
    command = f"python benchmarks/cisp.py --images {arguments.images} --shapes {arguments.shapes}"
    command += " --before FOLDER" if arguments.before else ""
    asked_for = {"n": f"{'; '.join(told_of(p) for p in asked)}; shapes: {arguments.images} each"}
    publish(NAME, "CISP", command, "\n\n".join(text), samples(found), asked_for)


TEXTS = {
    "retrieval": "Retrieval, mean over the views of each object. Objects that no voxel of 32³ "
    "tells apart count as one. Goal: image to shape @1 of 0.80. By silhouette: of the ten shapes "
    "that the embedding finds first that whose outline agrees best with the picture's, first view "
    "of the first objects.",
    "shapes": "training shapes to retrieve from; shared seeds, the default sampler; everything "
    "but the embedding is equal. The paper has IoU of 0.649 against 0.586 (ratio 1.107) and "
    "F-scores of 0.414 against 0.333. A raw row is one picture: its figures in the order of the "
    "rows here, means over its shapes.",
    "sets": "First shape of every picture against the true shapes, as sets (1-NNA 0.5 is best):",
    "unlike": "Pictures unlike the training's, IoU, two shapes each:",
    "paths": "Interpolation between two objects of one category in six steps, one seed: length of "
    "the path in 1 - IoU over the distance of its ends (1 is straight), and its largest jump.",
}


if __name__ == "__main__":
    main()
