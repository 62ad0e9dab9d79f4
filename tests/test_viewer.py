"""The viewer on viser without a browser: who is answered, what is asked of a run, boxes."""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from threestudio_like.cli import main
from threestudio_like.commands.jobs import view as viewing
from threestudio_like.engine.errors import ConfigError, InputError
from threestudio_like.engine.events import Events
from threestudio_like.engine.loop import Interrupted, Loop, LoopSettings, Stage, StagePlan
from threestudio_like.engine.onlookers import HISTORY, MOST_KEPT, Wishes, read_wishes, snapshots
from threestudio_like.engine.stage import ParameterGroup
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.reports import viewer as package
from threestudio_like.reports.viewer import BoxPicker, Guard, RunsViewer, ViewerServer, run_state
from threestudio_like.reports.viewer import server as serving
from threestudio_like.reports.viewer.words import objects_list, stages_table, told

viser = pytest.importorskip("viser", reason="no viser: pip install '.[viewer]'")
following = importlib.import_module("threestudio_like.reports.viewer.follow")
SCENE = Path("assets/pictures/scene.png")
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def server():
    made = ViewerServer("x", {"report": lambda: ("text/html", b"the report")})
    yield made
    made.close()


def ask(server: ViewerServer, path: str, *lines: str, host: str | None = None) -> tuple[int, bytes]:
    """The status and the body of a request of these header lines."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        named = [f"Host: {host if host is not None else f'127.0.0.1:{server.port}'}"]
        text = "\r\n".join([f"GET {path} HTTP/1.1", *(named if host != "" else []), *lines])
        line.sendall(f"{text}\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while piece := line.recv(1 << 16):
            data += piece
            if data.startswith(b"HTTP/1.1 101"):
                break
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def upgrade(token: str, origin: str = "") -> list[str]:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}"]
    lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Protocol: viser-v{viser.__version__}"]
    return [*lines, *([f"Origin: {origin}"] if origin else [])]


def test_only_who_knows_the_token_and_names_this_machine_is_answered(server):
    page = f"/{server.guard.token}/"
    own = f"http://127.0.0.1:{server.port}"
    assert ask(server, page)[0] == 200
    assert ask(server, page + "report") == (200, b"the report")
    assert b"the report" not in ask(server, page)[1]
    wrong = ["/", "/wrong/", f"/{server.guard.token[:-1]}/", "/report", page + "../report"]
    wrong += [page + "%2e%2e/%2e%2e/etc/passwd", page + "..\\..\\setup.py", "//" + page]
    for path in wrong:
        assert ask(server, path)[0] == 404, path
    for host in ("evil.example", "192.168.0.7", f"evil.example:{server.port}", "127.0.0.1.evil"):
        assert ask(server, page, host=host)[0] == 404, host
    assert ask(server, page, f"Host: 127.0.0.1:{server.port}")[0] in (400, 404)
    assert ask(server, page, "Origin: http://evil.example")[0] == 404
    # What carries the scene is guarded as its page is.
    path = page[:-1]
    assert ask(server, path, *upgrade(path, own))[0] == 101
    assert ask(server, path, *upgrade(path, "http://evil.example"))[0] == 404
    assert ask(server, path, *upgrade(path, "null"))[0] == 404
    assert ask(server, "/", *upgrade(path, own))[0] == 404
    old = [x.replace(viser.__version__, "0.0.1[bold]") for x in upgrade(path, own)]
    assert ask(server, path, *old)[0] == 404


def test_the_page_may_load_nothing_from_anywhere_else(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        line.sendall(
            f"GET /{server.guard.token}/ HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
        )
        head = line.recv(4096).partition(b"\r\n\r\n")[0].decode()
    assert "default-src 'none'" in head
    assert "frame-ancestors 'none'" in head
    assert "no-referrer" in head
    # A tunnel through another company's server is not to be had.
    kinds = {kind.__name__ for kind in server.viser._websock_server._incoming_handlers}
    assert not kinds & {"ShareUrlRequest", "ShareUrlDisconnect"}


def test_a_thousand_requests_slow_ones_and_those_that_hang_up(server, capfd):
    page = f"/{server.guard.token}/"
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(60)]
    for line in slow:
        line.sendall(b"GET / HT")
    for number in range(1000):
        assert ask(server, page if number % 50 == 0 else "/wrong")[0] in (200, 404)
    rude = struct.pack("ii", 1, 0)
    for number in range(20):
        line = socket.create_connection(("127.0.0.1", server.port))
        text = f"GET {page} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        line.sendall((text + ("\r\n" if number % 2 else "")).encode())
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, rude)
        line.close()
    assert ask(server, page)[0] == 200
    for line in slow:
        line.close()
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == ""


def test_whoever_sends_slowly_or_without_end_is_let_go(monkeypatch, capfd):
    monkeypatch.setattr(serving, "OPEN_SECONDS", 1.0)
    made = ViewerServer("x")
    try:
        page = f"/{made.guard.token}/"
        host = f"Host: 127.0.0.1:{made.port}\r\n"
        begun = [
            b"GET / HT",
            f"GET {page} HTTP/1.1\r\n{host}X: ".encode() + b"a" * 100_000,
            f"GET {page} HTTP/1.1\r\n{host}".encode() + b"X: a\r\n" * 5000,
            f"POST {page} HTTP/1.1\r\n{host}Content-Length: 99999999\r\n\r\n".encode(),
            b"\x00" * 100_000,
        ]
        for data in begun:
            line = socket.create_connection(("127.0.0.1", made.port), timeout=20)
            with line, contextlib.suppress(ConnectionError):
                line.sendall(data)
                # Closed, answered or reset: in any case it is over.
                while line.recv(1 << 16):
                    continue
        assert ask(made, page)[0] == 200
    finally:
        made.close()
    assert capfd.readouterr().err == ""


def test_there_is_room_for_a_number_of_browsers_and_others_are_refused(server, monkeypatch):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    monkeypatch.setattr(serving, "MOST_CLIENTS", 2)
    address = server.address.replace("http", "ws")[:-1]
    spoken = [f"viser-v{viser.__version__}"]
    with connect(address, subprotocols=spoken), connect(address, subprotocols=spoken):
        until = time.monotonic() + 20
        while len(server.viser._websock_server._client_state_from_id) < 2:
            assert time.monotonic() < until
            time.sleep(0.02)
        with pytest.raises(InvalidStatus, match="404"):
            connect(address, subprotocols=spoken)
    assert ask(server, f"/{server.guard.token}/")[0] == 200


def test_what_a_browser_sends_is_bounded_and_may_be_nonsense(server, capfd):
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    address = server.address.replace("http", "ws")[:-1]
    spoken = [f"viser-v{viser.__version__}"]
    for sent in (b"\xc1nonsense", os.urandom(1000), bytes(serving.LARGEST_MESSAGE + 1)):
        with connect(address, subprotocols=spoken, max_size=None) as line:
            try:
                line.send(sent)
                for _ in range(100):
                    line.recv(timeout=20)
            except ConnectionClosed:
                continue
            raise AssertionError("it was taken")
    assert ask(server, f"/{server.guard.token}/")[0] == 200
    assert capfd.readouterr().err == ""


def test_addresses_and_ports_that_cannot_be_had_are_one_line(server):
    with pytest.raises(ConfigError, match="cannot be opened"):
        ViewerServer("x", port=server.port)
    with pytest.raises(ConfigError, match="65535"):
        ViewerServer("x", port=70000)
    for wrong in ("203.0.113.7", "no.such.host.invalid", "a" * 300):
        with pytest.raises(ConfigError, match="cannot be opened") as problem:
            ViewerServer("x", host=wrong)
        assert "--host" in problem.value.line()
    assert server.warning == ""


def test_on_another_address_numbers_and_own_names_are_answered():
    guard = Guard("0.0.0.0", "t")
    for named in ("192.168.0.7:80", "[fe80::1]:80", socket.gethostname(), "localhost"):
        assert guard.name("/t/", named) == "", named
    for named in ("evil.example:80", ""):
        assert guard.name("/t/", named) is None, named
    assert Guard("127.0.0.1", "t").name("/t/", "192.168.0.7") is None
    assert Guard("127.0.0.1").token != Guard("127.0.0.1").token
    made = ViewerServer("x", host="0.0.0.0")
    try:
        assert "nothing is encrypted" in made.warning
        assert made.address.startswith(f"http://127.0.0.1:{made.port}/")
    finally:
        made.close()


def test_words_of_strangers_are_no_markup():
    state = {"stages": {HOSTILE: {"step": 1, "steps": 2, "seconds": None}}, "said": [HOSTILE]}
    for text in (told(HOSTILE, HOSTILE), stages_table(state), objects_list([HOSTILE], [], HOSTILE)):
        assert "<script" not in text
        assert "<img" not in text
        assert "&lt;script" in text


def test_without_viser_there_is_one_line_and_no_folder(tmp_path, monkeypatch, capsys):
    real = serving.importlib.import_module

    def absent(name: str, *rest: str):
        if name == "viser":
            raise ImportError("No module named 'viser'")
        return real(name, *rest)

    monkeypatch.setattr(serving.importlib, "import_module", absent)
    monkeypatch.setattr(following.importlib.util, "find_spec", lambda name: None)
    assert main(["generate", "a red chair", "--out", str(tmp_path / "run"), "--viewer"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install '.[viewer]'" in said
    assert not (tmp_path / "run").exists()
    assert main(["view", "assets/meshes/robot.glb", "--no-browser", "--seconds", "0"]) == 2
    assert "pip install '.[viewer]'" in capsys.readouterr().err


class Watched:
    """A stage of one number, watched by somebody who asks for things at some steps."""

    def __init__(self, folder: Path, asks: dict[int, Wishes] | None = None, steps: int = 12):
        self.folder, self.asks, self.beat = folder, asks or {}, 0
        self.value = torch.nn.Parameter(torch.tensor(1.0))
        self.module = torch.nn.Module()
        self.module.value = self.value
        self.steps = steps

    def loss(self, step):
        time.sleep(0.03)
        wish = self.asks.get(step.index)
        if self.asks:
            self.beat += 1
            held = wish or Wishes(watched=True)
            Wishes(**{**vars(held), "beat": self.beat}).write(self.folder)
        noise = step.random.uniform("noise")
        return {"square": (self.value - noise.to(self.value)).square()}

    def run(self) -> float:
        stage = Stage(
            "fit",
            self.steps,
            {"one": self.module},
            groups=[ParameterGroup("one", [self.value], "0.1")],
            loss=self.loss,
            snapshot=lambda: {".bin": self.value.detach().numpy().tobytes()},
        )
        events = Events(self.folder.parent / "events.jsonl", "quiet")
        Loop(self.folder, events, LoopSettings(seed=3)).run([StagePlan("fit", lambda _: stage)])
        return float(self.value.detach())


@pytest.fixture
def quick(monkeypatch):
    from threestudio_like.engine import onlookers

    monkeypatch.setattr(onlookers, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(onlookers, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(onlookers, "SHARE_WATCHED", 1.0)


def folder_of(tmp_path: Path, name: str) -> Path:
    (tmp_path / name / "work").mkdir(parents=True)
    return tmp_path / name / "work"


def test_a_run_that_is_watched_ends_in_the_same_numbers(tmp_path, quick):
    alone = Watched(folder_of(tmp_path, "alone")).run()
    assert not (tmp_path / "alone" / "work" / HISTORY).exists()
    seen = folder_of(tmp_path, "seen")
    assert Watched(seen, {0: Wishes(watched=True)}).run() == alone
    kept = snapshots(seen / HISTORY)
    assert len(kept) >= 3
    facts = [json.loads(p.read_text()) for p in kept]
    assert [f["step"] for f in facts] == sorted(f["step"] for f in facts)
    values = [np.frombuffer((seen / HISTORY / f["file"]).read_bytes(), np.float32) for f in facts]
    assert float(values[-1][0]) != float(values[0][0])


@pytest.mark.parametrize("old", [False, True])
def test_a_viewer_that_is_open_shows_where_a_run_begins(old, tmp_path, quick):
    """A first step may take seconds. Wishes that an earlier run's viewer left are nobody's."""
    seen = folder_of(tmp_path, "seen")
    Wishes(beat=7, watched=True).write(seen)
    if old:
        os.utime(seen / "wishes.json", (time.time() - 60, time.time() - 60))
    watched = Watched(seen, steps=2)
    watched.run()
    kept = snapshots(seen / HISTORY)
    assert [json.loads(p.read_text())["step"] for p in kept][:1] == ([] if old else [0])
    if not old:
        first = (seen / HISTORY / json.loads(kept[0].read_text())["file"]).read_bytes()
        assert np.frombuffer(first, np.float32)[0] == 1.0


def test_of_many_snapshots_the_first_and_the_newest_stay(tmp_path, quick):
    seen = folder_of(tmp_path, "seen")
    Watched(seen, {0: Wishes(watched=True)}, steps=MOST_KEPT + 25).run()
    steps = [json.loads(p.read_text())["step"] for p in snapshots(seen / HISTORY)]
    assert len(steps) <= MOST_KEPT
    assert steps[0] <= 3
    assert steps[-1] == MOST_KEPT + 25
    assert len(list((seen / HISTORY).iterdir())) == 2 * len(steps)


def test_a_run_stops_where_it_is_asked_to_and_keeps_what_it_has(tmp_path, quick):
    seen = folder_of(tmp_path, "seen")
    with pytest.raises(Interrupted):
        Watched(seen, {0: Wishes(), 4: Wishes(stop=True)}).run()
    assert (seen / "checkpoint.safetensors").is_file()


def test_a_paused_run_goes_on_when_asked_and_when_nobody_is_there(tmp_path, quick, monkeypatch):
    from threestudio_like.engine import onlookers

    monkeypatch.setattr(onlookers, "ALIVE_SECONDS", 1.0)
    alone = Watched(folder_of(tmp_path, "alone")).run()
    seen = folder_of(tmp_path, "seen")
    began = time.monotonic()
    # Whoever asked for it is gone, for nobody renews it.
    assert Watched(seen, {0: Wishes(), 4: Wishes(pause=True)}).run() == alone
    assert time.monotonic() - began > 1.0
    events = (seen.parent / "events.jsonl").read_text()
    assert '"pause"' in events
    assert '"go-on"' in events


def test_old_or_damaged_wishes_ask_nothing(tmp_path, quick):
    seen = folder_of(tmp_path, "seen")
    Wishes(beat=7, pause=True, stop=True).write(seen)
    Watched(seen).run()
    for damaged in (b"", b"[1]", b'{"beat": "x"}', b"\xff" * 10):
        (seen / "wishes.json").write_bytes(damaged)
        assert read_wishes(seen) == Wishes()


def test_a_snapshot_that_fails_is_told_and_ends_nothing(tmp_path, quick):
    seen = folder_of(tmp_path, "seen")
    watched = Watched(seen, {0: Wishes(watched=True)})
    stage_of = Stage.__init__

    def broken(self, *args, **more):
        stage_of(self, *args, **{**more, "snapshot": lambda: 1 / 0})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "__init__", broken)
        watched.run()
    told_of = [e for e in (seen.parent / "events.jsonl").read_text().splitlines() if "Zero" in e]
    assert len(told_of) == 1


def events_of(folder: Path, *events: dict) -> None:
    (folder / "work").mkdir(parents=True, exist_ok=True)
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))


def test_a_run_is_shown_while_it_goes_and_after(tmp_path):
    begin = {"t": 0.0, "event": "begin", "verb": "generate", "prompt": "a red chair"}
    stage = {"t": 1.0, "event": "stage", "stage": "distil", "steps": 100, "start": 0}
    one = {"event": "step", "stage": "distil", "rate": 2.0}
    steps = [{**one, "t": 1.0 + n, "step": n, "terms": {"sds": 10.0 - n}} for n in range(1, 6)]
    events_of(tmp_path, begin, stage, *steps)
    state = run_state(tmp_path)
    assert state["title"] == "a red chair"
    assert state["stages"]["distil"]["step"] == 5
    assert state["curves"]["distil: sds"][0] == [1, 9.0]
    assert not state["ended"]
    viewer = RunsViewer([tmp_path])
    try:
        assert read_wishes(tmp_path / "work").beat == 1
        viewer.refresh()
        assert read_wishes(tmp_path / "work") == Wishes(beat=2)
        assert viewer.panel is not None
        viewer.panel.asked["pause"] = True
        viewer.refresh()
        assert read_wishes(tmp_path / "work").pause
        ball = Asset({"ball": Mesh(CORNERS, FACES)})
        ball.save(tmp_path / "asset.glb")
        (tmp_path / "report.html").write_text("the report")
        page = f"/{viewer.server.guard.token}/report"
        assert ask(viewer.server, page) == (200, b"the report")
        events_of(tmp_path, begin, stage, *steps, {"t": 9.0, "event": "end"})
        viewer.refresh()
        assert viewer.cells[0].asset == tmp_path / "asset.glb"
        assert not (tmp_path / "work" / "wishes.json").exists()
    finally:
        viewer.close()


def test_the_viewer_of_a_run_is_a_process_that_ends_with_it(tmp_path):
    begin = {"t": 0.0, "event": "begin", "verb": "generate", "prompt": HOSTILE}
    events_of(tmp_path, begin)
    with following.follow(tmp_path) as viewer:
        until = time.monotonic() + 60
        while read_wishes(tmp_path / "work").beat < 2 and time.monotonic() < until:
            time.sleep(0.1)
        assert read_wishes(tmp_path / "work").beat >= 2
    assert viewer._process.wait(30) == 0
    assert not (tmp_path / "work" / "wishes.json").exists()


def test_runs_side_by_side(tmp_path, capsys):
    for name in ("a", "b", "c"):
        events_of(tmp_path / name, {"t": 0.0, "event": "begin", "verb": "generate", "prompt": name})
    quiet = ["--no-browser", "--seconds", "0"]
    assert main(["view", str(tmp_path / "a"), str(tmp_path / "b"), *quiet]) == 0
    assert main(["view", str(tmp_path), *quiet]) == 0
    assert "is shown at http://127.0.0.1" in capsys.readouterr().err
    viewer, _ = viewing._viewer(tmp_path, (), viewing.ViewOptions())
    assert viewer is not None
    try:
        assert [cell.folder.name for cell in viewer.cells] == ["a", "b", "c"]
        assert len({cell.place for cell in viewer.cells}) == 3
    finally:
        viewer.close()
    assert main(["view", str(tmp_path / "a"), "nowhere", *quiet]) == 2
    assert "is no run's folder" in capsys.readouterr().err


class Window:
    """A browser's camera, as the server knows it: what it was sent, and what it tells."""

    image_width, look_at = 390, (0.0, 0.0, 0.0)

    def __init__(self, server: ViewerServer, monkeypatch) -> None:
        self.camera, self.sent, self.gui = self, [], self
        self._tells: list = []
        self.atomic = contextlib.nullcontext
        connected: list = []
        monkeypatch.setattr(server.viser, "on_client_connect", connected.append)
        server.look_from(radius=1.0)
        self.begun = tuple(server.viser.initial_camera.position)
        self._at, self.aspect = self.begun, 0.487
        connected[0](self)

    @property
    def position(self) -> tuple[float, ...]:
        return self._at

    @position.setter
    def position(self, at: tuple[float, ...]) -> None:
        self._at = at
        self.sent.append(at)

    def on_update(self, told) -> None:
        self._tells.append(told)

    def tell(self, at: tuple[float, ...], aspect: float = 0.487) -> int:
        """How often the camera is sent on when the browser says that it is there."""
        before, (self._at, self.aspect) = len(self.sent), (at, aspect)
        self._tells[0](self)
        return len(self.sent) - before


