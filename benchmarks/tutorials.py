"""The tutorials of docs/tutorials as they stand, in full length and in their order, timed.

    python benchmarks/tutorials.py              # all of them, about an hour on two cores
    python benchmarks/tutorials.py first-chair paint-your-mesh
    python benchmarks/tutorials.py hundred-assets --most 120   # Ctrl-C in whatever takes longer
    python benchmarks/tutorials.py first-chair --rows rows.jsonl   # keep the rows, and later:
    python benchmarks/tutorials.py --draw rows.jsonl               # the page of all that were kept

Each runs in a folder of its own with the sample files; tests/test_tutorials.py runs them shortened.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tables import ROOT, publish, table

BLOCK = re.compile(r"(?ms)^```(sh|python)\n(.*?)^```")
SHOWN = 90
"""Letters of what a block said last."""
GRACE = 60.0
"""Seconds that a block may take to end after Ctrl-C."""


def run(folder: Path, command: list[str], most: float | None) -> tuple[int, bool, str]:
    """Carry out a command in a folder; its exit code, whether it was interrupted as by Ctrl-C after
    `most` seconds, and what it said last."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    path, interrupted = folder / "tutorial.log", False
    with open(path, "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            process.wait(most)
        except subprocess.TimeoutExpired:
            interrupted = True
            process.send_signal(signal.SIGINT)
            process.wait(GRACE)
    lines = path.read_text(encoding="utf-8").strip().splitlines() or [""]
    return process.returncode, interrupted, lines[-1].split("\r")[-1][:SHOWN]


def follow(page: Path, folder: Path, most: float | None) -> list[dict[str, Any]]:
    """A row for every block of a page. Its Python blocks are one program, which runs once, at the
    place of the first."""
    shutil.copytree(ROOT / "assets", folder / "assets")
    rows: list[dict[str, Any]] = []
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    program = "\n".join(text for language, text in found if language == "python")
    done = False
    for language, text in found:
        if language == "python":
            if not done:
                rows.append(timed(page, folder, "the Python blocks", ["-c", program], most=most))
            done = True
            continue
        for line in text.splitlines():
            command = ["-m", "threestudio_like.cli", *shlex.split(line)[1:]]
            rows.append(timed(page, folder, f"`{line}`", command, most=most))
    return rows


def timed(
    page: Path, folder: Path, block: str, arguments: list[str], most: float | None
) -> dict[str, Any]:
    """Wall seconds and the end of a Python process."""
    began = time.monotonic()
    code, interrupted, said = run(folder, [sys.executable, *arguments], most)
    seconds = time.monotonic() - began
    print(f"{seconds:7.1f} s  {code}  {' '.join(arguments)[:90]}", flush=True)
    return {
        "tutorial": page.stem,
        "block": block,
        "seconds": seconds,
        "code": code,
        "interrupted": interrupted,
        "said": said,
    }


def body_of(rows: list[dict[str, Any]]) -> str:
    """The page: the minutes of every tutorial, then its blocks."""
    minutes = []
    for name in dict.fromkeys(row["tutorial"] for row in rows):
        own = [row for row in rows if row["tutorial"] == name]
        stuck = [row["block"] for row in own if row["code"] and not row["interrupted"]]
        cut = [row for row in own if row["interrupted"]]
        words = "; ".join([*stuck, *(f"Ctrl-C after {r['seconds']:.0f} s" for r in cut)])
        minutes.append([name, sum(r["seconds"] for r in own) / 60, len(own), words or "nowhere"])
    blocks = [
        [r["tutorial"], r["block"], r["seconds"], r["code"], _last(r)] for r in rows if r["block"]
    ]
    first = table(["tutorial", "minutes of the computer", "blocks", "where it stuck"], minutes)
    header = ["tutorial", "block", "seconds", "exit code", "what it said last"]
    return f"{first}\n\n{table(header, blocks)}"


def _last(row: dict[str, Any]) -> str:
    """The last line of a block that did not end well or was interrupted."""
    return row["said"].replace("|", "/") if row["code"] or row["interrupted"] else ""


def main() -> None:
    """Run the tutorials that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--most", type=float, help="seconds after which a block is interrupted")
    parser.add_argument("--keep", type=Path, help="a folder in which what was made stays")
    parser.add_argument("--rows", type=Path, help="a file to which the rows are added")
    parser.add_argument("--draw", type=Path, help="draw the page from such a file, run nothing")
    options = parser.parse_args()
    pages = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
    command = "python benchmarks/tutorials.py"
    if options.draw is not None:
        lines = options.draw.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        publish("tutorials", "The tutorials as they stand", command, body_of(rows), samples=rows)
        return
    rows = []
    for page in pages:
        if options.names and page.stem not in options.names:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) if options.keep is None else options.keep / page.stem
            folder.mkdir(parents=True, exist_ok=True)
            rows += follow(page, folder, options.most)
    if options.rows is not None:
        with open(options.rows, "a", encoding="utf-8") as kept:
            kept.writelines(json.dumps(row) + "\n" for row in rows)
    if options.names:
        print(body_of(rows))
    else:
        publish("tutorials", "The tutorials as they stand", command, body_of(rows), samples=rows)
    sys.exit(any(row["code"] and not row["interrupted"] for row in rows))


if __name__ == "__main__":
    main()
