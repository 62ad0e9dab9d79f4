"""viser's server behind a guard: for this machine only unless the user gives another address, and
without a connection to anywhere else."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import logging
import math
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError
from .guard import LOOPBACK, Guard, is_loopback

Answer = tuple[str, bytes]
"""Content type and body."""
LARGEST_MESSAGE = 1 << 20
"""Bytes of a message that a browser may send; nothing is uploaded."""
MOST_CLIENTS = 64
"""Browsers at once."""
OPEN_SECONDS = 10.0
"""Until a request has to be complete."""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob: data:; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; worker-src blob: data:; "
    "connect-src 'self' ws: wss: data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""What a browser lets the page do: nothing from anywhere else."""
UNPLACED = (3.0, 3.0, 3.0)
"""Where a browser's camera is before it is told anything."""
WIDE = 640
"""Pixels of a scene from which on the panel lies beside it."""
BRAND = (150, 50, 34)
"""A shade darker than the reports': viser lightens it, and white words have to be read on it."""
_OPENING = threading.Lock()


def viser_module() -> Any:
    """The package viser. Raises ConfigError with the way to install it."""
    try:
        return importlib.import_module("viser")
    except ImportError as error:
        reason = str(error).splitlines()[0][:100]
        raise ConfigError(
            f"the viewer needs viser, which cannot be used here ({reason})",
            "--viewer",
            "Install it with: pip install '.[viewer]' in the checkout",
        ) from None


