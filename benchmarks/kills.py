"""Kill runs at random moments, resume them from their folder alone, and compare bytes.

Twenty kills by default, over `generate`, `texture`, `reconstruct` and `compose`; the first kill of
each command falls into the first five seconds of its process. A run that is killed before its
folder is there
has left nothing: it is begun again, as a user would (told in the table).

    python benchmarks/kills.py                  # 20 kills
    python benchmarks/kills.py --kills 2 --only generate
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tables import ROOT, publish, table

ASSETS = ROOT / "assets"
QUICK = ["--faces", "3000", "--texture", "256", "--checkpoint-steps", "5"]
COMMANDS: dict[str, list[str]] = {
    "generate": ["generate", "a red chair", "--distil.steps", "20", "--rgb.steps", "25", *QUICK],
    "texture": [
        "texture",
        str(ASSETS / "shapes" / "mug.obj"),
        "a blue mug",
        "--steps",
        "30",
        *QUICK,
    ],
    "reconstruct": ["reconstruct", str(ASSETS / "pictures" / "car.jpg"), *QUICK],
    "compose": ["compose", "--text", "a red ball on a blue box", "--steps", "20", *QUICK],
}
EARLY = 5.0
"""The first kill of each command comes within so many seconds."""


def start(words: list[str]) -> subprocess.Popen:
    """A process of the command line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "threestudio_like", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(words: list[str]) -> tuple[int, str]:
    """Run to the end; returns the exit code and the last line of standard error."""
    process = start(words)
    _, err = process.communicate()
    lines = err.decode(errors="replace").strip().splitlines()
    return process.returncode, lines[-1] if lines else ""


def sha(folder: Path) -> str:
    return hashlib.sha256((folder / "asset.glb").read_bytes()).hexdigest()


def killed(words: list[str], folder: Path, after: float) -> str:
    """Kill a run after some seconds; returns where it stood."""
    process = start([*words, "--out", str(folder), "--quiet"])
    try:
        process.wait(after)
        return "had ended"
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        assert process.stderr is not None
        process.stderr.close()
    if not (folder / "run.yaml").is_file():
        return "no folder yet"
    if not list(folder.rglob("checkpoint.safetensors")):
        return "no checkpoint yet"
    return "with a checkpoint"


def main() -> int:
    """Print the table; exit code 1 where a run did not end in the same bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=list(COMMANDS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    rows, same = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        wanted: dict[str, tuple[str, float]] = {}
        for name in options.only:
            folder = Path(scratch) / f"{name}-whole"
            began = time.monotonic()
            code, line = finish([*COMMANDS[name], "--out", str(folder), "--quiet"])
            if code:
                print(f"{name}: exit {code}: {line}")
                return 1
            wanted[name] = (sha(folder), time.monotonic() - began)
        for number in range(options.kills):
            name = options.only[number % len(options.only)]
            expected, seconds = wanted[name]
            early = number < len(options.only)
            after = draw.uniform(0.2, EARLY if early else 0.97 * seconds)
            folder = Path(scratch) / f"{name}-{number}"
            state = killed(COMMANDS[name], folder, after)
            if state == "no folder yet":
                code, line = finish([*COMMANDS[name], "--out", str(folder), "--quiet"])
            else:
                code, line = finish(["resume", str(folder), "--quiet"])
            equal = code == 0 and sha(folder) == expected
            same += equal
            rows.append([number + 1, name, after, state, "equal" if equal else f"{code}: {line}"])
            print(rows[-1], flush=True)
    body = (
        f"{same} of {options.kills} killed runs ended in the bytes of the run that was not killed "
        f"(seed {options.seed}; {os.cpu_count()} cores).\n\n"
        + table(["kill", "command", "after, s", "the run had", "bytes"], rows)
    )
    if options.kills >= 20:
        publish("kills", "Killed runs", "python benchmarks/kills.py", body)
    else:
        print(body)
    return 0 if same == options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
