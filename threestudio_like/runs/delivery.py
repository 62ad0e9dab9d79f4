"""What every run ends with: the asset written, read back and compared, pictures, a turntable, the
report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.errors import OutputError
from ..engine.events import Events, read_events
from ..engine.memory import peak_memory_mb
from ..meshes.frames import Frame
from ..meshes.mesh import Asset
from ..meshes.picture import Light
from ..meshes.verification import Verdict, verify
from ..renderers import RingCameras
from ..reports import contact_sheet, save_png, turntable, write_report


@dataclass
class RunResult:
    """asset, the folder it lies in, its figures, and the verdict on asset.glb."""

    asset: Asset
    folder: Path
    figures: dict[str, Any]
    verdict: Verdict


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
    """

    title: str
    asset: Asset
    ring: RingCameras
    text: str
    turntable: bool = True
    place: Callable[[np.ndarray], np.ndarray] | None = None
    shown: Asset | None = None
    light: Light | None = None
    own: tuple[str, Asset, Frame] | None = None
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


def deliver(
    folder: Path, events: Events, began: float, figures: dict[str, Any], work: Delivery
) -> RunResult:
    """Write, verify, show and report; closes the events.

    Args:
        began: monotonic time at which the export began.

    Raises:
        OutputError: a file that was written does not show the asset.
    """
    asset, cameras = work.asset, work.ring.all(160).view_projection().numpy()
    temporary = folder / "work" / "asset.glb"
    asset.save(temporary)
    verdict = verify(temporary, asset, cameras, place=work.place)
    _refuse(verdict, temporary)
    temporary.replace(folder / "asset.glb")
    if work.own is not None:
        name, own, frame = work.own
        own.save(folder / name)
        _refuse(verify(folder / name, asset, cameras, frame=frame, place=work.place), folder / name)
    figures["seconds of export"] = time.monotonic() - began
    events.record("asset", **figures, verified=verdict.line())
    events.status("asset: pictures and report", force=True)
    shown = work.shown or asset
    sheet = contact_sheet(shown, work.ring, light=work.light)
    save_png(sheet, folder / "preview.png")
    if work.turntable:
        turntable(
            shown, folder / "turntable.mp4", work.ring.distance, work.ring.fov_y, light=work.light
        )
    peak = peak_memory_mb()
    if peak is not None:
        figures["peak memory, MB"] = round(peak)
    figures["seconds"] = events.elapsed
    write_report(
        folder / "report.html",
        work.title,
        shown,
        sheet,
        {"prompt": work.title, "verified": verdict.line(), **figures},
        read_events(folder / "events.jsonl"),
        work.text,
        work.pictures,
    )
    events.record("end", seconds=events.elapsed, peak_memory_mb=figures.get("peak memory, MB"))
    events.say(f"{folder / 'asset.glb'}  ({verdict.line()}; {events.elapsed:.0f} s)")
    events.close()
    return RunResult(asset, folder, figures, verdict)


def _refuse(verdict: Verdict, path: Path) -> None:
    if not verdict.passed:
        raise OutputError(
            f"the asset did not pass its verification ({verdict.line()})",
            str(path),
            "Report this with the run's folder",
        )
