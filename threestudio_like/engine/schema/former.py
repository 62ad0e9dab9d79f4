"""Keys that configurations had in earlier versions: the run.yaml of an earlier run is still read.

A class names them in `FORMER_KEYS`; `checking` reads them by it, and `former_lines` says them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class FormerKey:
    """A key of an earlier version.

    Attributes:
        kind: annotation of its values.
        now: what a value means in present keys; nothing where the present defaults mean it.
        note: in what that is not the same, where it is set to mean anything.
        when: which of its values are of an earlier version, where the key has its name still and
            other values.
    """

    kind: Any
    now: Callable[[Any], Mapping[str, Any]]
    note: str = ""
    when: Callable[[Any], bool] = field(default=lambda value: True)


def former_keys(kind: type) -> Mapping[str, FormerKey]:
    """The keys that a configuration had in earlier versions."""
    found: Mapping[str, FormerKey] = getattr(kind, "FORMER_KEYS", {})
    return found


def former_lines(config: Any, values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """One line for every former key of a nested dictionary that means anything now.

    Args:
        config: that was made of the values without an error.
    """
    former = former_keys(type(config))
    for key, value in values.items():
        inner = getattr(config, str(key), None)
        if key in former and former[key].when(value):
            now = former[key].now(value)
            if now:
                names = ", ".join(f"{prefix}{name} {new}" for name, new in now.items())
                note = f" ({former[key].note})" if former[key].note else ""
                yield f'"{prefix}{key}" is of an earlier version, it is read as {names}{note}'
        elif isinstance(value, Mapping) and inner is not None:
            yield from former_lines(inner, value, f"{prefix}{key}.")
