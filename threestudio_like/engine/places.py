"""Places on this machine: the user's cache, and paths as users write them."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import stat
import sys
import tempfile
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError

NAME = "threestudio-like"
_SAID = "THREESTUDIO_LIKE_CACHE_SAID"
T = TypeVar("T")


def home_folder() -> Path | None:
    """The user's home; None where neither the environment nor the system knows one."""
    home = os.path.expanduser("~")
    return Path(home) if os.path.isabs(home) else None


def cache_folder() -> Path:
    """Where the program keeps what it can make again, not necessarily there yet: under
    $XDG_CACHE_HOME, on Windows %LOCALAPPDATA%, ~/.cache, or (where there is no home) the temporary
    directory."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):
        return Path(chosen) / NAME
    local = os.environ.get("LOCALAPPDATA", "")
    if os.name == "nt" and os.path.isabs(local):
        return Path(local) / NAME
    home = home_folder()
    return home / ".cache" / NAME if home is not None else _temporary_root() / _own_name()


@functools.cache
def writable_cache(name: str) -> Path | None:
    """A folder of the cache that can be written, made; the temporary directory's where the user's
    cannot be, which is said once with its remedy; None where there is none at all."""
    wanted = cache_folder() / name
    if cache_folder().parent == _temporary_root():
        # There is no home. Others may write in the temporary directory.
        found = _private_folder(name)
    elif _usable(wanted):
        return wanted
    else:
        found = _private_folder(name)
    where = f"{found} is used instead" if found is not None else "so every start compiles anew"
    _say_once(
        f"Warning: the cache {wanted} cannot be written, {where}. "
        "Set XDG_CACHE_HOME to a folder of yours that can be written"
    )
    return found


def user_path(path: str | Path) -> Path:
    """A path as the user wrote it, with "~" and "~name" for a home. Raises ConfigError where "~" is
    used and there is no home, or where it is no path."""
    try:
        text = os.fspath(path)
    except TypeError:
        kind = type(path).__name__
        raise ConfigError(
            f"must be a path, got a {kind}", "path", "Give a text or a Path"
        ) from None
    if not text.startswith("~"):
        return Path(text)
    if text == "~" or text[1:2] in ("/", os.sep):
        if home_folder() is None:
            raise ConfigError(
                "the home folder is not known", text, "Set HOME, or write the whole path"
            )
        return Path(os.path.expanduser(text))
    # A file may be called "~x"; a user of that name comes first, as in a shell.
    return Path(os.path.expanduser(text))


def expand_paths(options: T) -> T:
    """A dataclass of options, or a dictionary, with `user_path` in every path of it and of what it
    holds. Raises ConfigError."""
    if isinstance(options, dict):
        return {k: _expanded(v) for k, v in options.items()}  # type: ignore[return-value]
    if is_dataclass(options) and not isinstance(options, type):
        changes = {f.name: _expanded(getattr(options, f.name)) for f in fields(options)}
        return replace(options, **changes)
    return options


def _expanded(value: Any) -> Any:
    if isinstance(value, Path):
        return user_path(value) if str(value).startswith("~") else value
    if isinstance(value, (tuple, list)) and any(isinstance(v, Path) for v in value):
        return type(value)(_expanded(v) for v in value)
    if is_dataclass(value) and not isinstance(value, type):
        return expand_paths(value)
    return value


def _usable(folder: Path) -> bool:
    """Whether a folder can be made and written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _temporary_root() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return Path(os.sep)


def _own_name() -> str:
    number = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return f"{NAME}-{number}"


def _private_folder(name: str) -> Path | None:
    """A folder of this user alone in the temporary directory. What others could have put there is
    not used: compiled code would be run."""
    root = _temporary_root() / _own_name()
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        facts = os.lstat(root)
        mine = not hasattr(os, "getuid") or facts.st_uid == os.getuid()
        shared = os.name == "posix" and facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if stat.S_ISDIR(facts.st_mode) and mine and not shared and _usable(root / name):
            return root / name
        own = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return own
    except OSError:
        return None


def _say_once(text: str) -> None:
    """A line on standard error, once in this process and those that it starts."""
    if os.environ.get(_SAID) != text and sys.stderr is not None:
        os.environ[_SAID] = text
        print(f"{NAME}: {text}", file=sys.stderr)
