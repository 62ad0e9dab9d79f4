"""Batches as they are: throughput of one worker and two, overhead, killed workers, drivers and the
whole of Ray, a second node lost, 10,000 items, the gallery in chromium. On a quiet machine; needs
Ray.

    python benchmarks/batch.py                 # an hour; writes docs/results/batch.md
    python benchmarks/batch.py --small --dry   # shows that it runs: few items, nothing published
    python benchmarks/batch.py --only throughput gallery
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tables import ROOT, publish, table

from threestudio_like.runs.batch.gallery import gallery_files
from threestudio_like.runs.batch.index import DONE, Index
from threestudio_like.runs.batch.items import Spec
from threestudio_like.runs.batch.store import Store

TINY = ROOT / "tests" / "tiny_command.py"
QUICK = {
    **{"steps": 10, "faces": 1500, "texture": 128, "turntable": False, "start.iterations": 8},
    **{"start.refine.times": "1.0", "start.refine.steps": 2},
}
"""A run of `generate` of a few seconds."""
COLOURS = ("red", "blue", "green", "yellow", "white")
THINGS = ("chair", "box", "ball", "mug")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


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
    return subprocess.Popen(
        [sys.executable, "-m", "threestudio_like", "batch", *map(str, words), "--quiet"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> None:
    _, err = process.communicate()
    if process.returncode:
        raise SystemExit(err.decode(errors="replace").strip().splitlines()[-1])


def events(store: Path) -> list[dict]:
    found = []
    for path in sorted((store / "events").glob("*.jsonl")):
        found += [json.loads(x) for x in path.read_text().splitlines() if x.endswith("}")]
    return found


def products(store: Path) -> dict[str, str]:
    opened = Store(str(store))
    faults = [f for f in opened.verify() if "belongs to no record" not in f.what]
    assert not faults, faults[:3]
    return {id: (opened.record(id) or {})["product"] for id in opened.done()}


def throughput(folder: Path, count: int) -> str:
    """Items a minute of one worker and of two, each an actor with one thread."""
    rows, rates = [], {}
    path = manifest(folder, count, **QUICK)
    for workers in (1, 2):
        store = folder / f"workers {workers}"
        finish(start(path, "--store", store, "--workers", workers))
        told = events(store)
        made = [e for e in told if e["event"] == "made"]
        begin = min(e["t"] for e in told if e["event"] == "begin")
        end = next(e["t"] for e in told if e["event"] == "batch end")
        work = sum(e["seconds"] for e in made)
        # The first item of a worker loads the prior and, in Ray, the process; it is no overhead.
        rates[workers] = len(made) / (end - begin)
        idle = 1 - work / ((end - begin) * workers)
        loads = len({e["worker"] for e in made})
        rows.append(
            [workers, len(made), end - begin, 60 * rates[workers], f"{100 * idle:.1f} %", loads]
        )
    head = ["workers", "items", "seconds", "items a minute", "overhead", "processes that loaded"]
    return (
        f"{table(head, rows)}\n\nTwo workers make {rates[2] / rates[1]:.2f} times as much as one."
    )


def worker_of(store: Path) -> int | None:
    names = [e["worker"] for e in events(store) if e["event"] == "made"]
    return int(names[-1].rpartition(":")[2]) if names else None


def kills(folder: Path, count: int) -> str:
    """SIGKILL of workers (10), of the driver (3), of everything (2), in 60 items."""
    calm, wild = folder / "calm", folder / "wild"
    path = manifest(folder, count, command="tiny", slow=0.5)
    words = ("--plugins", TINY)
    finish(start(path, "--store", calm, "--workers", 1, *words))
    dice = random.Random(3)
    wanted = {"worker": 10, "driver": 3, "all": 2}
    left = [kind for kind, n in wanted.items() for _ in range(n)]
    dice.shuffle(left)
    done = dict.fromkeys(wanted, 0)
    driver = start(path, "--store", wild, "--workers", 2, *words)
    while left:
        made = len(list((wild / "done").rglob("*.json"))) if wild.exists() else 0
        if driver.poll() is not None:
            break
        time.sleep(dice.uniform(0.5, 2.0))
        kind, victim = left[-1], worker_of(wild) if made else None
        if victim is None:
            continue
        left.pop()
        if kind == "worker":
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                left.insert(0, kind)
                continue
        else:
            if kind == "driver":
                driver.kill()
            else:
                os.killpg(driver.pid, signal.SIGKILL)
            driver.communicate()
            driver = start(path, "--store", wild, "--workers", 2, *words)
        done[kind] += 1
    finish(driver)
    same = products(wild) == products(calm)
    rows = [[kind, n, wanted[kind]] for kind, n in done.items()]
    return (
        f"{table(['killed', 'times', 'wanted'], rows)}\n\nBytes as of an undisturbed run: {same}."
    )


def second_node(folder: Path, count: int) -> str:
    """A node of Ray as a process group of its own, lost in the middle and replaced."""
    ray = Path(sys.executable).with_name("ray")
    calm, wild = folder / "calm", folder / "wild"
    path = manifest(folder, count, command="tiny", slow=0.5)
    words = ("--plugins", TINY)
    finish(start(path, "--store", calm, "--workers", 1, *words))
    port, nodes = "6399", []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""}

    def node(*options: str) -> subprocess.Popen:
        command = [str(ray), "start", "--block", "--num-cpus=1", "--object-store-memory=100000000"]
        process = subprocess.Popen(
            [*command, *options],
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        nodes.append(process)
        return process

    try:
        node("--head", f"--port={port}", "--include-dashboard=false")
        time.sleep(15)
        second = node(f"--address=127.0.0.1:{port}")
        time.sleep(10)
        address = ("--address", f"127.0.0.1:{port}")
        driver = start(path, "--store", wild, "--workers", 2, *address, *words)
        while driver.poll() is None and len(list((wild / "done").rglob("*.json"))) < count // 3:
            time.sleep(0.2)
        os.killpg(second.pid, signal.SIGKILL)
        time.sleep(3)
        node(f"--address=127.0.0.1:{port}")
        finish(driver)
    finally:
        for process in nodes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        time.sleep(5)
        for process in nodes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    same = products(wild) == products(calm)
    again = sum(e["event"] == "retry" for e in events(wild))
    return (
        f"{count} items, {again} made again after the node was lost. Bytes as undisturbed: {same}."
    )


def gallery(folder: Path, count: int) -> str:
    """An index of many items, its queries, and its page in chromium."""
    index, path = Index(folder / "index.sqlite"), folder / "gallery"
    for n in range(count):
        spec = Spec(command="generate", values={"prompt": items(60)[n % 20], "seed": n})
        index.finish(
            {
                **{"id": spec.id, "spec": spec.plain(), "label": spec.values["prompt"]},
                **{"attempt": "0", "files": {}, "verdict": "ok", "seconds": n / 7, "bytes": n},
                "figures": {"clip": n % 97 / 97, "fog": n % 13 / 13},
            }
        )
    began = time.perf_counter()
    found = sum(1 for _ in index.rows("state = ? AND seed > 10 AND label LIKE '%red%'", DONE))
    query = time.perf_counter() - began
    files, _ = gallery_files(index)
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    browser = next((b for b in map(shutil.which, CHROMIUM) if b), None)
    rows = [
        ["index query, s", query],
        ["rows", found],
        ["page, MB", sum(map(len, files.values())) / 1e6],
    ]
    if browser:
        words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        blank = timed([*words, "about:blank"])[0]
        opened, page = timed([*words, (path / "index.html").as_uri()])
        assert 'data-ready="yes"' in page, page[:300]
        rows += [["chromium, empty page, s", blank], ["chromium, the gallery, s", opened]]
    return table(["what", "value"], rows)


def timed(words: list[str]) -> tuple[float, str]:
    times, text = [], ""
    for _ in range(3):
        began = time.perf_counter()
        text = subprocess.run(words, capture_output=True, text=True, timeout=120).stdout
        times.append(time.perf_counter() - began)
    return sorted(times)[1], text


def restart(folder: Path, count: int) -> str:
    """Trivial items in this process, and the same again."""
    path = folder / "many.jsonl"
    lines = [json.dumps({"command": "tiny", "prompt": f"item {n}"}) for n in range(count)]
    path.write_text("\n".join(lines))
    rows = []
    for run in ("first", "again"):
        began = time.perf_counter()
        words = ("--store", folder / "store", "--workers", 1, "--plugins", TINY)
        process = start(path, *words)
        peak = 0
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            for line in status.read_text().splitlines() if status.exists() else ():
                if line.startswith("VmHWM"):
                    peak = max(peak, int(line.split()[1]) // 1024)
            time.sleep(0.1)
        finish(process)
        made = sum(e["event"] == "made" for e in events(folder / "store"))
        rows.append([run, made, time.perf_counter() - began, peak])
    return table(["run", "made so far", "seconds with the start", "driver's peak, MB"], rows)


PARTS: dict[str, tuple[str, Callable[[Path, int], str], int, int]] = {
    "throughput": ("Throughput", throughput, 60, 6),
    "kills": ("Killed on the way", kills, 60, 60),
    "node": ("A second node, lost and replaced", second_node, 60, 12),
    "restart": ("Many trivial items", restart, 10_000, 200),
    "gallery": ("Index and gallery", gallery, 10_000, 2000),
}
"""Name -> title, what measures it, items, and items with --small."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--small", action="store_true", help="few items")
    parser.add_argument("--dry", action="store_true", help="print, publish nothing")
    arguments = parser.parse_args()
    parts = []
    for name in arguments.only:
        title, measure, count, few = PARTS[name]
        with tempfile.TemporaryDirectory() as folder:
            parts.append(
                f"## {title}\n\n{measure(Path(folder), few if arguments.small else count)}"
            )
        print(parts[-1], flush=True)
    if not arguments.dry:
        publish("batch", "Batches", "python benchmarks/batch.py", "\n\n".join(parts))


if __name__ == "__main__":
    main()
