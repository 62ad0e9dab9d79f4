"""`doctor`: what works on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EXAMPLES = (
    "threestudio-like doctor",
    "threestudio-like doctor --json",
)


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Show back ends, models, licences and disk, and what works now."""

    plugins: tuple[Path, ...] = ()
    """Python files that register a format or anything else (docs/plug-ins.md)."""
    json: bool = False
    """Print as JSON."""


def call(options: Doctor) -> None:
    """Carry it out; prints the findings."""
    from ..engine.text import json_text
    from .jobs.doctor import examine, table

    findings = examine()
    print(json_text(findings, indent=1) if options.json else table(findings))