def test_a_camera_that_goes_back_while_its_page_is_built_is_sent_on(server, monkeypatch):
    window = Window(server, monkeypatch)
    (place,) = window.sent
    assert np.linalg.norm(place) > np.linalg.norm(window.begun)  # a phone is narrow
    assert window.tell(place) == 0
    for late in (window.begun, serving.UNPLACED):
        assert window.tell(late) == 1
        assert window.sent[-1] == place
    # Turned over: it stands nearer. A place of before, told with the new shape, is not the user's.
    assert window.tell(place, 2.05) == 1
    assert np.linalg.norm(window.sent[-1]) < np.linalg.norm(place)
    assert window.tell(place, 2.05) == 1
    assert window.tell(window.sent[-1], 2.05) == 0


def test_a_camera_that_its_user_moved_is_left_alone(server, monkeypatch):
    window = Window(server, monkeypatch)
    moved = tuple(0.9 * v for v in window.sent[-1])
    assert window.tell(moved) == window.tell(moved, 2.05) == 0


def test_a_click_finds_an_object_and_a_drag_is_a_box():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    picker = BoxPicker(
        np.zeros((40, 60, 3), np.uint8), ["a ball", "a cup"], lambda point: mask & (point[0] > 25)
    )
    try:
        assert picker.click(35, 15) == [30, 10, 50, 20]
        for x, y, said in [(5, 5, "shows no object"), (99, 5, "outside of the picture")]:
            with pytest.raises(InputError, match=said):
                picker.click(x, y)
        with pytest.raises(InputError, match="1 boxes for 2"):
            picker.finish()
        assert picker.drag(30, 90, -5, 3) == [0, 3, 30, 40]
        with pytest.raises(InputError, match="has its box"):
            picker.click(35, 15)
        assert picker.wait(0.01) is None
        picker.undo()
        assert picker.drag(1, 2, 3, 4) == [1, 2, 3, 4]
        picker.finish()
        assert picker.wait(5).tolist() == [[30, 10, 50, 20], [1, 2, 3, 4]]
    finally:
        picker.close()


