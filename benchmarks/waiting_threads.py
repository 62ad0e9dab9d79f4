"""How threads that wait for each other should wait: a run beside other programs.

Two threads share every product of matrices. The one that is through first asks for the other again
and again (GNU's OpenMP: 300,000 times, then it sleeps); where another program has the core that the
other one needs, it is the asking that keeps it from running. The command line looks for a sixteenth
of a second whether other programs are at work, and if so has threads sleep at once
(OMP_WAIT_POLICY=passive), unless that or GOMP_SPINCOUNT is set.

Every run is a process of its own, `generate` with few steps, two threads, beside none, one or two
programs that count; settings take turns, so that what else the machine does meets all of them.

Run: python benchmarks/waiting_threads.py [--repeats 2]   (fifteen minutes, on a machine with two
cores that does nothing else)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tables import publish, table
from worlds import runs

ASKING = {"GOMP_SPINCOUNT": "300000"}
SETTINGS = {
    "300,000 times (OpenMP's own)": ASKING,
    "30,000 times": {"GOMP_SPINCOUNT": "30000"},
    "never (OMP_WAIT_POLICY=passive)": {"OMP_WAIT_POLICY": "passive"},
    "as the command line chooses": {},
    "one thread, which waits for none": {**ASKING, "OMP_NUM_THREADS": "1"},
}
BESIDE = (0, 1, 2)
STEPS = 30
LIMIT = 180.0


def seconds(setting: dict[str, str], beside: int) -> float:
    """Wall seconds of one run beside so many programs that count; LIMIT where it took longer."""
    plain = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    own = {**plain, "OMP_NUM_THREADS": "2", **setting}
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(beside)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder, "run"))
            line = ["-m", "threestudio_like", "generate", "a red chair", "--out", out]
            line += ["--steps", str(STEPS), "--quality", "draft"]
            began = time.monotonic()
            try:
                subprocess.run(
                    [sys.executable, *line],
                    env=own,
                    check=True,
                    timeout=LIMIT,
                    stdout=subprocess.DEVNULL,
                )
            except subprocess.TimeoutExpired:
                return LIMIT
            return time.monotonic() - began
    finally:
        for other in others:
            other.kill()
            other.wait()


def page(rows: list[dict]) -> None:
    """The table: median, least and most of every setting."""
    lines = []
    for name in SETTINGS:
        cells: list[str] = []
        for beside in BESIDE:
            took = [x["seconds"] for x in rows if (x["setting"], x["beside"]) == (name, beside)]
            more = "over " if np.median(took) >= LIMIT else ""
            cells.append(f"{more}{np.median(took):.1f} ({min(took):.1f} to {max(took):.1f})")
        lines.append([name, *cells])
    header = ["how often a thread asks before it sleeps"]
    header += ["beside nothing", "beside one program", "beside two"]
    count = sum((x["setting"], x["beside"]) == (name, 0) for x in rows)
    body = (
        f"Wall seconds of `generate --steps {STEPS} --quality draft` with two threads on two "
        f"cores, imports and export with them: the median of {count} runs (least to most).\n\n"
    )
    publish(
        "waiting_threads",
        "Threads that wait, on a machine that does other things too",
        "python benchmarks/waiting_threads.py",
        body + table(header, lines),
        samples=rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    path = runs("waiting_threads.jsonl")
    known = [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []
    # The first run of a checkout compiles kernels.
    seconds({}, 0)
    for repeat in range(arguments.repeats):
        for beside in BESIDE:
            for name, setting in SETTINGS.items():
                key = {"setting": name, "beside": beside, "repeat": repeat}
                if any(key.items() <= x.items() for x in known):
                    continue
                known.append({**key, "seconds": seconds(setting, beside)})
                print(known[-1], flush=True)
                with open(path, "a") as file:
                    file.write(json.dumps(known[-1]) + "\n")
    page(known)


if __name__ == "__main__":
    main()
