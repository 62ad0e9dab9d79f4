"""The live table of a batch in the terminal; elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any

from ...engine.text import printable
from .drive import Progress
from .forecast import spoken

SHOWN = 12
"""Workers and failures that are listed."""


class LiveTable:
    """Shows a batch's progress on standard error.

    Args:
        quiet: show nothing.
        dashboard: the address of a page about the workers.
    """

    def __init__(self, *, quiet: bool = False, dashboard: str = "") -> None:
        self._quiet, self._dashboard = quiet, dashboard
        self._live: Any = None
        self._last = time.monotonic()
        if not quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
            self._live.start()

    def show(self, progress: Progress) -> None:
        """Draw the present state."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(self.table(progress))
        elif time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            print(self.line(progress), file=sys.stderr, flush=True)

    def line(self, progress: Progress) -> str:
        """The state in a line."""
        done = progress.made + progress.found
        left = ""
        if progress.made:
            rate = progress.made / max(progress.seconds, 1e-9)
            left = f", {spoken(progress.left / rate)} left"
        failures = f", {progress.aside} set aside" if progress.aside else ""
        return f"{done}/{progress.total} made{failures}, {len(progress.running)} running{left}"

    def table(self, progress: Progress) -> Any:
        """The state as a table of rich."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.line(progress), title_justify="left", expand=True)
        table.add_column("worker", width=8)
        table.add_column("item")
        for number, label in list(sorted(progress.running.items()))[:SHOWN]:
            table.add_row(str(number), Text(printable(label), no_wrap=True))
        for line in list(progress.latest)[-3:]:
            table.add_row("failed", Text(printable(line), no_wrap=True, style="red"))
        if self._dashboard:
            table.add_row("Ray", self._dashboard)
        return table

    def close(self) -> None:
        """Remove the table."""
        if self._live is not None:
            self._live.stop()
