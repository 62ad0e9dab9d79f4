"""`resume`: go on with a run, by its folder alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from ..runs.options import RunOptions

EXAMPLES = (
    "threestudio-like resume outputs/latest",
    "threestudio-like resume outputs/latest --steps 400 --threads 2",
)


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with a run that was stopped at any moment, or give a finished one more steps: its
    folder says the rest. Options of the run (--memory, --threads, --device, --minutes, ...) may
    differ."""

    folder: tyro.conf.Positional[Path] = Path("outputs/latest")
    """Folder of the run."""
    steps: int | None = None
    """More steps in all than the run had."""
    run: tyro.conf.OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)


def call(options: Resume) -> Any:
    """Carry it out; returns a `RunResult`."""
    from .jobs.resume import resume

    return resume(options)
