"""What is made from prompts, judged beside the toybox's and beside the second world's true objects,
and what becomes of the second world's pictures. From prompts in several ways (WAYS), side by side:
the defaults, and what each of them is for; with --before FOLDER also by other weights.

Resumable: every finished run is a line of outputs/benchmark/second_world/*.jsonl. The sheet shows
the first seed of every prompt, lit and clay, a column a way.

Run: python benchmarks/second_world_table.py [--prompts 60] [--seeds 2] [--ways default] [--quick]
     [--minutes 30] [--share 1/2]   (two processes, one half each; then --page)
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tables import ROOT, commit, publish, table
from worlds import add_share, add_world, runs, share_of, world_at_hand

WHO = ("made", "floor", "ceiling")
POOL = 24
BETTER = {
    "silhouette IoU": "1",
    "volume IoU": "1",
    "judge: category": "1",
    "judge: colour": "1",
    "judge: pattern": "1",
    "normal error": "0, degrees",
    "crease recall": "1",
    "crease precision": "1",
    "unevenness": "0",
    "plane distance": "0",
    "bumpiness": "0, degrees",
    "genus right": "1",
    "pinholes": "0, a view",
    "inside seen": "0",
    "colour error": "0",
    "colour bleed": "0",
    "saturation error": "0",
    "sharpness": "1",
}
"""The measures in the order of the table, with the best value."""
EYES = ("normal error", "unevenness", "bumpiness")
"""Measures whose ratio to the first way's is shown."""
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "colours alone": {"set": {"guidance.normals.weight": "0"}},
    "mesh stage": {"refine_mesh": True},
    "high": {"quality": "high"},
}
"""What is given to `generate`, by way."""
BEFORE = "before"
"""The way of other weights, with the defaults."""
EDGE = 160
"""Pixels of a picture of the sheet."""
STANDING = "volume IoU, not turned"
RATIOS = ("sharpness",)


def prompts(count: int) -> list[str]:
    """Prompts of the categories that both worlds have, colours outermost, in colours with which no
    training picture shows them; the second colour of a category is striped or dotted."""
    from second_world.shapes import KINDS

    from threestudio_like.toybox.words import Phrase

    words = world_at_hand().vocabulary
    known = [p for p in words.patterns if p in ("striped", "dotted", "checked")]
    out = []
    for k in range(3):
        for n, category in enumerate(c for c in KINDS if c in words.categories):
            pattern = known[n % len(known)] if k == 1 and known else "plain"
            colour = words.held_out_colours[category][k]
            phrase = Phrase(category, colour, words.usual(category), pattern)
            out.append(words.describe(phrase))
    return out[:count]


def lines_of(name: str) -> list[dict[str, Any]]:
    """The finished runs of one part."""
    path = runs("second_world") / f"{name}.jsonl"
    return [json.loads(text) for text in path.read_text().splitlines()] if path.is_file() else []


def add(name: str, line: dict[str, Any]) -> None:
    """Keep a finished run."""
    runs("second_world").mkdir(parents=True, exist_ok=True)
    with open(runs("second_world") / f"{name}.jsonl", "a") as file:
        file.write(json.dumps({**line, "commit": commit()}) + "\n")
    print({k: line[k] for k in ("prompt", "picture", "seed", "seconds") if k in line}, flush=True)


def folder_of(prompt: str, seed: int, way: str) -> Path:
    """Where a run lies."""
    more = "" if way == "default" else f"-{way.replace(' ', '-')}"
    return runs("second_world") / f"{prompt.replace(' ', '-')}-{seed}{more}"


