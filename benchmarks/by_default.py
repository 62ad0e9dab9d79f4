"""What `reconstruct` makes of a picture when nobody says anything: the second world's pictures, and
things that the embedded world has no words for. Method, word, and how near the truth it is.

The shape is made as the command makes it (`by_auto`), in one process and with a small texture.
Volume IoU is measured in the picture's camera, and upright at the best turn about the vertical. The
judge is the embedded one, on eight views, and beside it on the true coloured mesh. The floor is
another object of the category, at its best turn.

Resumable: every finished picture is a line of outputs/benchmark/by_default/lines.jsonl.

Run: python benchmarks/by_default.py [--second 20] [--unknown 20] [--toybox 0] [--minutes 60]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from typing import Any

import numpy as np
from tables import ROOT, interval, publish, table
from verdict_cases import SEED, WORLDS, Case, Line, by_default, coloured, shown_iou, volume_iou
from verdicts import WORDS, state

OUT = ROOT / "outputs" / "benchmark" / "by_default"
LINES = OUT / "lines.jsonl"
EDGE = 96
"""Pixels of a picture of the sheet."""
TURNS = (0, 30, 90, 180)
"""Degrees beside the picture's camera from which the sheet shows a result."""
TRUTHS = ("right", "between", "wrong")
GOALS = {"volume IoU": 0.80, "judge": 0.95, "silhouette": 0.93}
"""Of the second world."""


def another(world: str, index: int, category: str) -> Any:
    """Another object of a category: the floor."""
    from second_world.make import SEED as WORLD
    from second_world.shapes import draw as draw_second

    from threestudio_like.meshes.mesh import Mesh
    from threestudio_like.toybox.vocabulary import CATEGORIES
    from threestudio_like.toybox.world import draw

    # Both worlds go through their categories in turn.
    number = index + 50 * len(CATEGORIES)
    if world == "second world":
        thing: Any = draw_second(WORLD, number)
        assert thing.category == category
    else:
        thing = draw(SEED, number, "test")
    return Mesh(thing.vertices, thing.faces)


def judged(asset: Any, category: str) -> tuple[float, str]:
    """The share of eight views in which the embedded judge names the category, and what it names
    most often."""
    import torch

    from threestudio_like.meshes.picture import render_asset
    from threestudio_like.metrics.evaluation import RING, load_judges

    judge = load_judges()[0]
    matrices = RING.all(64).view_projection().numpy()
    images = render_asset(asset, matrices, 64, background=0.9, supersample=3).image
    named = judge(torch.from_numpy(images)).category.argmax(1)
    right = float((named == judge.categories.index(category)).float().mean())
    return right, judge.categories[int(named.mode().values)]


def upright(mesh: Any) -> Any:
    """A mesh in the unit sphere."""
    from dataclasses import replace

    from threestudio_like.meshes.frames import Normalisation

    return replace(mesh, vertices=Normalisation.of(mesh.vertices).apply(mesh.vertices))


def work(world: str, index: int) -> Line:
    """One picture: the shape, the word, the figures; its sheet's row is kept beside the lines."""
    from PIL import Image
    from second_world.make import SEED as WORLD
    from second_world.measure import best_turn, mesh_of
    from second_world.shapes import draw

    from threestudio_like.meshes.mesh import Asset
    from threestudio_like.systems.image_to_3d.fit import measure_fit, with_word
    from threestudio_like.systems.image_to_3d.photo import photo_of

    case = WORLDS[world](index)
    line: Line = {"world": world, "index": index, "category": case.category}
    photo = photo_of(case.pixels, f"{world} {index}", {})
    began = time.process_time()
    found = by_default(photo, line)
    asset, seen = coloured(found, photo)
    line["CPU seconds"] = time.process_time() - began
    fit = with_word(measure_fit(found, photo, asset=asset, seen=seen, depth="toybox"), line["took"])
    line |= {"word": fit.word, "silhouette": fit.silhouette, "psnr": fit.psnr}
    line["shown"], line["volume"] = shown_iou(found, case), volume_iou(found, case)
    if case.category:
        truth, made = upright(case.mesh), upright(found.mesh)
        line["straight"], line["best turn"], _ = best_turn(made, truth)
        line["floor"] = best_turn(upright(another(world, index, case.category)), truth)[1]
        line["judge"], line["judge says"] = judged(asset, case.category)
        if world == "second world":
            whole = Asset({"": mesh_of(draw(WORLD, index))})
            line["judge of truth"] = judged(whole, case.category)[0]
    Image.fromarray(row_of(case, found, asset)).save(OUT / f"{world.split()[0]}-{index:02d}.png")
    return line


