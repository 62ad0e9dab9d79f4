"""Figures as lines of text."""

from __future__ import annotations

from typing import Any

from .text import printable


def lines_of(findings: dict[str, Any], indent: str = "") -> str:
    """One line a figure, groups indented below their name; names and values come from files of
    strangers, so what a terminal would take for a command is replaced."""
    lines = []
    for label, value in findings.items():
        name = printable(str(label))
        if isinstance(value, dict):
            lines += [f"{indent}{name}", lines_of(value, indent + "  ")]
        elif isinstance(value, float):
            lines.append(f"{indent}{name:<34}{value:.6g}")
        elif isinstance(value, (list, tuple)):
            texts = [f"{v:.6g}" if isinstance(v, float) else printable(str(v)) for v in value]
            lines.append(f"{indent}{name:<34}{', '.join(texts) or '-'}")
        else:
            lines.append(f"{indent}{name:<34}{printable(str(value))}")
    return "\n".join(line for line in lines if line)
