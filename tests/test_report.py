"""The report of a run, the command that makes it again, and the four lines that a run ends with."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threestudio_like.commands.compose import Compose
from threestudio_like.commands.generate import Generate
from threestudio_like.commands.jobs.generate import shape_line
from threestudio_like.commands.parsing import parse
from threestudio_like.commands.reconstruct import Reconstruct
from threestudio_like.commands.texture import Texture
from threestudio_like.engine.events import Events, read_events
from threestudio_like.engine.text import duration
from threestudio_like.meshes.mesh import Asset, Mesh
from threestudio_like.meshes.page import POLICY, library, mesh_page
from threestudio_like.reports import Change, Comparison, Report, write_report
from threestudio_like.reports.meanings import value_text
from threestudio_like.runs.closing import closing_lines
from threestudio_like.runs.delivery import Delivery
from threestudio_like.runs.options import KnownOptions, MethodOptions, RunOptions
from threestudio_like.runs.record import RunRecord
from threestudio_like.runs.repeat import command_words, differences, made_in_python, repeat_line
from threestudio_like.runs.session import Run
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
ASSET = Asset({"ball": Mesh(CORNERS, FACES)})
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def report(**more) -> Report:
    return Report(title="a red chair", asset=ASSET, sheet=np.zeros((8, 64, 3), np.uint8), **more)


def written(path: Path, made: Report) -> str:
    path.unlink(missing_ok=True)
    write_report(path, made)
    return path.read_text(encoding="utf-8")


COMMANDS = {
    "generate": Generate(
        prompt='it\'s a "red" chair',
        sketch=Path("my shapes/stool.obj"),
        refine_mesh=True,
        method=MethodOptions(steps=7, negative="blurry, dull"),
        run=RunOptions(seed=3, minutes=1.5),
        set={"distil.guidance.scale": "7"},
    ),
    "texture": Texture(
        mesh=Path("car.obj"), prompt="a red car", up="z", front="-y", lock_parts=("wheels", "glass")
    ),
    "reconstruct": Reconstruct(
        picture=Path("front.jpg"),
        further=(Path("side.jpg"), Path("back.jpg")),
        system="relief",
        known=KnownOptions(azimuths=(0.0, 90.0, 180.0), elevation=-10.0, height="0.8m"),
    ),
    "compose": Compose(
        picture="scene.png", prompt="a red ball on a blue box", boxes=("1,2,3,4", "5,6,7,8")
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_to_repeat_gives_the_same_options(command):
    options = COMMANDS[command]
    shown = RunOptions(seed=options.run.seed, minutes=options.run.minutes)
    hidden = replace(shown, out=Path("x"), quiet=True, resume=True, viewer=True)
    line = repeat_line(command, replace(options, run=hidden), 2, Path("outputs/x"))
    words = shlex.split(line)
    assert words[:2] == ["threestudio-like", command]
    again = parse(command, words[2:])
    assert again == replace(options, run=replace(shown, threads=2))


def test_a_later_place_needs_those_before_it():
    assert command_words("compose", Compose(prompt="a red ball")) == ["", "a red ball"]
    assert command_words("compose", Compose(text="a ball")) == ["--text", "a ball"]


def test_what_was_made_in_python_is_said():
    with made_in_python({"system": LatentNerf(), "prior": None}):
        line = repeat_line("generate", Generate(prompt="a chair"), None, Path("outputs/x"))
    assert line.startswith("# Made from Python, with its own system")
    assert line.endswith("--config outputs/x/run.yaml")
    assert "#" not in repeat_line("generate", Generate(prompt="a chair"), None, Path("x"))


def test_differences_are_those_of_the_user_and_of_the_preset():
    plain = LatentNerf()
    assert differences(plain, plain) == []
    preset = replace(plain, distil=replace(plain.distil, steps=plain.distil.steps + 1))
    config = replace(preset, rgb=replace(preset.rgb, steps=plain.rgb.steps + 2))
    found = [(c.name, c.value - c.default, c.by) for c in differences(config, preset)]
    assert found == [("rgb.steps", 2, "you"), ("distil.steps", 1, "preset")]


def test_a_report_asks_for_nothing_and_shows_hostile_words_as_words(tmp_path):
    made = report(
        made=HOSTILE,
        fit="doubtful",
        fit_line=HOSTILE,
        verified=HOSTILE,
        doubts=[HOSTILE],
        figures={HOSTILE: HOSTILE},
        events=[{"event": "stage-end", "stage": HOSTILE, "step": 3, "seconds": 2.0}],
        repeat=HOSTILE,
        changes=[Change(name=HOSTILE, value=HOSTILE, default=HOSTILE, by="you")],
        configuration=HOSTILE,
        pictures={HOSTILE: np.zeros((4, 4, 3), np.uint8)},
    )
    page = written(tmp_path / "report.html", replace(made, title=HOSTILE))
    assert "alert(1)" in page
    assert not re.search(r"<script>alert|<img src=x", page)
    assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' in page
    assert "default-src 'none'" in POLICY
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)


def test_the_words_of_a_report_are_those_of_its_verdict(tmp_path):
    path = tmp_path / "report.html"
    for fit, kind, word in (
        ("fits", "good", "Fits its picture"),
        ("doubtful", "doubt", "Doubtful"),
        ("does not fit", "bad", "Does not fit its picture"),
    ):
        page = written(path, report(fit=fit, fit_line="because"))
        assert f'<div class="card {kind}"><b>{word}</b><p>because</p>' in page
    assert "Nothing was lost" in page
    page = written(path, report(doubts=[f"doubt {n}" for n in range(9)]))
    assert "Nothing was lost" not in page
    assert "<li>doubt 5</li>" in page
    assert "and 3 more in events.jsonl" in page


def test_a_report_compares_what_it_is_given(tmp_path):
    path = tmp_path / "report.html"
    page = written(path, report())
    assert 'id="split"' not in page
    assert '<figure class="compare">' not in page
    small = np.zeros((4, 4, 3), np.uint8)
    pair = Comparison(title="Both", first=small, second=small, words=("one", "two"))
    page = written(path, report(before=ASSET, compared=[pair]))
    assert 'id="split"' in page
    assert "Left: one. Right: two." in page
    begin = page.index(">", page.index('id="mesh"')) + 1
    data = json.loads(page[begin : page.index("</script>", begin)])
    assert len(data["before"]) == len(data["parts"]) == 1
    # A mesh of the same place is at the same place, and is there once.
    assert data["before"][0]["positions"] == data["parts"][0]["positions"]
    assert len(data["arrays"]) == 3


CHEQUERED = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((8, 8)))[..., None].repeat(3, 2) * 255


def sphere(around: int = 12, **more) -> Mesh:
    """A round mesh without normals, of `around` ** 2 faces; `more` as of `Mesh`."""
    rows, columns = around // 2, around + 1
    angle, height = np.meshgrid(
        np.linspace(0, 2 * np.pi, columns), np.linspace(0.1, np.pi - 0.1, rows + 1)
    )
    places = [np.sin(height) * np.sin(angle), np.cos(height), np.sin(height) * np.cos(angle)]
    points = np.stack(places, -1).reshape(-1, 3).astype(np.float32)
    corner = (np.arange(rows)[:, None] * columns + np.arange(around)).reshape(-1)
    faces = np.concatenate(
        [
            np.stack([corner, corner + columns, corner + 1], 1),
            np.stack([corner + 1, corner + columns, corner + columns + 1], 1),
        ]
    ).astype(np.int32)
    uv = np.stack([angle / 2 / np.pi, 1 - height / np.pi], -1).reshape(-1, 2).astype(np.float32)
    return Mesh(points, faces, uv, **more)


def test_a_report_of_usual_size_stays_below_six_megabytes(tmp_path):
    """16,000 faces, 512 texels before and after, pictures of the usual sizes, all of them noise of
    two pixels, which compresses worse than any painting."""
    random = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        small = random.integers(0, 256, (*(n // 2 for n in shape), 3), np.uint8)
        return small.repeat(2, 0).repeat(2, 1)

    mesh = sphere(126).with_normals()
    after, before = (Asset({"a": replace(mesh, texture=noise(512, 512))}) for _ in range(2))
    sheets = {"Before": noise(384, 1536), "The atlas": noise(512, 512)}
    given = Report(title="x", asset=after, before=before, sheet=noise(384, 1536), pictures=sheets)
    write_report(tmp_path / "report.html", given)
    assert len(mesh.faces) > 15_000
    assert (tmp_path / "report.html").stat().st_size < 6e6


@pytest.mark.parametrize("unwrap", ["auto", "always"])
def test_what_a_painting_did_not_change_is_in_its_report_once(tmp_path, unwrap):
    """However the coordinates are made, only they and the pictures differ before and after."""
    from threestudio_like.meshes.page.data import viewer_data
    from threestudio_like.systems.texturing.painted import Painting
    from threestudio_like.systems.texturing.subject import SubjectOptions, read_subject

    colours = np.linspace(0, 1, 4 * 91, dtype=np.float32).reshape(-1, 4)
    given = Asset({"ball": sphere(texture=CHEQUERED.astype(np.uint8), colours=colours)})
    given.save(tmp_path / "ball.glb")
    options = SubjectOptions(texels=64, unwrap=unwrap)
    subject = read_subject(tmp_path / "ball.glb", options, "sphere")
    size = subject.atlas.resolution
    painting = Painting(subject, options, np.full((size, size, 3), 90, np.uint8), None)
    after, before = subject.shown(painting.asset()), subject.shown(subject.as_read())
    data = viewer_data(after, before)
    (now,), (then,) = data["parts"], data["before"]
    assert [now[k] for k in ("positions", "normals", "faces")] == [
        then[k] for k in ("positions", "normals", "faces")
    ]
    assert (now["uv"] == then["uv"]) == (unwrap == "auto")
    assert now["texture"] != then["texture"]
    # What is shown as it was looks as it did.
    read, shown = Asset.load(tmp_path / "ball.glb").meshes["ball"], before.meshes["ball"]
    for name in ("uv", "colours"):
        own, there = getattr(read, name), getattr(shown, name)
        assert np.array_equal(own[read.faces], there[shown.faces]), name


def test_a_page_takes_three_from_trimesh_and_says_where_it_cannot(monkeypatch):
    core = library.three_script()
    assert core.startswith("/**")
    assert "@license" in core[:60]
    assert "MeshStandardMaterial" in core
    page = mesh_page("x", ASSET).decode()
    begin = page.index(">", page.index('id="three"')) + 1
    packed = base64.b64decode(page[begin : page.index("<", begin)])
    assert gzip.decompress(packed).decode() == core
    assert len(page) < 300_000
    monkeypatch.setattr(library, "_template", lambda: "<html>another template</html>")
    for kept in (library.three_script, library.packed_three):
        kept.cache_clear()
    try:
        assert library.packed_three() == ""
        assert "needs three.js" in mesh_page("x", ASSET).decode()
    finally:
        for kept in (library.three_script, library.packed_three):
            kept.cache_clear()


def test_values_are_shown_as_people_say_them():
    assert [duration(s) for s in (0.26, 59.4, 168, 3900)] == [
        "0.3 s", "59 s", "2 min 48 s", "1 h 05 min",
    ]  # fmt: skip
    assert value_text("faces", 16000.0) == "16,000"
    assert value_text("texels seen", 0.9011) == "90.1 %"
    assert value_text("fog", 0.03621644) == "0.03622"
    assert value_text("fit", "fits") == "fits"


def test_a_run_ends_with_four_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "a chair"
    run = Run("generate", Generate(), folder, events=Events(), record=RunRecord(command="generate"))
    work = Delivery("a chair", ASSET, ring=None)  # type: ignore[arg-type]
    lines = closing_lines(run, work, folder / "asset.glb", said="whole: ok")
    assert [line[:7] for line in lines] == ["Asset  ", "Fit    ", "Lost   ", "Next   "]
    assert lines[0].startswith("Asset  outputs/a chair/asset.glb  (as a file: whole: ok; ")
    assert lines[2] == "Lost   nothing; no warnings"
    assert "threestudio-like view 'outputs/a chair'" in lines[3]
    run.events.say("Warning: the picture is small.")
    run.losses.append("Not kept in asset.obj: 1 animation.")
    lines = closing_lines(run, replace(work, fit_line="It fits."), folder / "asset.glb", said="ok")
    assert lines[1] == "Fit    It fits."
    assert lines[2] == "Lost   1 warning above. Not kept in asset.obj: 1 animation."


BAD_LINES = {
    "none": ("", "", 4),
    "one that is cut": ('{"t": 1, "eve\n', "1 line is left out (1 broken)", 4),
    "one twice": ('{"t": 0.1, "event": "a"}\n', "1 line is left out (1 repeated)", 4),
    "both, and gaps": (
        '\n{"t": 0.1, "event": "a"}\n\n{"t": 0.2, "event": "b"}\n[]\n\x00\x00\nnull\n',
        "5 lines are left out (3 broken, 2 repeated)",
        4,
    ),
    # The clock of a run that goes on begins again.
    "a session that says the same": (
        '{"t": 0.0, "event": "begin", "seed": 2}\n{"t": 0.1, "event": "a"}\n',
        "",
        6,
    ),
    "still being written": ('{"t": 3, "ev', "", 4),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_lines_of_events_that_are_left_out_are_told(tmp_path, capsys, kind):
    path = tmp_path / "events.jsonl"
    more, says, count = BAD_LINES[kind]
    names = ((0.0, "begin"), (0.1, "a"), (0.2, "b"), (0.3, "c"))
    first = "".join(f'{{"t": {t}, "event": "{name}"}}\n' for t, name in names)
    path.write_text(first + more)
    told = []
    assert len(read_events(path, told)) == count
    assert told == ([f"of events.jsonl {says}."] if says else [])
    if kind == "still being written":
        return
    # Whoever goes on hears it once, and once more never.
    for _ in range(2):
        events = Events(path, "line", resumed=True)
        assert events.warnings == told
    shown = capsys.readouterr().err
    assert shown.count("left out") == len(told)


def test_warnings_are_recorded_and_known_to_whoever_goes_on(tmp_path):
    path = tmp_path / "events.jsonl"
    events = Events(path, "quiet")
    events.say("Warning: the picture is small.")
    events.say("A note.")
    assert [e["line"] for e in read_events(path)] == ["the picture is small."]
    assert Events(path, "quiet", resumed=True).warnings == ["the picture is small."]
    assert Events(path, "quiet").warnings == []


def test_a_shape_of_words_is_told_by_its_outline_and_its_fog():
    assert "IoU of 0.90" in shape_line({"silhouette agreement": 0.9, "fog": 0.03})
    assert "clear (0.030)" in shape_line({"fog": 0.03})
    assert "not to be trusted" in shape_line({"fog": 0.8})
    assert shape_line({}).startswith("Whether it shows the prompt")


class Terminal(io.StringIO):
    """A terminal of some width that keeps what is drawn."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self.named = encoding

    @property
    def encoding(self) -> str:
        return self.named

    def isatty(self) -> bool:
        return True