def row_of(case: Case, found: Any, asset: Any) -> np.ndarray:
    """The picture, then the result from `TURNS` beside its camera, (E, N E, 3) uint8."""
    from dataclasses import replace

    from PIL import Image

    from threestudio_like.meshes.picture import render_asset

    alpha = case.pixels[..., 3:]
    given = np.rint((case.pixels[..., :3] * alpha + 0.96 * (1 - alpha)) * 255).astype(np.uint8)
    cells = [np.asarray(Image.fromarray(given).resize((EDGE, EDGE), Image.Resampling.LANCZOS))]
    for turn in TURNS:
        pose = replace(found.pose, azimuth=found.pose.azimuth + math.radians(turn))
        matrix = pose.camera(found.poses, EDGE).view_projection().numpy()
        drawn = render_asset(asset, matrix, EDGE, background=0.96, supersample=2).image[0]
        cells.append(np.rint(drawn.clip(0, 1) * 255).astype(np.uint8))
    return np.concatenate(cells, 1)


def sheet(lines: list[Line]) -> bool:
    """docs/pictures/by-default.jpg: a row for a picture, three beside each other."""
    from PIL import Image

    paths = [OUT / f"{x['world'].split()[0]}-{x['index']:02d}.png" for x in lines]
    rows = [np.asarray(Image.open(p)) for p in paths if p.is_file()]
    if not rows:
        return False
    rows += [np.full_like(rows[0], 245)] * (-len(rows) % 3)
    third = len(rows) // 3
    columns = [np.concatenate(rows[k * third : (k + 1) * third]) for k in range(3)]
    path = ROOT / "docs" / "pictures" / "by-default.jpg"
    Image.fromarray(np.concatenate(columns, 1)).save(path, quality=80)
    return True


def cell(lines: list[Line], name: str) -> str:
    """Mean and 95 % interval over pictures."""
    values = [x[name] for x in lines if math.isfinite(x.get(name, math.nan))]
    if not values:
        return "-"
    low, high = interval(values)
    return f"{np.mean(values):.3f} [{low:.3f}, {high:.3f}]"


MEASURES = {
    "silhouette": "silhouette IoU, the picture's side",
    "psnr": "PSNR inside, dB",
    "shown": "silhouettes, 30° to both sides",
    "volume": "volume IoU, the picture's camera",
    "straight": "volume IoU, upright, not turned",
    "best turn": "volume IoU, upright, best turn",
    "floor": "the same of another object of the category",
    "judge": "judge: category",
    "judge of truth": "judge: category, of the true mesh",
    "CPU seconds": "CPU seconds",
}


def report(lines: list[Line], command: str) -> None:
    """docs/results/by_default.md."""
    groups = {}
    for world in WORLDS:
        some = [x for x in lines if x["world"] == world]
        if some:
            groups[f"{world}: all"] = some
            for method in ("cisp", "relief"):
                taken = [x for x in some if x["took"] == method]
                if taken and len(taken) < len(some):
                    groups[f"{world}: by {method}"] = taken
    rows: list[list[Any]] = [["pictures", *(len(v) for v in groups.values())]]
    rows += [[title, *(cell(v, k) for v in groups.values())] for k, title in MEASURES.items()]
    body = f"{len(lines)} pictures of one thing each:\n\n{table(['', *groups], rows)}"
    both = list(itertools.product(TRUTHS, WORDS))
    rows = []
    for name, some in groups.items():
        pairs = [(state(x), x["word"]) for x in some]
        rows.append([name, *(pairs.count(pair) for pair in both)])
    header = ["", *(f"{truth}: {word}" for truth, word in both)]
    body += "\n\nWords by truth, as in [the table of verdicts](verdicts.md):\n\n"
    body += table(header, rows)
    known = [x for x in lines if x["world"] == "second world"]
    rows = [
        [x["category"], x["took"], x["word"], x["judge says"]]
        + [x[k] for k in ("silhouette", "best turn", "floor", "judge")]
        for x in sorted(known, key=lambda x: x["best turn"])
    ]
    goals = ", ".join(f"{k} {v}" for k, v in GOALS.items())
    body += f"\n\nThe second world's pictures, worst first. Goals in the mean: {goals}.\n\n"
    header = ["category", "method", "word", "judge says", "silhouette IoU", "volume IoU, best turn"]
    body += table([*header, "floor", "judge: category"], rows)
    if sheet(lines):
        body += "\n\nThe picture, then the result from its camera and from "
        body += ", ".join(f"{t}" for t in TURNS[1:]) + " degrees beside it:\n\n"
        body += "![pictures and what became of them](../pictures/by-default.jpg)"
    publish("by_default", "Pictures by default", command, body, lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--second", type=int, default=20, help="pictures of the second world")
    parser.add_argument("--unknown", type=int, default=20, help="of unknown things")
    parser.add_argument("--toybox", type=int, default=0, help="of held-out toybox objects")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after")
    a = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(x) for x in LINES.read_text().splitlines()] if LINES.is_file() else []
    done = {(x["world"], x["index"]) for x in lines}
    counts = {"second world": a.second, "unknown": a.unknown, "toybox": a.toybox}
    began = time.monotonic()
    for index in range(max(counts.values())):
        for world, count in counts.items():
            late = time.monotonic() - began > 60 * a.minutes
            if index < count and (world, index) not in done and not late:
                lines.append(work(world, index))
                with open(LINES, "a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
                print(lines[-1], flush=True)
    report(sorted(lines, key=lambda x: (x["world"], x["index"])), "python benchmarks/by_default.py")


if __name__ == "__main__":
    main()
