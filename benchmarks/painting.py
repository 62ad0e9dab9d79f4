"""Painting a given mesh by distillation, by pictures of all sides on one texture, or by both; with
the embedded ControlNet beside the prior and without. Twenty toybox meshes without colour, three
prompts each, judged from the exported GLB.

Resumable: every finished run is a line of outputs/benchmark/painting.jsonl.

    python benchmarks/painting.py [--pairs 60] [--minutes 30] [--report]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from tables import ROOT, interval, publish, table

OUT = ROOT / "outputs" / "benchmark" / "painting"
RESULTS = ROOT / "outputs" / "benchmark" / "painting.jsonl"
ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "distil": ("distil", ()),
    "distil, control": ("distil", ("depth",)),
    "paint": ("paint", ()),
    "paint, control": ("paint", ("depth",)),
    "both, control": ("both", ("depth",)),
    "both": ("both", ()),
}
"""Method and control of each way to paint."""
USUAL = next(iter(ARMS))
COLUMNS = {
    "category": "judge: category",
    "colour": "judge: colour",
    "pattern": "judge: pattern",
    "edges on lines": "edges on lines",
    "by chance": "lines by chance",
    "silhouette IoU": "silhouette iou with the given mesh",
    "seam error": "seam error",
    "CPU s": "cpu",
    "wall s": "seconds",
}
ITSELF = "the object itself"
"""The row of what is to be reached."""
NAMED = re.compile("striped|dotted")
SIZE = 192
NEAR = 2
"""Pixels of SIZE within which a painted edge lies on a line of the geometry."""
STRONG = 0.08
"""Difference of neighbouring pixels' colours, 0 to 1, from which they are a painted edge."""


def jobs() -> list[tuple[str, str]]:
    """Sixty pairs of category and prompt: the first twenty have each category once, and a plain
    colour, stripes and dots in turn."""
    from threestudio_like.toybox.vocabulary import CATEGORIES, HELD_OUT_COLOURS
    from threestudio_like.toybox.world import Phrase, describe

    modes = {"table": "square", "tree": "leafy", "bottle": "round"}
    made = []
    for turn in range(3):
        # Every seventh: things of different kinds come early.
        for k in range(len(CATEGORIES)):
            category, which = CATEGORIES[7 * k % len(CATEGORIES)], (k + turn) % 3
            words = Phrase(
                category,
                HELD_OUT_COLOURS[category][which],
                modes.get(category),
                *((), ("striped",), ("dotted",))[which],
            )
            made.append((category, describe(words)))
    return made


def subject(category: str):
    """An object of the test world without its colours, as a mesh with creases."""
    from threestudio_like.meshes.mesh import Mesh
    from threestudio_like.toybox.vocabulary import MODES
    from threestudio_like.toybox.world import Phrase, build

    phrase = Phrase(category, "white", MODES.get(category, (None,))[0])
    obj = build(phrase, np.random.Generator(np.random.Philox(key=[55, 0])), "test")
    return Mesh(obj.vertices, obj.faces).split_at_creases()


def folder_of(category: str, prompt: str, arm: str) -> Path:
    """Where a run lies."""
    return OUT / f"{category}-{prompt.replace(' ', '-')}-{arm.replace(', ', '-')}"


def alignment(colours, mask, edges) -> tuple[float, float] | None:
    """The share of painted edges that lie within NEAR pixels of a line of the geometry, and the
    share of all pixels that do; None where nothing is painted but one colour.

    Args:
        colours: (B, H, W, 3). mask: (B, H, W) bool, the object. edges: (B, H, W) bool, its lines.
    """
    import torch
    import torch.nn.functional as F

    outside = F.max_pool2d((~mask).float()[:, None], 3, 1, 1)[:, 0] > 0
    near = F.max_pool2d(edges.float()[:, None], 2 * NEAR + 1, 1, NEAR)[:, 0] > 0
    change = torch.zeros(mask.shape)
    for axis in (1, 2):
        length = mask.shape[axis] - 1
        one, two = (colours.narrow(axis, k, length) for k in (0, 1))
        step = (two - one).abs().amax(-1)
        part = change.narrow(axis, 0, length)
        part.copy_(torch.maximum(part, step))
    painted = (change > STRONG) & ~outside
    if int(painted.sum()) < 50:
        return None
    inside = ~outside
    return float(near[painted].float().mean()), float(near[inside].float().mean())


