"""What view words, joint views and cameras are worth against objects with several faces: the
embedded prior without one after the other (`--load.without`), as any other model can be run.

Resumable: every finished run is a line of outputs/benchmark/janus.jsonl.

    python benchmarks/janus.py [--prompts 12] [--seeds 1] [--minutes 30]
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np
from tables import ROOT, publish, table

OUT = ROOT / "outputs" / "benchmark"
RESULTS = OUT / "janus.jsonl"
PROMPTS = [
    "a red chair",
    "a blue mug",
    "a green sofa",
    "a yellow car",
    "a white robot",
    "an orange house",
    "a purple boat",
    "a black rocket",
    "a pink bed",
    "a brown chair",
    "a white snowman",
    "a green robot",
]
"""Things with a front that can be told from their sides and back."""
ARMS = {
    "all it can be told": (),
    "without words": ("words",),
    "without words and views": ("words", "views"),
    "without words, views and camera": ("words", "views", "camera"),
    "words alone": ("views", "camera"),
}
FULL = next(iter(ARMS))
IOU = "silhouette iou, nearest of 200"
COLUMNS = ("janus index", IOU, "judge: category", "judge: colour", "front is off by, degrees")


def folder_of(prompt: str, seed: int, arm: str) -> Path:
    """Where a run lies."""
    words = "-".join(ARMS[arm]) or "all"
    return OUT / "janus" / f"{prompt.replace(' ', '-')}-{seed}-{words}"


def work(prompt: str, seed: int, arm: str) -> dict[str, object]:
    """One run of the command line and its figures; a run that stops has an IoU of 0."""
    from threestudio_like.cli import main as command
    from threestudio_like.metrics.evaluation import evaluate

    folder = folder_of(prompt, seed, arm)
    shutil.rmtree(folder, ignore_errors=True)
    line = [
        "generate",
        prompt,
        "--seed",
        str(seed),
        "--out",
        str(folder),
        "--quiet",
        "--no-turntable",
    ]
    if ARMS[arm]:
        line += ["--load.without", " ".join(ARMS[arm])]
    began = time.perf_counter()
    code = command(line)
    facts: dict[str, object] = {"prompt": prompt, "seed": seed, "arm": arm}
    facts["seconds"] = time.perf_counter() - began
    if code:
        return {**facts, "failed": code, IOU: 0.0}
    return {**facts, **evaluate(folder, prompt, None)}


def mean(lines: list[dict], key: str) -> str:
    """The mean with its 95 % bootstrap interval, and of how many it is."""
    from threestudio_like.metrics.point_sets import bootstrap

    values = np.array([x[key] for x in lines if key in x], float)
    if not len(values):
        return "-"
    low, high = bootstrap(values)
    count = "" if len(values) == len(lines) else f" (n = {len(values)})"
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]{count}"


def difference(lines: dict[tuple, dict], arm: str, key: str) -> str:
    """What an arm has more than the whole prior, over the prompts that both have."""
    pairs = [
        {key: x[key] - lines[(*where[:2], FULL)][key]}
        for where, x in lines.items()
        if where[2] == arm and key in x and key in lines.get((*where[:2], FULL), {})
    ]
    return mean(pairs, key) if pairs else "-"


def report(arguments: argparse.Namespace) -> None:
    """Write docs/results/janus.md from the lines."""
    found = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    lines = {(x["prompt"], x["seed"], x["arm"]): x for x in found}
    groups = {arm: [x for where, x in lines.items() if where[2] == arm] for arm in ARMS}
    rows = [
        [arm, " ".join(ARMS[arm]) or "-", len(group), sum("failed" in x for x in group)]
        + [mean(group, key) for key in COLUMNS]
        + ["-" if arm == FULL else difference(lines, arm, key) for key in COLUMNS[:2]]
        for arm, group in groups.items()
        if group
    ]
    head = ["the prior is told", "--load.without", "runs", "stopped", "Janus index"]
    head += ["silhouette IoU", "category", "colour", "front is off by, degrees"]
    head += ["Janus index, more than whole", "IoU, more than whole"]
    prompts = list(dict.fromkeys(x["prompt"] for x in found))

    def cell(prompt: str, arm: str) -> str:
        own = [x for x in groups[arm] if x["prompt"] == prompt]
        turned = [x["janus index"] for x in own if "janus index" in x]
        index = f"{np.mean(turned):.2f}" if turned else "no front"
        return f"{index} / {np.mean([x[IOU] for x in own]):.2f}" if own else "-"

    body = (
        f"{len(lines)} of {len(PROMPTS) * len(ARMS) * arguments.seeds} runs of `generate` on the "
        f"embedded prior, {len(prompts)} prompts of things "
        f"with a front, seeds {sorted({x['seed'] for x in found})}. Janus index: 0 is one front, "
        "1 as many as sides; of objects none of whose views looks like a front it is not known. "
        "IoU of silhouettes over 8 views with the nearest of 200 true objects. In brackets, 95 % "
        "bootstrap intervals over the runs.\n\n"
        + table(head, rows)
        + "\n\nBy prompt, Janus index / IoU:\n\n"
        + table(["prompt", *ARMS], [[p, *(cell(p, arm) for arm in ARMS)] for p in prompts])
        + "\n\n"
        + sheet(prompts[:6])
    )
    command = f"python benchmarks/janus.py --seeds {arguments.seeds}"
    frame = {
        "n": f"{len(prompts)} of {len(PROMPTS)} prompts: {len(lines)} of "
        f"{len(PROMPTS) * len(ARMS) * arguments.seeds} runs",
        "seeds": f"0 to {arguments.seeds - 1}" if arguments.seeds > 1 else "0",
    }
    publish("janus", "What keeps a front single", command, body, lines.values(), frame=frame)


def sheet(prompts: list[str]) -> str:
    """A picture of the first prompts, one row each, one column an arm; its line of Markdown."""
    from PIL import Image

    made = []
    for prompt in prompts:
        row = []
        for arm in ARMS:
            path = folder_of(prompt, 0, arm) / "preview.png"
            if path.is_file():
                picture = Image.open(path).convert("RGB")
                picture = picture.resize((320, 320 * picture.height // picture.width))
            else:
                picture = Image.new("RGB", (320, 80), "white")
            row.append(np.asarray(picture.resize((320, 80))))
        made.append(np.concatenate(row, 1))
    path = ROOT / "docs" / "pictures" / "janus.jpg"
    Image.fromarray(np.concatenate(made, 0)).save(path, quality=88, optimize=True)
    names = ", ".join(prompts)
    return f"Rows: {names}. Columns: {', '.join(ARMS)}.\n\n![all arms](../pictures/janus.jpg)\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=None, help="start no run after this time")
    parser.add_argument("--report", action="store_true", help="write the page of what is done")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    done = set()
    if RESULTS.is_file():
        for line in RESULTS.read_text().splitlines():
            x = json.loads(line)
            done.add((x["prompt"], x["seed"], x["arm"]))
    began = time.monotonic()
    # Arms innermost: what is done after any time can be compared.
    jobs = [
        (p, s, a)
        for s in range(arguments.seeds)
        for p in PROMPTS[: arguments.prompts]
        for a in ARMS
    ]
    for job in [] if arguments.report else jobs:
        if job in done:
            continue
        if arguments.minutes is not None and time.monotonic() - began > 60 * arguments.minutes:
            break
        with open(RESULTS, "a") as file:
            file.write(json.dumps(work(*job)) + "\n")
    report(arguments)


if __name__ == "__main__":
    main()
