"""Sixty prompts that pair categories with colours never seen together in training, and try all
kinds of words that the edition has (`worlds.prompts`), judged from the exported GLB.

Resumable: every finished run is a line of outputs/benchmark/text_to_3d.jsonl. Runs go side by side,
    one thread each.

Run: python benchmarks/text_to_3d.py [--seeds 2] [--workers 2] [--world fifty]
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import shutil
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from tables import ROOT, publish, table
from worlds import add_world, asked, kept, prompts, runs, world_at_hand

IOU = "silhouette iou, nearest of 200"
COLUMNS = [
    "judge: category",
    "judge: colour",
    "clip r-precision",
    IOU,
    "fog",
    "pieces",
    "seconds",
    "cpu",
]


def folder_of(prompt: str, seed: int) -> Path:
    """Where a run lies."""
    return runs("") / f"{prompt.replace(' ', '-')}-{seed}"


def work(job: tuple[str, int, bool]) -> None:
    import torch

    torch.set_num_threads(1)
    from threestudio_like import AssetOptions, RunOptions, generate, open_run
    from threestudio_like.engine.errors import CollapseError
    from threestudio_like.engine.events import read_events
    from threestudio_like.metrics.evaluation import evaluate
    from threestudio_like.stages.field_to_mesh import AssetConfig, make_asset

    prompt, seed, again = job
    folder = folder_of(prompt, seed)
    began, cpu = time.perf_counter(), time.process_time()
    if again:
        # Extraction alone, from the checkpoint: the seconds of the stages are those of the first
        # run.
        asset, _ = make_asset(open_run(folder), AssetConfig(), 1, "object", {})
        asset.save(folder / "asset.glb", force=True)
        old = json.loads((folder / "seconds.json").read_text())
        seconds, cpu, fog = old["seconds"], old["cpu"], old.get("fog", 0.0)
    else:
        if folder.exists():
            shutil.rmtree(folder)
        try:
            result = generate(
                prompt,
                seed=seed,
                asset=AssetOptions(turntable=False),
                run=RunOptions(out=folder, quiet=True),
            )
        except CollapseError as error:
            # A run that the watchdog stops counts, as a failure in every column.
            line = {
                "prompt": prompt,
                "seed": seed,
                "failed": error.line(),
                **dict.fromkeys(COLUMNS, 0.0),
            }
            with open(runs("text_to_3d.jsonl"), "a") as file:
                file.write(json.dumps(line) + "\n")
            return
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        fog = result.figures["fog"]
        told = {"seconds": seconds, "cpu": cpu, "fog": fog}
        (folder / "seconds.json").write_text(json.dumps(told))
    figures = evaluate(folder, prompt, None) | by_second_judge(folder, prompt)
    stages = {
        e["stage"]: e["seconds"]
        for e in read_events(folder / "events.jsonl")
        if e["event"] == "stage-end"
    }
    line = {
        "prompt": prompt,
        "seed": seed,
        "seconds": seconds,
        "cpu": cpu,
        "fog": fog,
        "stages": stages,
        **figures,
    }
    with open(runs("text_to_3d.jsonl"), "a") as file:
        file.write(json.dumps(line) + "\n")


def by_second_judge(folder: Path, prompt: str) -> dict[str, float]:
    """What the second world's judge sees in eight views of a run's asset; nothing where it is not
    trained."""
    import torch
    from prior_samples import Judges
    from second_world.judge import SecondJudge
    from second_world.judge import folder_of as judge_folder
    from worlds import Asked

    from threestudio_like.meshes.mesh import Asset
    from threestudio_like.meshes.picture import render_asset
    from threestudio_like.metrics.evaluation import RING, staged

    world = world_at_hand()
    if not (judge_folder(world) / "judge.safetensors").is_file():
        return {}
    asset, light = staged(Asset.load(folder / "asset.glb"))
    matrices = RING.all(128).view_projection().numpy()
    pictures = torch.from_numpy(render_asset(asset, matrices, 128, 0.9, light=light).image)
    judges = Judges(None, None, SecondJudge.load(judge_folder(world)))
    asked = Asked(prompt, "", tuple(world.vocabulary.parse(prompt)))
    return {k: v for k, v in judges(pictures, asked).items() if math.isfinite(v)}


def mean(group: list[dict], key: str) -> float | str:
    """The mean of the runs that have the figure: not every prompt names a colour, or one thing."""
    values = [g[key] for g in group if key in g]
    return float(np.mean(values)) if values else "-"


def by_kind(lines: list[dict]) -> str:
    """A table by the kind of words that a prompt tries; empty where all are plain."""
    from prior_samples import COLUMNS as JUDGED

    kinds = {a.text: a.kind for a in asked(world_at_hand())}
    groups: dict[str, list[dict]] = defaultdict(list)
    for line in lines:
        groups[kinds.get(line["prompt"], "others")].append(line)
    if len(groups) < 2:
        return ""
    columns = [*COLUMNS[:2], "judge: pattern", IOU, *(c for c in JUDGED if c.startswith("second"))]
    used = [c for c in columns if any(c in x for x in lines)]
    rows = [[kind, len(some), *(mean(some, c) for c in used)] for kind, some in groups.items()]
    return "By the words that a prompt tries:\n\n" + table(["words", "runs", *used], rows) + "\n\n"


def report(seeds: int, prompts: int) -> None:
    from PIL import Image

    parse = world_at_hand().vocabulary.parse
    lines = kept("text_to_3d.jsonl")
    by_category = defaultdict(list)
    for line in lines:
        by_category[parse(line["prompt"])[0].category].append(line)

    figures = (*COLUMNS, "janus index")
    rows = [[c, len(g), *(mean(g, k) for k in figures)] for c, g in by_category.items()]
    rows.sort(key=lambda r: r[5] if isinstance(r[5], float) else 2.0)
    total = ["**all**", len(lines), *(mean(lines, k) for k in figures)]
    goal = ["goal", 120, 0.95, 0.97, 0.95, ">= 0.80, worst 0.65", "<= 0.02", 1, "-", "-", "-"]
    header = [
        "category",
        "runs",
        "judge: category",
        "judge: colour",
        "CLIP R-precision",
        "silhouette IoU",
        "fog",
        "pieces",
        "wall s",
        "CPU s",
        "Janus index",
    ]
    worst = sorted((x for x in lines if IOU in x), key=lambda x: x[IOU])[:10]
    pictures = []
    for line in worst:
        if "failed" in line:
            continue
        path = folder_of(line["prompt"], line["seed"]) / "preview.png"
        picture = Image.open(path).convert("RGB")
        pictures.append(np.asarray(picture.resize((1024, 256), Image.Resampling.LANCZOS)))
    path = ROOT / "docs" / "pictures" / "ten-worst.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(pictures, 0)).save(path, quality=88, optimize=True)
    body = (
        f"{len(lines)} of {prompts * seeds} runs, {sum('failed' in x for x in lines)} stopped "
        "by the watchdog. Prompts pair categories with colours that no training picture "
        "pairs. Figures over 8 views of the exported GLB at 64 "
        "pixels; IoU with the nearest of 200 objects of the category; runs side by side, "
        "one thread each: compare CPU seconds, wall seconds depend on what ran beside.\n\n"
        + by_kind(lines)
        + table(header, [total, goal, *rows])
        + "\n\nThe ten worst by IoU, top to bottom: "
        + ", ".join(f"{x['prompt']} ({x[IOU]:.2f})" for x in worst)
        + ".\n\n![the ten worst](../pictures/ten-worst.jpg)\n"
    )
    publish(
        "text_to_3d",
        "Text to 3D on the embedded prior",
        f"python benchmarks/text_to_3d.py --seeds {seeds}",
        body,
        lines,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    add_world(parser)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--minutes", type=float, default=None, help="start no new run after this time"
    )
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument(
        "--again",
        action="store_true",
        help="extract and judge finished runs again, from their checkpoints",
    )
    arguments = parser.parse_args()
    runs("").mkdir(parents=True, exist_ok=True)
    if arguments.fresh:
        runs("text_to_3d.jsonl").unlink(missing_ok=True)
    done = {(x["prompt"], x["seed"]) for x in kept("text_to_3d.jsonl")}
    every = prompts(world_at_hand(), count=arguments.prompts)
    wanted = [(p, s) for s in range(arguments.seeds) for p in every if (p, s) not in done]
    jobs = [
        (p, s, arguments.again and (folder_of(p, s) / "seconds.json").is_file()) for p, s in wanted
    ]
    os.environ["OMP_NUM_THREADS"] = "1"
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.workers) as pool:
        pending = []
        for job in jobs:
            while sum(not p.ready() for p in pending) >= arguments.workers:
                time.sleep(0.2)
            if arguments.minutes is not None and time.monotonic() - began > arguments.minutes * 60:
                break
            pending.append(pool.apply_async(work, (job,)))
        for task in pending:
            task.get()
    report(arguments.seeds, arguments.prompts)


if __name__ == "__main__":
    runs("").mkdir(parents=True, exist_ok=True)
    main()
