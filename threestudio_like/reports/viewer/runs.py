"""Runs in the viewer, while they go and after: one with all that can be told of it, several side by
side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .cells import PITCH, Cell, grid_places
from .guard import LOOPBACK
from .panel import RunPanel
from .server import Answer, ViewerServer
from .shapes import light_scene
from .words import told

HTML = "text/html; charset=utf-8"


class RunsViewer:
    """A server that shows runs. Call `refresh` now and then.

    Args:
        folders: of the runs; one is shown with its losses and what may be asked of it, several
            stand in a grid and are scrubbed together (two of them are A and B).
        port, host: see `ViewerServer`.

    Raises:
        ConfigError: see `ViewerServer`.
    """

    def __init__(self, folders: Sequence[Path], port: int = 0, host: str = LOOPBACK) -> None:
        one = folders[0] if len(folders) == 1 else None

        def report() -> Answer | None:
            if one is None:
                return None
            try:
                return HTML, (one / "report.html").read_bytes()
            except OSError:
                return None

        label = one.name if one is not None else f"{len(folders)} runs"
        self.server = ViewerServer(label, {"report": report}, port, host)
        self._at: Any = None
        self._beat = 0
        try:
            self._build(folders, one is not None)
        except BaseException:
            self.server.close()
            raise

    def _build(self, folders: Sequence[Path], single: bool) -> None:
        light_scene(self.server)
        places = grid_places(len(folders))
        self.cells = [
            Cell(self.server, f"/run{number}", folder, place)
            for number, (folder, place) in enumerate(zip(folders, places))
        ]
        self.panel = RunPanel(self.server, self.cells[0]) if single else None
        if not single:
            self._several()
        reach = float(np.abs(places).max()) + 1.0
        self.server.look_from(azimuth=0.6 if single else 0.0, radius=reach)
        self.refresh()

    def refresh(self) -> None:
        """Show what is new in the folders, and renew what is asked of the runs."""
        self._beat += 1
        watched = self.server.watched
        for cell in self.cells:
            cell.read()
            asked = self.panel.asked if self.panel is not None else {}
            cell.ask(self._beat, watched=watched, **asked)
        if self.panel is not None:
            self.panel.refresh()
        else:
            for cell in self.cells:
                cell.show_share(self._at.value / 100)

    def take_leave(self) -> None:
        """Say in the page, which is about to end, how the run is shown again."""
        if self.panel is not None:
            self.panel.take_leave()

    def close(self) -> None:
        """Stop asking, and the server."""
        for cell in self.cells:
            cell.forget()
        self.server.close()

    def _several(self) -> None:
        gui = self.server.gui
        names = [cell.label() for cell in self.cells]
        marks = "AB" if len(names) == 2 else ""
        titles = [f"{marks[n]}: {name}" if marks else name for n, name in enumerate(names)]
        gui.add_html("".join(told(name, cell.line()) for name, cell in zip(titles, self.cells)))
        self._at = gui.add_slider("Way, %", min=0, max=100, step=1, initial_value=100)
        if marks:
            which = gui.add_dropdown("Show", ("side by side", "A", "B"))

            @which.on_update
            def _(_: Any) -> None:
                for cell, mark in zip(self.cells, marks):
                    together = which.value == "side by side"
                    cell.slot.visible = together or which.value == mark
                    x = cell.place[0] if together else 0.0
                    cell.slot.position = (x, cell.place[1], cell.place[2])

        for title, cell in zip(titles, self.cells):
            self.server.scene.add_label(
                f"{cell.name}/label", title[:40], position=(0.0, -PITCH / 2 + 0.1, 0.0)
            )
