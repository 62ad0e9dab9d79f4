"""The command that makes a run again, and the values in which its configuration differs from the
defaults."""

from __future__ import annotations

import shlex
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..engine.config import dotted
from ..reports import Change

PROGRAM = "threestudio-like"
LEFT_OUT = (
    *("out", "resume", "force", "quiet", "json", "viewer", "print_config", "save_embeddings"),
    *("preview_seconds", "log_every", "keep", "checkpoint_steps", "strict", "set", "pick"),
)
"""Options that decide nothing of what is made; `set` is written by its own names."""
SAID = (("refine", "prior"),)
"""Options of a command that are written also where they are the default, which is no fixed one."""
_IN_PYTHON: ContextVar[Mapping[str, Any]] = ContextVar(
    "objects made in Python", default=MappingProxyType({})
)


@contextmanager
def made_in_python(objects: Mapping[str, Any]) -> Iterator[None]:
    """While a command is carried out with objects that no option can name."""
    token = _IN_PYTHON.set({k: v for k, v in objects.items() if v is not None})
    try:
        yield
    finally:
        _IN_PYTHON.reset(token)


def is_from_python(name: str) -> bool:
    """Whether the command that is carried out has an object of this name that was made in
    Python."""
    return name in _IN_PYTHON.get()


def made_object(name: str) -> Any:
    """The object of this name that was made in Python for the command that is carried out; None
    where there is none."""
    return _IN_PYTHON.get().get(name)


def repeat_line(command: str, options: Any, threads: int | None, folder: Path) -> str:
    """The command line that makes a run again, in a new folder; where a part of it was made in
    Python, a line above says what cannot be named.

    Args:
        threads: of the processor: the same number gives the same bytes.
        folder: of the run, whose run.yaml holds a configuration that was made in Python.
    """
    words = command_words(command, options)
    if "--seed" not in words and hasattr(options, "run"):
        words += ["--seed", str(options.run.seed)]
    if threads is not None and "--threads" not in words:
        words += ["--threads", str(threads)]
    objects = _IN_PYTHON.get()
    if "system" in objects and "--config" not in words:
        words += ["--config", str(folder / "run.yaml")]
    line = shlex.join([PROGRAM, command, *words])
    if not objects:
        return line
    return f"# Made from Python, with its own {' and '.join(objects)}; the nearest command:\n{line}"


def command_words(command: str, options: Any) -> list[str]:
    """The arguments of a command that give these options; those that only say where a run lies and
    what it shows are left out."""
    first, rest = [], []
    for name, hint, value, default in _options(type(options), options):
        marks = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
        if name in LEFT_OUT:
            continue
        if any("Positional" in repr(mark) for mark in marks):
            first.append((value, value == default))
        elif value != default or (command, name) in SAID:
            flag = next((m.name for m in marks if getattr(m, "name", None)), name)
            rest += _flagged(flag.replace("_", "-"), value)
    while first and first[-1][1]:
        first.pop()
    before = [word for value, _ in first for word in _texts(value)]
    dotted_values = [w for k, v in getattr(options, "set", {}).items() for w in (f"--{k}", str(v))]
    return [*before, *rest, *dotted_values]


def _options(kind: type, options: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    """Name, type hint, value and default of every option, those of groups among them."""
    hints = typing.get_type_hints(kind, include_extras=True)
    plain: Any = kind()
    for item in fields(kind):
        value, default = getattr(options, item.name), getattr(plain, item.name)
        if is_dataclass(value) and not isinstance(value, type):
            yield from _options(type(value), value)
        else:
            yield item.name, hints[item.name], value, default


def _flagged(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    texts = _texts(value)
    return [f"--{flag}", *texts] if texts else []


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(v) for v in value] if isinstance(value, tuple | list) else [str(value)]


def differences(config: Any, base: Any) -> list[Change]:
    """The values of a method's configuration that are not its class's defaults.

    Args:
        base: the preset that the configuration began with; what differs from it is the user's.
    """
    try:
        plain = dotted(type(config)())
    except TypeError:
        return []
    began = dotted(base) if type(base) is type(config) else {}
    found = []
    for name, value in dotted(config).items():
        default = plain.get(name)
        if value != default:
            by = "you" if value != began.get(name, value) else "preset"
            found.append(Change(name=name, value=value, default=default, by=by))
    return sorted(found, key=lambda change: change.by != "you")
