"""A small web server on which the viewer runs: for this machine only, unless the user gives another
address. It fetches nothing."""

from __future__ import annotations

import ipaddress
import json
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ..engine.errors import ConfigError, UserError

Answer = tuple[str, bytes]
"""Content type and body."""

LARGEST_BODY = 1 << 16

LOOPBACK = "127.0.0.1"
"""The address that only this machine reaches."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where a browser hangs up in the middle of an answer: it does so whenever a
        page is left."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Server6(_Server):
    address_family = socket.AF_INET6


class PageServer:
    """Serves pages on 127.0.0.1, under a secret path. Other users of the machine and scripts of
    other sites do not know it and are refused.

    On another address, whoever reaches that and knows the path is answered. A page of another site
    whose name points there is refused still: a request has to name this machine, by a number or by
    its own name.

    Args:
        pages: functions that answer a GET request for a name; None means "not yet". "" is the first
            page.
        calls: functions that answer a POST request for a name and take its JSON object. The result
            is sent back as JSON, and a UserError as {"error": line}.
        port: 0 takes a free port.
        host: the address to listen on; 0.0.0.0 and :: are all of this machine's.

    Raises:
        ConfigError: the port is taken or not a valid number, or the address is not this machine's.

    Example:
        >>> server = PageServer({"": lambda: ("text/html", b"hello")})
        >>> server.address.startswith("http://127.0.0.1:")
        True
        >>> server.close()
    """

    def __init__(
        self,
        pages: Mapping[str, Callable[[], Answer | None]],
        calls: Mapping[str, Callable[[dict[str, Any]], Any]] | None = None,
        port: int = 0,
        host: str = LOOPBACK,
    ) -> None:
        self.host = host
        self._pages, self._calls, self._secret = (
            dict(pages),
            dict(calls or {}),
            secrets.token_urlsafe(12),
        )
        if not 0 <= port <= 65535:
            raise ConfigError(
                f"must be from 0 to 65535, got {port}", "--port", "Leave it out for a free one"
            )
        try:
            kind = _Server6 if ":" in host else _Server
            self._server = kind((host, port), self._handler())
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "no address"
            if host != LOOPBACK:
                raise ConfigError(
                    f"port {port} of {host[:60]} cannot be opened ({reason})",
                    "--host",
                    "Give an address of this machine, such as 0.0.0.0, and a free port",
                ) from None
            raise ConfigError(
                f"port {port} cannot be opened ({reason})", "--port", "Leave it out for a free one"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="viewer", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """The address of the first page, as this machine reaches it."""
        host = {"0.0.0.0": LOOPBACK, "": LOOPBACK, "::": "::1"}.get(self.host, self.host)
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self._server.server_address[1]}/{self._secret}/"

    @property
    def warning(self) -> str:
        """A word about who else is answered; empty where that is nobody."""
        if is_loopback(self.host):
            return ""
        port = self._server.server_address[1]
        return (
            f"Other machines that reach port {port} of {self.host or 'this machine'} and know the "
            "address see it too; nothing is encrypted."
        )

    def _names_this(self, named: str) -> bool:
        """Whether the Host of a request is this machine: on the loopback by its usual names, else
        by a number, the name that was given, or the machine's own."""
        host = named.rsplit(":", 1)[0] if not named.endswith("]") else named
        host = host.strip("[]").lower()
        if host in (LOOPBACK, "localhost", "::1"):
            return True
        if is_loopback(self.host):
            return host == self.host.lower()
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return host in (self.host.lower(), socket.gethostname().lower())
        return True

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            """Handles one request."""

            def log_message(self, format: str, *args: Any) -> None:
                """Print nothing, because the terminal belongs to the run."""

            def _name(self) -> str | None:
                """The name that is requested, or None if the request is not allowed. A page of
                another site can neither know the secret nor name this host."""
                named = owner._names_this(self.headers.get("Host") or "")
                path = self.path.partition("?")[0]
                begin = f"/{owner._secret}/"
                if not named or not path.startswith(begin):
                    return None
                return path[len(begin) :]

            def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                """Answer with a page, a picture or a state."""
                name = self._name()
                answer = owner._pages[name]() if name in owner._pages else None
                if answer is None:
                    self._send(HTTPStatus.NOT_FOUND, "text/plain", b"There is nothing here.")
                else:
                    self._send(HTTPStatus.OK, *answer)

            def do_POST(self) -> None:
                """Answer a call, such as a click."""
                name, said_length = self._name(), self.headers.get("Content-Length") or "0"
                length = int(said_length) if said_length.isdecimal() else LARGEST_BODY + 1
                if name not in owner._calls or length > LARGEST_BODY:
                    self._send(HTTPStatus.NOT_FOUND, "text/plain", b"There is nothing here.")
                    return
                try:
                    body = json.loads(self.rfile.read(length))
                    if not isinstance(body, dict):
                        raise ValueError("no JSON object")
                    status, answer = HTTPStatus.OK, owner._calls[name](body)
                except UserError as error:
                    status, answer = HTTPStatus.BAD_REQUEST, {"error": error.line()}
                except (ValueError, KeyError, TypeError) as error:
                    status, answer = (
                        HTTPStatus.BAD_REQUEST,
                        {"error": f"cannot be understood: {error}"},
                    )
                self._send(status, "application/json", json.dumps(answer).encode())

        return Handler
