"""What a run ends with: four lines on the terminal, and its report."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.events import read_events
from ..engine.text import duration
from ..reports import Report
from .repeat import PROGRAM, differences, repeat_line

if TYPE_CHECKING:
    from .delivery import Delivery
    from .session import Run

SHOWN = ("system", "preset", "prior", "seed")
"""Facts of a run that stand below the title of its report."""
NOTHING_LOST = "nothing; no warnings"


def report_of(
    run: Run, work: Delivery, sheet: np.ndarray, figures: dict[str, Any], said: str
) -> Report:
    """The report of a run.

    Args:
        sheet: contact sheet (H, W, 3) uint8. said: of the written file, compared with the asset.
    """
    record, config = run.record, run.config
    facts = record.facts
    origin = [f"by {PROGRAM} {record.command}"]
    origin += [f"{k} {facts[k]}" for k in SHOWN if facts.get(k) not in (None, "")]
    origin.append(duration(run.events.elapsed))
    told: list[str] = []
    events = read_events(run.folder / "events.jsonl", told)
    return Report(
        title=work.title,
        made="Made " + " · ".join(str(part) for part in origin),
        asset=work.shown or work.asset,
        before=work.before,
        sheet=sheet,
        fit=work.fit,
        fit_line=work.fit_line,
        verified=said,
        doubts=list(dict.fromkeys([*doubts(run, work), *told])),
        figures={"prompt": work.title, **figures},
        events=events,
        repeat=repeat_line(record.command, run.options, record.threads, run.folder),
        changes=[] if config is None else differences(config, run.base),
        configuration=record.text(),
        compared=work.compared,
        pictures=work.pictures,
    )


def doubts(run: Run, work: Delivery) -> list[str]:
    """What was lost, warned of or doubtful, a line each."""
    lines = [*run.events.warnings, *run.losses]
    if work.fit and work.fit != "fits":
        lines.append(f"The result and the picture: {work.fit}.")
    return list(dict.fromkeys(lines))


def closing_lines(run: Run, work: Delivery, file: Path, said: str) -> list[str]:
    """Four lines: where it is, how well it fits, what was lost or doubtful, and what next."""
    lost = [*run.losses]
    if run.events.warnings:
        count = len(run.events.warnings)
        lost.insert(0, f"{count} warning{'s' if count > 1 else ''} above.")
    folder = shlex.quote(_near(run.folder))
    ways = [f"{PROGRAM} view {folder}", f"{PROGRAM} export {folder} --to obj usdz"]
    return [
        f"Asset  {_near(file)}  (as a file: {said}; {duration(run.events.elapsed)})",
        f"Fit    {work.fit_line or 'there is nothing to compare it with'}",
        f"Lost   {' '.join(lost) or NOTHING_LOST}",
        f"Next   {'   or   '.join(ways)}",
    ]


def _near(path: Path) -> str:
    """A path as it is written from here, where it lies below."""
    try:
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    except OSError:
        return str(path)