def test_a_click_on_the_background_is_refused():
    wall, floor, ball = (np.zeros((40, 60), bool) for _ in range(3))
    wall[:25], floor[25:], ball[15:40, 20:40] = True, True, True
    found = {10: wall, 30: floor, 20: ball}
    picker = BoxPicker(np.zeros((40, 60, 3), np.uint8), [], lambda point: found[int(point[1])])
    try:
        for y in (10, 30):
            with pytest.raises(InputError, match="shows the background"):
                picker.click(5, y)
        # What only touches the border is an object, and so is whatever is dragged about.
        assert picker.click(30, 20) == [20, 15, 40, 40]
        assert picker.drag(0, 0, 60, 40) == [0, 0, 60, 40]
    finally:
        picker.close()


@pytest.fixture
def user(monkeypatch):
    """Somebody who clicks places of a picture, and is done."""

    class User:
        points, boxes = [[80, 180], [95, 100]], []

    real = package.BoxPicker.wait

    def wait(self, seconds=None):
        def work() -> None:
            User.boxes = [self.click(*p) for p in User.points]
            self.finish()

        threading.Thread(target=work, daemon=True).start()
        return real(self, seconds)

    monkeypatch.setattr(package.BoxPicker, "wait", wait)
    monkeypatch.setattr(following, "open_browser", lambda address: True)
    return User


