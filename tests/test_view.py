"""The viewer: who is answered, a run while it goes, objects that are clicked."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.commands.jobs import view as viewing
from threestudio_like.engine.errors import ConfigError, InputError
from threestudio_like.meshes.material import EncodedImage, Material, Sampler
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.page import mesh_page
from threestudio_like.reports import BoxPicker, PageServer, Report, live, serve_run, write_report
from threestudio_like.reports.live import run_state

SCENE = Path("assets/pictures/scene.png")
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


def get(address: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=20
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def post(address: str, body: object) -> tuple[int, dict]:
    request = urllib.request.Request(address, data=json.dumps(body).encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_only_who_was_told_the_address_is_answered():
    server = PageServer({"": lambda: ("text/plain", b"hello"), "later": lambda: None})
    try:
        host = server.address.split("/")[2]
        assert get(server.address) == (200, b"hello")
        assert get(server.address + "later")[0] == 404
        assert get(f"http://{host}/")[0] == 404
        assert get(f"http://{host}/wrong/")[0] == 404
        # A page of another site that has its name point here.
        assert get(server.address, Host="evil.example")[0] == 404
        with pytest.raises(ConfigError, match="cannot be opened"):
            PageServer({}, port=int(host.rsplit(":", 1)[1]))
    finally:
        server.close()
    with pytest.raises(ConfigError, match="65535"):
        PageServer({}, port=70000)


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
    server = serve_run(tmp_path)
    try:
        assert b"<svg" not in get(server.address)[1]
        assert json.loads(get(server.address + "state")[1]) == state
        assert get(server.address + "preview.png")[0] == 404
        assert get(server.address + "report")[0] == 404
        (tmp_path / "work" / "preview.png").write_bytes(b"first")
        assert get(server.address + "preview.png") == (200, b"first")
        (tmp_path / "report.html").write_text("the report")
        events_of(tmp_path, begin, stage, *steps, {"t": 9.0, "event": "end"})
        assert json.loads(get(server.address + "state")[1])["ended"]
        assert get(server.address + "report") == (200, b"the report")
    finally:
        server.close()


def test_a_click_finds_an_object_and_a_drag_is_a_box():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:50] = True
    picker = BoxPicker(
        np.zeros((40, 60, 3), np.uint8), ["a red ball"], lambda point: mask & (point[0] > 25)
    )
    try:
        assert json.loads(get(picker.address + "phrases")[1]) == ["a red ball"]
        assert get(picker.address + "picture.png")[1][1:4] == b"PNG"
        status, found = post(picker.address + "object", {"point": [35, 15], "number": 0})
        assert status == 200
        assert found["box"] == [30, 10, 50, 20]
        assert found["outline"].startswith("data:image/png;base64,")
        assert post(picker.address + "object", {"box": [-5, 3, 30, 90]})[1]["box"] == [0, 3, 30, 40]
        unclear = [({"point": ["x", 5]}, "understood"), ({}, "understood"), ([1], "understood")]
        for wrong, said in [
            ({"point": [5, 5]}, "shows no object"),
            ({"point": [99, 5]}, "outside of the picture"),
            *unclear,
        ]:
            status, answer = post(picker.address + "object", wrong)
            assert status == 400
            assert said in answer["error"]
        assert post(picker.address + "done", {"boxes": []})[0] == 400
        assert post(picker.address + "done", {"boxes": [[1, 2, 3, 4], [1, 2, 3, 4]]})[0] == 400
        assert picker.wait(0.01) is None
        assert post(picker.address + "done", {"boxes": [[1, 2, 3, 4]]})[0] == 200
        assert picker.wait(5).tolist() == [[1, 2, 3, 4]]
    finally:
        picker.close()


@pytest.fixture
def user(monkeypatch):
    """Somebody who clicks two places of whatever page is opened, and is done."""

    def act(address: str) -> bool:
        def work() -> None:
            boxes = [
                post(address + "object", {"point": p, "number": n})[1]["box"]
                for n, p in enumerate(act.points)
            ]
            act.boxes = boxes
            post(address + "done", {"boxes": boxes})

        threading.Thread(target=work, daemon=True).start()
        return True

    act.points, act.boxes = [[80, 180], [95, 100]], []
    monkeypatch.setattr(live, "open_browser", act)
    return act


def test_view_of_a_picture_prints_the_command_with_the_boxes(user, capsys):
    prompt = "a green sofa in front of a blue robot"
    assert main(["view", str(SCENE), prompt, "--seconds", "120"]) == 0
    printed = capsys.readouterr().out.strip()
    boxes = [",".join(f"{v:.0f}" for v in b) for b in user.boxes]
    assert printed == f"threestudio-like compose {SCENE} '{prompt}' --boxes {boxes[0]} {boxes[1]}"
    for box, (x, y) in zip(user.boxes, user.points):
        assert box[0] < x < box[2]
        assert box[1] < y < box[3]


def test_boxes_of_a_large_picture_are_in_the_files_own_pixels(user, tmp_path):
    from PIL import Image

    from threestudio_like.systems.image_to_3d.photo import read_pixels
    from threestudio_like.systems.scene.picture import Canvas

    path = tmp_path / "large.png"
    with Image.open(SCENE) as image:
        image.resize((2048, 2048)).save(path)
    user.points = [[4 * x, 4 * y] for x, y in user.points]
    boxes = viewing.pick_boxes(path, "", viewing.ViewOptions(seconds=120))
    assert boxes == tuple(",".join(f"{2 * v:.0f}" for v in b) for b in user.boxes)
    read = read_pixels(path)
    pixels, note, share = read.pixels, read.note, read.share
    canvas = Canvas.of(pixels, "x", note, share)
    assert np.allclose(
        canvas.box(np.array([float(v) for v in boxes[0].split(",")])), user.boxes[0], atol=1
    )


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
    assert len(taken["boxes"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["view", "nowhere"], "no such file or folder"),
        (["view", "tests"], "is no run's folder"),
        (["view", "README.md"], "not a mesh format"),
        (["view", "tests", "a red ball"], "belongs to a picture"),
        (["compose", str(SCENE), "--pick", "--boxes", "1,2,30,40"], "given"),
        (["compose", "--pick", "--text", "a red ball on a blue box"], "wants a picture"),
        (["compose", "nowhere.png", "--pick"], "no such file"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, said, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_mesh_is_shown_to_be_turned(tmp_path, monkeypatch):
    Asset({"ball": Mesh(CORNERS, FACES)}).save(tmp_path / "ball.glb")
    seen = {}

    def look(address: str) -> bool:
        seen["page"] = get(address)[1].decode()
        return True

    monkeypatch.setattr(live, "open_browser", look)
    assert main(["view", str(tmp_path / "ball.glb"), "--seconds", "0.1"]) == 0
    assert "<canvas" in seen["page"]
    assert "ball.glb" in seen["page"]


def test_a_run_with_viewer_is_shown_from_its_beginning(tmp_path, monkeypatch):
    from threestudio_like.commands.generate import Generate
    from threestudio_like.runs.options import RunOptions
    from threestudio_like.runs.session import Run
    from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

    seen = {}

    def look(address: str) -> bool:
        seen.update(json.loads(get(address + "state")[1]))
        return True

    monkeypatch.setattr(live, "open_browser", look)
    run = RunOptions(out=tmp_path / "run", viewer=True)
    with Run.open("generate", Generate(run=run), name="a red chair") as opened:
        opened.describe({"prompt": "a red chair"}, LatentNerf())
    assert seen["folder"] == str(tmp_path / "run")
    assert seen["stages"] == {}
    with pytest.raises(InputError):
        viewing.view(tmp_path, "", viewing.ViewOptions(seconds=0.1))


def test_another_address_is_listened_on_with_a_word(capsys):
    server = PageServer({"": lambda: ("text/plain", b"hello")}, host="0.0.0.0")
    try:
        port = server.address.split("/")[2].rsplit(":", 1)[1]
        assert server.address.startswith(f"http://127.0.0.1:{port}/")
        assert port in server.warning
        assert get(server.address) == (200, b"hello")
        for named, status in [
            (f"192.168.0.7:{port}", 200),
            (f"[fe80::1]:{port}", 200),
            (socket.gethostname(), 200),
            (f"evil.example:{port}", 404),
            ("", 404),
        ]:
            assert get(server.address, Host=named)[0] == status, named
    finally:
        server.close()
    server = PageServer({"": lambda: ("text/plain", b"hello")})
    try:
        assert server.warning == ""
        assert get(server.address, Host="192.168.0.7")[0] == 404
    finally:
        server.close()
    for wrong in ("203.0.113.7", "no.such.host.invalid", "a" * 300):
        with pytest.raises(ConfigError, match="cannot be opened") as problem:
            PageServer({}, host=wrong)
        assert "--host" in problem.value.line()


def test_view_says_who_else_may_look(tmp_path, monkeypatch, capsys):
    Asset({"ball": Mesh(CORNERS, FACES)}).save(tmp_path / "ball.glb")
    monkeypatch.setattr(live, "open_browser", lambda address: True)
    view = ["view", str(tmp_path / "ball.glb"), "--seconds", "0.1"]
    assert main([*view, "--host", "0.0.0.0"]) == 0
    assert "nothing is encrypted" in capsys.readouterr().err
    assert main(view) == 0
    assert "encrypted" not in capsys.readouterr().err


def test_a_browser_that_hangs_up_leaves_no_traceback(capsys):
    asked = threading.Event()

    def slow() -> tuple[str, bytes]:
        asked.set()
        time.sleep(0.2)
        return "text/plain", bytes(1 << 24)

    server = PageServer({"": slow})
    try:
        host, port = server.address.split("/")[2].split(":")
        path = "/" + server.address.split("/", 3)[3]
        line = socket.create_connection((host, int(port)))
        line.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        assert asked.wait(5)
        # Closing with a reset, as a browser does that has left the page.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        line.close()
        time.sleep(0.6)
        assert get(server.address)[0] == 200
    finally:
        server.close()
    assert capsys.readouterr().err == ""


def test_a_click_on_the_background_is_refused():
    wall, floor, ball = (np.zeros((40, 60), bool) for _ in range(3))
    wall[:25], floor[25:], ball[15:40, 20:40] = True, True, True
    found = {10: wall, 30: floor, 20: ball}
    picker = BoxPicker(np.zeros((40, 60, 3), np.uint8), [], lambda point: found[int(point[1])])
    try:
        for y in (10, 30):
            status, answer = post(picker.address + "object", {"point": [5, y]})
            assert status == 400
            assert "shows the background" in answer["error"]
        # What only touches the border is an object, and so is whatever is dragged about.
        assert post(picker.address + "object", {"point": [30, 20]})[1]["box"] == [20, 15, 40, 40]
        whole = post(picker.address + "object", {"box": [0, 0, 60, 40]})[1]["box"]
        assert whole == [0, 0, 60, 40]
    finally:
        picker.close()


def test_pages_fit_a_phone_and_ask_for_no_icon(tmp_path):
    write_report(
        tmp_path / "report.html",
        Report(
            title="a red chair",
            asset=Asset({"ball": Mesh(CORNERS, FACES)}),
            sheet=np.zeros((8, 8, 3), np.uint8),
            configuration="system: latent-nerf\n",
        ),
    )
    report = (tmp_path / "report.html").read_text()
    pages = {
        "report": report,
        "mesh": mesh_page("x", Asset({"ball": Mesh(CORNERS, FACES)})).decode(),
        "live": live.page("live.html")[1].decode(),
        "pick": live.page("pick.html")[1].decode(),
    }
    for name, page in pages.items():
        assert '<meta name="viewport" content="width=device-width' in page, name
        assert '<link rel="icon" href="data:,">' in page, name
        assert "<iframe" not in page, name
        assert '"iframe"' not in page, name
        assert not re.search(r"https?://(?!www\.w3\.org)", page), name
    assert "<pre>system: latent-nerf" in report
    folded = re.findall(r"<details>.*?</details>", report, re.S)
    assert any("<pre>system: latent-nerf" in one for one in folded)
    assert "<details open" not in report


def given(page: bytes) -> dict:
    """What the viewer of a page is given."""
    text = page.decode()
    begin = text.index(">", text.index('id="mesh"')) + 1
    return json.loads(text[begin : text.index("</script>", begin)])


def array(text: str, kind: type) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_viewer_is_given_parts_in_a_unit_sphere_with_their_materials():
    leaf = np.full((4, 4, 4), 128, np.uint8)
    file = EncodedImage(leaf, b"the file's own bytes", "image/webp")
    material = Material(
        colour=(0.5, 1.0, 0.25, 0.5),
        roughness=0.3,
        metallic=0.7,
        alpha_mode="MASK",
        alpha_cutoff=0.25,
        double_sided=True,
        normal_map=np.zeros((2, 2, 3), np.uint8),
        emission=(0.0, 2.0, 0.0),
        sampler=Sampler("clamp", "mirror", nearest=True),
        images=(file,),
    )
    uv = np.array([[0, 0], [1, 0], [0, 1], [2, 2]], np.float32)
    far = CORNERS * 1000 + np.float32([5e4, 0, -3e4])
    parts = {
        "leaf": Mesh(far, FACES, uv=uv, texture=leaf, material=material),
        "same": Mesh(far, FACES, uv=uv, texture=leaf, material=material),
        "bare": Mesh(far, FACES),
        "painted": Mesh(far, FACES, colours=np.full((4, 3), 0.5, np.float32)),
        "nothing": Mesh(far, FACES[:0]),
    }
    data = given(mesh_page("</script><b>", Asset(parts)))
    assert len(data["parts"]) == 4
    for part in data["parts"]:
        points = array(part["positions"], np.float32).reshape(-1, 3)
        faces = array(part["faces"], np.uint32).reshape(-1, 3)
        assert np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=1e-4)
        shape = points[faces] * data["radius"] + far.min(0) + 500
        assert np.allclose(shape, far[FACES], atol=0.01)
        # Hard edges stay hard: every corner has the normal of its face.
        normals = array(part["normals"], np.int8).reshape(-1, 3)[faces] / 127
        flat = np.cross(shape[:, 1] - shape[:, 0], shape[:, 2] - shape[:, 0])
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        assert np.abs(normals - flat[:, None]).max() < 0.01
    one, same, bare, painted = data["parts"]
    assert one["texture"] == same["texture"]
    assert len(data["pictures"]) == 2
    address = base64.b64encode(b"the file's own bytes").decode()
    assert data["pictures"][one["texture"]] == f"data:image/webp;base64,{address}"
    wanted = {
        "colour": [0.5, 1.0, 0.25, 0.5],
        "roughness": 0.3,
        "metallic": 0.7,
        "alphaMode": "MASK",
        "alphaCutoff": 0.25,
        "doubleSided": True,
        "emission": [0.0, 2.0, 0.0],
        "wrap": ["clamp", "mirror"],
        "nearest": True,
    }
    assert {k: one[k] for k in wanted} == wanted
    assert one["normalMap"] != one["texture"]
    assert "texture" not in bare
    assert "uv" not in bare
    assert set(array(painted["colours"], np.uint8).reshape(-1, 4)[0]) == {128, 255}
    assert b"<b>" not in mesh_page("</script><b>", Asset(parts))


def test_a_large_texture_is_averaged_down_and_a_dense_mesh_keeps_its_vertices():
    from io import BytesIO

    from PIL import Image

    from threestudio_like.meshes.page import data

    uv = np.zeros((4, 2), np.float32)
    large = np.full((1024, 4096, 3), 77, np.uint8)
    material = Material(images=(EncodedImage(large, b"large", "image/png"),))
    page = given(mesh_page("x", Asset({"a": Mesh(CORNERS, FACES, uv, large, material=material)})))
    with Image.open(BytesIO(base64.b64decode(page["pictures"][0].split(",")[1]))) as image:
        assert image.size == (2048, 512)
    grid = np.stack(np.meshgrid(*[np.arange(400.0)] * 2), -1).reshape(-1, 2)
    points = np.concatenate([grid, np.zeros((len(grid), 1))], 1).astype(np.float32)
    corner = (np.arange(399)[:, None] * 400 + np.arange(399)).reshape(-1)
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + 400], 1),
            np.stack([corner + 1, corner + 401, corner + 400], 1),
        ]
    ).astype(np.int32)
    assert len(faces) > data.SHARP_FACES
    part = given(mesh_page("x", Asset({"a": Mesh(points, faces)})))["parts"][0]
    assert len(array(part["positions"], np.float32)) == 3 * len(points)
    assert array(part["faces"], np.uint32).max() == len(points) - 1


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
def test_scripts_are_scripts(tmp_path):
    mesh = mesh_page("x", Asset({"ball": Mesh(CORNERS, FACES)})).decode()
    pages = [mesh, live.page("live.html")[1].decode(), live.page("pick.html")[1].decode()]
    for number, page in enumerate(pages):
        path = tmp_path / f"{number}.js"
        path.write_text(re.findall(r"<script>(.*?)</script>", page, re.S)[-1])
        done = subprocess.run(["node", "--check", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
