"""A page that asks the user one thing, and is waited for."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ...engine.errors import InputError
from .guard import LOOPBACK
from .server import ViewerServer

Answer = TypeVar("Answer")


class Question(ABC, Generic[Answer]):
    """A page that is waited for until the user has finished.

    Args:
        label: above the panel.
        port: 0 takes a free port.
        host: the address to listen on, see `ViewerServer`.

    Raises:
        ConfigError: viser is not installed, or the port is taken.
    """

    def __init__(self, label: str, port: int = 0, host: str = LOOPBACK) -> None:
        self._done, self._one = threading.Event(), threading.Lock()
        self.server = ViewerServer(label, port=port, host=host)

    @property
    def address(self) -> str:
        """The address of the page."""
        return self.server.address

    @property
    def warning(self) -> str:
        """See `ViewerServer.warning`."""
        return self.server.warning

    @abstractmethod
    def answer(self) -> Answer:
        """What the user has said."""

    def wait(self, seconds: float | None = None) -> Answer | None:
        """The answer when the user has finished, or None after `seconds`."""
        self._done.wait(seconds)
        return self.answer() if self._done.is_set() else None

    def close(self) -> None:
        """Stop the server."""
        self.server.close()

    def _carry_out(self, act: Callable[[], Any]) -> str:
        """Do what was asked for; what is wrong with it in a line. Several clicks may arrive at
        once, and are answered one at a time: call it with `self._one` held."""
        try:
            act()
        except InputError as error:
            return error.line()
        return ""
