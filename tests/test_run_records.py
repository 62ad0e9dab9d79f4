"""run.yaml and the other records of a run, damaged: what is cut off or changed is refused with
words, and nothing is written."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import pytest
import yaml

from threestudio_like import open_run
from threestudio_like.commands.generate import Generate
from threestudio_like.commands.texture import Texture
from threestudio_like.engine.config import read_yaml, to_dict, write_yaml
from threestudio_like.engine.errors import CheckpointError, InputError
from threestudio_like.engine.events import Events, read_events
from threestudio_like.meshes.verification import Verdict
from threestudio_like.runs.contents import contents_of
from threestudio_like.runs.options import AssetOptions, RunOptions
from threestudio_like.runs.record import CHECKSUM, RunRecord, is_as_written, read_record
from threestudio_like.runs.session import Run
from threestudio_like.systems import registry

from .runs import MUG, run


def record_of(described: bool = True) -> RunRecord:
    """Of a run that was begun with a face budget of its own."""
    options = Generate(prompt="a red chair", asset=AssetOptions(faces=500, turntable=False))
    record = RunRecord(command="generate", options=to_dict(options))
    if described:
        record.facts = {"prompt": "a red chair", "system": "latent-nerf", "preset": "default"}
        record.config = to_dict(registry.configuration("latent-nerf", "default", "generate"))
        record.export, record.threads = {"texture": 64}, 1
    return record


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run" / "work").mkdir(parents=True)
    record_of().write(tmp_path / "run")
    return tmp_path / "run"


def everything(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_record_comes_back_as_it_was_written(folder):
    back, content = read_record(folder), read_yaml(folder / "run.yaml")
    assert back == record_of()
    assert list(content)[:3] == ["format", CHECKSUM, "command"]
    assert is_as_written((folder / "run.yaml").read_text())


@pytest.mark.parametrize("described", [False, True])
def test_a_record_that_is_cut_off_anywhere_is_refused(tmp_path, described):
    text = record_of(described).text()
    for end in [*range(1, len(text), 37), len(text) - 1]:
        (tmp_path / "run.yaml").write_text(text[:end])
        with pytest.raises(InputError) as told:
            read_record(tmp_path)
        assert "run.yaml" in told.value.where


CHANGES = {
    "a number": ("texture: 64", "texture: 65"),
    "an option": ("faces: 500", "faces: 600"),
    "an option left out": ("    faces: 500\n", ""),
    "a fact": ("prompt: a red chair", "prompt: a blue chair"),
    "the checksum": (f"{CHECKSUM}: ", f"{CHECKSUM}: 0"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_record_is_refused_by_resume_and_nothing_is_written(name, folder, capsys):
    before, after = CHANGES[name]
    path = folder / "run.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    found = everything(folder)
    for words in (("resume", folder), ("generate", "a red chair", "--out", folder, "--resume")):
        assert run(*words) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1, told
        assert f"{path}: is not as the run wrote it" in told
        assert everything(folder) == found


@pytest.mark.parametrize("key", ["    faces:", "  asset:", "  run:", "  set:", "config:"])
def test_a_cut_record_makes_no_other_asset(key, folder, capsys):
    path = folder / "run.yaml"
    text = path.read_text()
    path.write_text(text[: text.index(f"\n{key}") + 1])
    found = everything(folder)
    assert run("resume", folder) == 2
    assert "cut off" in capsys.readouterr().err
    assert everything(folder) == found


def unmarked(text: str) -> str:
    """A record as versions without a checksum wrote it."""
    return "".join(line for line in text.splitlines(True) if not line.startswith(CHECKSUM))


@pytest.mark.parametrize("described", [False, True])
def test_a_record_without_a_checksum_is_read_where_it_is_whole(tmp_path, described):
    text = unmarked(record_of(described).text())
    (tmp_path / "run.yaml").write_text(text)
    assert read_record(tmp_path) == record_of(described)
    ends = ["\n    faces:", "\n  run:", "\nconfig:"] if described else ["\n    faces:", "\n  run:"]
    for end in ends:
        (tmp_path / "run.yaml").write_text(text[: text.index(end) + 1])
        with pytest.raises(InputError, match="cut off"):
            read_record(tmp_path)


def test_line_ends_of_another_system_change_nothing(folder):
    path = folder / "run.yaml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_record(folder) == record_of()


def test_a_changed_record_is_still_a_configuration_and_that_is_said(folder, capsys):
    from threestudio_like.engine.events import Events
    from threestudio_like.runs.configure import configure
    from threestudio_like.runs.options import MethodOptions

    path = folder / "run.yaml"
    options = Generate(prompt="a red chair", method=MethodOptions(config=path), run=RunOptions())
    base = registry.configuration("latent-nerf", "default", "generate")
    assert configure(options, base, Events()) == base
    assert "as the run wrote it" not in capsys.readouterr().err
    path.write_text(path.read_text().split("export:")[0])
    configure(options, base, Events())
    assert f"{path} is not as the run wrote it" in capsys.readouterr().err


def test_the_record_of_every_command_is_a_configuration(tmp_path):
    """Facts of any name stand in a whole record; by hand, only those that a record can have."""
    from threestudio_like.runs.configure import configure
    from threestudio_like.runs.options import MethodOptions

    path = tmp_path / "run.yaml"
    base = registry.configuration("latent-paint", "default", "texture")
    facts = {"mesh content": "ab", "maps": "none", "a plug-in's": 4}
    RunRecord(command="texture", facts=facts, config=to_dict(base)).write(tmp_path)
    options = Texture(prompt="x", method=MethodOptions(config=path))
    assert configure(options, base) == base
    content = yaml.safe_load(path.read_text())
    del content[CHECKSUM], content["a plug-in's"]
    path.write_text(write_yaml(content))
    assert configure(options, base) == base


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder as a run leaves it that has delivered."""
    from threestudio_like.meshes.io.files import read, write
    from threestudio_like.runs.record import write_finished

    folder = tmp_path_factory.mktemp("finished") / "run"
    (folder / "work").mkdir(parents=True)
    record_of().write(folder)
    write(read(MUG), folder / "asset.glb")
    (folder / "events.jsonl").write_text('{"t": 0, "event": "begin"}\n')
    verdict = Verdict("asset.glb", psnr=math.nan, iou=1.0, orientation="right", passed=True)
    write_finished(folder, {"figures": {"faces": 3}, "verdict": vars(verdict), "seconds": 1})
    return folder