def test_the_status_line_fits_the_terminal_and_leaves_nothing_behind(monkeypatch):
    from rich.cells import cell_len

    monkeypatch.setenv("COLUMNS", "50")
    stream = Terminal()
    events = Events(None, "line", stream)
    events.progress("distil 2/3", 120, 300, loss=0.2614, rate=7.94)
    assert "distil 2/3  ━━━━━━━━────────────  120/300" in stream.getvalue()
    events.status("想像" * 40, force=True)
    events.status("short", force=True)
    drawn = stream.getvalue().split("\r")[1:]
    assert all(cell_len(line) <= 49 for line in drawn)
    # What a longer line left is drawn over.
    assert cell_len(drawn[-1]) == cell_len(drawn[-2])
    count = len(drawn)
    for step in range(100):
        events.progress("distil 2/3", step, 300, loss=1.0, rate=8.0)
    assert len(stream.getvalue().split("\r")[1:]) == count
    events.close()
    assert stream.getvalue().endswith("\r" + " " * 5 + "\r")


def test_progress_on_other_streams_is_plain(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    plain = io.StringIO()
    Events(None, "line", plain).progress("start 1/3", 50, 100, loss=0.5, rate=10.0)
    assert plain.getvalue() == "start 1/3  50/100  loss 0.5  10.0 it/s  about 5 s left\n"
    narrow = Terminal("ascii")
    Events(None, "line", narrow).progress("start 1/3", 50, 100, loss=0.5, rate=10.0)
    assert "##########----------" in narrow.getvalue()
