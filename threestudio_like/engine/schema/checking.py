"""The check of every value that comes from outside, against the annotations of the dataclass that
it belongs to; see `engine.config`."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import numpy as np

from ..errors import ConfigError, did_you_mean
from ..places import user_path
from .bounds import Bounds, Rule, WrittenSchedule, shown
from .former import former_keys

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


_WHOLE = re.compile(r"[-+]?[0-9]+\Z")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def from_dict(kind: type[T], values: Any, where: str = "configuration") -> T:
    """A configuration of a class; keys that are not given have the class's own values.

    Args:
        values: a nested dictionary.
        where: what an error names as its place, for instance a file.

    Raises:
        ConfigError: an unknown or missing key, a value of the wrong type or out of its range.
    """
    return _from_dict(kind, values, "", where=where)


def update(config: T, values: Any, where: str = "", *, prefix: str = "") -> T:
    """A copy of the configuration with the values of a nested dictionary; arguments and errors as
    of `from_dict`. Errors name a key behind `prefix`, the dotted place of the configuration."""
    return _update(config, values, prefix, where=where or "configuration")


def checked(config: T, where: str = "") -> T:
    """The same configuration after the check of everything in it: for one that was made in Python.
    Numbers of numpy become plain ones. Raises ConfigError."""
    return update(
        config, {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}, where
    )


def convert(value: Any, annotation: Any, name: str, where: str = "configuration") -> Any:
    """`value` (from YAML, Python or text) as the annotated type.

    Raises:
        ConfigError: it is of another type, not finite, or out of the range of the annotation.
    """
    value = plain(value)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if origin is Annotated:
        return _annotated(value, arguments, name, where=where)
    if origin in (typing.Union, types.UnionType):
        return _one_of(value, arguments, name, where=where)
    if origin is typing.Literal:
        return _literal(value, arguments, name, where=where)
    if origin is tuple:
        return _tuple(value, arguments, name, where=where)
    if origin in (dict, Mapping) or annotation is dict:
        return _dictionary(value, arguments, name, where=where)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        if isinstance(value, annotation):
            own = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return _update(value, own, f"{name}.", where=where)
        return _from_dict(annotation, value, f"{name}.", where=where)
    if annotation is bool:
        return _truth(value, name, where)
    if annotation in (int, float):
        return _number(value, annotation, name, where=where)
    if annotation is str:
        if isinstance(value, str):
            return value
        raise wrong(value, "a text", name, where=where, remedy="Put it in quotes")
    if annotation is Path:
        if isinstance(value, Path) or (isinstance(value, str) and "\0" not in value):
            return user_path(value)
        raise wrong(value, "a path", name, where=where)
    if annotation is type(None) and value is None:
        return None
    if isinstance(annotation, type) and isinstance(value, annotation):
        return value
    raise wrong(value, f"a {getattr(annotation, '__name__', annotation)}", name, where=where)


def _from_dict(kind: type[T], values: Any, prefix: str, where: str) -> T:
    required = [
        f.name
        for f in dataclasses.fields(kind)
        if f.init and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if not required:
        return _update(kind(), values, prefix, where=where)
    _check_group(kind, values, prefix, where=where)
    missing = [name for name in required if name not in values]
    if missing:
        raise ConfigError(f'"{prefix}{missing[0]}" is missing', where)
    hints = _hints(kind)
    first = {n: convert(values[n], hints[n], prefix + n, where=where) for n in required}
    rest = {n: value for n, value in values.items() if n not in required}
    return _update(kind(**first), rest, prefix, where=where)


def _update(config: T, values: Any, prefix: str, where: str) -> T:
    kind = type(config)
    _check_group(kind, values, prefix, where=where)
    hints, names = _hints(kind), _names(kind)
    values = _in_present_keys(kind, values, prefix, where=where)
    changed: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in names:
            changed.update(
                _in_open_part(config, changed, key, value=value, prefix=prefix, where=where)
            )
            continue
        current = changed.get(key, getattr(config, key))
        if isinstance(current, OpenConfig) and not isinstance(value, OpenConfig):
            if not isinstance(value, Mapping):
                raise wrong(value, "a group of keys", name, where=where)
            changed[key] = current.updated(value, f"{name}.")
        elif is_config(current) and not is_config(value) and value is not None:
            changed[key] = _update(current, value, f"{name}.", where=where)
        else:
            changed[key] = convert(value, hints[key], name, where=where)
    return dataclasses.replace(config, **changed) if changed else config


def _in_present_keys(
    kind: type, values: Mapping[str, Any], prefix: str, where: str
) -> Mapping[str, Any]:
    """The values of a group without keys of earlier versions; present keys beside them win."""
    former = former_keys(kind)
    old = [key for key in values if key in former and former[key].when(values[key])]
    if not old:
        return values
    now: dict[str, Any] = {}
    for key in old:
        value = convert(values[key], former[key].kind, f"{prefix}{key}", where=where)
        now.update(former[key].now(value))
    return {**now, **{key: value for key, value in values.items() if key not in old}}


def _in_open_part(
    config: Any, changed: dict[str, Any], key: Any, value: Any, prefix: str, where: str
) -> dict[str, Any]:
    """A key that the dataclass itself does not know, in the part of it that is open to plug-ins.
    Raises ConfigError where there is none, or it does not know it either."""
    known = _names(type(config))
    for field in known:
        part = changed.get(field, getattr(config, field))
        if isinstance(part, OpenConfig) and part.takes_unknown:
            if key in part.names():
                return {field: part.updated({key: value}, prefix)}
            known = [*known, *part.names()]
    raise ConfigError(f'there is no key "{prefix}{key}"', where, did_you_mean(str(key), known))


def _check_group(kind: type, values: Any, prefix: str, where: str) -> None:
    if not isinstance(values, Mapping):
        group = f'"{prefix[:-1]}"' if prefix else "a configuration"
        keys = ", ".join(_names(kind)[:12])
        raise ConfigError(f"{group} is a group of keys, not a value", where, f"Its keys: {keys}")


def _names(kind: type) -> list[str]:
    return [f.name for f in dataclasses.fields(kind) if f.init]


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def is_config(value: Any) -> bool:
    """Whether a value is an instance of a dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def plain(value: Any) -> Any:
    """numpy's numbers, truths and texts as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def wrong(value: Any, wanted: str, name: str, where: str, remedy: str = "") -> ConfigError:
    """The error about a value of another type."""
    got = "nothing" if value is None else f'"{shown(value)}"'
    return ConfigError(f'"{name}" wants {wanted}, got {got}', where, remedy)


def _annotated(value: Any, arguments: tuple[Any, ...], name: str, where: str) -> Any:
    inner, *rules = arguments
    finite = all(rule.finite for rule in rules if isinstance(rule, Bounds))
    if any(isinstance(rule, WrittenSchedule) for rule in rules) and type(value) in (int, float):
        value = repr(_number(value, type(value), name, where=where))
    if inner is float and not finite:
        out: Any = _number(value, float, name, where=where, finite=False)
    else:
        out = convert(value, inner, name, where=where)
    for rule in rules:
        if isinstance(rule, Rule):
            rule.check(out, name, where)
    return out


def _one_of(value: Any, options: tuple[Any, ...], name: str, where: str) -> Any:
    """The value as the first option that takes it: one of its own type before all others, a text
    last of all."""
    if value is None and type(None) in options:
        return None

    def rank(option: Any) -> int:
        plain = typing.get_args(option)[0] if typing.get_origin(option) is Annotated else option
        plain = typing.get_origin(plain) or plain
        if isinstance(plain, type) and type(value) is plain:
            return 0
        return 2 if plain is str else 1

    problems: list[ConfigError] = []
    for option in sorted((o for o in options if o is not type(None)), key=rank):
        try:
            return convert(value, option, name, where=where)
        except ConfigError as problem:
            problems.append(problem)
    raise problems[0]


def _literal(value: Any, options: tuple[Any, ...], name: str, where: str) -> Any:
    for option in options:
        if type(value) is type(option) and value == option:
            return option
        if isinstance(value, str) and not isinstance(option, str) and value == str(option):
            return option
    raise ConfigError(
        f'"{shown(value)}" is not a value of "{name}"',
        where,
        did_you_mean(shown(value), map(str, options)),
    )


def _tuple(value: Any, arguments: tuple[Any, ...], name: str, where: str) -> tuple[Any, ...]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if all(_is_single(kind) for kind in arguments):
        # Of single values a line of text will do, and of one the value itself.
        if isinstance(value, str):
            value = [v for v in value.replace(",", " ").split() if v]
        elif type(value) in (int, float):
            value = [value]
    if not isinstance(value, (list, tuple)):
        raise wrong(value, "a list of values", name, where=where)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise ConfigError(f'"{name}" wants {len(arguments)} values, got {len(value)}', where)
    return tuple(convert(v, inner, name, where=where) for v, inner in zip(value, arguments))


def _is_single(annotation: Any) -> bool:
    """Whether a value of the annotation is one word."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    grouped = typing.get_origin(annotation) in (tuple, dict, Mapping)
    return not grouped and not dataclasses.is_dataclass(annotation)


def _dictionary(value: Any, arguments: tuple[Any, ...], name: str, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong(value, "a group of keys", name, where=where)
    key_kind, kind = arguments or (str, Any)
    return {
        convert(k, key_kind, name, where=where): convert(v, kind, f"{name}.{k}", where=where)
        for k, v in value.items()
    }


def _truth(value: Any, name: str, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
        return value.lower() in _TRUE
    raise wrong(value, "true or false", name, where=where)


def _number(value: Any, kind: type, name: str, where: str, finite: bool = True) -> int | float:
    wanted = "a whole number" if kind is int else "a number"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise wrong(value, wanted, name, where=where)
    if isinstance(value, str) and "_" in value:
        raise wrong(value, wanted, name, where=where)
    try:
        if kind is int and isinstance(value, str) and _WHOLE.match(value.strip()):
            return int(value)
        if kind is int and isinstance(value, int):
            return value
        number = float(value)
    except (ValueError, OverflowError):
        raise wrong(value, wanted, name, where=where) from None
    if not math.isfinite(number):
        if finite or kind is int:
            raise wrong(value, "a finite number", name, where=where)
        return number
    if kind is int:
        if number != int(number):
            raise wrong(value, wanted, name, where=where)
        return int(number)
    return number
