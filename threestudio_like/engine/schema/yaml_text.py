"""YAML of plain values: read with limits, and written so that it reads back equal. What a word
means is that of YAML 1.2.

Aliases, tags, repeated keys, deep and large documents are refused before anything is built of them.
"""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError, InputError

LARGEST_DOCUMENT = 1 << 20
"""Bytes."""
DEEPEST = 20
"""Levels of lists and groups within each other."""
MOST_VALUES = 50_000
"""Keys, values, lists and groups of a document."""
REMEDY = "Correct it, or print a fresh one with --print-config"

_ESCAPED = re.compile("[\\x00-\\x1f\\x7f-\\xa0\\u2028\\u2029\\ufeff\\ufffe\\uffff]")
"""Control characters, and what some readers take for the end of a line."""
_NOT_UNICODE = re.compile("[\\ud800-\\udfff]")

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Plain values alone: a date stays a text, and no key may come twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f'the key "{name[:60]}" is there twice', problem_mark=key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)

    def whole_number(self, node: Any) -> int:
        """An integer of YAML 1.2: zeros before it mean nothing."""
        text = str(self.construct_scalar(node))
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)


_Loader.yaml_implicit_resolvers = {}
for _kind, _words, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
):
    # The core schema of YAML 1.2. YAML 1.1 reads 010 as 8, 1:30 as 90 and `no` as false.
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_words})\Z"), _first
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole_number)


class _Dumper(yaml.SafeDumper):
    """No anchors; finite numbers alone; quotes about every text that may be taken for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if _NOT_UNICODE.search(value):
        raise ConfigError(
            f"a text that is not Unicode cannot be written, {ascii(value)[:60]}",
            "configuration",
            "Rename the file that it names",
        )
    style = None
    if _ESCAPED.search(value):
        style = '"'
    else:
        with contextlib.suppress(ValueError):
            float(value)
            style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    if not math.isfinite(value):
        raise ConfigError(f"{value} cannot be written", "configuration", "Give a finite number")
    return dumper.represent_float(value)


# A text that any reader may take for something else stands in quotes: for YAML 1.1 by the base.
for _letter, _rules in _Loader.yaml_implicit_resolvers.items():
    for _tag, _pattern in _rules:
        _Dumper.add_implicit_resolver(_tag, _pattern, [_letter])
_Dumper.add_representer(str, _text)
_Dumper.add_representer(float, _float)


def write_document(content: Any) -> str:
    """YAML text of plain values, keys in the order given. Raises ConfigError on what YAML has no
    plain form for."""
    try:
        return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=118)
    except yaml.representer.RepresenterError as error:
        kind = type(error.args[-1]).__name__
        raise ConfigError(f"a {kind} cannot be written as YAML", "configuration") from None


def parse_document(text: str, where: str, remedy: str = REMEDY) -> Any:
    """The plain values (dictionaries, lists, numbers, texts, None) of one YAML document.

    Raises:
        InputError: it is no YAML, or larger, deeper or of another kind than a file of settings is.
    """
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST_DOCUMENT:
        raise InputError("is larger than 1 MB", where, "Settings and sketches are short files")
    try:
        _look_over(text, where)
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as error:
        raise InputError(f"is not YAML ({_reason(error)})", where, remedy) from None


def read_text(path: Path, kind: str = "a run.yaml") -> str:
    """The text of a small file. Raises InputError."""
    try:
        if not path.is_file():
            raise InputError("there is no such file", str(path), f"Give {kind}")
        if path.stat().st_size > LARGEST_DOCUMENT:
            raise InputError(
                "is larger than 1 MB", str(path), "Settings and sketches are short files"
            )
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError("is no text in UTF-8", str(path), REMEDY) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read ({reason})", str(path)[:200]) from None


def _look_over(text: str, where: str) -> None:
    """Refuse, from the stream of events, what must not be built. Raises InputError, YAMLError."""
    depth = values = documents = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise InputError("has an alias or anchor (& or *)", where, "Write the value out")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise InputError("holds several documents", where, "Keep one of them")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            values += 1
            if event.tag is not None:
                tag = str(event.tag)[:40]
                raise InputError(f'has a tag, "{tag}"', where, "Write plain values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise InputError(f"is more than {DEEPEST} levels deep", where, "Write it flat")
        if values > MOST_VALUES:
            raise InputError(f"holds more than {MOST_VALUES} values", where, "Make it shorter")


def _reason(error: Exception) -> str:
    """One line of a parser's complaint, with the line that it is about."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return f"{problem[:120]}{f', line {mark.line + 1}' if mark else ''}"
