"""Every command that optimises, as the viewer shows it: no stage is dark, what is kept can be
shown, a scene's objects are seen as they become ready."""

from __future__ import annotations

import ast
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from threestudio_like.engine import onlookers
from threestudio_like.engine.onlookers import HISTORY, Wishes, snapshots
from threestudio_like.meshes.io.files import read
from threestudio_like.meshes.mesh import Asset, Mesh

from .runs import CAR, MUG, QUICK, SMALL, run, sha

pytest.importorskip("viser", reason="no viser: pip install '.[viewer]'")

from threestudio_like.reports.viewer import RunsViewer, run_state

PACKAGE = Path(__file__).parent.parent / "threestudio_like"


def stages_without_a_snapshot(text: str) -> list[int]:
    """Lines on which a `Stage` that has steps is made without a snapshot."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "Stage":
            continue
        steps = node.args[1] if len(node.args) > 1 else None
        none = isinstance(steps, ast.Constant) and steps.value == 0
        if not none and not any(k.arg in ("snapshot", None) for k in node.keywords):
            lines.append(node.lineno)
    return lines


def test_every_stage_of_an_asset_can_be_looked_at():
    dark = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for room in ("stages", "systems")
        for path in (PACKAGE / room).rglob("*.py")
        for line in stages_without_a_snapshot(path.read_text(encoding="utf-8"))
    }
    assert dark == set()
    assert stages_without_a_snapshot("Stage('a', n, {}, loss=f)") == [1]
    assert stages_without_a_snapshot("Stage('a', n, {}, snapshot=f)") == []


PAINT = [
    *("--start.refine.times", "0.9", "--start.refine.steps", "2", "--start.iterations", "4"),
    *("--start.refine.views", "4", "--steps", "4"),
]
LINES = {
    "texture": ("texture", MUG, "a blue mug", *PAINT),
    "texture, all sides": ("texture", MUG, "a blue mug", "--method", "paint", "--paint.steps", "3"),
    "reconstruct": (
        *("reconstruct", CAR, "--method", "field", "--distil.steps", "3", "--start.steps", "3"),
        *("--colour.complete", "neighbours"),
    ),
    "compose": (
        *("compose", "--text", "a red ball on a blue box", "--method", "g3dr"),
        *("--starts", "1", "--steps", "3"),
    ),
    "generate": ("generate", "a red chair", *QUICK),
}


class Onlooker:
    """Somebody who looks at a run from its first moment, as an open page does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.over, self.beat = folder, threading.Event(), 0
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self) -> None:
        while not self.over.wait(0.05):
            self.beat += 1
            for work in self.folder.rglob("work"):
                try:
                    Wishes(beat=self.beat, watched=True).write(work)
                except Exception:  # the folder may go away meanwhile
                    continue

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_) -> None:
        self.over.set()
        self.thread.join()


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run of every command that somebody looked at, made when it is first asked for."""
    root, made = tmp_path_factory.mktemp("watched"), {}
    LINES["refine"] = ("refine", root / "generate", "--steps", "3")

    def of(name: str) -> Path:
        if name == "refine":
            of("generate")
        folder = root / name.replace(", ", "-").replace(" ", "-")
        if name not in made:
            with pytest.MonkeyPatch.context() as patch, Onlooker(folder):
                patch.setattr(onlookers, "LOOK_SECONDS", 0.0)
                patch.setattr(onlookers, "LEAST_SECONDS", 0.0)
                patch.setattr(onlookers, "SHARE_WATCHED", 0.5)
                assert run(*LINES[name], *SMALL, "--out", folder, "--quiet") == 0
            made[name] = folder
        return made[name]

    return of


@pytest.mark.parametrize(
    "name", ["generate", "refine", "texture", "texture, all sides", "reconstruct", "compose"]
)
def test_a_watched_run_of_each_command_is_shown(watched, name):
    folder = watched(name)
    kept = [path for work in folder.rglob("work") for path in snapshots(work / HISTORY)]
    facts = [json.loads(path.read_text()) for path in kept]
    seen = {f["stage"] for f in facts}
    events = [json.loads(e) for e in (folder / "events.jsonl").read_text().splitlines()]
    assert not [e for e in events if e["event"] == "snapshot"]
    stages = {e["stage"] for e in events if e["event"] == "stage" and e["steps"] > 1}
    assert seen >= stages > set()
    viewer = RunsViewer([folder])
    try:
        (cell,) = viewer.cells
        stops = cell.stops()
        assert {path.name for path in kept} <= {path.name for path in stops}
        for path in stops:
            cell.show(path, cameras=True)
            assert not cell.problem, path
            assert cell.shown.startswith(str(path))
            stage = json.loads(path.read_text())["stage"] if path.suffix == ".json" else None
            inner = path.parent.name.replace("_", " ") if path.parent != folder else "asset"
            assert cell.facts["stage"] == (stage or inner)
        assert cell.facts["stage"] == "asset"
    finally:
        viewer.close()


def test_the_asset_stands_where_its_last_snapshot_stood(watched):
    """A file's own unit and axes make no jump at the end of the way."""
    folder = watched("texture")
    viewer = RunsViewer([folder])
    try:
        (cell,) = viewer.cells
        last = cell.history[-1]
        now = read(last.with_suffix(".glb"))
        points = np.concatenate([m.vertices for m in now.meshes.values()])
        cell.show(cell.stops()[-1])
        asset = read(folder / "asset.glb")
        placed = np.concatenate([m.vertices for m in asset.meshes.values()])
        placed = placed * cell._node.scale + np.array(cell._node.position)
        for ends in (np.min, np.max):
            assert np.allclose(ends(placed, axis=0), ends(points, axis=0), atol=0.02)
    finally:
        viewer.close()