def measured(folder: Path, given) -> dict[str, float]:
    """Edge alignment over eight views, and the silhouettes' agreement with the given mesh."""
    import torch

    from threestudio_like.meshes.frames import Normalisation
    from threestudio_like.meshes.mesh import Asset
    from threestudio_like.meshes.picture import render_asset
    from threestudio_like.metrics.evaluation import staged
    from threestudio_like.renderers import RingCameras
    from threestudio_like.renderers.geometry import Shape, geometry_maps

    cameras = RingCameras(count=8, elevation=20.0).all(SIZE)
    asset, _ = staged(Asset.load(folder / "asset.glb"))
    picture = render_asset(asset, cameras.view_projection().numpy(), SIZE, background=0.9)
    place = Normalisation.of(given.vertices)
    points = torch.from_numpy(place.apply(given.vertices)).float()
    maps = geometry_maps(
        Shape.of(points, torch.from_numpy(given.faces).int(), torch.from_numpy(given.welded())),
        cameras,
        SIZE,
    )
    mask = torch.from_numpy(np.asarray(picture.mask) > 0.5)
    plain = Asset({"given": replace(given, vertices=place.apply(given.vertices))})
    before = render_asset(plain, cameras.view_projection().numpy(), SIZE, background=0.9)
    shape = torch.from_numpy(np.asarray(before.mask) > 0.5)
    both, either = (mask & shape).sum(), (mask | shape).sum()
    figures = {"silhouette iou with the given mesh": float(both / either)}
    found = alignment(torch.from_numpy(np.asarray(picture.image)), mask, maps.edges)
    if found is not None:
        figures["edges on lines"], figures["lines by chance"] = found
    return figures


def work(category: str, prompt: str, arm: str) -> dict[str, object]:
    """One run and its figures."""
    from threestudio_like import AssetOptions, RunOptions, texture
    from threestudio_like.meshes.mesh import Asset
    from threestudio_like.metrics.evaluation import evaluate

    folder = folder_of(category, prompt, arm)
    shutil.rmtree(folder, ignore_errors=True)
    OUT.mkdir(parents=True, exist_ok=True)
    mesh = subject(category)
    path = OUT / f"{category}.glb"
    Asset({category: mesh}).save(path, force=True)
    method, control = ARMS[arm]
    began, cpu = time.perf_counter(), time.process_time()
    result = texture(
        path,
        prompt,
        method=method,
        control=control,
        asset=AssetOptions(turntable=False),
        run=RunOptions(out=folder, quiet=True),
    )
    line: dict[str, object] = {"mesh": category, "prompt": prompt, "arm": arm}
    line["seconds"] = time.perf_counter() - began
    line["cpu"] = time.process_time() - cpu
    line["seam error"] = result.figures["seam error"]
    return line | evaluate(folder, prompt, None) | measured(folder, mesh)


def with_interval(values: list[float]) -> str:
    """A mean with its 95 % bootstrap interval, and of how many it is."""
    if not values:
        return "-"
    low, high = interval(values)
    return f"{np.mean(values):.3f} [{low:.3f}, {high:.3f}]"


def itself(category: str, prompt: str) -> dict[str, object]:
    """What is measured of the coloured object itself: what no way to paint can do better in."""
    from threestudio_like.meshes.frames import Normalisation
    from threestudio_like.meshes.mesh import Asset
    from threestudio_like.metrics.evaluation import evaluate
    from threestudio_like.toybox.coloured import coloured_mesh
    from threestudio_like.toybox.twenty import TWENTY
    from threestudio_like.toybox.world import build

    (phrase,) = TWENTY.vocabulary.parse(prompt)
    obj = build(phrase, np.random.Generator(np.random.Philox(key=[55, 0])), "test")
    folder = folder_of(category, prompt, ITSELF)
    folder.mkdir(parents=True, exist_ok=True)
    mesh, given = coloured_mesh(obj), subject(category)
    mesh = replace(mesh, vertices=Normalisation.of(given.vertices).apply(mesh.vertices))
    Asset({category: mesh}).save(folder / "asset.glb", force=True)
    line: dict[str, object] = {"mesh": category, "prompt": prompt, "arm": ITSELF}
    return line | evaluate(folder, prompt, None) | measured(folder, given)


