"""The panel of one run: how far it is, the way it came, its losses, what is asked of it, files."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...engine.errors import UserError
from ...meshes.io.files import encode, read
from ...meshes.io.formats import FORMATS
from .cells import Cell
from .server import ViewerServer
from .words import stages_table, told

COLOURS = ("#b4432f", "#2f6fb4", "#3f8f4f", "#8a5fb0", "#b0852f", "#4f8f8f")


class RunPanel:
    """The panel of one run.

    Attributes:
        asked: what the buttons ask of the run: pause, stop.
    """

    def __init__(self, server: ViewerServer, cell: Cell) -> None:
        self.server, self.cell = server, cell
        self.asked = {"pause": False, "stop": False}
        gui = server.gui
        self._title = gui.add_html(told(cell.state["title"], _pace(cell.state)))
        self._stages = gui.add_html(stages_table(cell.state))
        self._preview = gui.add_image(np.zeros((2, 2, 3), np.uint8), label="So far", visible=False)
        self._previewed = 0
        self._pause = gui.add_button("Pause", hint="Wait after the step; the run keeps its place")
        self._stop = gui.add_button("Stop and keep", hint="End now, with what there is")
        self._follow = gui.add_checkbox("Newest", initial_value=True)
        self._slider = gui.add_slider("Step kept", min=0, max=1, step=1, initial_value=0)
        self._where = gui.add_html(told(""))
        self._cameras = gui.add_checkbox("Cameras of the step", initial_value=False)
        with gui.add_folder("Losses", expand_by_default=False):
            self._curve = gui.add_dropdown("Of", ("loss",))
            self._plot = gui.add_uplot(
                data=(np.zeros(2), np.zeros(2)),
                series=({"label": "step"}, {"label": "loss", "stroke": COLOURS[0], "width": 1.5}),
                scales={"x": {"time": False}},
                aspect=1.6,
            )
        self._plotted: tuple[str, int] = ("", 0)
        with gui.add_folder("Export", expand_by_default=False):
            self._kind = gui.add_dropdown("Format", tuple(_formats()))
            self._save = gui.add_button("Download")
            self._saved = gui.add_html(told(""))
        self._report = gui.add_html("", visible=False)
        self._said: tuple[Any, ...] = ()
        self._moving = False
        self._connect()

    def refresh(self) -> None:
        """Show what is new."""
        cell, state = self.cell, self.cell.state
        said = (_pace(state), stages_table(state), state["ended"], state["paused"])
        if said != self._said:
            self._said = said
            self._title.content = told(state["title"], _pace(state))
            self._stages.content = said[1]
            self._pause.visible = self._stop.visible = not state["ended"]
            ready = state["ended"] and (cell.folder / "report.html").is_file()
            if ready and not self._report.visible:
                self._report.content = (
                    '<div style="font:13px system-ui,sans-serif;padding:4px 8px">'
                    '<a href="report" target="_blank" style="color:#8f3120">The report</a></div>'
                )
                self._report.visible = True
        self._show_preview()
        self._plot_curve()
        self._show()

    def take_leave(self) -> None:
        """Say that the page ends with the run, and how the run is shown again."""
        again = shlex.join(["threestudio-like", "view", str(self.cell.folder)])
        line = f"This page has ended with its run. It is shown again by: {again}"
        self._title.content = told(self.cell.state["title"], line)

    def _show_preview(self) -> None:
        """The run's own picture, such as a cut-out, until there is a model to be turned."""
        path = self.cell.folder / "work" / "preview.png"
        wanted = not self.cell.stops() and path.is_file()
        if not wanted:
            self._preview.visible = False
            return
        with contextlib.suppress(OSError, ValueError):
            stamp = path.stat().st_mtime_ns
            if stamp != self._previewed:
                with Image.open(path) as picture:
                    self._preview.image = np.asarray(picture.convert("RGB"))
                self._previewed, self._preview.visible = stamp, True

    def _show(self) -> None:
        cell, stops = self.cell, self.cell.stops()
        if not stops:
            return
        last = len(stops) - 1
        if self._slider.max != max(last, 1):
            self._slider.max = max(last, 1)
        if self._follow.value and self._slider.value != last:
            self._moving = True
            self._slider.value = last
            self._moving = False
        at = min(int(self._slider.value), last)
        cell.show(stops[at], cameras=bool(self._cameras.value))
        facts = cell.facts
        words = f"{facts['stage']} {facts['step']}/{facts['steps']}" if facts.get("steps") else ""
        wanted = told(words or (facts.get("stage") or ""), cell.problem)
        if self._where.content != wanted:
            self._where.content = wanted

    def _plot_curve(self) -> None:
        curves = {n: p for n, p in self.cell.state["curves"].items() if len(p) > 1}
        if not curves:
            return
        if tuple(self._curve.options) != tuple(curves):
            chosen = self._curve.value
            self._curve.options = tuple(curves)
            self._curve.value = chosen if chosen in curves else next(iter(curves))
        points = curves.get(self._curve.value, next(iter(curves.values())))
        key = (self._curve.value, len(points))
        if key == self._plotted:
            return
        self._plotted = key
        self._plot.series = (
            {"label": "step"},
            {"label": self._curve.value, "stroke": COLOURS[0], "width": 1.5},
        )
        rows = np.array(points, np.float64)
        self._plot.data = (rows[:, 0].copy(), rows[:, 1].copy())

    def _connect(self) -> None:
        @self._pause.on_click
        def _(_: Any) -> None:
            self.asked["pause"] = not self.asked["pause"]
            self._pause.label = "Go on" if self.asked["pause"] else "Pause"

        @self._stop.on_click
        def _(_: Any) -> None:
            self.asked.update(stop=True, pause=False)
            self._stop.disabled = self._pause.disabled = True

        @self._slider.on_update
        def _(event: Any) -> None:
            # Only a hand on the slider leaves the newest behind.
            if event.client is not None and not self._moving:
                self._follow.value = int(self._slider.value) >= len(self.cell.stops()) - 1
                self._show()

        @self._cameras.on_update
        def _(_: Any) -> None:
            self._show()

        @self._curve.on_update
        def _(_: Any) -> None:
            self._plot_curve()

        @self._save.on_click
        def _(event: Any) -> None:
            try:
                name, data = self._file()
            except (UserError, OSError) as error:
                line = error.line() if isinstance(error, UserError) else str(error)
                self._saved.content = told("", line)
                return
            self._saved.content = told("", f"{name}, {len(data) / 1e6:.1f} MB")
            event.client.send_file_download(name, data, save_immediately=True)

    def _file(self) -> tuple[str, bytes]:
        """The file that is asked for, of what is shown."""
        stops = self.cell.stops()
        if not stops:
            raise UserError("there is nothing yet", "export", "Wait for the first picture")
        path = stops[min(int(self._slider.value), len(stops) - 1)]
        if path.suffix == ".json":
            path = path.with_name(Path(self.cell.facts["file"]).name)
        wanted = Path(f"{self.cell.folder.name}{self._kind.value}")
        if path.suffix == wanted.suffix:
            return wanted.name, path.read_bytes()
        files = encode(read(path), wanted)
        if len(files) > 1:
            return f"{wanted.stem}.zip", _zipped(files)
        return wanted.name, next(iter(files.values()))


def _pace(state: dict[str, Any]) -> str:
    """The command and its seconds."""
    return " · ".join(filter(None, [state["verb"], f"{state['seconds']:.0f} s"]))


def _formats() -> list[str]:
    """Suffixes that can be written, glTF's own first."""
    found = [row.suffixes[0] for _, row in FORMATS.items() if row.write is not None]
    first = [s for s in (".glb", ".obj", ".ply", ".stl") if s in found]
    return [*first, *(s for s in found if s not in first)]


def _zipped(files: dict[Path, bytes]) -> bytes:
    """Files that belong together as one archive."""
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path.name, data)
    return buffer.getvalue()
