"""Sixty held-out toybox pictures, ten line drawings and five pictures before textured walls, each
reconstructed through the command line in a
process of its own: volume IoU with the truth, the judge's category, seconds with imports.

Resumable: every finished run is a line of outputs/benchmark/reconstruct.jsonl.

Run: python benchmarks/reconstruct.py [--methods cisp] [--count 60] [--fresh]
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from tables import ROOT, publish, table
from variants import measured
from worlds import add_world, kept, runs, world_at_hand

from threestudio_like.toybox.edition import Edition

GOALS = {"cisp": 25, "g3dr": 10, "field": 90}
SEED = 2001
SIZE = 160


def known() -> Edition:
    """The edition of the models that reconstruct."""
    return world_at_hand("cisp/clip")


def picture(index: int, kind: str) -> tuple[Path, float]:
    """A picture file of test object `index`, and the azimuth from which it was taken."""
    from PIL import Image
    from scipy.ndimage import sobel

    from threestudio_like.toybox.pairs import pictures_of

    rgba, azimuth, _, _, _ = pictures_of(SEED, index, "test", 1, SIZE, known().name)
    pixels, alpha = rgba[0], rgba[0][..., 3:].astype(float) / 255
    if kind == "line drawing":
        grey = pixels[..., :3].mean(-1) * alpha[..., 0] + 255 * (1 - alpha[..., 0])
        edge = np.hypot(sobel(grey, 0), sobel(grey, 1)) > 90
        pixels = np.where(edge[..., None], 30, 250).astype(np.uint8).repeat(3, -1)
    elif kind == "textured wall":
        y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
        wood = 0.5 + 0.08 * np.sin(30 * x + 5 * np.sin(7 * y)) + 0.04 * np.sin(80 * x)
        wall = np.stack([wood + 0.15, wood, wood - 0.15], -1) * 255
        noise = np.random.Generator(np.random.Philox(key=index)).normal(0, 3, wall.shape)
        pixels = (
            (pixels[..., :3] * alpha + wall * (1 - alpha) + noise).clip(0, 255).astype(np.uint8)
        )
    path = runs("reconstruct", "cisp/clip") / f"{kind.replace(' ', '-')}-{index}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path, float(azimuth[0])


def truth_iou(folder: Path, index: int) -> tuple[float, float]:
    """Volume IoU with the true object on 32^3 cells: in the canonical frame, and at the best turn
    about the vertical (steps of 5 degrees)."""
    from threestudio_like.meshes.frames import Normalisation
    from threestudio_like.meshes.mesh import Asset, Mesh
    from threestudio_like.meshes.surface.voxels import voxelise
    from threestudio_like.metrics.point_sets import voxel_iou

    obj = known().draw(SEED, index, "test")
    wanted = voxelise(Mesh(obj.vertices, obj.faces))
    mesh = Asset.load(folder / "asset.glb").mesh

    def at(degrees: float) -> float:
        a = math.radians(degrees)
        turn = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
        points = (mesh.vertices.astype(np.float64) @ turn.T).astype(np.float32)
        placed = Normalisation.of(points).apply(points)
        return voxel_iou(voxelise(Mesh(placed, mesh.faces)), wanted)

    scores = {15.0 * k: at(15.0 * k) for k in range(24)}
    best = max(scores, key=lambda k: scores[k])
    scores.update({best + off: at(best + off) for off in (-10.0, -5.0, 5.0, 10.0)})
    return scores[0.0], max(scores.values())


def work(method: str, index: int, kind: str) -> None:
    from threestudio_like.metrics.evaluation import evaluate

    categories = known().vocabulary.categories
    path, azimuth = picture(index, kind)
    folder = runs("reconstruct", "cisp/clip") / f"{method}-{path.stem}"
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "threestudio_like",
        "reconstruct",
        str(path),
        "--method",
        method,
        "--out",
        str(folder),
        "--quiet",
    ]
    done, spent = measured(command, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    line = {
        "method": method,
        "index": index,
        "kind": kind,
        "seconds": seconds,
        "CPU seconds": spent,
        "code": done.returncode,
        "category": categories[index % len(categories)],
    }
    if done.returncode == 0:
        straight, best = truth_iou(folder, index)
        events = [json.loads(text) for text in (folder / "events.jsonl").read_text().splitlines()]
        shape = next((e for e in events if e["event"] == "shape"), {})
        figures = evaluate(folder, f"a {line['category']}", None)
        line.update(
            {
                "iou": straight,
                "iou, best turn": best,
                "judge: category": figures["judge: category"],
                "agreement": shape.get("agreement"),
            }
        )
        if "azimuth" in shape:
            off = abs((shape["azimuth"] - azimuth + math.pi) % (2 * math.pi) - math.pi)
            line["azimuth off, degrees"] = math.degrees(off)
    else:
        line["error"] = done.stderr.strip()[-200:]
    with open(runs("reconstruct.jsonl", "cisp/clip"), "a") as file:
        file.write(json.dumps(line) + "\n")
    print(line, flush=True)


def sheet(methods: list[str], edge: int = 96) -> bool:
    """docs/pictures/reconstructed.jpg: a row for a picture, of every seventh clean one and all
    others; False without runs."""
    from PIL import Image

    rows = []
    chosen = [(n, "clean") for n in range(0, 60, 7)]
    chosen += [(100 + n, "line drawing") for n in range(10)] + [
        (120 + n, "textured wall") for n in range(5)
    ]
    blank = np.full((edge, 3 * edge, 3), 245, np.uint8)
    for index, kind in chosen:
        name = f"{kind.replace(' ', '-')}-{index}"
        if not (runs("reconstruct", "cisp/clip") / f"{name}.png").is_file():
            continue
        given = (
            Image.open(runs("reconstruct", "cisp/clip") / f"{name}.png")
            .convert("RGBA")
            .resize((edge, edge), Image.Resampling.LANCZOS)
        )
        white = Image.new("RGBA", given.size, (255, 255, 255, 255))
        white.alpha_composite(given)
        row = [np.asarray(white.convert("RGB"))]
        for method in methods:
            path = runs("reconstruct", "cisp/clip") / f"{method}-{name}" / "preview.png"
            if not path.is_file():
                row.append(blank)
                continue
            views = Image.open(path).convert("RGB")
            size = views.size[1] // 2
            row += [
                np.asarray(
                    views.crop((k * size, 0, (k + 1) * size, size)).resize(
                        (edge, edge), Image.Resampling.LANCZOS
                    )
                )
                for k in (0, 1, 4)
            ]
        rows.append(np.concatenate(row, 1))
    if not rows:
        return False
    # Two rows side by side.
    rows += [np.full_like(rows[0], 245)] * (len(rows) % 2)
    half = len(rows) // 2
    whole = np.concatenate([np.concatenate(rows[:half], 0), np.concatenate(rows[half:], 0)], 1)
    Image.fromarray(whole).save(ROOT / "docs" / "pictures" / "reconstructed.jpg", quality=80)
    return True


def report(methods: list[str]) -> None:
    lines = kept("reconstruct.jsonl", "cisp/clip")

    def mean(some: list[dict], key: str) -> object:
        values = [x[key] for x in some if x.get(key) is not None]
        return float(np.mean(values)) if values else "-"

    rows = []
    for method in methods:
        for kind in ("clean", "line drawing", "textured wall"):
            some = [x for x in lines if x["method"] == method and x["kind"] == kind]
            if some:
                seconds = sorted(x["seconds"] for x in some)
                rows.append(
                    [
                        method,
                        kind,
                        len(some),
                        sum(x["code"] != 0 for x in some),
                        *(
                            mean(some, k)
                            for k in ("iou", "iou, best turn", "judge: category", "agreement")
                        ),
                        mean(some, "CPU seconds"),
                        seconds[len(seconds) // 2],
                        seconds[-1],
                        GOALS[method],
                    ]
                )
    text = table(
        [
            "method",
            "pictures",
            "runs",
            "failed",
            "volume IoU",
            "at the best turn",
            "judge: category",
            "silhouette agreement",
            "CPU seconds",
            "seconds, median",
            "longest",
            "goal",
        ],
        rows,
    )
    each = []
    for method in methods:
        worst = sorted(
            (x for x in lines if x["method"] == method), key=lambda x: x.get("iou, best turn", -1)
        )[:10]
        each += [
            [
                method,
                x["kind"],
                x["category"],
                *(
                    x.get(k, "-")
                    for k in ("iou", "iou, best turn", "judge: category", "azimuth off, degrees")
                ),
            ]
            for x in worst
        ]
    if sheet(methods):
        text += "\n\nGiven, then three sides by each of " + ", ".join(methods) + ":"
        text += "\n\n![pictures and what became of them](../pictures/reconstructed.jpg)"
    text += "\n\nThe ten worst of every method:\n\n" + table(
        ["method", "pictures", "category", "IoU", "best turn", "judge", "azimuth off"], each
    )
    publish(
        "reconstruct",
        "Pictures to shapes",
        f"python benchmarks/reconstruct.py --methods {' '.join(methods)}",
        text,
        [x for x in lines if x["method"] in methods],
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["cisp"], choices=list(GOALS))
    parser.add_argument("--count", type=int, default=60)
    add_world(parser)
    parser.add_argument("--fresh", action="store_true")
    arguments = parser.parse_args()
    if arguments.fresh:
        runs("reconstruct.jsonl", "cisp/clip").unlink(missing_ok=True)
    done = set()
    if runs("reconstruct.jsonl", "cisp/clip").is_file():
        done = {
            (x["method"], x["index"], x["kind"]) for x in kept("reconstruct.jsonl", "cisp/clip")
        }
    runs("reconstruct.jsonl", "cisp/clip").parent.mkdir(parents=True, exist_ok=True)
    for method in arguments.methods:
        wanted = [(n, "clean") for n in range(arguments.count)] + [
            (100 + n, "line drawing") for n in range(10)
        ]
        wanted += [(120 + n, "textured wall") for n in range(5)]
        for index, kind in wanted:
            if (method, index, kind) not in done:
                work(method, index, kind)
    report(arguments.methods)


if __name__ == "__main__":
    main()
