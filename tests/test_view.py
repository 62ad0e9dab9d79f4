"""The viewer: who is answered, a run while it goes, objects that are clicked."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.commands.jobs import view as viewing
from threestudio_like.engine.errors import ConfigError, InputError
from threestudio_like.reports import BoxPicker, PageServer, live, serve_run
from threestudio_like.reports.live import run_state

SCENE = Path("assets/pictures/scene.png")


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
    pixels, note, share = read_pixels(path)
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
    from threestudio_like.meshes.mesh import Asset, Mesh

    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    Asset({"ball": Mesh(points, faces)}).save(tmp_path / "ball.glb")
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
