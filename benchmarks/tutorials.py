"""The tutorials of docs/tutorials as they stand, in full length and in their order, timed.

    python benchmarks/tutorials.py              # all of them, some twenty minutes on two cores
    python benchmarks/tutorials.py first-chair paint-your-mesh

Each runs in a folder of its own with the sample files; tests/test_tutorials.py runs them shortened.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tables import ROOT, publish, table

BLOCK = re.compile(r"(?ms)^```(sh|python)\n(.*?)^```")


def run(folder: Path, command: list[str], limit: float = 5400) -> int:
    """Carry out a command in a folder; returns its exit code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with open(folder / "tutorial.log", "a", encoding="utf-8") as log:
        return subprocess.run(
            command, cwd=folder, env=environment, stdout=log, stderr=log, timeout=limit, check=False
        ).returncode


def follow(page: Path, folder: Path) -> list[list]:
    """Rows (tutorial, block, seconds, exit code) of a page. Its Python blocks are one program,
    which runs once, at the place of the first."""
    shutil.copytree(ROOT / "assets", folder / "assets")
    rows: list[list] = []
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    program = "\n".join(text for language, text in found if language == "python")
    done = False
    for language, text in found:
        if language == "python":
            if not done:
                rows.append([page.stem, "the Python blocks", *timed(folder, ["-c", program])])
            done = True
            continue
        for line in text.splitlines():
            words = shlex.split(line)[1:]
            command = ["-m", "threestudio_like.cli", *words]
            rows.append([page.stem, f"`{line}`", *timed(folder, command)])
    return rows


def timed(folder: Path, arguments: list[str]) -> tuple[float, int]:
    """Wall seconds and exit code of a Python process."""
    began = time.monotonic()
    code = run(folder, [sys.executable, *arguments])
    print(f"{time.monotonic() - began:7.1f} s  {code}  {' '.join(arguments)[:90]}", flush=True)
    return time.monotonic() - began, code


def main() -> None:
    """Run the tutorials that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    pages = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
    chosen = [page for page in pages if not names or page.stem in names]
    rows = []
    for page in chosen:
        with tempfile.TemporaryDirectory() as folder:
            rows += follow(page, Path(folder))
    body = table(["tutorial", "block", "seconds", "exit code"], rows)
    if names:
        print(body)
    else:
        publish("tutorials", "The tutorials as they stand", "python benchmarks/tutorials.py", body)
    sys.exit(any(row[-1] for row in rows))


if __name__ == "__main__":
    main()
