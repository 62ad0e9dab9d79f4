"""What several test files of batches share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import psutil

from threestudio_like.cli import main
from threestudio_like.runs.batch.index import DONE, Index
from threestudio_like.runs.batch.store import Store

TINY = Path(__file__).parent / "tiny_command.py"
ROOT = Path(__file__).parent.parent


def batch(*words: object, workers: int = 1) -> int:
    """`batch` in this process, with the tiny command; its exit code."""
    more = ["--workers", workers, "--quiet", "--plugins", TINY]
    return main([str(w) for w in ("batch", *words, *more)])


def process(
    *words: object, workers: int = 1, show: str = "--quiet", out: IO | int = subprocess.DEVNULL
) -> subprocess.Popen:
    """`batch` as a process group of its own."""
    more = ["--workers", workers, show, "--plugins", TINY]
    return subprocess.Popen(
        [sys.executable, "-m", "threestudio_like", "batch", *map(str, (*words, *more))],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=out,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def descendants(pid: int) -> list[int]:
    """All processes that a process has begun, and theirs."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def manifest(path: Path, *items: dict, **defaults: object) -> Path:
    """A manifest of tiny items."""
    content = {"defaults": {"command": "tiny", **defaults}, "items": list(items)}
    path.write_text(json.dumps(content))
    return path


def sixty(path: Path, **defaults: object) -> Path:
    """Twenty prompts with three seeds."""
    prompts = [f"thing {n}" for n in range(20)]
    return manifest(path, {"prompt": prompts}, seeds="0-2", **defaults)


def products(address: str | Path) -> dict[str, str]:
    """The hash of every finished item's product; store, files and index agree."""
    store = Store(str(address))
    assert [f for f in store.verify() if "belongs to no record" not in f.what] == []
    records = {id: store.record(id) for id in store.done()}
    index = Index.of_store(store)
    listed = {r["id"]: r["product"] for r in index.rows("state = ?", DONE)}
    found = {id: record["product"] for id, record in records.items()}
    assert listed == found
    return found
