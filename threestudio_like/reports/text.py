"""Figures as lines of text."""

from __future__ import annotations

from typing import Any


def lines_of(findings: dict[str, Any], indent: str = "") -> str:
    """One line for each figure, with groups indented below their name."""
    lines = []
    for name, value in findings.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", lines_of(value, indent + "  ")]
        elif isinstance(value, float):
            lines.append(f"{indent}{name:<34}{value:.6g}")
        elif isinstance(value, (list, tuple)):
            lines.append(
                f"{indent}{name:<34}{', '.join(f'{v:.6g}' if isinstance(v, float) else str(v) for v in value) or '-'}"
            )
        else:
            lines.append(f"{indent}{name:<34}{value}")
    return "\n".join(line for line in lines if line)
