"""Progress output of a run: one JSON object per event in events.jsonl, and a status line for the
user."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from .errors import InputError
from .output import output_error
from .text import duration, json_text, printable
from .turns import pause


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, and not a program that runs one."""
    kernel = sys.modules.get("ipykernel.kernelapp")
    return kernel is not None and bool(kernel.IPKernelApp.initialized())


class NotebookLine:
    """A status line, and lasting lines above it.

    Args:
        console: a `rich.console.Console`; the notebook's own by default.
    """

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self._text = Text
        self._console = console or Console()
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._live.start()

    def status(self, text: str) -> None:
        """Draw the status line anew."""
        self._live.update(self._text(text, no_wrap=True, overflow="ellipsis"))

    def say(self, text: str) -> None:
        """A lasting line."""
        self._console.print(self._text(text))

    def close(self) -> None:
        """Remove the status line."""
        self._live.stop()


class Events:
    """Writes events.jsonl (append only, one JSON object a line) and the status line.

    Args:
        path: the file, or None to keep no record.
        mode: "line" (status line on stderr), "json" (events on stdout as they happen), "quiet", or
            "notebook" (a line in the cell's output that is gone when the run has ended).
        resumed: whether the file holds the events of the run's beginning, whose warnings count.
    """

    def __init__(
        self,
        path: Path | None = None,
        mode: str = "line",
        stream: TextIO | None = None,
        *,
        resumed: bool = False,
    ) -> None:
        self._path, self._mode = path, mode
        self.warnings: list[str] = []
        """What the user was warned of in this run so far, a line each."""
        self.relay: Callable[[str], None] | None = None
        """Hears the warnings of a run that shows nothing itself, for it is within another one."""
        self._stream = stream or sys.stderr
        self._began = time.monotonic()
        self._last_draw = 0.0
        self._width = 0
        self._cell = NotebookLine() if mode == "notebook" else None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _end_last_line(path)
            except OSError as error:
                raise output_error(error, path) from None
        if resumed and path is not None:
            self._remember(path)

    def _remember(self, path: Path) -> None:
        """The warnings of the run so far, and one of the lines that are none."""
        told: list[str] = []
        earlier = (e.get("line") for e in read_events(path, told) if e["event"] == "warning")
        self.warnings += [line for line in earlier if isinstance(line, str)]
        for line in told:
            if line not in self.warnings:
                self.say(f"Warning: {line}")

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def record(self, kind: str, **facts: Any) -> None:
        """Append one event. Here and at a new status another thread may load its models, see
        `turns`."""
        pause()
        line = json_text({"t": round(self.elapsed, 3), "event": kind, **facts})
        if self._path is not None:
            try:
                with open(self._path, "a", encoding="utf-8") as file:
                    file.write(line + "\n")
            except OSError as error:
                raise output_error(error, self._path) from None
        if self._mode == "json":
            print(line, flush=True)

    def say(self, text: str) -> None:
        """Print a permanent line for the user, above the status line. A warning is also recorded
        and kept in `warnings`."""
        if text.startswith("Warning:"):
            if self.relay is not None:
                self.relay(text)
            self.warnings.append(text.removeprefix("Warning:").strip())
            self.record("warning", line=self.warnings[-1])
        if self._cell is not None:
            self._cell.say(printable(text, lines=True))
        if self._mode == "line":
            self._clear()
            print(printable(text, lines=True), file=self._stream, flush=True)

    def progress(self, where: str, step: int, steps: int, *, loss: float, rate: float) -> None:
        """The status line of a stage: where the run is, a bar on a terminal, steps, loss, steps a
        second, and how long the stage will still take.

        Args:
            where: the stage, and its place among the others: "distil 2/3".
        """
        left = duration((steps - step) / max(rate, 1e-6))
        bar = f"{_bar(step / max(steps, 1), self._stream)}  " if self._terminal() else ""
        figures = f"loss {loss:.3g}  {rate:.1f} it/s  about {left} left"
        self.status(f"{where}  {bar}{step}/{steps}  {figures}")

    def _terminal(self) -> bool:
        return self._mode == "line" and self._stream.isatty()

    def status(self, text: str, force: bool = False) -> None:
        """Redraw the status line: at most twice a second on a terminal, cut to its width, and every
        ten seconds on any other stream."""
        pause()
        if self._cell is not None:
            self._cell.status(printable(text))
        if self._mode != "line":
            return
        terminal = self._terminal()
        now = time.monotonic()
        if not force and now - self._last_draw < (0.5 if terminal else 10.0):
            return
        self._last_draw = now
        text = printable(text)
        if terminal:
            shown, width = _fitted(text)
            filled = shown + " " * (self._width - width)
            print("\r" + filled, end="", file=self._stream, flush=True)
            self._width = width
        else:
            print(text, file=self._stream, flush=True)

    def _clear(self) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=self._stream)
            self._width = 0

    def forget(self) -> None:
        """Write no more: the run's folder is about to be removed."""
        self._path = None

    def close(self) -> None:
        """Remove the status line, so that the terminal continues where it stood."""
        if self._cell is not None:
            self._cell.close()
        self._clear()


