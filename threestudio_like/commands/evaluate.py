"""`evaluate`: the figures of an asset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

EXAMPLES = (
    "threestudio-like evaluate outputs/latest",
    'threestudio-like evaluate chair.glb --prompt "a red chair" --truth truth.obj --json',
)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure an asset: judge, CLIP, silhouettes, consistency, Janus index; with --truth also the
    geometry."""

    source: tyro.conf.Positional[Path] = Path("outputs/latest")
    """Folder of a run, or a mesh file."""
    prompt: str = ""
    """What the asset should show (default: the run's prompt)."""
    truth: Path | None = None
    """A mesh to compare the geometry with."""
    instances: int = 200
    """Objects of the category that the silhouettes are held against."""
    plugins: tuple[Path, ...] = ()
    """Python files that register a format or anything else (docs/plug-ins.md)."""
    json: bool = False
    """Print the figures as JSON."""


def call(options: Evaluate) -> Any:
    """Carry it out; prints the figures and returns them."""
    from .jobs.evaluate import evaluate

    return evaluate(options)
