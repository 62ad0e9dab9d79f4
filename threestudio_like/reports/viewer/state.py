"""What the events of a run say of its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...engine.events import read_events

LONGEST_CURVE = 200
PAUSES = ("pause", "go-on")


def run_state(folder: Path) -> dict[str, Any]:
    """The state of a run according to its events.

    It has the title, the verb, stages with steps and seconds, curves (stage: term -> [[step,
    value]]), the last message, and whether the run has ended.
    """
    events = read_events(folder / "events.jsonl")
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
            facts = ", ".join(f"{k} {v}" for k, v in event.items() if k not in ("t", "event"))
            messages.append(f"{event['t']:.0f} s  {kind}: {facts}"[:200])
    return {
        "title": begin.get("prompt") or begin.get("picture") or folder.name,
        "verb": begin.get("verb", ""),
        "folder": str(folder),
        "seconds": events[-1]["t"] if events else 0.0,
        "stages": stages,
        "said": messages[-12:],
        "curves": {k: v[:: max(1, len(v) // LONGEST_CURVE)] for k, v in curves.items()},
        "paused": next(
            (e["event"] == "pause" for e in reversed(events) if e["event"] in PAUSES), False
        ),
        "ended": bool(events) and events[-1]["event"] in ("end", "stopped"),
    }
