"""`export`: a run's asset, or a mesh file, in other formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

EXAMPLES = (
    "threestudio-like export outputs/latest --to obj ply stl --verify",
    "threestudio-like export chair.glb --to stl --out printing",
)


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run's asset in other formats."""

    source: tyro.conf.Positional[Path] = Path("outputs/latest")
    """Folder of a run, or a mesh file."""
    to: tuple[str, ...] = ("glb",)
    """Formats: glb, obj, ply, stl, or a plug-in's."""
    verify: bool = False
    """Read every file back, render it and compare; a bad file is an error."""
    out: Path | None = None
    """Folder to write to (default: beside the asset)."""
    force: bool = False
    """Replace files that are there already."""
    plugins: tuple[Path, ...] = ()
    """Python files that register formats."""
    json: bool = False
    """Print the verdicts as JSON."""


def call(options: Export) -> Any:
    """Carry it out; prints a line for each file."""
    from .jobs.export import export

    return export(options)
