"""The help of a command: its options in groups, each with what it is for, and two examples."""

from __future__ import annotations

import ast
import inspect
import shutil
import textwrap
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from .registry import PROGRAM, examples_of, options_of

COLUMN = 26
"""Where the descriptions begin."""


def help_of(command: str) -> str:
    """The help text of a command, as wide as the terminal but at most 100 columns."""
    kind = options_of(command)
    width = min(100, max(60, shutil.get_terminal_size((100, 24)).columns))
    hints = typing.get_type_hints(kind, include_extras=True)
    plain = [f for f in fields(kind) if not _is_group(hints[f.name]) and _is_shown(hints[f.name])]
    positional = [f for f in plain if _is_positional(hints[f.name])]
    usage = " ".join(f"[{f.name.upper()}]" for f in positional)
    lines = [f"usage: {PROGRAM} {command} {usage}{' ' if usage else ''}[options]", ""]
    lines += textwrap.wrap(" ".join((kind.__doc__ or "").split()), width)
    documents = _documents(kind)
    if positional:
        lines += ["", *_rows([(f.name.upper(), f, documents) for f in positional], hints, width)]
    own = [f for f in plain if f not in positional]
    lines += ["", "Options", *_rows([(_flag(f, hints), f, documents) for f in own], hints, width)]
    lines += [f"  {'-h, --help':<{COLUMN - 2}}Show this help and stop."]
    for item in fields(kind):
        if _is_group(hints[item.name]):
            lines += _group(_bare(hints[item.name]), width)
    lines += ["", "examples:", *(f"  {example}" for example in examples_of(command))]
    return "\n".join(lines)


def _group(kind: type, width: int) -> list[str]:
    hints = typing.get_type_hints(kind, include_extras=True)
    documents = _documents(kind)
    rows = [(_flag(f, hints), f, documents) for f in fields(kind)]
    purpose = textwrap.wrap(" ".join((kind.__doc__ or "").split()), width)
    return ["", *purpose, *_rows(rows, hints, width)]


def _rows(rows: list[tuple[str, Field, dict[str, str]]], hints: Any, width: int) -> list[str]:
    lines = []
    for name, item, documents in rows:
        text = " ".join(documents.get(item.name, "").split()) + _default(item)
        wrapped = textwrap.wrap(text, width - COLUMN) or [""]
        head = f"  {name}"
        if len(head) + 2 > COLUMN:
            lines.append(head)
            head = ""
        lines.append(f"{head:<{COLUMN}}{wrapped[0]}")
        lines += [" " * COLUMN + line for line in wrapped[1:]]
    return lines


def _documents(kind: type) -> dict[str, str]:
    """The docstrings behind a dataclass's fields."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for item, after in zip(body.body, body.body[1:]):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            value = after.value if isinstance(after, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[item.target.id] = value.value
    return found


def _flag(item: Field, hints: dict[str, Any]) -> str:
    bare, marks = _bare(hints[item.name]), _marks(hints[item.name])
    name = next((m.name for m in marks if getattr(m, "name", None)), item.name)
    flag = name.replace("_", "-")
    if bare is bool:
        return f"--{flag}, --no-{flag}" if item.default is True else f"--{flag}"
    return f"--{flag} {_metavar(bare)}"


def _metavar(bare: Any) -> str:
    if typing.get_origin(bare) is Literal:
        return "|".join(map(str, typing.get_args(bare)))
    arguments = [a for a in typing.get_args(bare) if a not in (type(None), Ellipsis)]
    if typing.get_origin(bare) is tuple:
        return f"{_metavar(arguments[0])} ..."
    if arguments:
        return _metavar(arguments[0])
    return {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}.get(bare, "VALUE")


def _default(item: Field) -> str:
    value = item.default
    if value in (MISSING, None, "", ()) or isinstance(value, bool):
        return ""
    return f" (default: {value})"


def _marks(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if _marks(hint) else hint


def _is_group(hint: Any) -> bool:
    return is_dataclass(_bare(hint))


def _is_shown(hint: Any) -> bool:
    return tyro.conf.Suppress not in _marks(hint)


def _is_positional(hint: Any) -> bool:
    return any("Positional" in repr(mark) for mark in _marks(hint))
