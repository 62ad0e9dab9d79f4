"""A newcomer's path, timed: a fresh clone with a new environment, and a wheel in an empty one.

    python benchmarks/newcomer.py

clones this checkout, runs `make demo`, the loop and the guidance of one's own, and every command of
the README as it stands there; then it builds a wheel, installs it into an empty environment outside
of any checkout, and does the same with `samples`. Packages come from the usual index, so the first
rows depend on the network too.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tables import publish, table

ROOT = Path(__file__).resolve().parent.parent
GUIDANCE = ["--plugins", "examples/plug_ins/guidance_csd.py", "--guidance", "csd"]


@dataclass
class Newcomer:
    """The steps of one path: each with its wall seconds and its exit code."""

    folder: Path
    environment: dict[str, str]
    rows: list[tuple[str, float, int]] = field(default_factory=list)

    def run(self, name: str, command: list[str], limit: float = 900) -> int:
        """Run a command in the folder, and keep how long it took."""
        began = time.monotonic()
        with open(self.folder / "newcomer.log", "a", encoding="utf-8") as log:
            log.write(f"\n$ {shlex.join(command)}\n")
            log.flush()
            code = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                timeout=limit,
                check=False,
            ).returncode
        self.rows.append((name, time.monotonic() - began, code))
        print(f"{name}: {self.rows[-1][1]:.1f} s, exit code {code}", flush=True)
        return code


def commands(readme: str) -> list[list[str]]:
    """The command lines of the README's blocks, as they stand; `view` serves until it is stopped
    and is left out."""
    found = []
    for block in re.findall(r"^```\n(.*?)^```", readme, re.S | re.M):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["threestudio-like"] and words[1] not in ("view", "doctor"):
                found.append(words)
    return found


def from_clone(scratch: Path, plain: dict[str, str]) -> list[tuple[str, float, int]]:
    """A fresh clone: environment, demo, own loop, own guidance, the README's commands."""
    folder = scratch / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    own = {**plain, "PATH": f"{folder / '.venv/bin'}:{plain['PATH']}"}
    path = Newcomer(folder, own)
    path.run("make demo, with the environment", ["make", "demo"])
    path.run("make demo, again", ["make", "demo"])
    path.run("a loop of one's own", ["python", "examples/02_own_loop.py"])
    path.run("a guidance of one's own", ["threestudio-like", "generate", "a red chair", *GUIDANCE])
    for words in commands((folder / "README.md").read_text(encoding="utf-8")):
        path.run(f"README: {words[1]}", words)
    return path.rows


def from_wheel(scratch: Path, plain: dict[str, str]) -> list[tuple[str, float, int]]:
    """A wheel in an empty environment: install, samples, demo, own loop, own guidance."""
    folder = scratch / "wheel"
    folder.mkdir()
    own = {**plain, "PATH": f"{folder / 'venv/bin'}:{plain['PATH']}"}
    path = Newcomer(folder, own)
    wheel = ["python3", "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", ".", str(ROOT)]
    path.run("build the wheel", wheel)
    path.run("an empty environment", ["python3", "-m", "venv", "venv"])
    torch = str(ROOT / "requirements-cpu.txt")
    built = str(next(folder.glob("*.whl")))
    lines = [
        line
        for line in Path(torch).read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("-e")
    ]
    (folder / "cpu.txt").write_text("\n".join([*lines, built]), encoding="utf-8")
    (folder / "constraints.txt").write_bytes((ROOT / "constraints.txt").read_bytes())
    path.run("install it", ["pip", "install", "--quiet", "-r", "cpu.txt"])
    path.run("samples", ["threestudio-like", "samples", "."])
    path.run("the first chair", ["threestudio-like", "generate", "a red chair"])
    loop, guidance = "02_own_loop.py", "guidance_csd.py"
    (folder / loop).write_bytes((ROOT / "examples" / loop).read_bytes())
    (folder / guidance).write_bytes((ROOT / "examples/plug_ins" / guidance).read_bytes())
    path.run("a loop of one's own", ["python", loop])
    path.run(
        "a guidance of one's own",
        ["threestudio-like", "generate", "a red chair", "--plugins", guidance, "--guidance", "csd"],
    )
    return path.rows


def main() -> int:
    """Run both paths and write the table; exit code 1 where a step failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["clone", "wheel"])
    parser.add_argument("--keep", type=Path, help="folder for the clone and the environments")
    options = parser.parse_args()
    plain = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    plain["PATH"] = os.pathsep.join(
        p for p in plain["PATH"].split(os.pathsep) if "/.venv/" not in p + "/"
    )
    with tempfile.TemporaryDirectory() as temporary:
        scratch = options.keep or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        rows: list[tuple[str, str, float, int]] = []
        for name, go in (("clone", from_clone), ("wheel", from_wheel)):
            if options.only in (None, name):
                rows += [(name, *row) for row in go(scratch, plain)]
    body = table(["from", "step", "seconds", "exit code"], [list(row) for row in rows])
    publish("newcomer", "A newcomer's path", "python benchmarks/newcomer.py", body)
    return int(any(row[3] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
