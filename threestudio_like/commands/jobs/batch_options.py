"""A command's options by the keys of a manifest, and back."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...engine.config import convert, to_dict
from ...engine.errors import ConfigError, did_you_mean
from ...runs.options import default_options, regroup
from ...runs.written import options_in
from ..parsing import positionals_of
from ..registry import command_names, is_command, is_configured, options_of

NOT_IN_A_BATCH: tuple[str, ...] = (
    "batch",
    "view",
    "doctor",
    "translate",
    "completion",
    "vocabulary",
    "samples",
    "resume",
)
NOT_IN_A_BATCH += ("export", "mesh", "train")
"""Commands that make no item: they show, convert beside the user's files, or train for days."""
OWN = {
    *("out", "resume", "quiet", "json", "viewer", "force", "log_every", "preview_seconds"),
    *("checkpoint_steps", "save_embeddings", "print_config", "threads", "ranks", "plugins", "pick"),
    *("port", "host"),
}
"""Options that the batch itself decides, or that mean nothing in one."""
TEXTS_THAT_NAME_FILES = ("picture", "prior", "depth", "normal", "captioner", "segmenter")
"""Options of type text whose value may be a file or a folder."""
PATHS_OF_THE_HUB = ("lora", "ip_adapter")
"""Options of type path whose value may be a hub id."""


@dataclass(frozen=True, kw_only=True)
class OptionRow:
    """An option: its flat name (`runs.options.flat`), its type, whether it stands without a
    flag."""

    name: str
    kind: Any
    positional: bool

    @property
    def several(self) -> bool:
        """Whether its value is a list."""
        return typing.get_origin(self.kind) is tuple

    @property
    def paths(self) -> bool:
        """Whether its value is a path, or several."""
        return Path in (self.kind, *typing.get_args(self.kind))


@cache
def rows_of(command: str) -> dict[str, OptionRow]:
    """A command's options by the names that a manifest may use. Raises ConfigError on a command
    that is not there, or that makes no items."""
    if command in NOT_IN_A_BATCH:
        raise ConfigError(f'"{command}" makes no items', "--command")
    if not is_command(command):
        near = did_you_mean(command, sorted(set(command_names()) - set(NOT_IN_A_BATCH)))
        raise ConfigError(f'there is no command "{command}"', "--command", near)
    kind = options_of(command)
    return _rows(kind, positionals_of(kind))


@cache
def _unsaid(command: str) -> Any:
    """A command's options as they are when nothing is said."""
    return default_options(options_of(command))


def _rows(kind: type, positional: list[str]) -> dict[str, OptionRow]:
    found: dict[str, OptionRow] = {}
    for name, flag, bare in options_in(kind):
        if name != "set":
            row = OptionRow(name=name, kind=bare, positional=name in positional)
            found[name] = found[flag.replace("-", "_")] = row
    return found


def takes_several(command: str, key: str) -> bool:
    """Whether a key of a manifest has a list as its value."""
    try:
        row = rows_of(command).get(key.replace("-", "_"))
    except ConfigError:
        return False
    return row is not None and row.several


def read_options(
    command: str, values: Mapping[str, Any], folder: Path, place: Callable[[str], str]
) -> Any:
    """The options of one item.

    Args:
        values: by the keys of the manifest.
        folder: that relative paths begin at.
        place: how an error names the place of a key.

    Raises:
        ConfigError: a key or a value that does not fit.
    """
    rows = rows_of(command)
    chosen: dict[str, Any] = {}
    dotted: dict[str, str] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name in OWN:
            raise ConfigError("is decided by the batch itself", place(key), "Leave it out")
        if name in rows:
            row = rows[name]
            if row.name in chosen:
                raise ConfigError("is given twice", place(key))
            chosen[row.name] = _below(_value(value, row, place(key)), row, folder)
        elif is_configured(command) and ("." in name or name in _undotted(command)):
            if isinstance(value, (dict, list)) or value is None:
                raise ConfigError("wants one value", place(key))
            dotted[name] = str(value)
        else:
            known = [*rows, "command", "seeds", "overrides"]
            raise ConfigError(
                "there is no such option",
                place(key),
                did_you_mean(name, sorted(set(known) - OWN)),
            )
    options = regroup(_unsaid(command), chosen)
    if dotted:
        options = regroup(options, {"set": dotted})
    for row in rows.values():
        if row.positional and row.kind is Path and row.name not in chosen:
            raise ConfigError("is missing", place(row.name), f"{command} wants one")
    return options


