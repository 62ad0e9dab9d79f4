"""A sample of the tables made again, and which of their figures it reproduces.

Samples are those of quick.toml, each run in a copy of the tree, so that pages, pictures and earlier
outputs stay as they are. A sample that the time does not suffice for is told as not run, and so is
every page without one. The exit code is 1 if a sample fails to run, never for a figure: a sample of
a few cases may lie outside by chance. Run:
python benchmarks/quick.py [--only decompose ...] [--minutes 30]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from tables import ROOT, cells

REPRODUCED, OUTSIDE, NO_INTERVAL = "reproduced", "outside", "no interval"
_NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")
_INTERVAL = re.compile(r"([-+]?\d+\.?\d*) to ([-+]?\d+\.?\d*)")


def samples() -> dict[str, dict[str, Any]]:
    """quick.toml as it stands."""
    return tomllib.loads((ROOT / "benchmarks" / "quick.toml").read_text(encoding="utf-8"))


def number(cell: str) -> float | None:
    """The first number of a cell; None where there is none."""
    match = _NUMBER.search(cell)
    return float(match[0].replace(",", "")) if match else None


def bounds(sample: dict[str, Any], row: dict[str, str], column: str) -> tuple[float, float] | None:
    """Between what a figure has to lie to be reproduced; None if the page has no interval."""
    value = number(row[column])
    if value is None:
        return None
    if sample["kind"] == "bound":
        most = number(row.get(sample["bound"], ""))
        return None if most is None else (float("-inf"), most)
    if sample["kind"] == "same":
        off = abs(value) * sample["within"]
    elif sample["kind"] == "share":
        off = 1.96 * (max(value * (1 - value), 0.0) / sample["n"]) ** 0.5
    else:
        match = _INTERVAL.search(row.get(sample.get("interval", ""), row[column]))
        return (float(match[1]), float(match[2])) if match else None
    return value - off, value + off


def compared(sample: dict[str, Any], page: str, made: str) -> list[list[str]]:
    """Rows of (row, column, published, made again, verdict) of the figures that both pages have.
    A row is named by its first cell and
    by the words that follow it; of rows of one name the first counts."""

    def keyed(text: str) -> dict[tuple[str, ...], dict[str, str]]:
        found: dict[tuple[str, ...], dict[str, str]] = {}
        for row in cells(text):
            if any(column in row for column in sample["columns"]):
                texts = []
                for value in [v for k, v in row.items() if k][1:3]:
                    if any(letter.isdigit() for letter in value):
                        break
                    texts.append(value)
                found.setdefault((row[""], *texts), row)
        return found

    told, fresh = [], keyed(made)
    for key, row in keyed(page).items():
        for column in sample["columns"]:
            again = number(fresh.get(key, {}).get(column, ""))
            if again is None or number(row.get(column, "")) is None:
                continue
            limits = bounds(sample, row, column)
            verdict = NO_INTERVAL
            if limits is not None:
                # Pages round to three decimals; a bound is exact.
                slack = 0.0 if sample["kind"] == "bound" else 5e-4
                inside = limits[0] - slack <= again <= limits[1] + slack
                verdict = REPRODUCED if inside else OUTSIDE
            told.append([", ".join(filter(None, key)), column, row[column], f"{again:g}", verdict])
    return told


def copy_tree(folder: Path) -> Path:
    """A tree in which benchmarks run without touching this one."""
    tree = folder / "tree"
    (tree / "docs" / "pictures").mkdir(parents=True)
    shutil.copytree(ROOT / "benchmarks", tree / "benchmarks")
    for name in ("threestudio_like", "assets", "tests", "examples"):
        (tree / name).symlink_to(ROOT / name)
    return tree


def run(name: str, sample: dict[str, Any], folder: Path, seconds: float) -> str:
    """What became of a sample: "" if its page was made, else why not."""
    tree, pages = folder / "tree", folder / "pages"
    paths = f"{tree}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "BENCHMARK_PAGES": str(pages), "PYTHONPATH": paths}
    command = [sys.executable, str(tree / "benchmarks" / f"{name}.py"), *sample["arguments"]]
    try:
        ran = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return "not run to its end: the time was up"
    if not (pages / f"{name}.md").exists():
        last = (ran.stderr.strip() or "no page").splitlines()[-1]
        return f"failed, exit code {ran.returncode}: {last}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(samples()), default=list(samples()))
    parser.add_argument("--minutes", type=float, default=30.0)
    arguments = parser.parse_args()
    began, failed, count = time.monotonic(), 0, {REPRODUCED: 0, OUTSIDE: 0, NO_INTERVAL: 0}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_tree(folder)
        for name in arguments.only:
            left = arguments.minutes * 60 - (time.monotonic() - began)
            why = run(name, samples()[name], folder, left) if left > 0 else "not run: no time left"
            if why:
                failed += why.startswith("failed")
                print(f"{name}: {why}", flush=True)
                continue
            page = (ROOT / "docs" / "results" / f"{name}.md").read_text(encoding="utf-8")
            made = (folder / "pages" / f"{name}.md").read_text(encoding="utf-8")
            rows = compared(samples()[name], page, made)
            if not rows:
                failed += 1
                print(f"{name}: failed, no figure of quick.toml is on both pages", flush=True)
            for row in rows:
                count[row[-1]] += 1
                print(f"{name}: " + " | ".join(row), flush=True)
    pages = {path.stem for path in (ROOT / "docs" / "results").glob("*.md")}
    print("No sample: " + ", ".join(sorted(pages - set(samples()))))
    print(", ".join(f"{n} {k}" for k, n in count.items()) + f"; {failed} failed to run")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
