"""Batches as they are: throughput of one worker and of two, overhead, loads of the prior; 10,000
trivial items: the driver's memory, the index, the page in chromium, a finished batch begun again.
On a quiet machine; needs Ray for two workers.

    python benchmarks/batch.py                 # half an hour; writes docs/results/batch.md
    python benchmarks/batch.py --small --dry   # shows that it runs: few items, nothing published
    python benchmarks/batch.py --only throughput --keep FOLDER

What is measured is kept as benchmark/batch/<part>.json in the outputs folder, so parts can be
measured at different times; the table is made of all that is there. `--keep` leaves the stores of
the throughput runs for `benchmarks/batch_simulation.py`. Killed batches are measured by
`benchmarks/batch_kills.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import numpy as np
from tables import ROOT, publish, table

from threestudio_like.runs.batch.gallery import gallery_files
from threestudio_like.runs.batch.index import DONE, Index
from threestudio_like.runs.batch.items import Spec
from threestudio_like.runs.batch.store import Store

TINY = ROOT / "tests" / "tiny_command.py"
OUT = ROOT / "outputs" / "benchmark" / "batch"
QUICK = {
    **{"steps": 10, "faces": 1500, "texture": 128, "turntable": False, "start.iterations": 8},
    **{"start.refine.times": "1.0", "start.refine.steps": 2},
}
"""A run of `generate` of a few seconds."""
COLOURS = ("red", "blue", "green", "yellow", "white")
THINGS = ("chair", "box", "ball", "mug")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
REPEATS = 5
"""Of what takes seconds."""


def items(count: int) -> list[str]:
    """Prompts with three seeds each."""
    prompts = [f"a {c} {t}" for t in THINGS for c in COLOURS]
    return prompts[: max(1, count // 3)]


def manifest(folder: Path, count: int, **defaults: object) -> Path:
    path = folder / "manifest.yaml"
    content = {"defaults": {"seeds": "0-2", **defaults}, "items": [{"prompt": items(count)}]}
    path.write_text(json.dumps(content))
    return path


def start(*words: object, **environment: str) -> subprocess.Popen:
    """`batch` as a process group of its own; PYTHONPATH is added to."""
    paths = [str(ROOT), environment.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "threestudio_like", "batch", *map(str, words), "--quiet"],
        env={
            **{**os.environ, "OMP_NUM_THREADS": "1", **environment},
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        },
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> None:
    _, err = process.communicate()
    if process.returncode:
        lines = err.decode(errors="replace").strip().splitlines() or ["-"]
        raise SystemExit(f"exit code {process.returncode}: {lines[-1]}")


def events_of(store: Store) -> list[dict]:
    found = []
    for name in sorted(store.files.names("events")):
        lines = (store.files.read(name) or b"").decode().splitlines()
        found += [json.loads(line) for line in lines if line.endswith("}")]
    return found


def last_run(store: Store) -> list[dict]:
    events = events_of(store)
    first = max(n for n, event in enumerate(events) if event["event"] == "batch")
    return events[first:]


def throughput(folder: Path, count: int) -> dict:
    """Items a minute of one worker (this process) and of two (actors of Ray), one thread each."""
    path = manifest(folder, count, **QUICK)
    found = {}
    for workers in (1, 2):
        store = folder / f"workers {workers}"
        # Files that are read for the first time, and compiled kernels, are no part of it.
        finish(start(manifest(folder, 3, **QUICK), "--store", folder / "warm", "--workers", 1))
        shutil.rmtree(folder / "warm")
        path = manifest(folder, count, **QUICK)
        finish(start(path, "--store", store, "--workers", workers))
        found[str(workers)] = [
            {k: e[k] for k in ("t", "event", "worker", "seconds", "loads", "id") if k in e}
            for e in last_run(Store(str(store)))
        ]
    return found


def figures(events: list[dict], workers: int) -> dict[str, float]:
    """Of one run. Time begins when the first item is handed out: a worker's start and its loading
    of the prior are in it."""
    made = [e for e in events if e["event"] == "made"]
    begun = {e["id"]: e for e in events if e["event"] == "begin"}
    begin = min(e["t"] for e in begun.values())
    end = max(e["t"] for e in events if e["event"] == "batch end")
    up, between, free = 0.0, 0.0, {}
    for e in sorted(made, key=lambda e: e["t"]):
        number = begun[e["id"]]["worker"]
        own = e["t"] - begun[e["id"]]["t"] - e["seconds"]
        if number in free:
            between += own + begun[e["id"]]["t"] - free[number]
        else:
            up += own
        free[number] = e["t"]
    loads: dict[str, int] = {}
    for e in made:
        loads[e["worker"]] = max(loads.get(e["worker"], 0), e["loads"])
    work = sum(e["seconds"] for e in made)
    return {
        **{"items": len(made), "seconds": end - begin, "rate": len(made) / (end - begin)},
        **{"item": work / len(made), "start": up / workers, "overhead": between / work},
        **{"processes": len(loads), "loads": max(loads.values())},
    }


def ratio_interval(one: list[dict], two: list[dict], block: int = 10) -> tuple[float, float]:
    """95 % interval of two workers' rate over one's: resampled blocks of items in the order in
    which they ended, for neighbours share what the machine did just then."""
    rng = np.random.default_rng(0)

    def blocks(events: list[dict]) -> np.ndarray:
        times = sorted(e["t"] for e in events if e["event"] == "made")
        first = min(e["t"] for e in events if e["event"] == "begin")
        marks = [first, *times[block - 1 :: block]]
        return np.diff(marks)

    a, b = blocks(one), blocks(two)
    ratios = [rng.choice(a, len(a)).mean() / rng.choice(b, len(b)).mean() for _ in range(5000)]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def say_throughput(runs: list[dict]) -> str:
    rows, ratios, intervals = [], [], []
    for number, run in enumerate(runs):
        for workers in (1, 2):
            f = figures(run[str(workers)], workers)
            rows.append([number, workers, f["items"], f"{f['seconds']:.1f}"])
            rows[-1] += [f"{60 * f['rate']:.1f}", f"{f['item']:.2f}", f"{f['start']:.1f}"]
            rows[-1] += [f"{100 * f['overhead']:.1f} %", f["processes"], f["loads"]]
        one, two = run["1"], run["2"]
        ratios.append(figures(two, 2)["rate"] / figures(one, 1)["rate"])
        intervals.append(ratio_interval(one, two))
    head = ["run", "workers", "items", "seconds", "items a minute", "s an item"]
    head += ["until a worker is up, s", "overhead between items", "worker processes"]
    head += ["priors loaded by each"]
    said = "; ".join(
        f"{r:.2f} times (95 %: {low:.2f} to {high:.2f})"
        for r, (low, high) in zip(ratios, intervals)
    )
    return (
        f"`generate` of {QUICK['steps']} steps, 20 prompts with seeds 0 to 2, one thread a worker; "
        "one worker is the driver's own process, two are actors of Ray.\n\n"
        f"{table(head, rows)}\n\nTwo workers make as much as one, workers' start and loading "
        f"counted: {said}. Intervals by resampling blocks of ten items."
    )


def many(folder: Path, count: int) -> dict:
    """Trivial items in this process, and the same again on the finished store."""
    found: dict = {"memory": []}
    for number, size in enumerate((count // 10, count)):
        path, store = folder / f"{number}.jsonl", folder / f"store {number}"
        lines = [json.dumps({"command": "tiny", "prompt": f"item {n}"}) for n in range(size)]
        path.write_text("\n".join(lines))
        words = (path, "--store", store, "--workers", 1, "--plugins", TINY)
        peak, seconds = watched(words)
        found["memory"].append([size, peak, seconds])
    again = [watched(words) for _ in range(REPEATS)]
    found["again"] = [seconds for _, seconds in again]
    found["again memory"] = max(peak for peak, _ in again)
    made = [e["event"] for e in events_of(Store(str(store)))].count("made")
    assert made == count, made
    return found


def watched(words: tuple) -> tuple[int, float]:
    """Peak memory in MB and seconds of a driver, its start counted."""
    began, peak = time.perf_counter(), 0
    process = start(*words)
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        for line in status.read_text().splitlines() if status.exists() else ():
            if line.startswith("VmHWM"):
                peak = max(peak, int(line.split()[1]) // 1024)
        time.sleep(0.02)
    finish(process)
    return peak, time.perf_counter() - began


def say_many(runs: list[dict]) -> str:
    rows = [
        [size, peak, f"{seconds:.1f}", f"{1000 * seconds / size:.1f}"]
        for run in runs
        for size, peak, seconds in run["memory"]
    ]
    again = [s for run in runs for s in run["again"]]
    head = ["items", "driver's peak memory, MB", "seconds, start counted", "ms an item"]
    return (
        f"{table(head, rows)}\n\nThe same again on the finished store of {rows[-1][0]} makes "
        f"nothing: {spread(again)} s, {max(r['again memory'] for r in runs)} MB."
    )


def gallery(folder: Path, count: int) -> dict:
    """An index of many items with pictures, its queries, and its page in chromium."""
    from PIL import Image

    index, path = Index(folder / "index.sqlite"), folder / "gallery"
    Image.new("RGB", (256, 64), (90, 120, 200)).save(folder / "preview.png")
    picture = (folder / "preview.png").read_bytes()
    for n in range(count):
        spec = Spec(command="generate", values={"prompt": items(60)[n % 20], "seed": n})
        index.finish(
            {
                **{"id": spec.id, "spec": spec.plain(), "label": spec.values["prompt"]},
                **{"attempt": "0", "files": {"preview.png": {}}, "verdict": "ok"},
                **{"seconds": n / 7, "bytes": n},
                "figures": {"clip": n % 97 / 97, "fog": n % 13 / 13},
            }
        )
        own = folder / "items" / spec.id / "0"
        own.mkdir(parents=True)
        (own / "preview.png").write_bytes(picture)
    queries = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        rows = sum(1 for _ in index.rows("state = ? AND seed > 10 AND label LIKE '%red%'", DONE))
        queries.append(time.perf_counter() - began)
    files, _ = gallery_files(index)
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    found = {"items": count, "rows": rows, "queries": queries}
    found["MB"] = sum(map(len, files.values())) / 1e6
    browser = next((b for b in map(shutil.which, CHROMIUM) if b), None)
    if browser:
        words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        found["blank"] = timed([*words, "about:blank"], "")
        found["page"] = timed([*words, (path / "index.html").as_uri()], 'data-ready="yes"')
    return found


def timed(words: list[str], wanted: str) -> list[float]:
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        text = subprocess.run(words, capture_output=True, text=True, timeout=120).stdout
        times.append(time.perf_counter() - began)
        assert wanted in text, text[:300]
    return times


def say_gallery(runs: list[dict]) -> str:
    rows = []
    for run in runs:
        rows += [["items", run["items"]], ["page, MB", f"{run['MB']:.2f}"]]
        rows += [[f"query of {run['rows']} rows, s", spread(run["queries"])]]
        if "page" in run:
            rows += [["chromium begins and shows an empty page, s", spread(run["blank"])]]
            rows += [["chromium begins and shows the gallery, s", spread(run["page"])]]
            own = mean(run["page"]) - mean(run["blank"])
            rows += [["of these the gallery's own, s (means)", f"{own:.2f}"]]
    return table(["what", f"median of {REPEATS} (least to most)"], rows)


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


Part = tuple[str, Callable[[Path, int], dict], Callable[[list[dict]], str], int, int]
PARTS: dict[str, Part] = {
    "throughput": ("Throughput", throughput, say_throughput, 60, 6),
    "many": ("Many trivial items", many, say_many, 10_000, 200),
    "gallery": ("Index and gallery", gallery, say_gallery, 10_000, 2000),
}
"""Name -> title, what measures it, what tells it, items, and items with --small."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--runs", type=int, default=1, help="of each part")
    parser.add_argument("--items", type=int, help="instead of a part's own number")
    parser.add_argument("--small", action="store_true", help="few items")
    parser.add_argument("--keep", type=Path, help="folder for the stores of the throughput runs")
    parser.add_argument("--dry", action="store_true", help="print, publish and keep nothing")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    parts = []
    for name, (title, measure, say, count, few) in PARTS.items():
        path, runs = OUT / f"{name}.json", []
        if name in arguments.only:
            for number in range(arguments.runs):
                with tempfile.TemporaryDirectory() as folder:
                    size = arguments.items or (few if arguments.small else count)
                    load = os.getloadavg()[0]
                    runs.append({**measure(Path(folder), size), "load": load})
                    if arguments.keep and name == "throughput":
                        target = arguments.keep / f"run {number}"
                        shutil.copytree(folder, target, dirs_exist_ok=True)
            if not arguments.dry:
                path.write_text(json.dumps(runs))
        elif path.is_file() and not arguments.dry:
            runs = json.loads(path.read_text())
        if runs:
            loads = ", ".join(f"{run['load']:.1f}" for run in runs)
            busy = f"Load of the machine's {os.cpu_count()} processors when this began: {loads}."
            parts.append(f"## {title}\n\n{busy}\n\n{say(runs)}")
            print(parts[-1], flush=True)
    if not arguments.dry:
        publish("batch", "Batches", "python benchmarks/batch.py", "\n\n".join(parts))


if __name__ == "__main__":
    main()
