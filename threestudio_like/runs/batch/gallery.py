"""The page of a batch: static files that open from a disk or any web server. Only the cards on the
screen are drawn, so thousands of items scroll smoothly."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...engine.text import json_text, printable
from .index import Index

COLUMNS: tuple[str, ...] = (
    "label",
    "command",
    "seed",
    "verdict",
    "seconds",
    "bytes",
    "rung",
    "number",
    "figures",
)
COLUMNS += ("folder", "preview", "page", "error")
FIGURES = 12
"""Figures that can be sorted by: those that most items have."""
PAGE = "report.html"
STAMP = "made-of.json"
FILES = ("index.html", "items.js")
FORMAT = 1
"""Of the page: another number, and a finished batch's page is made anew."""


def gallery_files(index: Index) -> tuple[dict[str, bytes], int]:
    """The page's files by their names, and how many items it shows. What waits is not shown."""
    counts: Counter[str] = Counter()
    for row in index.rows("state = 'done'"):
        counts.update(numbers(json.loads(row["figures"] or "{}")))
    names = [name for name, _ in counts.most_common(FIGURES)]
    lines = []
    for row in index.rows("state IN ('done', 'aside')"):
        lines.append(json_text(_row(row, names)))
    sorts: list[list[Any]] = [
        ["manifest", "number", None],
        ["prompt or file", "label", None],
        ["seed", "seed", None],
        ["time", "seconds", None],
        ["size", "bytes", None],
        *([name, "figures", n] for n, name in enumerate(names)),
    ]
    head = json_text({"columns": COLUMNS, "sorts": sorts})[:-1]
    # "</" would end the script that some page may copy this into.
    text = f'window.BATCH = {head}, "rows": [\n{",".join(lines)}\n]}};\n'.replace("</", "<\\/")
    page = Path(__file__).with_name("gallery.html").read_bytes()
    return {"index.html": page, "items.js": text.encode()}, len(lines)


def stamp(index: Index, files: Mapping[str, bytes | None]) -> bytes:
    """What a page was made of and what it is, as hashes: where the store has this very stamp, table
    and page are as they were when it was made. One that lacks a file is like no other.

    Args:
        files: of the page by their names; None for one that is missing.
    """
    page = Path(__file__).with_name("gallery.html").read_bytes()
    parts = {"table": index.content(), "form": page, **files}
    hashes = {n: None if d is None else hashlib.sha256(d).hexdigest() for n, d in parts.items()}
    return json_text({"format": FORMAT, **hashes}).encode()


def numbers(figures: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers among an item's figures, those of groups by both names."""
    found: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            found.update(numbers(value, f"{prefix}{name}: "))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[prefix + name] = value
    return found


def _row(row: Any, names: list[str]) -> list[Any]:
    figures = numbers(json.loads(row["figures"] or "{}"))
    preview = row["preview"]
    folder = f"items/{row['id']}/{row['attempt']}/" if row["attempt"] else ""
    done = row["state"] == "done"
    return [
        printable(row["label"]),
        row["command"],
        row["seed"],
        row["verdict"] if done else f"set aside: {row['cause']}",
        row["seconds"],
        row["bytes"],
        row["rung"],
        row["number"],
        [figures.get(name) for name in names] if done else None,
        folder,
        preview.rsplit("/", 1)[-1] if preview else "",
        PAGE if preview else "",
        printable(row["error"] or ""),
    ]
