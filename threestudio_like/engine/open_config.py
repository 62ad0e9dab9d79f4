"""Parts of a configuration whose keys are names of a registry: open to what plug-ins bring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self


class OpenConfig(ABC):
    """A value of a typed configuration that holds typed configurations by registered names.
    `engine.config` reads and prints it through these methods; it is never changed."""

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