def from_text(prompt: str, seed: int, way: str, given: dict[str, Any], size: int) -> None:
    """One prompt: generate, unless its folder is complete, and measure against both worlds."""
    from second_world.measure import against

    from threestudio_like import AssetOptions, RunOptions, generate
    from threestudio_like.engine.errors import CollapseError
    from threestudio_like.meshes.mesh import Asset
    from threestudio_like.metrics.evaluation import staged

    parse = world_at_hand().vocabulary.parse
    folder = folder_of(prompt, seed, way)
    line: dict[str, Any] = {"prompt": prompt, "seed": seed, "way": way}
    if not (folder / "asset.glb").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        began, spent = time.perf_counter(), time.process_time()
        try:
            options = RunOptions(out=folder, quiet=True)
            plain = AssetOptions(turntable=False)
            generate(prompt, seed=seed, asset=plain, run=options, **given)
        except CollapseError as error:
            add("text", {**line, "failed": error.line(), "seconds": time.perf_counter() - began})
            return
        line["seconds"] = time.perf_counter() - began
        line["CPU seconds"] = time.process_time() - spent
    asset = staged(Asset.load(folder / "asset.glb"))[0]
    for world in ("own", "second"):
        line[world] = against(asset, parse(prompt)[0], world, POOL, size, seed)
    add("text", line)


