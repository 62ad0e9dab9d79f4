"""Whether all trainings run through within five minutes: `train all --quick` of every edition of
the toybox, in a process of its own with one thread, with what every training takes.

Run: python benchmarks/train_quick.py [--worlds twenty fifty]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tables import ROOT, publish, table

from threestudio_like.toybox.editions import EDITIONS

GOAL = 300.0
"""Seconds on a quiet core."""
_BEGIN = re.compile(r"^\d+/\d+ ([^,]+)")


def cpu_of(process: int) -> float:
    """CPU seconds of a running process, where /proc tells them; else nan."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def trained(world: str, out: Path) -> list[tuple[str, float, float]]:
    """Every training's name, its CPU seconds and its seconds by the clock, from start to end of the
    command; what comes before the first one is named "start"."""
    command = [sys.executable, "-u", "-m", "threestudio_like", "train", "all", "--quick"]
    command += ["--world", world, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    marks, lines, last = [("start", 0.0, 0.0)], [], (0.0, 0.0)
    for line in process.stdout:
        lines.append(line)
        # A process that has ended tells no figures: they are read at every line.
        last = (cpu_of(process.pid), time.perf_counter() - began)
        if begun := _BEGIN.match(line):
            marks.append((begun[1].strip(), *last))
    if process.wait():
        raise SystemExit("".join(lines[-20:]))
    ends = [*((cpu, clock) for _, cpu, clock in marks[1:]), last]
    return [(n, end[0] - c, end[1] - t) for (n, c, t), end in zip(marks, ends)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [world.name for world in EDITIONS]
    parser.add_argument("--worlds", nargs="+", default=names, choices=names)
    worlds = parser.parse_args().worlds
    found = {}
    for world in worlds:
        with tempfile.TemporaryDirectory() as folder:
            found[world] = trained(world, Path(folder) / "out")
        print(world, [(n, round(c, 1)) for n, c, _ in found[world]], flush=True)
    header = ["training"] + [f"{w}: {k}" for w in worlds for k in ("CPU s", "wall s")]
    rows: list[list] = []
    for place, (name, _, _) in enumerate(found[worlds[0]]):
        rows.append([name, *(v for w in worlds for v in found[w][place][1:])])
    rows.append(["**all**", *(sum(x[k] for x in found[w]) for w in worlds for k in (1, 2))])
    rows.append(["goal, on a quiet core", *(v for _ in worlds for v in (GOAL, GOAL))])
    body = (
        "One process and one thread; a few steps of every training, the shipped sizes of the "
        "networks. What kernels there are to compile is compiled in the first training, if no "
        "earlier run has left them.\n\n" + table(header, rows)
    )
    publish("train_quick", "All trainings, run through", "python benchmarks/train_quick.py", body)


if __name__ == "__main__":
    main()
