"""One run's place in the scene: the snapshots of its model, its asset, the cameras of its steps."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import UserError
from ...engine.onlookers import HISTORY, WISHES, Wishes, snapshots
from ...meshes.io.files import read
from ...meshes.io.splats.splats import is_splat_file, read_splats
from .server import ViewerServer
from .shapes import UNIT, add_asset, add_splats, sphere_about
from .state import inner_runs, run_state

PITCH = 2.4
"""From the middle of one run to that of the next; an object has a radius of 1."""
FRUSTUM = 0.18


def grid_places(count: int) -> list[tuple[float, float, float]]:
    """Places of `count` runs in a grid about the origin, as wide as it is high or wider."""
    columns = max(1, math.ceil(math.sqrt(count)))
    rows = max(1, math.ceil(count / columns))
    return [
        (
            PITCH * (n % columns - (columns - 1) / 2),
            PITCH * ((rows - 1) / 2 - n // columns),
            0.0,
        )
        for n in range(count)
    ]


class Cell:
    """A run in the scene.

    Args:
        name: of its node. place: (x, y, z) of its middle.
    """

    def __init__(
        self, server: ViewerServer, name: str, folder: Path, place: tuple[float, float, float]
    ) -> None:
        self.server, self.name, self.folder, self.place = server, name, folder, place
        self.slot = server.scene.add_frame(name, show_axes=False, position=place)
        self.state: dict[str, Any] = run_state(folder)
        self.history: list[Path] = []
        self.shown = ""
        self.facts: dict[str, Any] = {}
        self.problem = ""
        self._node: Any = None
        self._cameras: list[Any] = []
        self._stamp: tuple[tuple[int, int], ...] = ()

    @property
    def asset(self) -> Path | None:
        """The file that the run has delivered; None before that."""
        return _delivered(self.folder) if self.state["ended"] else None

    def read(self) -> bool:
        """Read what is new; whether anything is."""
        logs = (f / "events.jsonl" for f in (self.folder, *inner_runs(self.folder)))
        stamp = tuple(map(_stamp, logs))
        fresh = stamp != self._stamp
        if fresh:
            self.state = run_state(self.folder)
        works = self._works()
        history = [s for work in works for s in snapshots(work / HISTORY)] + self._objects()
        if len(works) > 1:
            history.sort(key=_stamp)
        news = fresh or history != self.history
        self._stamp, self.history = stamp, history
        return news

    def _objects(self) -> list[Path]:
        """The assets of a scene's objects that are ready, before the scene is."""
        return [path for path in map(_delivered, self.state["made"]) if path is not None]

    def stops(self) -> list[Path]:
        """What the scrubber goes through: snapshots, objects of a scene as they become ready, and
        the asset at the end."""
        asset = self.asset
        return [*self.history, *([asset] if asset is not None else [])]

    def label(self) -> str:
        """What the run is called among others: its folder; an item of a batch, whose folder nobody
        has named, by its prompt and its seed."""
        if self.folder.parent.parent.name != "items":
            return self.folder.name
        return f"{self.state['title']}, seed {self.state['seed']}"

    def line(self) -> str:
        """What the run is, in a line."""
        seconds = f"{self.state['seconds']:.0f} s"
        return " · ".join(v for v in (self.state["verb"], self.state["title"], seconds) if v)

    def show_share(self, share: float) -> None:
        """Show the model where it was at a share of the way in [0, 1]."""
        stops = self.stops()
        if stops:
            self.show(stops[round(share * (len(stops) - 1))])

    def show(self, path: Path, cameras: bool = False) -> None:
        """Show a snapshot (its facts) or the asset."""
        # The objects of a scene and the scene itself have files of one name.
        key = f"{path} {cameras}"
        if key == self.shown:
            return
        try:
            self._replace(path, cameras)
            self.shown, self.problem = key, ""
        except (OSError, ValueError, KeyError, UserError) as error:
            # It may be dropped from the history while it is read.
            self.problem = error.line() if isinstance(error, UserError) else ""

    def _replace(self, path: Path, cameras: bool) -> None:
        inner = path.suffix != ".json" and path.parent != self.folder
        old, name = self._node, f"{self.name}/{path.parent.name if inner else path.stem}"
        if path.suffix == ".json":
            self.facts = json.loads(path.read_text(encoding="utf-8"))
            file = path.with_name(Path(self.facts["file"]).name)
            if file.suffix == ".glb":
                self._node = self.server.scene.add_glb(name, file.read_bytes())
            else:
                self._node = add_splats(self.server, name, read_splats(file), framed=False).node
        else:
            what = path.parent.name.replace("_", " ") if inner else "asset"
            self.facts = {"stage": what, "step": 0, "steps": 0}
            if is_splat_file(path):
                self._node = add_splats(self.server, name, read_splats(path)).node
            else:
                place = UNIT if inner else self._last_sphere()
                self._node = add_asset(self.server, name, read(path), place).node
        if old is not None and old.name != self._node.name:
            old.remove()
        for one in self._cameras:
            one.remove()
        self._cameras = self._frusta() if cameras else []

    def _last_sphere(self) -> tuple[np.ndarray, float]:
        """The sphere about the last snapshot of a mesh, so that the asset stands where that stood,
        whatever its unit and axes are; the unit sphere where there is none."""
        meshes = [p.with_suffix(".glb") for p in self.history if p.suffix == ".json"]
        for file in reversed(meshes[-2:]):
            with contextlib.suppress(OSError, UserError):
                return sphere_about(read(file))
        return UNIT

    def _frusta(self) -> list[Any]:
        """The cameras of the snapshot's step."""
        made = []
        for number, row in enumerate(self.facts.get("cameras", [])[:64]):
            pose = np.array(row["pose"], np.float64).reshape(4, 4)
            # viser's cameras look down +Z with Y down, these look down -Z with Y up.
            turn = pose[:3, :3] @ np.diag([1.0, -1.0, -1.0])
            made.append(
                self.server.scene.add_camera_frustum(
                    f"{self.name}/cameras/{number}",
                    fov=float(row["fov"]),
                    aspect=float(row["aspect"]),
                    scale=FRUSTUM,
                    thickness=0.006,
                    color=(60, 90, 130),
                    wxyz=_quaternion(turn),
                    position=tuple(pose[:3, 3]),
                    cast_shadow=False,
                )
            )
        return made

    def ask(
        self, beat: int, *, watched: bool = False, pause: bool = False, stop: bool = False
    ) -> None:
        """Renew the wishes about the run while it goes."""
        if self.state["ended"]:
            self.forget()
            return
        for work in self._works():
            with contextlib.suppress(UserError, OSError):
                Wishes(beat=beat, watched=watched, pause=pause, stop=stop).write(work)

    def forget(self) -> None:
        """Ask nothing any more."""
        for work in self._works():
            with contextlib.suppress(OSError):
                (work / WISHES).unlink(missing_ok=True)

    def _works(self) -> list[Path]:
        """The work/ folders of the run and of the runs within it."""
        inner = [w for depth in ("*", "*/*", "*/*/*") for w in self.folder.glob(f"{depth}/work")]
        return [w for w in (self.folder / "work", *sorted(inner)) if w.is_dir()]


def _delivered(folder: Path) -> Path | None:
    """The asset in a run's folder."""
    paths = (folder / name for name in ("asset.glb", "asset.ply"))
    return next((path for path in paths if path.is_file()), None)


def _stamp(path: Path) -> tuple[int, int]:
    """When a file was written, and its size; zeros where it is not there, for the history drops
    some meanwhile."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _quaternion(matrix: np.ndarray) -> tuple[float, float, float, float]:
    """The quaternion, w first, of a rotation (3, 3)."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(matrix).as_quat()
    return float(w), float(x), float(y), float(z)