def from_picture(facts: dict[str, Any], method: str, size: int) -> None:
    """One committed picture: reconstruct it in a process of its own, and measure the result at its
    best turn against the object that it shows."""
    from second_world import make, measure
    from second_world.shapes import draw

    from threestudio_like.meshes.mesh import Asset
    from threestudio_like.metrics.evaluation import staged
    from threestudio_like.toybox.words import Phrase

    folder = runs("second_world") / f"{method}-{Path(facts['file']).stem}"
    began = time.perf_counter()
    line = {"picture": facts["file"], "method": method, "category": facts["category"]}
    if not (folder / "asset.glb").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "threestudio_like", "reconstruct"]
        command += [str(make.FOLDER / facts["file"]), "--method", method]
        command += ["--out", str(folder), "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            add("picture", {**line, "failed": done.stderr.strip()[-200:], "seconds": 0.0})
            return
    line["seconds"] = time.perf_counter() - began
    asset = staged(Asset.load(folder / "asset.glb"))[0]
    truth = measure.mesh_of(draw(facts["seed"], facts["index"]))
    straight, _, degrees = measure.best_turn(asset.mesh, truth)
    placed = measure.turned(asset.mesh, degrees)
    phrase = Phrase(facts["category"], facts["colour"], None, facts["pattern"])
    matrices = measure.RING.all(64).view_projection().numpy()
    from threestudio_like.meshes.surface.extraction import silhouette

    wanted = silhouette(truth, matrices, 64)
    overlap = float(measure.overlaps(silhouette(placed, matrices, 64), wanted[None])[0])
    figures = measure.row(Asset({"": placed}), placed, truth, overlap, phrase, size)
    line["made"] = {STANDING: straight, **figures}
    words = (phrase.category, None, facts["colour"], facts["pattern"])
    meshes, known = measure.pool("second", *words, POOL)
    scores = measure.overlaps(wanted, known)
    line |= measure.bounds(truth, meshes, scores, phrase, size, facts["index"])
    add("picture", line)


def cell(name: str, values: list[float]) -> str:
    """Mean and 95 % interval of what is known; of a ratio, the geometric mean."""
    from threestudio_like.metrics.point_sets import bootstrap

    known = np.array([v for v in values if v is not None and math.isfinite(v)])
    if not len(known):
        return "-"
    if name in RATIOS:
        known = np.log(np.maximum(known, 1e-3))
    figures = np.array([known.mean(), *bootstrap(known)])
    mean, low, high = np.exp(figures) if name in RATIOS else figures
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def ratio(name: str, way: list[dict[str, Any]], first: list[dict[str, Any]], world: str) -> str:
    """A measure's mean over that of the first way, of the runs that both have, with the 95 %
    interval of the bootstrap over runs."""
    other = {(x["prompt"], x["seed"]): x[world]["made"][name] for x in first}
    pairs = [
        (x[world]["made"][name], other[x["prompt"], x["seed"]])
        for x in way
        if (x["prompt"], x["seed"]) in other
    ]
    values = np.array([p for p in pairs if all(map(math.isfinite, p))])
    if not len(values):
        return "-"
    rng = np.random.Generator(np.random.Philox(key=[7, len(values)]))
    drawn = values[rng.integers(len(values), size=(2000, len(values)))].mean(1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    found = values[:, 0].mean() / values[:, 1].mean()
    return f"{found:.2f} [{low:.2f}, {high:.2f}]"


def by_way(good: list[dict[str, Any]]) -> str:
    """The tables of what was made from prompts."""
    ways = list(dict.fromkeys(x["way"] for x in good))
    each = {way: [x for x in good if x["way"] == way] for way in ways}
    body = ""
    for world, told in (("own", "the toybox's"), ("second", "the second world's")):
        rows = []
        for name, best in BETTER.items():
            made = [cell(name, [x[world]["made"][name] for x in each[w]]) for w in ways]
            bounds = [cell(name, [x[world][who][name] for x in good]) for who in WHO[1:]]
            rows.append([name, best, *made, *bounds])
        body += f"Beside {told} true objects:\n\n"
        body += table(["measure", "best", *ways, *WHO[1:]], rows) + "\n\n"
    rows = [
        [world, name, *(ratio(name, each[w], each[ways[0]], world) for w in ways[1:])]
        for world in ("own", "second")
        for name in EYES
    ]
    if len(ways) > 1:
        body += f'Over "{ways[0]}", of the same prompts and seeds:\n\n'
        body += table(["world", "measure", *ways[1:]], rows) + "\n\n"
    spent = [
        [w, len(each[w]), *(cell("", [x.get(k, math.nan) for x in each[w]]) for k in SECONDS)]
        for w in ways
    ]
    return body + table(["way", "runs", *SECONDS], spent)


SECONDS = ("seconds", "CPU seconds")


def sheet(good: list[dict[str, Any]]) -> None:
    """docs/pictures/shapes-by-way.jpg: the first seed's assets, lit and clay, a column a way."""
    from PIL import Image

    from threestudio_like.meshes.mesh import Asset
    from threestudio_like.meshes.picture import render_asset
    from threestudio_like.renderers import RingCameras

    ways = list(dict.fromkeys(x["way"] for x in good))
    camera = RingCameras(count=12, elevation=20.0).all(EDGE).view_projection().numpy()[1:2]
    tiles = []
    for prompt in dict.fromkeys(x["prompt"] for x in good):
        row = []
        for way in ways:
            path = folder_of(prompt, 0, way) / "asset.glb"
            if not path.is_file():
                row += [np.ones((EDGE, EDGE, 3), np.float32)] * 2
                continue
            asset = Asset.load(path)
            row += [
                render_asset(asset, camera, EDGE, 0.97, clay=clay).image[0]
                for clay in (False, True)
            ]
        tiles.append(np.concatenate(row, 1))
    if not tiles:
        return
    columns = max(1, 12 // (2 * len(ways)))
    blank = np.ones_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[k : k + columns], 1) for k in range(0, len(tiles), columns)]
    pixels = np.rint(np.concatenate(rows).clip(0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(ROOT / "docs" / "pictures" / "shapes-by-way.jpg", quality=80)


def report(command: str) -> None:
    """Write docs/results/second_world.md from the lines."""
    text, pictures = lines_of("text"), lines_of("picture")
    good = [x for x in text if "failed" not in x]
    body = (
        f"{len(text)} runs from text, {len(text) - len(good)} stopped by the watchdog. Each is "
        f"compared with the nearest of {POOL} true objects of a world. Floor: another true object "
        "at random, against the same one. Ceiling: the nearest other true object. In brackets, "
        "95 % bootstrap intervals. Lengths are shares of the diagonal.\n\n"
    )
    if good:
        sheet(good)
        body += by_way(good)
        body += "\n\n![what was made](../pictures/shapes-by-way.jpg)"
    known = [x for x in pictures if "failed" not in x]
    body += f"\n\nFrom {len(pictures)} pictures of the second world, {len(pictures) - len(known)} "
    body += "failed; against the object that the picture shows, at the best turn:\n\n"
    methods = sorted({x["method"] for x in known})
    rows = []
    for name, best in {STANDING: "1", **BETTER}.items():
        each = [[x["made"][name] for x in known if x["method"] == m] for m in methods]
        each += [[x[who].get(name, math.nan) for x in known] for who in WHO[1:]]
        rows.append([name, best, *(cell(name, values) for values in each)])
    if known:
        body += table(["measure", "best", *methods, *WHO[1:]], rows)
    first = [x for x in good if x["way"] == good[0]["way"]]
    body += "\n\nBy category, second world, made:\n\n" + _categories(first, known)
    publish("second_world", "A second world", command, body, [*text, *pictures])


def _categories(text: list[dict[str, Any]], pictures: list[dict[str, Any]]) -> str:
    """Silhouette IoU and normal error of every category, worst first."""
    parse = world_at_hand().vocabulary.parse
    groups: dict[str, list[dict[str, float]]] = {}
    seen: dict[str, list[float]] = {}
    for x in text:
        groups.setdefault(parse(x["prompt"])[0].category, []).append(x["second"]["made"])
    for x in pictures:
        seen.setdefault(x["category"], []).append(x["made"]["volume IoU"])

    def mean(category: str, name: str) -> object:
        values = [g[name] for g in groups.get(category, []) if math.isfinite(g[name])]
        return float(np.mean(values)) if values else "-"

    rows = [
        [
            c,
            mean(c, "silhouette IoU"),
            mean(c, "judge: category"),
            mean(c, "normal error"),
            float(np.mean(seen[c])) if c in seen else "-",
        ]
        for c in sorted(set(groups) | set(seen))
    ]
    rows.sort(key=lambda r: r[1] if isinstance(r[1], float) else 2.0)
    header = ["category", "silhouette IoU", "judge: category", "normal error"]
    return table([*header, "from a picture: volume IoU"], rows)


def main() -> None:
    from second_world import make

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=60)
    add_world(parser)
    add_share(parser)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--ways", nargs="+", default=["default"], choices=[*WAYS])
    parser.add_argument("--before", type=Path, help="folder of another prior: a way of its own")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--methods", nargs="*", default=["cisp"])
    parser.add_argument("--size", type=int, default=512, help="pixels of what is measured")
    parser.add_argument("--quick", action="store_true", help="4 prompts, 1 seed, 4 pictures")
    parser.add_argument("--minutes", type=float, default=None, help="start no run after this time")
    parser.add_argument("--fresh", action="store_true", help="measure again what has been made")
    a = parser.parse_args()
    if a.quick:
        a.prompts, a.seeds, a.pictures = 4, 1, 4
    if a.fresh:
        for name in ("text", "picture"):
            (runs("second_world") / f"{name}.jsonl").unlink(missing_ok=True)
    done = {(x["prompt"], x["seed"], x["way"]) for x in lines_of("text")}
    ways = {way: WAYS[way] for way in a.ways}
    if a.before is not None:
        ways = {BEFORE: {"prior": str(a.before)}, **ways}
    shown = {(x["picture"], x["method"]) for x in lines_of("picture")}
    facts = json.loads((make.FOLDER / "index.json").read_text())["objects"][: a.pictures]
    one, every = share_of(a)
    pairs = [(p, s) for s in range(a.seeds) for p in prompts(a.prompts)]
    jobs: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        (from_picture, (f, m, a.size))
        for f in facts[one - 1 :: every]
        for m in a.methods
        if (f["file"], m) not in shown
    ]
    jobs += [
        (from_text, (p, s, way, given, a.size))
        for p, s in pairs[one - 1 :: every]
        for way, given in ways.items()
        if (p, s, way) not in done
    ]
    began = time.monotonic()
    for job, arguments in [] if a.page else jobs:
        if a.minutes is not None and time.monotonic() - began > 60 * a.minutes:
            break
        job(*arguments)
    if every == 1:
        words = [word for word in sys.argv[1:] if word != "--page"]
        report("python benchmarks/second_world_table.py " + " ".join(words))


if __name__ == "__main__":
    main()
