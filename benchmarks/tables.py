"""What the benchmark scripts share: Markdown tables, and writing them to docs/."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def table(header: list[str], rows: list[list]) -> str:
    """A Markdown table; floats with three digits."""

    def cell(value: object) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(map(cell, row)) + " |" for row in rows])


def publish(name: str, title: str, command: str, body: str) -> None:
    """Print the result and write docs/results/<name>.md with the command that made it."""
    text = f"# {title}\n\nMade by `{command}`.\n\n{body}\n"
    path = ROOT / "docs" / "results" / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)
