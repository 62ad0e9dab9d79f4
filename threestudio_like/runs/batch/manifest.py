"""A manifest of a batch: YAML, CSV or JSON lines become entries, and an entry the product of its
lists, seeds and overrides. What the keys mean is the commands' to say."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError, InputError, did_you_mean
from ...engine.schema.yaml_text import LARGEST_DOCUMENT, parse_document, read_text
from ...engine.text import parse_json

SUFFIXES = (".yaml", ".yml", ".csv", ".jsonl")
LARGEST_MANIFEST = 1 << 30
"""Bytes of a manifest in CSV or JSON lines."""
MOST_ITEMS = 10_000_000
KEYS = ("format", "defaults", "items")
FORMAT = 1
SPLIT = ";"
"""Parts the values of an option that takes several, in a cell of a CSV file."""
_RANGE = re.compile(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18})\s*)?\Z")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of a manifest. number: from 1; values: by their keys, as they stand there; text:
    whether all of them are texts (CSV)."""

    number: int
    values: dict[str, Any]
    text: bool = False


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The entries of a manifest. where: what errors call it; folder: that relative paths begin at;
    defaults: values that every entry has unless it says otherwise; text: the file's own."""

    where: str
    folder: Path
    entries: Sequence[Entry]
    defaults: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    suffix: str = ".yaml"


def at(where: str, number: int, key: str = "") -> str:
    """How errors name a place in a manifest."""
    field_named = f', field "{key}"' if key else ""
    return f"{where}: item {number}{field_named}"