def _fitted(text: str) -> tuple[str, int]:
    """A line cut to the terminal's width, and the columns that it takes: letters of some scripts
    take two."""
    from rich.cells import cell_len, set_cell_size

    width = max(20, shutil.get_terminal_size((80, 24)).columns - 1)
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1) + "…"
    return text, cell_len(text)


def _bar(share: float, stream: TextIO, width: int = 20) -> str:
    """A share of the way in letters that the stream can show."""
    full, rest = "━", "─"
    try:
        (full + rest).encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        full, rest = "#", "-"
    done = round(width * min(max(share, 0.0), 1.0))
    return full * done + rest * (width - done)


def _end_last_line(path: Path) -> None:
    """Make the file, or end a line that a crash has cut off."""
    with open(path, "a+b") as file:
        if file.tell() > 0:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")


def read_events(path: Path, told: list[str] | None = None) -> list[dict[str, Any]]:
    """Read the events of a run. A line that is none, as a crash or a bad disk can leave, and one
    that says again what a line of the same session said are left out; bytes that are no letter are
    read as "\N{REPLACEMENT CHARACTER}". A last line that has not ended is still being written.

    Args:
        told: gets a line for the user that says how many were left out, where any were.

    Raises:
        InputError: the file cannot be read.
    """
    events: list[dict[str, Any]] = []
    if not path.is_file():
        return events
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", str(path)) from None
    broken = repeated = 0
    known: set[bytes] = set()
    for number, line in enumerate(lines):
        if line in known:
            repeated += 1
            continue
        event = _event(line)
        if event is None:
            broken += bool(line.strip()) and number < len(lines) - 1
            continue
        if event["event"] == "begin":
            # The clock of a run that goes on begins again, and may say what it said before.
            known.clear()
        known.add(line)
        events.append(event)
    if told is not None and broken + repeated:
        lost = [f"{n} {what}" for n, what in ((broken, "broken"), (repeated, "repeated")) if n]
        some = "1 line is" if broken + repeated == 1 else f"{broken + repeated} lines are"
        told.append(f"of {path.name} {some} left out ({', '.join(lost)}).")
    return events


HOLDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "stage": {"stage": str, "steps": int, "start": int},
    "step": {"stage": str, "step": int, "terms": dict},
    "stage-end": {"stage": str, "step": int, "seconds": (int, float)},
}
"""What events of a kind have that others read, beside `t` and `event` of all."""


def _event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None where it is none."""
    try:
        event = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    wanted = {"t": (int, float), **HOLDS.get(event["event"], {})}
    sound = all(isinstance(event.get(key), kind) for key, kind in wanted.items())
    return event if sound else None
