"""The help of a command: its options in groups, each with what it is for, and two examples."""

from __future__ import annotations

import ast
import inspect
import shlex
import shutil
import textwrap
import typing
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import tyro

from .registry import PROGRAM, examples_of, options_of

COLUMN = 26
"""Where the descriptions begin."""


@dataclass(frozen=True)
class OptionRow:
    """An option as it is written, its default (or ""), and what it does."""

    name: str
    default: str
    text: str


@dataclass(frozen=True)
class OptionGroup:
    """Options that belong together. `title` is "" for what stands without a flag, "Options" for the
    command's own; of a shared group `purpose` says what it is for."""

    title: str
    purpose: str
    rows: list[OptionRow]


def option_groups(command: str) -> list[OptionGroup]:
    """The options of a command in the order of its help. Raises ConfigError where there is no such
    command."""
    kind = options_of(command)
    hints = typing.get_type_hints(kind, include_extras=True)
    plain = [f for f in fields(kind) if not _is_group(hints[f.name]) and _is_shown(hints[f.name])]
    positional = [f for f in plain if _is_positional(hints[f.name])]
    texts = documents(kind)
    groups = []
    if positional:
        rows = [_row(f.name.upper(), f, texts) for f in positional]
        groups.append(OptionGroup("", "", rows))
    own = [_row(_flag(f, hints), f, texts) for f in plain if f not in positional]
    own.append(OptionRow("-h, --help", "", "Show this help and stop."))
    groups.append(OptionGroup("Options", "", own))
    for item in fields(kind):
        if _is_group(hints[item.name]):
            inner = _bare(hints[item.name])
            inside = typing.get_type_hints(inner, include_extras=True)
            known = documents(inner)
            rows = [_row(_flag(f, inside), f, known) for f in fields(inner)]
            groups.append(OptionGroup(item.name, " ".join((inner.__doc__ or "").split()), rows))
    return groups


def help_of(command: str) -> str:
    """The help text of a command, as wide as the terminal but at most 100 columns."""
    kind = options_of(command)
    width = min(100, max(60, shutil.get_terminal_size((100, 24)).columns))
    groups = option_groups(command)
    places = groups[0].rows if not groups[0].title else []
    usage = "".join(f"[{row.name}] " for row in places)
    lines = [f"usage: {PROGRAM} {command} {usage}[options]", ""]
    lines += textwrap.wrap(" ".join((kind.__doc__ or "").split()), width)
    for group in groups:
        head = textwrap.wrap(group.purpose, width) if group.purpose else [group.title]
        lines += ["", *(line for line in head if line), *_lines(group.rows, width)]
    lines += ["", "examples:", *(f"  {example}" for example in examples_of(command))]
    return "\n".join(lines)


def _row(name: str, item: Field, texts: dict[str, str]) -> OptionRow:
    return OptionRow(name, _default(item), " ".join(texts.get(item.name, "").split()))


def _lines(rows: list[OptionRow], width: int) -> list[str]:
    lines = []
    for row in rows:
        text = row.text + (f" (default: {row.default})" if row.default else "")
        wrapped = textwrap.wrap(text, width - COLUMN) or [""]
        head = f"  {row.name}"
        if len(head) + 2 > COLUMN:
            lines.append(head)
            head = ""
        lines.append(f"{head:<{COLUMN}}{wrapped[0]}")
        lines += [" " * COLUMN + line for line in wrapped[1:]]
    return lines


@cache
def documents(kind: type) -> dict[str, str]:
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
    return str(value)


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


OWN_PLACE = {
    ("refine", ""): "--prompt",
    ("evaluate", ""): "--prompt",
    ("export", ""): "--to",
    ("mesh", ""): "--out",
    ("mesh", "info"): "",
    ("mesh", "register"): "--onto",
    ("batch", ""): "--store",
    ("train", ""): "--out",
    ("train", "concept"): "--images",
}
"""Command and the first word behind it, or "" for all others -> the option that a word too many was
most likely meant for."""
OF_NUMBERS = {"mesh": "--faces", "resume": "--steps"}
"""Command -> the option that a number too many was most likely meant for."""


def place_of(command: str, standing: list[str], word: str) -> str:
    """The option that a word was meant for which stands behind a command without one, as a remedy;
    "" where there is no guess.

    Args:
        standing: all that stands without an option, `word` among it.
    """
    from ..meshes.io.formats import is_mesh_file

    name = OWN_PLACE.get((command, standing[0]), OWN_PLACE.get((command, ""), ""))
    if word.isdigit():
        name = OF_NUMBERS.get(command, "")
    elif command == "evaluate" and is_mesh_file(Path(word)):
        name = "--truth"
    elif command == "export" and Path(word).suffix:
        word = Path(word).suffix[1:]
    return f"Did you mean {name} {shlex.quote(word)}?" if name else ""
