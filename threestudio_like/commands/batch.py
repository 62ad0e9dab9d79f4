"""`batch`: many items on many machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

EXAMPLES = (
    "threestudio-like batch chairs.yaml --store chairs --dry-run",
    "threestudio-like batch --prompts prompts.txt --seeds 0-3 --system latent-nerf --store s3://assets/one",
)
ACTIONS = ("status", "retry", "export", "gallery", "verify", "resume")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Make many items: a manifest, or prompts and seeds. What is made already is not made again.
    With --store alone: status, retry, export, gallery, verify, resume."""

    source: tyro.conf.Positional[str] = ""
    """A manifest (.yaml, .csv, .jsonl: docs/how-to/batch.md), or status, retry, export, gallery,
    verify, resume."""
    prompts: Path | None = None
    """Instead of a manifest: a file with a prompt a line."""
    seeds: str = ""
    """Seeds of every item that names none: 0-3, or 1,5,7."""
    command: str = "generate"
    """Command of every item that names none."""
    system: str = ""
    """System of every item that names none."""
    prior: str = ""
    """Prior of every item that names none."""
    steps: int | None = None
    """Steps of every item that names none."""
    store: str = ""
    """Where results go: a folder, s3://…, gs://…, memory:// (default: batches/<manifest>)."""
    dry_run: bool = False
    """Print the plan and a forecast of time, memory and storage, and stop."""
    workers: int | None = None
    """How many items are made at once (default: what processors, memory and GPUs allow with Ray;
    without it 1, in this process)."""
    address: str = ""
    """A Ray cluster: auto, or ray://host:10001 (default: Ray on this machine)."""
    threads: int = 1
    """CPU threads of an item; they decide its bytes."""
    gpus: float | None = None
    """GPUs of a worker (default: 1 where items name cuda, else 0)."""
    timeout: float = 0.0
    """Seconds that an item may take; 0 for any number."""
    retries: int = 2
    """How often an item that failed is tried again, where that can help."""
    keep_best: int = 0
    """Tournament: of the seeds of an item, so many are made in full; the others end at short
    runs."""
    factor: int = 2
    """Tournament: by which runs get fewer and longer from round to round."""
    failed: bool = False
    """retry: what was set aside."""
    best: bool = False
    """export: of the seeds of an item the best alone."""
    out: Path | None = None
    """export: folder for the items' files."""
    plugins: tuple[Path, ...] = ()
    """Python files that register what items use (docs/plug-ins.md)."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print events, or the status, as JSON lines."""
    set: Annotated[dict[str, str], tyro.conf.Suppress] = field(default_factory=dict)
    """Values of the method's configuration, of every item that names none."""


def call(options: Batch) -> Any:
    """Carry it out; returns what it says at its end."""
    from .jobs.batch import batch

    return batch(options)