def test_view_of_a_picture_prints_the_command_with_the_boxes(user, capsys):
    prompt = "a green sofa in front of a blue robot"
    assert main(["view", str(SCENE), prompt, "--seconds", "120"]) == 0
    printed = capsys.readouterr().out.strip()
    boxes = [",".join(f"{v:.0f}" for v in b) for b in user.boxes]
    assert printed == f"threestudio-like compose {SCENE} '{prompt}' --boxes {boxes[0]} {boxes[1]}"
    for box, (x, y) in zip(user.boxes, user.points):
        assert box[0] < x < box[2]
        assert box[1] < y < box[3]


def test_boxes_of_a_large_picture_are_in_the_files_own_pixels(user, tmp_path, monkeypatch):
    from PIL import Image

    path = tmp_path / "large.png"
    with Image.open(SCENE) as image:
        image.resize((2048, 2048)).save(path)
    monkeypatch.setattr(user, "points", [[4 * x, 4 * y] for x, y in user.points])
    boxes = viewing.pick_boxes(path, "", viewing.ViewOptions(seconds=120))
    assert boxes == tuple(",".join(f"{2 * v:.0f}" for v in b) for b in user.boxes)


def test_compose_takes_boxes_that_are_clicked(user, monkeypatch):
    from threestudio_like.commands.jobs import compose as composing

    taken = {}
    monkeypatch.setattr(
        composing,
        "_compose_picture",
        lambda options, system, prior: taken.update(boxes=options.boxes),
    )
    assert main(["compose", str(SCENE), "a green sofa in front of a blue robot", "--pick"]) == 0
    assert taken["boxes"] == tuple(",".join(f"{v:.0f}" for v in b) for b in user.boxes)