class ViewerServer:
    """A page with a scene and a panel, see viser's documentation for `scene` and `gui`.

    Args:
        label: above the panel.
        pages: further pages below the token, by name; None means "not yet".
        port: 0 takes a free port.
        host: the address to listen on; 0.0.0.0 and :: are all of this machine's.
        token: see `Guard`.

    Raises:
        ConfigError: viser is not installed; the port is taken or not a valid number, or the address
            is not this machine's.
    """

    def __init__(
        self,
        label: str,
        pages: Mapping[str, Callable[[], Answer | None]] | None = None,
        port: int = 0,
        host: str = LOOPBACK,
        token: str | None = None,
    ) -> None:
        self._viser = viser_module()
        self.guard, self._pages = Guard(host, token), dict(pages or {})
        self._packed: tuple[bytes, ...] = ()
        self._socket = _listening(host, port)
        self.port = int(self._socket.getsockname()[1])
        try:
            self.viser = self._open(label)
        except BaseException:
            self._socket.close()
            raise
        self.scene, self.gui = self.viser.scene, self.viser.gui
        self.scene.set_up_direction("+y")
        self.gui.configure_theme(
            control_width="medium", show_logo=False, show_share_button=False, brand_color=BRAND
        )

    @property
    def address(self) -> str:
        """The address of the page, as this machine reaches it."""
        host = {"0.0.0.0": LOOPBACK, "": LOOPBACK, "::": "::1"}.get(
            self.guard.host, self.guard.host
        )
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.port}/{self.guard.token}/"

    @property
    def warning(self) -> str:
        """A word about who else is answered; empty where that is nobody."""
        if is_loopback(self.guard.host):
            return ""
        return (
            f"Other machines that reach port {self.port} of {self.guard.host or 'this machine'} "
            "and know the address see it too; nothing is encrypted."
        )

    @property
    def watched(self) -> bool:
        """Whether a browser is connected."""
        return bool(self.viser.get_clients())

    def look_from(self, azimuth: float = 0.6, elevation: float = 0.35, radius: float = 1.0) -> None:
        """Let every browser look at a sphere of this radius about the origin, whatever the shape of
        its window. Angles in radians; azimuth 0 is the front."""
        import numpy as np

        away = np.array(
            [
                np.sin(azimuth) * np.cos(elevation),
                np.sin(elevation),
                np.cos(azimuth) * np.cos(elevation),
            ]
        )
        fov = 0.7
        begin = self.viser.initial_camera
        begin.fov, begin.look_at, begin.up = fov, (0.0, 0.0, 0.0), (0.0, 1.0, 0.0)
        begin.position = tuple(away * radius / np.sin(fov / 2) * 1.25)

        def place(aspect: float) -> tuple[float, ...]:
            half = np.arctan(np.tan(fov / 2) * min(1.0, aspect))
            return tuple(float(v) for v in away * radius / np.sin(half) * 1.12)

        self.keep_in_view(place)

    def keep_in_view(self, place: Callable[[float], tuple[float, ...]]) -> None:
        """Let every browser look at the origin from `place(aspect)` (3,), also when its window
        changes, until its user moves the camera. Where there is room the panel lies beside the
        scene and not over it."""

        begun = tuple(float(v) for v in self.viser.initial_camera.position)

        @self.viser.on_client_connect
        def _(client: Any) -> None:
            camera, shape, one = client.camera, 0.0, threading.Lock()
            ours = [UNPLACED, begun]

            def look(_: Any = None) -> None:
                nonlocal shape
                # While its page is built a browser tells places where the camera was before, with
                # an old shape or a new one, and may go back to the first after it was sent on.
                # Only a place that is none of ours is the user's.
                with one:
                    at, aspect = camera.position, float(camera.aspect or 1.0)
                    near = [math.dist(at, eye) <= 1e-3 * math.hypot(*eye) for eye in ours]
                    there = near[-1] and abs(aspect - shape) <= 0.01
                    if shape and (there or not any(near)):
                        return
                    shape = aspect
                    ours.append(place(aspect))
                    with client.atomic():
                        camera.position, camera.look_at = ours[-1], (0.0, 0.0, 0.0)

            # Asked to look before and after: what comes between the two would be lost.
            camera.on_update(look)
            look()
            if camera.image_width >= WIDE:
                client.gui.main_panel.dock_right()

    def close(self) -> None:
        """Stop the server."""
        with _quietly():
            self.viser.stop()
        self._socket.close()

    def _open(self, label: str) -> Any:
        """Start viser, whose only way to a guard is the function by which it serves."""
        infra: Any = importlib.import_module("viser.infra._infra")
        messages: Any = importlib.import_module("viser._messages")
        with _OPENING, _quietly():
            real = infra.websockets
            infra.websockets = _Guarded(real, self._serve)
            try:
                made = self._viser.ViserServer(
                    host=self.guard.host, port=self.port, label=label[:80], verbose=False
                )
            finally:
                infra.websockets = real
        own = made._websock_server
        for kind in (messages.ShareUrlRequest, messages.ShareUrlDisconnect):
            # A tunnel to another company's server, for whoever is connected.
            own.unregister_handler(kind)
        loop = made.get_event_loop()
        # What a browser sends that cannot be understood is dropped, and is no traceback here.
        loop.call_soon_threadsafe(loop.set_exception_handler, lambda *_: None)
        return made

    def _serve(self, real: Callable[..., Any], handler: Any, *_: Any, **settings: Any) -> Any:
        quiet = logging.getLogger("threestudio_like.viewer")
        quiet.propagate = False
        quiet.addHandler(logging.NullHandler())
        settings |= {
            "sock": self._socket,
            "process_request": self._answering(settings["process_request"]),
            "max_size": LARGEST_MESSAGE,
            "open_timeout": OPEN_SECONDS,
            "logger": quiet,
        }
        return real(handler, **settings)

    def _page(self, own: Callable[..., Any], connection: Any, request: Any) -> Any:
        """viser's page with what it lacks: names for those who hear it, and contrast."""
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        if "Accept-Encoding" in request.headers:
            del request.headers["Accept-Encoding"]
        response = own(connection, request)
        if not self._packed:
            added = (Path(__file__).parent / "added.html").read_bytes()
            # Before any script of viser's.
            body = response.body.replace(b"<head>", b"<head>" + added, 1)
            self._packed = gzip.compress(body, 6, mtime=0), body
        response.body = self._packed[0 if packed else 1]
        told = {"Content-Encoding": "gzip" if packed else "identity"}
        for key, value in {**told, "Content-Length": str(len(response.body))}.items():
            # Setting alone would add a second one.
            response.headers.pop(key, None)
            response.headers[key] = value
        return response

    def _answering(self, own: Callable[..., Any]) -> Callable[..., Any]:
        """The function that answers a request before viser does."""
        http = importlib.import_module("websockets.http11")
        headers = importlib.import_module("websockets.datastructures").Headers

        def refused() -> Any:
            body = b"There is nothing here."
            told = headers({"Content-Type": "text/plain", "Content-Length": str(len(body))})
            return http.Response(404, "Not Found", told, body)

        def answer(connection: Any, request: Any) -> Any:
            given = request.headers
            if len(given.get_all("Host")) != 1 or len(given.get_all("Origin")) > 1:
                return refused()
            name = self.guard.name(request.path, given["Host"], given.get("Origin"))
            if name is None:
                return refused()
            if given.get("Upgrade", "").lower() == "websocket":
                spoken = f"viser-v{self._viser.__version__}" in given.get(
                    "Sec-WebSocket-Protocol", ""
                )
                full = len(self.viser._websock_server._client_state_from_id) >= MOST_CLIENTS
                return None if not name and spoken and not full else refused()
            found = self._pages[name]() if name in self._pages else None
            if found is not None:
                told = headers({"Content-Type": found[0], "Content-Length": str(len(found[1]))})
                response = http.Response(200, "OK", told, found[1])
            elif name == "":
                request.path = "/"
                response = self._page(own, connection, request)
                response.headers["Content-Security-Policy"] = POLICY
            else:
                return refused()
            response.headers["Cache-Control"] = "no-store"
            response.headers["Referrer-Policy"] = "no-referrer"
            response.headers["X-Content-Type-Options"] = "nosniff"
            return response

        return answer


class _Guarded:
    """The package websockets as viser sees it while it opens, with another way to serve."""

    def __init__(self, real: Any, serve: Callable[..., Any]) -> None:
        self._real, self._serve = real, serve

    def __getattr__(self, name: str) -> Any:
        if name in ("asyncio", "server"):
            return _Guarded(getattr(self._real, name), self._serve)
        if name == "serve":
            real = self._real.serve
            return lambda handler, *rest, **settings: self._serve(real, handler, *rest, **settings)
        return getattr(self._real, name)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """viser greets and takes leave on standard output, which belongs to the command."""
    import rich

    console = rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ConfigError."""
    if not 0 <= port <= 65535:
        raise ConfigError(
            f"must be from 0 to 65535, got {port}", "--port", "Leave it out for a free one"
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
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