def _undotted(command: str) -> set[str]:
    from ..parsing import undotted

    return undotted(command)


def _value(value: Any, row: OptionRow, where: str) -> Any:
    if row.several and isinstance(value, str) and {str, Path} & set(typing.get_args(row.kind)):
        # One text or path, which may hold spaces, is a list of one.
        value = [value]
    try:
        return convert(value, row.kind, row.name, where)
    except ConfigError as error:
        what = error.what.replace(f'"{row.name}" ', "", 1)
        raise ConfigError(what, where, error.remedy) from None


def _below(value: Any, row: OptionRow, folder: Path) -> Any:
    if row.paths and isinstance(value, Path):
        return _at_home(row.name, value, folder)
    if row.paths and isinstance(value, tuple):
        return tuple(_at_home(row.name, p, folder) for p in value)
    if row.name in TEXTS_THAT_NAME_FILES and isinstance(value, str) and value:
        path = folder / value
        return str(path) if _exists(path) else value
    return value


def _at_home(name: str, path: Path, folder: Path) -> Path:
    """A path of a manifest from the root; a hub id as it is. Raises ModelError."""
    local = folder / path
    if name in PATHS_OF_THE_HUB and not _exists(local) and not _exists(local.parent):
        from ...priors.personal.from_hub import HubPart

        return local if HubPart.of(path) is None else path
    return local


def is_hub_id(name: str, path: Path) -> bool:
    """Whether an option's path, as `read_options` leaves it, is one on the hub."""
    return name in PATHS_OF_THE_HUB and not path.is_absolute()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def paths_in(values: Mapping[str, Any]) -> dict[str, list[Path]]:
    """The files and folders that options name, by the option; `values` as `given` has them."""
    found: dict[str, list[Path]] = {}
    for name, value in values.items():
        if isinstance(value, Path):
            found[name] = [value]
        elif isinstance(value, tuple) and value and isinstance(value[0], Path):
            found[name] = list(value)
        elif name in TEXTS_THAT_NAME_FILES and value and _exists(Path(value)):
            found[name] = [Path(value)]
    return found


def check_paths(
    command: str, paths: Mapping[str, list[Path]], keys: Iterable[str], place: Callable[[str], str]
) -> None:
    """Raise ConfigError where one of `paths_in` is not there; `keys` are the manifest's own."""
    rows = rows_of(command)
    for name, own in paths.items():
        for path in own:
            if not _exists(path) and not is_hub_id(name, path):
                key = next((k for k in keys if rows.get(k.replace("-", "_")) is rows[name]), name)
                raise ConfigError("there is no such file", place(key), str(path)[-120:])


def plain_values(
    values: Mapping[str, Any], references: Mapping[str, list[dict[str, Any] | str]]
) -> dict[str, Any]:
    """The options that differ from their defaults, as `given` has them, as plain values; files by
    their `references`, and what is on the hub by its id."""
    plain: dict[str, Any] = {}
    for name, value in values.items():
        if name in OWN or name == "set":
            continue
        if name in references:
            own = references[name]
            plain[name] = own if isinstance(value, tuple) else own[0]
        else:
            plain[name] = to_dict(value)
    return plain


def options_from(
    command: str, values: Mapping[str, Any], dotted: Mapping[str, str], inputs: Mapping[str, Path]
) -> Any:
    """The options of `plain_values`, with files where `inputs` has them by their digests. Raises
    ConfigError."""
    rows = rows_of(command)
    chosen: dict[str, Any] = {}
    for name, value in values.items():
        if name not in rows:
            raise ConfigError(f'"{command}" has no option "{name}"', "specification")
        if isinstance(value, dict):
            value = _local(value, inputs)
        elif isinstance(value, list):
            value = [_local(v, inputs) if isinstance(v, dict) else v for v in value]
        chosen[name] = _value(value, rows[name], "specification")
    options = regroup(_unsaid(command), chosen)
    return regroup(options, {"set": dict(dotted)}) if dotted else options


def _local(reference: Mapping[str, Any], inputs: Mapping[str, Path]) -> str:
    folder = inputs.get(reference["file"], Path(reference["file"]))
    return str(folder if reference.get("folder") else folder / reference["name"])
