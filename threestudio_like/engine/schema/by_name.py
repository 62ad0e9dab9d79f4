"""Configurations of the kinds that plug-ins bring, by the names of a registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

from ..config import to_dict
from ..registry import Registry
from .checking import OpenConfig, update


class Choice(Protocol):
    """A configuration that chooses one of several kinds: the name, a value of the name for each of
    the package's own, and `others` for those of plug-ins."""

    @property
    def kind(self) -> str:
        """The name of the kind."""

    @property
    def others(self) -> ConfigsByName:
        """The plug-ins' kinds."""


def chosen(choice: Choice) -> Any:
    """The configuration of the kind that is chosen. Raises ConfigError where there is none."""
    name = choice.others.registry.canonical(choice.kind)
    own = name in type(choice.others).own
    return getattr(choice, name) if own else choice.others.of(name)


def check_chosen(choice: Choice, place: str) -> None:
    """Raise ConfigError where the values of the kind that is chosen do not go together, as it says
    by a method `check(place)`; `place` is the choice's dotted name."""
    check = getattr(chosen(choice), "check", None)
    if check is not None:
        check(f"{place}.{choice.others.registry.canonical(choice.kind)}")


class ConfigsByName(OpenConfig):
    """Typed configurations of the kinds of a registry that have no key of their own; those that are
    not named have their defaults. A subclass names the registry.

    Args:
        configs: name -> an instance of the kind's configuration.

    Attributes:
        registry: its entries have the class of their configuration as `config`.
        own: names that have a key of their own.
    """

    registry: ClassVar[Registry[Any]]
    own: ClassVar[tuple[str, ...]] = ()
    takes_unknown = True

    def __init__(self, configs: Mapping[str, Any] | None = None) -> None:
        self._configs = dict(configs or {})

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._configs == other._configs

    def __hash__(self) -> int:
        return hash(tuple(self._configs))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._configs})"

    def of(self, name: str) -> Any:
        """The configuration of a kind. Raises ConfigError."""
        return self._configs.get(name) or self.registry.get(name).config()

    def names(self) -> list[str]:
        """The plug-ins' kinds."""
        return [n for n in self.registry.names() if n not in self.own]

    def updated(self, values: Mapping[str, Any], where: str) -> Self:
        """See `OpenConfig`."""
        configs = dict(self._configs)
        for name, given in values.items():
            self.registry.check(name, f"{where}{name}")
            configs[name] = update(self.of(name), given, prefix=f"{where}{name}.")
        return type(self)(configs)

    def plain(self) -> dict[str, Any]:
        """See `OpenConfig`."""
        return {name: to_dict(config) for name, config in self._configs.items()}
