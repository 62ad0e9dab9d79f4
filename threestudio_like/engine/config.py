"""Typed configurations as nested dictionaries and YAML: printing, feeding back, and naming what
does not fit."""

from __future__ import annotations

import dataclasses
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import yaml

from .errors import ConfigError, InputError, did_you_mean
from .places import user_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


class OpenConfig(ABC):
    """A value of a typed configuration that holds typed configurations by registered names.
    It is read and printed through these methods, and never changed. Its keys are names of a
    registry: it is open to what plug-ins bring."""

    takes_unknown = False
    """Whether keys that the dataclass around it does not know are looked up here."""

    @abstractmethod
    def names(self) -> list[str]:
        """The keys that could be set."""

    @abstractmethod
    def updated(self, values: Mapping[str, Any], where: str) -> Self:
        """The same with values of a nested dictionary. `where` is the dotted place, for errors.
        Raises ConfigError."""

    @abstractmethod
    def plain(self) -> dict[str, Any]:
        """What was set, as plain YAML values."""


def to_dict(config: Any) -> Any:
    """Dataclasses, tuples and paths as plain YAML values; open parts that hold nothing are left
    out."""
    if isinstance(config, OpenConfig):
        return config.plain()
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        return {
            name: to_dict(value)
            for name, value in values.items()
            if not isinstance(value, OpenConfig) or value.plain()
        }
    if isinstance(config, (list, tuple)):
        return [to_dict(v) for v in config]
    return str(config) if isinstance(config, Path) else config


def update(config: T, values: dict[str, Any], where: str = "") -> T:
    """The configuration with the fields named in a nested dictionary. Raises ConfigError on unknown
    keys and wrong types."""
    if not values:
        return config
    changed: dict[str, Any] = {}
    hints = typing.get_type_hints(type(config))
    for key, value in values.items():
        name = f"{where}{key}"
        if key not in hints or not any(f.name == key for f in dataclasses.fields(config)):
            changed.update(_in_open_part(config, changed, key, value, where))
            continue
        current = changed.get(key, getattr(config, key))
        if isinstance(current, OpenConfig):
            if not isinstance(value, dict):
                raise ConfigError(f'"{name}" is a group of keys, not a value', "configuration")
            changed[key] = current.updated(value, f"{name}.")
        elif dataclasses.is_dataclass(current) and not isinstance(current, type):
            if not isinstance(value, dict):
                raise ConfigError(
                    f'"{name}" is a group of keys, not a value',
                    "configuration",
                    f"Its keys: {', '.join(f.name for f in dataclasses.fields(current))}",
                )
            changed[key] = update(current, value, f"{name}.")
        else:
            changed[key] = convert(value, hints[key], name)
    return dataclasses.replace(config, **changed)


def _in_open_part(
    config: Any, changed: dict[str, Any], key: str, value: Any, where: str
) -> dict[str, Any]:
    """A key that the dataclass itself does not know, in the part of it that is open to plug-ins.
    Raises ConfigError where there is none, or it does not know it either."""
    known = [f.name for f in dataclasses.fields(config)]
    for field in known:
        part = changed.get(field, getattr(config, field))
        if isinstance(part, OpenConfig) and part.takes_unknown:
            if key in part.names():
                return {field: part.updated({key: value}, where)}
            known = [*known, *part.names()]
    raise ConfigError(
        f'there is no key "{where}{key}"', "configuration", did_you_mean(str(key), known)
    )


def convert(value: Any, kind: Any, name: str) -> Any:
    """`value` (from YAML or text) as the annotated type. Raises ConfigError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        if type(value) in arguments:
            return value
        problems = []
        for option in sorted((a for a in arguments if a is not type(None)), key=lambda a: a is str):
            try:
                return convert(value, option, name)
            except ConfigError as problem:
                problems.append(problem)
        raise problems[0]
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise ConfigError(
            f'"{value}" is not a value of "{name}"',
            "configuration",
            did_you_mean(str(value), map(str, arguments)),
        )
    if origin is tuple:
        items = (
            value
            if isinstance(value, (list, tuple))
            else [v for v in str(value).replace(",", " ").split() if v]
        )
        inner = arguments[0] if arguments else str
        if (
            arguments
            and len(arguments) > 1
            and arguments[1] is not Ellipsis
            and len(items) != len(arguments)
        ):
            raise ConfigError(
                f'"{name}" wants {len(arguments)} values, got {len(items)}', "configuration"
            )
        return tuple(convert(v, inner, name) for v in items)
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "yes", "on", "1"):
            return True
        if str(value).lower() in ("false", "no", "off", "0"):
            return False
        raise ConfigError(f'"{name}" wants true or false, got "{value}"', "configuration")
    if kind in (int, float):
        try:
            return kind(value) if not isinstance(value, bool) else _refuse(name, kind, value)
        except (TypeError, ValueError):
            _refuse(name, kind, value)
    if kind is str:
        return str(value)
    if kind is Path and isinstance(value, (str, Path)):
        return user_path(value)
    return value


def _refuse(name: str, kind: type, value: Any) -> None:
    raise ConfigError(
        f'"{name}" wants {"a whole number" if kind is int else "a number"}, got "{value}"',
        "configuration",
    )


def set_dotted(config: T, key: str, text: str) -> T:
    """The configuration with one value, by its dotted name and as the command line gives it. Raises
    ConfigError."""
    names = key.split(".")
    values: dict[str, Any] = {names[-1]: text}
    for name in reversed(names[:-1]):
        values = {name: values}
    return update(config, values)


def dotted(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every value by its dotted name."""
    out: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if isinstance(value, OpenConfig):
            out.update(_flat(value.plain(), f"{prefix}{f.name}."))
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            out.update(dotted(value, f"{prefix}{f.name}."))
        else:
            out[prefix + f.name] = value
    return out


def _flat(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            out.update(_flat(value, f"{prefix}{name}."))
        else:
            out[prefix + name] = value
    return out


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping. Raises InputError."""
    if not path.is_file():
        raise InputError("there is no such file", str(path), "Give a run.yaml")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"is not YAML ({str(error).splitlines()[0]})",
            str(path),
            "Correct it, or print a fresh one with --print-config",
        ) from None
    if not isinstance(content, dict):
        raise InputError("holds no keys", str(path), "Give a run.yaml")
    return content


def write_yaml(content: Any) -> str:
    """YAML text, keys in the order given."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=118)


def from_dict(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """A configuration of nested values. Raises ConfigError on unknown keys and wrong types."""
    return update(kind(), dict(values))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """A YAML mapping from its text. Raises InputError."""
    content = yaml.safe_load(text)
    if not isinstance(content, dict):
        raise InputError("holds no keys", where, "Give a run.yaml")
    return content