def report() -> None:
    """Write docs/results/painting.md from the lines."""
    found = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    lines = {(x["mesh"], x["prompt"], x["arm"]): x for x in found}
    arms = [*done_arms(lines), ITSELF]
    pairs = [p for p in jobs() if any((*p, arm) in lines for arm in arms)]
    for pair in pairs:
        if (*pair, ITSELF) not in lines:
            lines[(*pair, ITSELF)] = itself(*pair)
    of = {arm: [p for p in pairs if (*p, arm) in lines] for arm in arms}
    rows, gains = [], []
    for arm in arms:
        own = [lines[(*pair, arm)] for pair in of[arm]]
        rows.append(
            [arm, len(own)]
            + [with_interval([x[key] for x in own if key in x]) for key in COLUMNS.values()]
        )
        if arm not in (USUAL, ITSELF):
            shared = [p for p in of[arm] if p in of[USUAL]]
            gains.append([arm, len(shared)])
            for key in COLUMNS.values():
                both = [(lines[(*p, arm)], lines[(*p, USUAL)]) for p in shared]
                gains[-1].append(
                    with_interval([a[key] - b[key] for a, b in both if key in a and key in b])
                )
    each = [
        [*pair, arm, *(lines[(*pair, arm)].get(key, "-") for key in list(COLUMNS.values())[:4])]
        for pair in pairs
        for arm in arms
        if pair in of[arm]
    ]
    told = ", ".join(f"{len(of[arm])} `{arm}`" for arm in arms if arm != ITSELF)
    body = (
        f"Of {len(jobs())} pairs of a mesh and a prompt (each of 20 meshes with three prompts): "
        f"{told}. "
        "The meshes are objects of the test world without their colours; a third of the prompts "
        "name a colour that training never paired with the thing, a third stripes as well, a "
        "third dots. Judged over 8 views of the exported GLB. "
        f"`{ITSELF}`: the object in its true colours, judged alike, which no way can do better "
        "than but by luck. Edges on lines: of the pixels where "
        f"the painted colour changes by more than {STRONG}, the share within {NEAR} pixels of a "
        f"crease, a silhouette or one part before another ({SIZE} pixels, 8 views); by chance: the "
        "share of all pixels that lie so. In brackets, 95 % bootstrap intervals over the pairs.\n\n"
        + table(["way", "pairs", *COLUMNS], rows)
        + f"\n\nMore than `{USUAL}`, pair by pair:\n\n"
        + table(["way", "pairs", *COLUMNS], gains)
        + "\n\nPatterns, by what the prompt names:\n\n"
        + patterns(lines, of)
        + "\n\nEvery run:\n\n"
        + table(["mesh", "prompt", "way", *list(COLUMNS)[:4]], each)
        + "\n\n"
        + sheet([p for p in pairs if all(p in own for own in of.values())], arms[:-1])
    )
    frame = {"n": f"{len(pairs)} pairs of a mesh and a prompt of {len(jobs())}: {told}"}
    publish(
        "painting",
        "Ways to paint a mesh",
        "python benchmarks/painting.py",
        body,
        lines.values(),
        frame=frame,
    )


def patterns(lines: dict[tuple[str, str, str], dict], of: dict[str, list]) -> str:
    """The pattern's figure by what the prompt names: nothing, stripes, dots."""
    rows, key = [], COLUMNS["pattern"]
    for arm, pairs in of.items():
        row: list[object] = [arm]
        for word in ("striped", "dotted", ""):
            own = [p for p in pairs if (word in p[1] if word else not NAMED.search(p[1]))]
            found = [lines[(*p, arm)] for p in own]
            row.append(with_interval([x[key] for x in found if key in x]))
        rows.append(row)
    return table(["way", "striped", "dotted", "plain"], rows)


def done_arms(lines: dict[tuple[str, str, str], dict]) -> list[str]:
    """The ways that at least three pairs were painted in."""
    return [arm for arm in ARMS if sum(where[2] == arm for where in lines) >= 3]


def sheet(pairs: list[tuple[str, str]], arms: list[str]) -> str:
    """A picture of all pairs, one row each, one column a way; its lines of Markdown."""
    from PIL import Image

    made = []
    for pair in pairs:
        row = []
        for arm in arms:
            picture = Image.open(folder_of(*pair, arm) / "preview.png").convert("RGB")
            edge = 96
            picture = picture.resize((picture.width * 2 * edge // picture.height, 2 * edge))
            seen = np.asarray(picture)[:edge]
            row.append(np.concatenate([seen[:, k * edge : (k + 1) * edge] for k in (1, 4)], 1))
        made.append(np.concatenate(row, 1))
    path = ROOT / "docs" / "pictures" / "painting.jpg"
    Image.fromarray(np.concatenate(made, 0)).save(path, quality=86, optimize=True)
    names = ", ".join(prompt for _, prompt in pairs)
    return f"Rows: {names}. Columns: {'; '.join(arms)}.\n\n![all ways](../pictures/painting.jpg)\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--minutes", type=float, default=None, help="start no run after this time")
    parser.add_argument("--report", action="store_true", help="write the page of what is done")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    done = set()
    if RESULTS.is_file():
        for line in RESULTS.read_text().splitlines():
            x = json.loads(line)
            done.add((x["mesh"], x["prompt"], x["arm"]))
    began = time.monotonic()
    # Ways innermost: what is done after any time can be compared.
    todo = [(*pair, arm) for pair in jobs()[: arguments.pairs] for arm in arguments.arms]
    for job in () if arguments.report else [j for j in todo if j not in done]:
        if arguments.minutes and time.monotonic() - began > 60 * arguments.minutes:
            break
        line = work(*job)
        with RESULTS.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
    report()


if __name__ == "__main__":
    main()