def test_a_finished_run_is_opened_again(finished, capsys):
    assert run("resume", finished) == 0
    assert "finished already" in capsys.readouterr().err


FINISHES = [
    *("", "{", "[]", "3", "null", '{"a": NaN}', '{"verdict": {}, "figures": {}}'),
    *('{"verdict": [], "figures": {}}', '{"figures": {}}', "\udcff"),
    '{"verdict": {"path": "a", "psnr": "x", "iou": 1, "orientation": "", "passed": true}, '
    '"figures": {}}',
]


@pytest.mark.parametrize("text", FINISHES)
def test_a_finished_json_that_says_nothing_is_refused(text, finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    path = folder / "work" / "finished.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    found = everything(folder)
    assert run("resume", folder) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert f"{path}: is damaged" in told
    assert everything(folder) == found


def test_a_finished_run_without_its_asset_says_nothing_else(finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "asset.glb").unlink()
    assert run("resume", folder) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told


@pytest.mark.parametrize("odd", ["lock", "work"])
def test_what_stands_in_the_place_of_the_lock_is_told(odd, finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(folder / "work")
    if odd == "lock":
        (folder / "work" / "lock").mkdir(parents=True)
    else:
        (folder / "work").write_text("mine")
    found = everything(folder)
    assert run("resume", folder) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert f"{folder}/work" in told
    assert "unexpected" not in told
    assert everything(folder) == found


NO_EVENTS = [
    *(b"\xff\xfe", b"3", b"null", b"[]", b"{}", b'{"t": 1, "event": 4}', b'{"event": "begin"}'),
    *(b'{"t": 0, "event": "st', b'{"t": "x", "event": "begin"}', b'{"t": 1, "event": "stage"}'),
    b'{"t": 1, "event": "stage", "stage": "rgb", "steps": "many", "start": 0}',
    b'{"t": 1, "event": "step", "stage": "rgb", "step": 3}',
    b'{"t": 1, "event": "stage-end", "stage": [], "step": 3, "seconds": 1}',
]


def test_events_that_are_none_are_left_out(tmp_path):
    path = tmp_path / "events.jsonl"
    warning = b'{"t": 1.5, "event": "warning", "line": "caf\xe9"}'
    path.write_bytes(b"\n".join([b'{"t": 0, "event": "begin"}', *NO_EVENTS, warning]))
    assert read_events(path) == [
        {"t": 0, "event": "begin"},
        {"t": 1.5, "event": "warning", "line": "caf\N{REPLACEMENT CHARACTER}"},
    ]
    assert read_events(tmp_path / "none") == []


def test_a_run_with_odd_events_is_viewed(finished, tmp_path):
    pytest.importorskip("viser")
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "events.jsonl").write_bytes(b"\n".join([*NO_EVENTS, b'{"t": 0, "event": "begin"}']))
    assert run("view", folder, "--seconds", "0", "--no-browser") == 0


def begun(folder, options, facts=None, saved=None):
    """A run that has been described, as `generate` does it; or the one that goes on with it."""
    run = Run("generate", options, folder, Events(None, "quiet"), RunRecord(command="generate"))
    run._saved = saved
    run.describe({"prompt": "a red chair", **(facts or {})}, registry.configuration("latent-nerf"))
    return run.record


@pytest.mark.parametrize("option", ["sketch", "sketch.path", "lock", "masks", "objects", "bundle"])
def test_a_run_goes_on_with_the_files_that_it_was_begun_with(option, tmp_path):
    """By their contents: another file of the name is another run, the same of another name not."""
    from threestudio_like.commands.compose import Compose
    from threestudio_like.runs.options import PriorOptions

    file = tmp_path / "folder" / "mine.bin"
    file.parent.mkdir()
    file.write_bytes(b"one")

    def made(path):
        kinds = {
            "sketch": lambda: Generate(sketch=path),
            "lock": lambda: Texture(lock=path),
            "masks": lambda: Compose(masks=path.parent),
            "objects": lambda: Compose(objects=(path, path)),
            "bundle": lambda: Generate(model=PriorOptions(embeddings=path)),
        }
        return kinds[option]()

    def facts(path):
        if option == "sketch.path":
            base = registry.configuration("latent-nerf")
            config = replace(base, sketch=replace(base.sketch, path=str(path)))
            return contents_of(Generate(), config)
        return contents_of(made(path))

    first, folder = facts(file), tmp_path / "run"
    folder.mkdir()
    assert first["contents"]
    record = RunRecord(command="generate", facts={"prompt": "a red chair", **first})
    shutil.copytree(file.parent, tmp_path / "moved")
    record.check_same({"prompt": "a red chair", **facts(tmp_path / "moved" / file.name)}, folder)
    file.write_bytes(b"two")
    with pytest.raises(CheckpointError, match="contents"):
        record.check_same({"prompt": "a red chair", **facts(file)}, folder)
    file.unlink()
    if option != "masks":
        with pytest.raises(InputError, match="cannot be read"):
            facts(file)


def test_contents_are_written_down_and_not_asked_of_runs_that_have_none(tmp_path):
    file = tmp_path / "stool.obj"
    file.write_text("v 0 0 0")
    options = Generate(prompt="a red chair", sketch=file)
    (tmp_path / "run").mkdir()
    record = begun(tmp_path / "run", options)
    assert list(record.facts["contents"]) == ["sketch"]
    assert "contents" not in begun(tmp_path / "run", Generate(prompt="a red chair")).facts
    file.write_text("v 1 1 1")
    with pytest.raises(CheckpointError, match="contents"):
        begun(tmp_path / "run", options, saved=record)
    # The identity of an earlier version's checkpoint has none either.
    earlier = replace(record, facts={"prompt": "a red chair"})
    assert "contents" not in begun(tmp_path / "run", options, saved=earlier).facts


@pytest.mark.parametrize(
    ("command", "facts", "said"),
    [
        ("texture", {"prompt": "a red mug", "prior": "toybox"}, "is a run of texture, which keeps"),
        ("reconstruct", {"picture": "a.png"}, "is a run of reconstruct by a picture"),
        ("generate", {"picture": "imagined", "system": "cisp"}, "is a run of generate by a pict"),
        ("compose", {"prior": "none"}, "is a run of compose, which keeps no model"),
        ("generate", {}, "lacks prompt, system, preset, prior, seed"),
        ("generate", {"prompt": "a red chair", "seed": 0}, "lacks system, preset, prior"),
    ],
)
def test_a_run_without_a_model_is_not_opened(command, facts, said, tmp_path):
    RunRecord(command=command, facts=facts, config={} if facts else None).write(tmp_path)
    with pytest.raises(InputError, match=said):
        open_run(tmp_path)
