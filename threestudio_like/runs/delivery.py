"""What every run ends with: the asset written, read back and compared; then pictures, a turntable
and the report, whose failure costs nothing but themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.errors import OutputError
from ..engine.events import Events
from ..engine.memory import peak_memory_mb
from ..engine.output import write_file
from ..meshes.features import Feature, loss_line
from ..meshes.frames import Frame
from ..meshes.io.files import losses, write
from ..meshes.mesh import Asset
from ..meshes.picture import Light
from ..meshes.verification import Verdict, verify
from ..meshes.verification_rest import Rest, verify_rest
from ..renderers import RingCameras
from ..reports import Comparison, contact_sheet, save_png, turntable, write_report
from .closing import closing_lines, report_of
from .options import is_strict

if TYPE_CHECKING:
    from .session import Run


@dataclass
class RunResult:
    """What a run made.

    asset: as it was written to asset.glb. folder: of the run. figures: by name, for the report.
    verdict: on asset.glb, read back and compared with the asset in memory. rest: on what was not
    meant to change, compared with the file of the user; None where there was no such file. fit:
    "fits", "doubtful" or "does not fit", how the asset compares with the picture that it was made
    of; empty where it was made of none. strict: whether one that does not fit is a failure
    (--strict), also where a run goes on.
    """

    asset: Asset
    folder: Path
    figures: dict[str, Any]
    verdict: Verdict
    rest: Rest | None = None
    fit: str = ""
    strict: bool = False

    @property
    def failed(self) -> bool:
        """Whether it does not fit its picture, and --strict makes a failure of that."""
        return self.strict and self.fit == "does not fit"

    def _repr_html_(self) -> str:
        """In a notebook: the asset, to be turned with the mouse."""
        return self.asset._repr_html_()


@dataclass
class Delivery:
    """What a run hands over.

    Args:
        title: of the report. ring: cameras by which the asset is shown and compared. text:
            run.yaml's.
        place: brings vertices before the cameras; `shown`: the asset there; `light`: on a base
            colour that is free of light.
        own: files in the user's own frame beside asset.glb: name, asset as it is written there, and
            the frame.
        pictures: more pictures for the report, by title.
        given: the file of the user that the asset came from; what was not meant to change is
            compared with it.
        files: further files of the run, by name.
        mesh: whether asset.glb and `own` stay in the folder once they are verified.
        before: what the asset was made of, in the frame of `shown`, to be compared with it.
        compared: pictures beside their rendering, for the report.
        fit, fit_line: a word for how well the result fits its input, and a line that says why, or
            what is known where there is no input to compare it with.
    """

    title: str
    asset: Asset
    ring: RingCameras
    turntable: bool = True
    place: Callable[[np.ndarray], np.ndarray] | None = None
    shown: Asset | None = None
    light: Light | None = None
    own: tuple[str, Asset, Frame] | None = None
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    given: Path | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    mesh: bool = True
    before: Asset | None = None
    compared: list[Comparison] = field(default_factory=list)
    fit: str = ""
    fit_line: str = ""


def deliver(run: Run, began: float, figures: dict[str, Any], work: Delivery) -> RunResult:
    """Write, verify, show and report.

    Args:
        began: monotonic time at which the export began.

    Raises:
        OutputError: a file that was written does not show the asset.
    """
    folder, events, asset = run.folder, run.events, work.asset
    cameras = work.ring.all(160).view_projection().numpy()
    temporary = folder / "work" / "asset.glb"
    temporary.unlink(missing_ok=True)
    asset.save(temporary)
    verdict = verify(temporary, asset, cameras, place=work.place)
    _refuse(verdict, temporary)
    own = work.own if work.mesh else None
    if own is not None:
        write(own[1], folder / own[0], force=True)
        own_verdict = verify(folder / own[0], asset, cameras, frame=own[2], place=work.place)
        _refuse(own_verdict, folder / own[0])
    rest = None
    if work.given is not None:
        # In the axes and the format of the user's file, where there is such a file.
        compared = (temporary, asset) if own is None else (folder / own[0], own[1])
        rest = verify_rest(work.given, *compared)
        _refuse_rest(rest, compared[0])
    shown_file = folder / "asset.glb"
    if work.mesh:
        temporary.replace(shown_file)
    else:
        temporary.unlink()
        shown_file = folder / next(iter(work.files))
    for name, data in work.files.items():
        write_file(folder / name, data, force=True)
    figures["seconds of export"] = time.monotonic() - began
    said = verdict.line() + (f"; {rest.line()}" if rest is not None else "")
    events.record("asset", **figures, verified=said)
    for name, kept, line in _losses(work, folder):
        events.record("losses", file=name, lost=[feature.facts() for feature in kept])
        run.losses.append(line)
        figures[f"not kept in {name}"] = "; ".join(feature.line() for feature in kept)
    events.status("asset: pictures and report", force=True)
    _show(run, work, figures, said=said)
    peak = peak_memory_mb()
    events.record("end", seconds=events.elapsed, peak_memory_mb=peak and round(peak))
    # What was compared is the file with what was to be written, not the result with the input.
    for line in closing_lines(run, work, shown_file, said):
        events.say(line)
    return RunResult(
        asset,
        folder,
        figures,
        verdict=verdict,
        rest=rest,
        fit=work.fit,
        strict=is_strict(run.options),
    )


def _losses(work: Delivery, folder: Path) -> Iterator[tuple[str, list[Feature], str]]:
    """For every file of the asset that could not keep all: its name, what is lost, and a line."""
    written = [("asset.glb", work.asset)]
    if work.own is not None and work.mesh:
        written.append((work.own[0], work.own[1]))
    for name, asset in written:
        lost = losses(asset, folder / name)
        if lost:
            yield name, lost, loss_line(lost, name)


def _show(run: Run, work: Delivery, figures: dict[str, Any], said: str) -> None:
    """Contact sheet, turntable and report. The asset is there already: what fails here is a
    warning."""
    folder, events, shown = run.folder, run.events, work.shown or work.asset
    with _extra(events, "preview.png"):
        sheet = contact_sheet(shown, work.ring, light=work.light)
        save_png(sheet, folder / "preview.png")
    if work.turntable:
        with _extra(events, "turntable.mp4"):
            turntable(
                shown,
                folder / "turntable.mp4",
                work.ring.distance,
                work.ring.fov_y,
                light=work.light,
            )
    peak = peak_memory_mb()
    if peak is not None:
        figures["peak memory, MB"] = round(peak)
    figures["seconds"] = events.elapsed
    with _extra(events, "report.html"):
        report = report_of(run, work, sheet, figures, said=said)
        write_report(folder / "report.html", report)


@contextmanager
def _extra(events: Events, name: str) -> Iterator[None]:
    """Something that a run can do without."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        events.say(f"Warning: {name} could not be made ({reason}). The asset is complete.")


def _refuse_rest(rest: Rest, path: Path) -> None:
    if not rest.passed:
        raise OutputError(
            f"the asset did not pass its verification ({rest.line()})",
            str(path),
            "Report this with the run's folder",
        )


def _refuse(verdict: Verdict, path: Path) -> None:
    if not verdict.passed:
        raise OutputError(
            f"the asset did not pass its verification ({verdict.line()})",
            str(path),
            "Report this with the run's folder",
        )
