"""What the events of a run say of its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...engine.events import read_events

LONGEST_CURVE = 200
PAUSES = ("pause", "go-on")
ENDS = ("end", "stopped")


def run_state(folder: Path) -> dict[str, Any]:
    """The state of a run according to its events.

    It has the title, the verb, the seed, stages with steps and seconds, curves (stage: term ->
    [[step, value]]), the last messages, whether the run has ended, and the folders of the runs
    within it that have (`made`).
    """
    told: list[str] = []
    events = read_events(folder / "events.jsonl", told)
    begin: dict[str, Any] = next((e for e in events if e["event"] == "begin"), {})
    stages: dict[str, dict[str, Any]] = {}
    curves: dict[str, list[list[float]]] = {}
    messages = []
    for event in events:
        kind = event["event"]
        if kind == "stage":
            stages[event["stage"]] = {
                "steps": event["steps"],
                "step": event["start"],
                "seconds": None,
            }
        elif kind == "step" and event["stage"] in stages:
            stages[event["stage"]].update(step=event["step"], rate=event.get("rate"))
            for term, value in {**event["terms"], **event.get("figures", {})}.items():
                if value is not None:
                    curves.setdefault(f"{event['stage']}: {term}", []).append(
                        [event["step"], value]
                    )
        elif kind == "stage-end" and event["stage"] in stages:
            stages[event["stage"]].update(step=event["step"], seconds=event["seconds"])
        elif kind not in ("begin", "kernel", "asset", "end", *PAUSES):
            facts = ", ".join(_fact(k, v) for k, v in event.items() if k not in ("t", "event"))
            messages.append(f"{event['t']:.0f} s  {kind}: {facts}"[:200])
    ended = bool(events) and events[-1]["event"] in ENDS
    made: list[Path] = []
    for inner in inner_runs(folder):
        # What goes on now within a scene: an object of it.
        within = run_state(inner)
        if within["ended"]:
            made.append(inner)
        elif not ended:
            name = inner.name.replace("_", " ")
            stages |= {f"{name}: {stage}": facts for stage, facts in within["stages"].items()}
    return {
        "title": begin.get("prompt") or begin.get("picture") or folder.name,
        "verb": begin.get("verb", ""),
        "seed": begin.get("seed"),
        "folder": str(folder),
        "seconds": events[-1]["t"] if events else 0.0,
        "stages": stages,
        "said": [*messages[-12:], *told],
        "curves": {k: v[:: max(1, len(v) // LONGEST_CURVE)] for k, v in curves.items()},
        "paused": next(
            (e["event"] == "pause" for e in reversed(events) if e["event"] in PAUSES), False
        ),
        "ended": ended,
        "made": made,
    }


def inner_runs(folder: Path) -> list[Path]:
    """The folders of the runs within a run: the objects of a scene, in the order of their names."""
    return sorted(path.parent for path in (folder / "objects").glob("*/events.jsonl"))


def _fact(name: str, value: Any) -> str:
    """A value of an event in words that people read."""
    if isinstance(value, float):
        return f"{name} {value:.3g}"
    if isinstance(value, list):
        within = any(isinstance(v, list) for v in value)
        inner = (", " if within else " ").join(_fact("", v).strip() for v in value)
        return f"{name} {inner}"
    return str(value) if name in ("line", "note") else f"{name} {value}"
