"""threestudio's YAML files as omegaconf reads them: interpolations, resolvers, missing values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ...engine.config import parse_yaml, read_yaml
from ...engine.errors import InputError, did_you_mean
from ...engine.schema.bounds import shown

MISSING = "???"
"""What omegaconf calls a value that the user has to give."""
_EXPONENT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
_NODE = re.compile(r"^\.*[A-Za-z_][\w-]*(\.[\w-]+)*$")
_RESOLVER = re.compile(r"^([A-Za-z_][\w.]*):(.*)$", re.S)
DEEPEST = 40
"""Interpolations within, or by way of, each other."""


def largest(value: Any) -> float:
    """The largest value that a number or a schedule in steps takes (threestudio's C_max)."""
    if not isinstance(value, (list, tuple)):
        return float(value)
    if len(value) >= 6:
        return float(max([value[2], *value[4::2], value[1]]))
    return float(max(value[-3:-1]))


RESOLVERS: Mapping[str, Callable[..., Any]] = {
    "calc_exp_lr_decay_rate": lambda factor, n: factor ** (1.0 / n),
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "idiv": lambda a, b: a // b,
    "basename": lambda path: PurePosixPath(str(path)).name,
    "rmspace": lambda text, by: str(text).replace(" ", str(by)),
    "tuple2": lambda value: [float(value), float(value)],
    "gt0": lambda value: value > 0,
    "cmaxgt0": lambda value: largest(value) > 0,
    "not": lambda value: not value,
    "cmaxgt0orcmaxgt0": lambda a, b: largest(a) > 0 or largest(b) > 0,
}
"""threestudio's resolvers by their names."""


@dataclass
class Document:
    """A configuration: values by their dotted keys, as they stand in the file.

    Attributes:
        values: key -> number, text, list, or None.
        where: the file, for messages.
    """

    values: dict[str, Any]
    where: str
    _busy: list[str] = field(default_factory=list)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key with its interpolations resolved; `default` where the file has none or
        leaves it to the user (`???`). Raises InputError on an interpolation that leads nowhere."""
        if key not in self.values:
            return default
        value = self._resolved(self.values[key], key)
        return default if value == MISSING else value

    def missing(self, key: str) -> bool:
        """Whether the file leaves a value to the user."""
        return key in self.values and self._resolved(self.values[key], key) == MISSING

    def _resolved(self, value: Any, key: str) -> Any:
        if isinstance(value, list):
            return [self._resolved(v, key) for v in value]
        if isinstance(value, dict):
            return {k: self._resolved(v, key) for k, v in value.items()}
        if not isinstance(value, str):
            return value
        if "${" not in value:
            return float(value) if _EXPONENT.match(value) else value
        if key in self._busy or len(self._busy) > DEEPEST:
            raise InputError(
                "its interpolations lead back to it, or too deep", f'{self.where}, "{key}"'
            )
        self._busy.append(key)
        try:
            return self._text(value, key)
        finally:
            self._busy.pop()

    def _text(self, text: str, key: str) -> Any:
        """A text with its interpolations; the value itself where it is one interpolation."""
        pieces: list[Any] = []
        rest = text
        while "${" in rest:
            before, _, after = rest.partition("${")
            end = _closing(after)
            if end is None:
                raise InputError("has an interpolation without end", f'{self.where}, "{key}"')
            pieces += [before] if before else []
            pieces.append(self._one(after[:end], key))
            rest = after[end + 1 :]
        pieces += [rest] if rest else []
        if len(pieces) == 1:
            return pieces[0]
        if MISSING in [p for p in pieces if isinstance(p, str)]:
            return MISSING
        return "".join(str(p) for p in pieces)

    def _one(self, inner: str, key: str) -> Any:
        call = _RESOLVER.match(inner)
        if call is None:
            return self._node(inner.strip(), key)
        name, texts = call[1], _arguments(call[2])
        if name not in RESOLVERS:
            raise InputError(
                f'threestudio has no resolver "{name}"',
                f'{self.where}, "{key}"',
                did_you_mean(name, RESOLVERS),
            )
        arguments = [
            self._text(t, key) if "${" in t else parse_yaml(f"v: {t or 'null'}", self.where)["v"]
            for t in texts
        ]
        if any(isinstance(a, str) and a == MISSING for a in arguments):
            return MISSING
        try:
            return RESOLVERS[name](*arguments)
        except (TypeError, ValueError, ArithmeticError, IndexError) as error:
            raise InputError(
                f"{name}({', '.join(shown(a) for a in arguments)}): {error}",
                f'{self.where}, "{key}"',
            ) from None

    def _node(self, path: str, key: str) -> Any:
        if not _NODE.match(path):
            raise InputError(f'"${{{shown(path)}}}" is no interpolation', f'{self.where}, "{key}"')
        dots = len(path) - len(path.lstrip("."))
        name = path[dots:]
        if dots:
            above = key.split(".")[:-dots]
            name = ".".join([*above, name])
        if name in self.values:
            return self._resolved(self.values[name], name)
        if any(k.startswith(f"{name}.") for k in self.values):
            raise InputError(f'"${{{path}}}" names a group', f'{self.where}, "{key}"')
        raise InputError(
            f'"${{{path}}}" leads nowhere',
            f'{self.where}, "{key}"',
            did_you_mean(name, self.values),
        )


def _closing(text: str) -> int | None:
    """Where the interpolation that `text` continues ends."""
    depth = 1
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return place
    return None


def _arguments(text: str) -> list[str]:
    """A resolver's arguments, separated by commas outside of braces and brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "{[") - (letter in "}]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [p.strip() for p in parts]


def flattened(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their dotted keys; lists are values."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found.update(flattened(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def read_document(path: Path, overrides: tuple[str, ...] = ()) -> Document:
    """A threestudio configuration of a file.

    Args:
        path: a YAML file.
        overrides: "system.prompt_processor.prompt=a red chair", as threestudio's launch.py takes
            them.

    Raises:
        InputError: no YAML, or not threestudio's; an override without a value.
    """
    content = read_yaml(path)
    values = flattened(content)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not re.match(r"^[\w.]+$", key):
            raise InputError(f'"{text}" sets nothing', "translate", "Write system.loss.x=1")
        try:
            values[key] = parse_yaml(f"v: {value or 'null'}", key)["v"]
        except InputError:
            values[key] = value
    system, kind = content.get("system"), values.get("system_type")
    wanted = {"system": isinstance(system, Mapping), "system_type": isinstance(kind, str)}
    lacking = [name for name, there in wanted.items() if not there]
    if lacking:
        raise InputError(
            f"is no threestudio configuration: it has no {' and no '.join(lacking)}",
            str(path),
            "Give a YAML like those of threestudio's folder configs/",
        )
    return Document(values, str(path))
