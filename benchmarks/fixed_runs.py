"""Five fixed short runs as whole processes: the SHA-256 of what they make, and how long they take.

A change of the code that is not meant to change a number leaves all five hashes alone. With
``--against`` the same runs of another checkout are made in turn with those of this one, so that
both see the same moods of the machine:

    python benchmarks/fixed_runs.py --against ../before --repeats 3
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS: dict[str, list[str]] = {
    "generate": [
        "generate",
        "a red chair",
        "--distil.steps",
        "10",
        "--rgb.steps",
        "12",
        "--seed",
        "3",
    ],
    "texture": ["texture", "ASSETS/shapes/mug.obj", "a blue mug", "--steps", "12", "--seed", "3"],
    "reconstruct": ["reconstruct", "ASSETS/pictures/car.jpg", "--seed", "3"],
    "compose": ["compose", "--text", "a red ball on a blue box", "--steps", "10", "--seed", "3"],
    "refine": ["refine", "SOURCE", "--steps", "8", "--seed", "3"],
}
"""Command lines that every version of the project understands. SOURCE is the folder of the
generated run."""


def run(tree: Path, name: str, folder: Path, threads: int) -> tuple[str, float, float]:
    """One run of a checkout; returns the asset's SHA-256, wall and CPU seconds."""
    swap = {"SOURCE": str(folder / "generate")}
    keep = ["--keep", "all"] if (tree / "threestudio_like/runs/kept.py").is_file() else []
    words = [swap.get(word, word.replace("ASSETS", str(ROOT / "assets"))) for word in RUNS[name]]
    if name == "generate":
        # What a finished run keeps by default is in half precision; earlier versions kept all.
        words += keep
    command = [
        sys.executable,
        "-m",
        "threestudio_like",
        *words,
        "--out",
        str(folder / name),
        "--threads",
        str(threads),
        "--quiet",
    ]
    environment = {**os.environ, "PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, cwd=tree, env=environment, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return hashlib.sha256((folder / name / "asset.glb").read_bytes()).hexdigest(), wall, cpu


def main() -> int:
    """Print the table; exit code 1 where two checkouts, or two repeats of one, differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(RUNS))
    options = parser.parse_args()
    trees = {"this": ROOT, **({"other": options.against.resolve()} if options.against else {})}
    found: dict[tuple[str, str], list[tuple[str, float, float]]] = {}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as scratch:
            for name in options.only:
                for which, tree in trees.items():
                    folder = Path(scratch) / which
                    folder.mkdir(exist_ok=True)
                    found.setdefault((name, which), []).append(
                        run(tree, name, folder, options.threads)
                    )
    same = True
    print(
        "| run | checkout | SHA-256 of asset.glb | wall s (median) | CPU s (median) |\n"
        "|---|---|---|---|---|"
    )
    for (name, which), rows in found.items():
        hashes = {row[0] for row in rows}
        same = same and hashes == {found[name, "this"][0][0]}
        wall, cpu = (statistics.median(row[k] for row in rows) for k in (1, 2))
        print(
            f"| {name} | {which} | {' / '.join(sorted(h[:16] for h in hashes))} | "
            f"{wall:.1f} | {cpu:.1f} |",
            flush=True,
        )
    print("\nAll hashes are equal." if same else "\nHASHES DIFFER.")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
