"""Typed configurations as nested dictionaries and YAML, with one check of everything that comes
from outside: the command line, YAML files, Python, and records beside models and checkpoints.

A value is checked against its field's annotation: the type, what `engine.schema.bounds` says of it,
and that it is finite. What is written comes back equal.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .errors import ConfigError, InputError, did_you_mean
from .schema.checking import (
    OpenConfig,
    checked,
    convert,
    from_dict,
    is_config,
    plain,
    update,
    wrong,
)
from .schema.yaml_text import parse_document, read_text, write_document

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def to_dict(config: Any) -> Any:
    """Dataclasses, tuples, paths and numpy's numbers as plain YAML values; open parts that hold
    nothing are left out. Raises ConfigError on what has no plain value."""
    if isinstance(config, OpenConfig):
        return config.plain()
    if is_config(config):
        values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        return {
            name: to_dict(value)
            for name, value in values.items()
            if not isinstance(value, OpenConfig) or value.plain()
        }
    if isinstance(config, Mapping):
        return {key: to_dict(value) for key, value in config.items()}
    if isinstance(config, np.ndarray):
        return to_dict(config.tolist())
    if isinstance(config, (list, tuple)):
        return [to_dict(value) for value in config]
    if isinstance(config, Path):
        return str(config)
    value = plain(config)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{value} is no number of a configuration", "configuration")
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise ConfigError(f"a {type(value).__name__} is no plain value", "configuration")
    return value


def set_dotted(config: T, key: str, value: Any) -> T:
    """A copy of the configuration with one value, by its dotted name and as the command line gives
    it. Raises ConfigError."""
    names = key.split(".")
    values: dict[str, Any] = {names[-1]: value}
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
        elif is_config(value):
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


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """The keys of a YAML document. Raises InputError, see `engine.schema.yaml_text`."""
    content = parse_document(text, where)
    if not isinstance(content, dict):
        raise InputError("holds no keys", where, "Give a run.yaml")
    strange = next((key for key in content if not isinstance(key, str)), None)
    if strange is not None:
        raise InputError(f'has a key that is no word, "{strange}"', where, "Put it in quotes")
    return content


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping of a file. Raises InputError."""
    return parse_yaml(read_text(path), str(path))


def write_yaml(content: Any) -> str:
    """YAML text of plain values and configurations, keys in the order given. Raises ConfigError."""
    return write_document(to_dict(content))


def section(
    content: dict[str, Any], known: Collection[str], where: str, key: str = "config"
) -> dict[str, Any]:
    """The group `key` of a document; empty where the document has none.

    Args:
        known: the keys that the document may have beside it.

    Raises:
        ConfigError: an unknown key beside it, or `key` is no group.
    """
    for name in content:
        if name != key and name not in known:
            near = did_you_mean(name, [*known, key])
            raise ConfigError(
                f'there is no key "{name}"',
                where,
                near
                if near.startswith("Did")
                else f'What belongs to a system stands under "{key}"',
            )
    if key not in content:
        return {}
    if not isinstance(content[key], dict):
        raise wrong(content[key], "a group of keys", key, where=where)
    return content[key]


__all__ = [
    "OpenConfig",
    "checked",
    "convert",
    "dotted",
    "from_dict",
    "parse_yaml",
    "read_yaml",
    "section",
    "set_dotted",
    "to_dict",
    "update",
    "write_yaml",
]
