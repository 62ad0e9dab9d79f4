"""A translation in lines."""

from __future__ import annotations

import re
from typing import Any

from ...engine.schema.bounds import shown
from .table import PREFIXES, UNSET, Row, table
from .translator import Line, Translation

WORDS = {"whole": "whole", "part": "in part", "none": "not", "aside": "aside"}
"""How verdicts are said."""


def lines_of(made: Translation) -> list[str]:
    """One line a key, as "whole  data.fovy_range [40, 70] -> distil.uniform.fov_y [40, 70]"."""
    return [_line(line) for line in made.lines]


def _line(line: Line) -> str:
    head = f"{WORDS[line.verdict]:<8} {line.key} {shown(line.value)}"
    if line.ours:
        head += f" -> {line.ours}"
    origin = "" if line.given else " (threestudio's default)"
    return head + origin + (f": {line.note}" if line.note else "")


def summary(made: Translation) -> str:
    """How many keys map how."""
    counts = ", ".join(
        f"{made.count(verdict)} {WORDS[verdict]}" for verdict in ("whole", "part", "none", "aside")
    )
    return f"{made.path}: {WORDS[made.verdict]} ({counts} of {len_given(made)} keys)"


def len_given(made: Translation) -> int:
    """Keys of the file."""
    return sum(line.given for line in made.lines)


def as_plain(made: Translation) -> dict[str, Any]:
    """The translation for other programs."""
    return {
        "file": made.path,
        "verdict": WORDS[made.verdict],
        "reason": made.reason,
        "lines": [
            {
                "key": line.key,
                "value": line.value,
                "verdict": WORDS[line.verdict],
                "ours": line.ours,
                "note": line.note,
                "given": line.given,
            }
            for line in made.lines
        ],
    }


def markdown() -> str:
    """The table of options, as docs/threestudio.md has it."""
    known = table()
    found = []
    for key, parts in known.parts.items():
        found += ["", f"### {key}", "", "| threestudio | here | maps | |", "|---|---|---|---|"]
        for name, part in parts.items():
            ours = part.ours.replace("@", "distil")
            found.append(_cells(name, ours, WORDS[part.verdict], part.note))
        rows = (_row(PREFIXES[key], row) for part in parts.values() for row in part.rows)
        found += dict.fromkeys(rows)
    for group, prefix in (("loss", "system.loss."), ("optimiser", ""), ("run", "")):
        found += ["", f"### {group}", "", "| threestudio | here | maps | |", "|---|---|---|---|"]
        found += [_row(prefix, row) for row in known.groups[group]]
    return "\n".join(found).strip()


def _row(prefix: str, row: Row) -> str:
    default = "" if row.default is UNSET else f" (default {row.default})"
    ours = row.ours.replace("@", "distil")
    maps, why = _condition(row)
    return _cells(f"{prefix}{row.option}{default}", ours, maps, row.note or why)


def _condition(row: Row) -> tuple[str, str]:
    """How a row maps, by which of its values, and why not by others."""
    name, *arguments = row.told or ("",)
    if name == "only":
        values, verdict = arguments, "none"
        if values[-1] == "part":
            *values, verdict = values
        *values, why = values
    elif name in ("zero", "off"):
        values, verdict, why = [0 if name == "zero" else False], "none", arguments[0]
    elif name == "one_of":
        values, verdict, why = list(arguments[1]), "none", arguments[2]
    else:
        return WORDS[row.verdict], ""
    shown_values = ", ".join("null" if v is None else shown(v) for v in values)
    return f"{WORDS[row.verdict]} for {shown_values}, else {WORDS[verdict]}", why


def _cells(*cells: str) -> str:
    return "| " + " | ".join(re.sub(r"([|*])", r"\\\1", cell) for cell in cells) + " |"