def read_manifest(path: Path) -> Manifest:
    """The manifest of a file. Raises InputError, ConfigError."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            "is no manifest by its name",
            str(path),
            f"Its ending is one of {', '.join(SUFFIXES)}; a file with a prompt a line goes behind "
            "--prompts",
        )
    if suffix in (".yaml", ".yml"):
        if path.is_file() and path.stat().st_size > LARGEST_DOCUMENT:
            raise InputError(
                "is larger than 1 MB", str(path), "Write many items as CSV or as JSON lines"
            )
        text = read_text(path, "a manifest")
    else:
        text = _read_large(path)
    return parse_manifest(text, suffix, where=str(path), folder=path.parent)


def parse_manifest(text: str, suffix: str, *, where: str, folder: Path) -> Manifest:
    """The manifest of a text. Raises InputError, ConfigError."""
    defaults: dict[str, Any] = {}
    entries: list[Entry]
    if suffix in (".yaml", ".yml"):
        entries, defaults = _of_yaml(text, where)
    elif suffix == ".csv":
        entries = _of_csv(text, where)
    else:
        entries = _of_lines(text, where)
    if not entries:
        raise InputError("holds no items", where, "Write one item at least")
    return Manifest(
        where=where,
        folder=folder.resolve(),
        entries=entries,
        defaults=defaults,
        text=text,
        suffix=suffix,
    )


def prompts_manifest(path: Path, values: Mapping[str, Any]) -> Manifest:
    """One entry a line of a file of prompts; empty lines and those that begin with "#" are left
    out. Raises InputError."""
    lines = [line.strip() for line in _read_large(path).splitlines()]
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise InputError("holds no prompts", str(path), "Write one a line")
    entries = [Entry(number=n, values={"prompt": p}) for n, p in enumerate(prompts, 1)]
    text = "".join(json.dumps({**values, "prompt": p}) + "\n" for p in prompts)
    return Manifest(
        where=str(path),
        folder=Path.cwd(),
        entries=entries,
        defaults=dict(values),
        text=text,
        suffix=".jsonl",
    )


def _read_large(path: Path) -> str:
    try:
        if not path.is_file():
            raise InputError("there is no such file", str(path), "Give a manifest")
        if path.stat().st_size > LARGEST_MANIFEST:
            raise InputError("is larger than 1 GB", str(path), "Divide it")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("is no text in UTF-8", str(path), "Save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read ({reason})", str(path)[:200]) from None


def _of_yaml(text: str, where: str) -> tuple[list[Entry], dict[str, Any]]:
    content = parse_document(text, where, "Correct it: see docs/how-to/batch.md")
    if isinstance(content, list):
        content = {"items": content}
    if not isinstance(content, dict):
        raise InputError("holds no items", where, 'Write them as a list under "items"')
    for key in content:
        if key not in KEYS:
            raise ConfigError(f'there is no key "{key}"', where, did_you_mean(str(key), KEYS))
    if content.get("format", FORMAT) != FORMAT:
        raise ConfigError(
            f'its format is "{content["format"]}", this version reads {FORMAT}', where
        )
    defaults, items = content.get("defaults") or {}, content.get("items")
    if not isinstance(defaults, dict):
        raise ConfigError("is a group of keys, not a value", f'{where}: field "defaults"')
    strange = next((key for key in defaults if not isinstance(key, str)), None)
    if strange is not None:
        raise ConfigError(f'has a key that is no word, "{strange}"', f'{where}: field "defaults"')
    if not isinstance(items, list):
        raise ConfigError("is a list of items", f'{where}: field "items"', 'Begin each with "-"')
    return [_entry(n, item, where) for n, item in enumerate(items, 1)], defaults


def _entry(number: int, item: Any, where: str) -> Entry:
    if not isinstance(item, dict):
        raise ConfigError("is a group of keys, not a value", at(where, number), "prompt: a red box")
    for key in item:
        if not isinstance(key, str):
            raise ConfigError(f'has a key that is no word, "{key}"', at(where, number))
    return Entry(number=number, values=item)


def _of_lines(text: str, where: str) -> list[Entry]:
    entries: list[Entry] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        number = len(entries) + 1
        try:
            item = parse_json(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"is no JSON ({str(error)[:80]})", at(where, number)) from None
        entries.append(_entry(number, item, where))
    return entries


def _of_csv(text: str, where: str) -> list[Entry]:
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None or "" in header:
            what = f'names the column "{twice}" twice' if twice else "has a column without a name"
            raise ConfigError(what, f"{where}: the first line")
        entries: list[Entry] = []
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            number = len(entries) + 1
            if len(row) != len(header):
                raise ConfigError(
                    f"has {len(row)} cells, and the first line has {len(header)}",
                    at(where, number),
                    "Put a cell with a comma in quotes",
                )
            values = {k: v.strip() for k, v in zip(header, row) if v.strip()}
            entries.append(Entry(number=number, values=values, text=True))
    except csv.Error as error:
        raise InputError(f"is no CSV ({error}, line {reader.line_num})", where) from None
    return entries


def seeds_of(value: Any, where: str) -> list[int]:
    """The seeds of "0-3", "1,5,7-9", 4 or [0, 2]. Raises ConfigError."""
    parts = value if isinstance(value, list) else [value]
    seeds: list[int] = []
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (int, str)):
            raise ConfigError(f'wants seeds such as 0-3, got "{part}"', where)
        for piece in str(part).split(","):
            match = _RANGE.match(piece)
            if match is None:
                raise ConfigError(f'wants seeds such as 0-3, got "{piece.strip()}"', where)
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise ConfigError(f"runs from {first} down to {last}", where)
            if last - first >= MOST_ITEMS:
                raise ConfigError(f"names more than {MOST_ITEMS} seeds", where)
            seeds += range(first, last + 1)
    twice = next((s for s, t in zip(sorted(seeds), sorted(seeds)[1:]) if s == t), None)
    if twice is not None:
        raise ConfigError(f"names the seed {twice} twice", where)
    return seeds


def _settle_seeds(
    values: dict[str, Any], levels: Sequence[Mapping[str, Any]], place: Callable[[str], str]
) -> None:
    """Leave of "seed" and "seeds" in `values` what the nearest of the levels says. Raises
    ConfigError where one says both."""
    seeds = values.pop("seeds", None)
    for level in levels:
        if "seed" in level and "seeds" in level:
            raise ConfigError('goes without "seeds"', place("seed"))
        if "seeds" in level:
            values["seed"] = seeds_of(seeds, place("seeds"))
        if "seed" in level or "seeds" in level:
            return


def expand(
    manifest: Manifest, entry: Entry, takes_several: Callable[[str, str], bool]
) -> Iterator[dict[str, Any]]:
    """The items of an entry as groups of values: every combination of its lists, its seeds and its
    overrides.

    Args:
        takes_several: whether an option (of a command, by its key) takes a list as its value;
            any other list stands for one item each.

    Raises:
        ConfigError: a list or an override that cannot be meant.
    """
    values = {**manifest.defaults, **entry.values}

    def place(key: str) -> str:
        return at(manifest.where, entry.number, key)

    overrides = values.pop("overrides", [{}])
    if not isinstance(overrides, list) or not all(isinstance(o, dict) for o in overrides):
        raise ConfigError("is a list of groups of keys", place("overrides"), "- {steps: 100}")
    for override in overrides or [{}]:
        whole = {**values, **override}
        _settle_seeds(whole, (override, entry.values, manifest.defaults), place)
        command = str(whole.get("command", "generate"))
        axes: list[list[tuple[str, Any]]] = []
        for key, value in whole.items():
            several = takes_several(command, key)
            if entry.text and several and isinstance(value, str):
                value = [part.strip() for part in value.split(SPLIT) if part.strip()]
            if isinstance(value, list) and not several:
                if not value:
                    raise ConfigError("is an empty list", place(key), "Leave it out")
                axes.append([(key, one) for one in value])
            else:
                axes.append([(key, value)])
        for combination in itertools.product(*axes):
            yield dict(combination)