def test_objects_of_a_scene_are_shown_as_they_become_ready(tmp_path):
    def log(folder: Path, *events: dict) -> None:
        (folder / "work").mkdir(parents=True, exist_ok=True)
        (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))

    begin = {"t": 0.0, "event": "begin", "verb": "compose", "prompt": "a ball and a box"}
    stage = {"t": 1.0, "event": "stage", "stage": "field", "steps": 9, "start": 0}
    end = {"t": 2.0, "event": "end"}
    log(tmp_path, begin)
    ball, box = tmp_path / "objects" / "red_ball", tmp_path / "objects" / "blue_box"
    log(ball, begin, stage)
    viewer = RunsViewer([tmp_path])
    try:
        (cell,) = viewer.cells
        assert cell.stops() == []
        assert list(cell.state["stages"]) == ["red ball: field"]
        corners = np.eye(3, dtype=np.float32)
        Asset({"a": Mesh(corners, np.array([[0, 1, 2]], np.int32))}).save(ball / "asset.glb")
        viewer.refresh()
        assert cell.stops() == []  # it is not known to be whole
        log(ball, begin, stage, end)
        log(box, begin)
        viewer.refresh()
        assert cell.stops() == [ball / "asset.glb"]
        assert cell.facts["stage"] == "red ball"
        assert not cell.problem
        assert cell.state["stages"] == {}
        # A snapshot within an object's own folders is found too.
        history = box / "shape" / "work" / HISTORY
        history.mkdir(parents=True)
        Asset({"a": Mesh(corners, np.array([[0, 1, 2]], np.int32))}).save(history / "00001-f-1.glb")
        facts = {"stage": "f", "step": 1, "steps": 9, "file": "00001-f-1.glb"}
        (history / "00001-f-1.json").write_text(json.dumps(facts))
        viewer.refresh()
        assert [path.name for path in cell.stops()] == ["asset.glb", "00001-f-1.json"]
    finally:
        viewer.close()


def test_items_of_a_batch_stand_in_a_grid_by_prompt_and_seed(tmp_path, capsys, monkeypatch):
    from threestudio_like.commands.jobs import view as viewing
    from threestudio_like.engine.errors import InputError

    (tmp_path / "store.json").write_text("{}")
    with pytest.raises(InputError, match="no run"):
        viewing._viewer(tmp_path, (), viewing.ViewOptions())
    for number in range(4):
        folder = tmp_path / "items" / f"id{number}" / "attempt"
        folder.mkdir(parents=True)
        begin = {"t": 0.0, "event": "begin", "prompt": "a red chair", "seed": number}
        (folder / "events.jsonl").write_text(json.dumps(begin) + "\n" + '{"t": 1, "event": "end"}')
        corners = np.eye(3, dtype=np.float32)
        Asset({"a": Mesh(corners, np.array([[0, 1, 2]], np.int32))}).save(folder / "asset.glb")
    monkeypatch.setattr(viewing, "MOST_RUNS", 3)
    viewer, _ = viewing._viewer(tmp_path, (), viewing.ViewOptions())
    try:
        assert [cell.label() for cell in viewer.cells] == [
            f"a red chair, seed {n}" for n in range(3)
        ]
        viewer.refresh()
        assert all(cell.shown and not cell.problem for cell in viewer.cells)
        assert len({cell.place for cell in viewer.cells}) == 3
    finally:
        viewer.close()
    assert "3 of 4 items are shown" in capsys.readouterr().err


def test_what_happened_is_told_in_words(tmp_path):
    events = [
        {"t": 0.0, "event": "begin", "verb": "compose", "prompt": "x"},
        {"t": 1.0, "event": "object", "name": "robot", "box": [56.0, 58.5], "sureness": 0.32280612},
        {"t": 2.0, "event": "order", "pairs": [["sofa", "robot"]]},
        {"t": 3.0, "event": "warning", "line": "the sofa falls over."},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    assert run_state(tmp_path)["said"] == [
        "1 s  object: name robot, box 56 58.5, sureness 0.323",
        "2 s  order: pairs sofa robot",
        "3 s  warning: the sofa falls over.",
    ]


def test_the_viewer_tells_nothing_but_its_address(tmp_path):
    """What the terminal of a run is told by the viewer's process is one line."""
    import subprocess
    import sys

    (tmp_path / "events.jsonl").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "threestudio_like.reports.viewer", str(tmp_path), "127.0.0.1", "0"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("The run is shown at http://127.0.0.1:")


def test_the_viewer_is_open_soon_for_it_needs_no_torch():
    import subprocess
    import sys

    line = "import sys, threestudio_like.reports.viewer.__main__; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


def test_bytes_are_the_same_whether_somebody_looks_or_not(watched, tmp_path):
    alone = tmp_path / "alone"
    assert run(*LINES["texture"], *SMALL, "--out", alone, "--quiet") == 0
    assert not (alone / "work" / HISTORY).exists()
    assert sha(alone / "asset.glb") == sha(watched("texture") / "asset.glb")
