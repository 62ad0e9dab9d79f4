"""A run in the browser while it goes on: its preview, stages and losses, and its report once there
is one."""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from pathlib import Path
from typing import Any

from ..engine.events import read_events
from .server import LOOPBACK, Answer, PageServer

HTML = "text/html; charset=utf-8"
LONGEST_CURVE = 200


def page(name: str) -> Answer:
    """Read a page that is stored beside this file."""
    return HTML, (Path(__file__).parent / name).read_bytes()


def file_answer(kind: str, *choices: Path) -> Answer | None:
    """The first of several files that exists, as an answer of the server."""
    for path in choices:
        try:
            return kind, path.read_bytes()
        except OSError:
            continue
    return None


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
        elif kind not in ("begin", "kernel", "asset", "end"):
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
        "ended": (folder / "report.html").is_file()
        and bool(events)
        and events[-1]["event"] == "end",
    }


def serve_run(folder: Path, port: int = 0, host: str = LOOPBACK) -> PageServer:
    """Show a run's folder in the browser, also while the run goes on. Raises ConfigError if the
    port is taken."""
    return PageServer(
        {
            "": lambda: page("live.html"),
            "state": lambda: ("application/json", json.dumps(run_state(folder)).encode()),
            "preview.png": lambda: file_answer(
                "image/png", folder / "preview.png", folder / "work" / "preview.png"
            ),
            "report": lambda: file_answer(HTML, folder / "report.html"),
        },
        port=port,
        host=host,
    )


def open_browser(address: str) -> bool:
    """Open a page if there is a screen, because a browser in the terminal would take over the run's
    terminal. Returns whether it was opened."""
    screen = (
        sys.platform in ("darwin", "win32")
        or os.environ.get("DISPLAY")
        or os.environ.get("WAYLAND_DISPLAY")
    )
    return bool(screen) and webbrowser.open(address)


def follow(folder: Path) -> PageServer:
    """Show a run that is about to begin, until its process ends (`--viewer`)."""
    server = serve_run(folder)
    announce(f"The run is shown at {server.address}", server.address, True)
    return server


def announce(line: str, address: str, browser: bool) -> None:
    """Print a line to the terminal, and open the address where the user wants it."""
    print(line, file=sys.stderr, flush=True)
    if browser:
        open_browser(address)
