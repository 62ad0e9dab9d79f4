"""The panel's words as HTML; whatever comes from a prompt, a name or a file is escaped here."""

from __future__ import annotations

import html
from typing import Any

_TEXT = "font:13px/1.45 system-ui,sans-serif;overflow-wrap:anywhere"
_MUTED = "color:#5f5a53"


def told(title: str, line: str = "") -> str:
    """A title and a line below it."""
    below = f'<div style="{_MUTED}">{html.escape(line)}</div>' if line else ""
    return f'<div style="{_TEXT};padding:2px 8px"><b>{html.escape(title)}</b>{below}</div>'


def stages_table(state: dict[str, Any]) -> str:
    """How far the stages of `run_state` are, a bar each, and the last messages."""
    rows = []
    for name, stage in state["stages"].items():
        share = 100 * stage["step"] / max(stage["steps"], 1)
        took = stage["seconds"]
        pace = f"{took:.1f} s" if took is not None else ""
        if took is None and stage.get("rate"):
            pace = f"{stage['rate']:.1f} it/s"
        rows.append(
            f"<div>{html.escape(name)} {stage['step']}/{stage['steps']} "
            f'<span style="{_MUTED}">{pace}</span></div>'
            '<div style="height:6px;border-radius:3px;background:#ddd8d0;margin:1px 0 6px">'
            f'<div style="height:6px;border-radius:3px;background:#b4432f;width:{share:.1f}%">'
            "</div></div>"
        )
    lines = "".join(f"<div>{html.escape(line)}</div>" for line in state["said"][-4:])
    return (
        f'<div style="{_TEXT};padding:2px 8px">{"".join(rows) or "<div>preparing</div>"}'
        f'<div style="{_MUTED};font-size:11.5px">{lines}</div></div>'
    )


def objects_list(names: list[str], boxes: list[list[float]], problem: str = "") -> str:
    """The objects of a picture with their boxes, and what went wrong last."""
    rows = []
    for number in range(max(len(names), len(boxes) + (0 if names else 1))):
        name = names[number] if number < len(names) else f"object {number + 1}"
        box = ",".join(f"{v:.0f}" for v in boxes[number]) if number < len(boxes) else ""
        weight = "font-weight:600" if number == len(boxes) else ""
        rows.append(f'<li style="{weight}">{html.escape(name)} {box}</li>')
    wrong = f'<div role="alert" style="color:#a3301d">{html.escape(problem)}</div>'
    return f'<div style="{_TEXT};padding:2px 8px"><ol>{"".join(rows)}</ol>{wrong}</div>'
