"""`--ranks N`: the same command in several processes of this machine, each on its share of a step's
views."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ..engine.errors import ConfigError
from ..engine.parallel import MEETING, RANK, WORLD, ProcessGroup

GRACE = 30.0
"""Seconds that the others have to notice that a rank has gone, and to save."""
RANK_VARIABLES = {RANK: RANK, "TORCHELASTIC_RUN_ID": "RANK"}
"""What tells that this process is one of several -> where its number stands."""


def speaks() -> bool:
    """Whether an error of this process is to be said here: what every rank finds before they work
    together, rank 0 says for all."""
    return os.environ.get(RANK, "0") == "0" or ProcessGroup.at_work


def launched() -> bool:
    """Whether this process is one of several already, by `--ranks` or by torchrun."""
    return any(sign in os.environ for sign in RANK_VARIABLES)


def rank_here() -> int:
    """This process's number among the ranks of one run; 0 leads and writes."""
    for sign, name in RANK_VARIABLES.items():
        if sign in os.environ:
            return int(os.environ.get(name, "0"))
    return 0


def local_rank() -> tuple[int, int]:
    """This process's number among the ranks of one run on this machine, and how many they are."""
    known = os.environ
    if RANK in known:
        return int(known[RANK]), int(known[WORLD])
    if "TORCHELASTIC_RUN_ID" in known:
        return int(known.get("LOCAL_RANK", "0")), int(known.get("LOCAL_WORLD_SIZE", "1"))
    return 0, 1


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run a command line in `count` processes; returns 0 where none failed, else the exit code of
    the lowest rank that says one, and 2 where all that failed were killed.

    When one of them ends with an error, rank 0 saves what there is, and all end. Raises
    ConfigError.
    """
    if count < 1:
        raise ConfigError(f"must be at least 1, got {count}", "--ranks")
    with tempfile.TemporaryDirectory() as folder:
        threads = max(1, torch.get_num_threads() // count)
        ranks = []
        for rank in range(count):
            told = {
                RANK: str(rank),
                WORLD: str(count),
                MEETING: str(Path(folder) / "meeting"),
                "OMP_NUM_THREADS": str(threads),
            }
            ranks.append(
                subprocess.Popen(
                    [sys.executable, "-m", "threestudio_like", *arguments],
                    env={**os.environ, **told},
                )
            )
        try:
            return _wait(ranks)
        finally:
            for process in ranks:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def _wait(ranks: list[subprocess.Popen]) -> int:
    """The exit code of the command. A first Ctrl-C, which the terminal sends to the ranks too, lets
    them save and end; a second one ends all at once."""
    ended: float | None = None
    stopped = False
    while any(p.poll() is None for p in ranks):
        try:
            if ended is None and any(p.poll() for p in ranks):
                ended = time.monotonic()
            if ended is not None and time.monotonic() - ended > GRACE:
                break
            time.sleep(0.05)
        except KeyboardInterrupt:
            if stopped:
                raise
            stopped = True
    codes = [p.returncode for p in ranks if p.returncode]
    # A rank that was killed has a negative code; rank 0, which comes first, tells the most.
    return next((code for code in codes if code > 0), 2) if codes else 0
