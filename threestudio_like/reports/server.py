"""A small web server for this machine only, on which the viewer runs. It fetches nothing, and
answers no other machine."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ..engine.errors import ConfigError, UserError

Answer = tuple[str, bytes]
"""Content type and body."""

LARGEST_BODY = 1 << 16


class PageServer:
    """Serves pages on 127.0.0.1, under a secret path. Other users of the machine and scripts of
    other sites do not know it and are refused.

    Args:
        pages: functions that answer a GET request for a name; None means "not yet". "" is the first
            page.
        calls: functions that answer a POST request for a name and take its JSON object. The result
            is sent back as JSON, and a UserError as {"error": line}.
        port: 0 takes a free port.

    Raises:
        ConfigError: the port is taken or not a valid number.

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
    ) -> None:
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
            self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        except OSError as error:
            raise ConfigError(
                f"port {port} cannot be opened ({error.strerror})",
                "--port",
                "Leave it out for a free one",
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="viewer", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """The address of the first page."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{self._secret}/"

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
                host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
                path = self.path.partition("?")[0]
                begin = f"/{owner._secret}/"
                if host not in ("127.0.0.1", "localhost") or not path.startswith(begin):
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
