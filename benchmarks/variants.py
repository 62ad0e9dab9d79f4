"""What the ablations share: variants of one training by the command line, and CPU seconds, which
other work on the machine hardly touches."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path


def measured(command: list[str], **settings) -> tuple[subprocess.CompletedProcess, float]:
    """Run a command (`settings` go to subprocess.run); what it returned, and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, **settings)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def trained(
    folder: Path, verb: list[str], steps: int, objects: int, data: Path | None, settings: list[str]
) -> float:
    """Train a variant into a folder unless it is finished there; its CPU seconds.

    Args:
        verb: what is trained and the name of its work folder last, as ["g3dr"] or ["cisp",
            "--embedding", "cisp"].
        data: folder of drawn objects, used instead of drawing them again.
        settings: what the variant changes, as arguments of the command line.
    """
    finished = folder / "cpu-seconds"
    if not finished.is_file():
        work = folder / "work"
        work.mkdir(parents=True, exist_ok=True)
        if data is not None and not (work / "data").exists():
            (work / "data").symlink_to(data.resolve())
        command = [sys.executable, "-m", "threestudio_like", "train", *verb, "--out", str(folder)]
        command += ["--steps", str(steps), "--objects", str(objects), *settings]
        if (work / verb[-1]).is_dir():
            command.append("--resume")
        _, seconds = measured(command, check=True)
        finished.write_text(f"{seconds:.0f}\n")
    return float(finished.read_text())
