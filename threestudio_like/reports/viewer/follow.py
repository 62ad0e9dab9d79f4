"""The viewer of a run that begins (`--viewer`): a process of its own, which ends with the run's."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import webbrowser
from pathlib import Path
from types import TracebackType

from .guard import LOOPBACK


class Follower:
    """A viewer's process, which ends when this one closes it or ends."""

    def __init__(self, folder: Path, host: str = LOOPBACK, port: int = 0) -> None:
        package = str(Path(__file__).resolve().parents[3])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "threestudio_like.reports.viewer"]
        self._process = subprocess.Popen(
            [*command, str(folder), host, str(port)], stdin=subprocess.PIPE, env=own
        )

    def close(self) -> None:
        """Let the viewer end: it stays for a moment to tell that the run has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def check_viewer() -> None:
    """Raise ConfigError where viser is not installed, without importing it."""
    from .server import viser_module

    if importlib.util.find_spec("viser") is None:
        viser_module()


def follow(folder: Path, host: str = LOOPBACK, port: int = 0) -> Follower:
    """Show a run that is about to begin, until its process ends. Raises ConfigError where viser is
    not installed."""
    check_viewer()
    return Follower(folder, host, port)


def open_browser(address: str) -> bool:
    """Open a page if there is a screen, because a browser in the terminal would take over the run's
    terminal. Returns whether it was opened."""
    screen = (
        sys.platform in ("darwin", "win32")
        or os.environ.get("DISPLAY")
        or os.environ.get("WAYLAND_DISPLAY")
    )
    return bool(screen) and webbrowser.open(address)


def announce(line: str, address: str, browser: bool) -> None:
    """Print a line to the terminal, and open the address where the user wants it."""
    print(line, file=sys.stderr, flush=True)
    if browser:
        open_browser(address)
