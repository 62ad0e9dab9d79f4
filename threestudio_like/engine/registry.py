"""Typed registries: every kind of thing that can be added (a system, a guidance, a representation,
a prior, a format) has one, filled by the package, by decorators, by entry points and by plug-in
files."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Generic, TypeVar

from .errors import ConfigError, InputError, did_you_mean
from .places import user_path

T = TypeVar("T")
_reading = threading.RLock()
"""Held while plug-ins are read, so that another thread does not look for what they bring before
they have brought it."""
PLUGINS = "THREESTUDIO_LIKE_PLUGINS"
"""Environment variable with Python files that register something, separated as PATH is."""


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A plug-in that cannot be used, and why."""

    name: str
    group: str
    reason: str


class Registry(Generic[T]):
    """The things of one kind, by name.

    A plug-in never replaces what the package brings, and one that cannot be loaded is kept aside
    with its reason (`broken`) and stops nothing else.

    Args:
        kind: what an entry is, in the singular, for messages ("guidance").
        group: the entry point group ("threestudio_like.guidance").
        accepts: the class of entries; an entry of another class is broken.
        built_in: what the package brings: name -> the entry, or "package.module:attribute" where it
            is to be imported only when it is asked for.
        aliases: other name -> name.

    Example:
        >>> GUIDANCES: Registry[GuidanceKind] = Registry(            # doctest: +SKIP
        ...     "guidance", "threestudio_like.guidance", GuidanceKind, {"clip": "….picture:CLIP"})
    """

    def __init__(
        self,
        kind: str,
        group: str,
        accepts: type[T],
        built_in: Mapping[str, str | T] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.group, self.accepts = kind, group, accepts
        self._built_in: dict[str, str | T] = dict(built_in or {})
        self._aliases = dict(aliases or {})
        self._added: dict[str, T] = {}
        self._broken: list[Broken] = []
        self._points_read = False

    def add(self, name: str, entry: T) -> T:
        """Add an entry. Raises ConfigError where the name is taken or the entry is of another
        kind."""
        if not isinstance(entry, self.accepts):
            raise ConfigError(
                f"is a {type(entry).__name__}, not a {self.accepts.__name__}",
                f'{self.kind} "{name}"',
            )
        if name in self._built_in or name in self._aliases:
            raise ConfigError(f"there is a {self.kind} of this name already", f'"{name}"')
        if self._added.setdefault(name, entry) is not entry:
            raise ConfigError(f"two plug-ins bring a {self.kind} of this name", f'"{name}"')
        return entry

    def names(self) -> list[str]:
        """All names: the package's own in their order, then those of plug-ins."""
        self._read_points()
        return [*self._built_in, *(n for n in self._added if n not in self._built_in)]

    def canonical(self, name: str) -> str:
        """The name that an alias stands for; any other name as it is. Hyphens and underscores are
        one, as on the command line."""
        for spelt in dict.fromkeys((name, name.replace("_", "-"), name.replace("-", "_"))):
            if spelt in self._aliases:
                return self._aliases[spelt]
            if spelt in self._built_in or spelt in self._added:
                return spelt
        return name

    def __contains__(self, name: object) -> bool:
        """Whether a name or an alias can be asked for."""
        if not isinstance(name, str):
            return False
        if self.canonical(name) in self._built_in:
            return True
        self._read_points()
        return self.canonical(name) in self._added

    def check(self, name: str, where: str = "") -> str:
        """The canonical name. Raises ConfigError as `get` does, but imports nothing of the
        package's own."""
        if name not in self:
            self.get(name, where)
        return self.canonical(name)

    def get(self, name: str, where: str = "") -> T:
        """The entry of a name or an alias. Raises ConfigError with the nearest name where there is
        none."""
        if self.canonical(name) not in self._built_in:
            self._read_points()
        name = self.canonical(name)
        if name in self._built_in:
            entry = self._built_in[name]
            if not isinstance(entry, str):
                return entry
            module, _, attribute = entry.partition(":")
            return getattr(importlib.import_module(module), attribute)
        if name in self._added:
            return self._added[name]
        for broken in self._broken:
            if broken.name == name:
                raise ConfigError(
                    f'the {self.kind} "{name}" is a plug-in that cannot be used: {broken.reason}',
                    where,
                    "Repair or remove the package that provides it",
                )
        raise ConfigError(
            f'there is no {self.kind} "{name}"', where, did_you_mean(name, self.names())
        )

    def items(self) -> Iterator[tuple[str, T]]:
        """Names and entries."""
        for name in self.names():
            yield name, self.get(name)

    def broken(self) -> list[Broken]:
        """Plug-ins that cannot be used."""
        self._read_points()
        return list(self._broken)

    def _read_points(self) -> None:
        with _reading:
            read_plugin_files()
            if self._points_read:
                return
            self._points_read = True
            for point in entry_points(group=self.group):
                self._read_point(point)

    def _read_point(self, point: EntryPoint) -> None:
        try:
            loaded = point.load()
            # A module whose decorator registers the name will do as well as an entry.
            if isinstance(loaded, self.accepts) or point.name not in self._added:
                self.add(point.name, loaded)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            self._broken.append(Broken(name=point.name, group=self.group, reason=reason))


_read_files: set[Path] = set()
_broken_files: dict[Path, str] = {}
_read_text = ""


def read_plugin_files() -> None:
    """Run the files that the environment names, each once. One that fails is told in a line and
    kept aside with its reason (`broken_files`)."""
    global _read_text
    with _reading:
        text = os.environ.get(PLUGINS, "")
        if text == _read_text:
            # Asked for every entry that is not the package's own: ten thousand times by a batch.
            return
        _read_text = text
        for path in _named_files():
            if path in _broken_files:
                continue
            try:
                read_plugin_file(path)
            except InputError as error:
                _broken_files[path] = error.what
                print(f"Warning: {PLUGINS}: {error.line()}. It is left out.", file=sys.stderr)


def plugin_files() -> list[str]:
    """The files that the environment names and that can be used, for whoever writes down what a run
    was made with."""
    return [str(path) for path in _named_files() if path not in _broken_files]


def broken_files() -> list[Broken]:
    """The files that the environment names and that cannot be used."""
    read_plugin_files()
    return [
        Broken(name=str(path), group=PLUGINS, reason=reason)
        for path, reason in _broken_files.items()
    ]


def _named_files() -> list[Path]:
    named = filter(None, os.environ.get(PLUGINS, "").split(os.pathsep))
    return [user_path(text).resolve() for text in named]


def read_plugin_file(path: Path) -> None:
    """Run a Python file that registers something, once in a process.

    Raises:
        InputError: it is not there, or fails.
    """
    path = user_path(path).resolve()
    with _reading:
        if path in _read_files:
            return
        if not path.is_file():
            raise InputError(
                "there is no such file", str(path), "Give a Python file with --plugins"
            )
        _read_files.add(path)
        _run_plugin_file(path)


def _run_plugin_file(path: Path) -> None:
    name = f"threestudio_like_plugin_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError("is not a Python file", str(path), "Give a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        _read_files.discard(path)
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"the plug-in cannot be used ({reason})", str(path)) from None
