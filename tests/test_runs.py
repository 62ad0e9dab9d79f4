"""A run from its opening to its delivery: folder, lock, record, resume, what is kept, extras."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from threestudio_like import generate
from threestudio_like.commands.reconstruct import Reconstruct
from threestudio_like.engine.checkpoint import load_checkpoint, save_checkpoint
from threestudio_like.engine.config import read_yaml
from threestudio_like.engine.errors import CheckpointError, InputError, OutputError
from threestudio_like.engine.loop import CHECKPOINT
from threestudio_like.runs.configure import check_as_begun, export_config
from threestudio_like.runs.kept import MODEL
from threestudio_like.runs.lock import FolderLock
from threestudio_like.runs.options import AssetOptions, RunOptions
from threestudio_like.runs.record import FINISHED, read_record
from threestudio_like.systems import registry

from .runs import MUG, QUICK, SMALL, run, sha


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run that kept everything."""
    folder = tmp_path_factory.mktemp("whole") / "chair"
    assert run("generate", "a red chair", "--out", folder, "--quiet", "--keep", "all", *QUICK) == 0
    return folder


@pytest.fixture
def interrupted(whole, tmp_path):
    """The same run as a kill would leave it: with its last checkpoint, and nothing delivered."""
    folder = tmp_path / "interrupted"
    shutil.copytree(whole, folder)
    for name in ("asset.glb", "preview.png", "report.html", f"work/{FINISHED}"):
        (folder / name).unlink()
    return folder


def test_run_yaml_says_which_command_made_it_and_all_that_a_resume_needs(whole):
    record = read_record(whole)
    assert record.command == "generate"
    assert record.format == 2
    assert record.threads == torch.get_num_threads()
    assert record.options["prompt"] == "a red chair"
    assert record.options["set"]["start.iterations"] == "8"
    assert record.config["start"]["iterations"] == 8


def test_resume_needs_the_folder_alone(whole, interrupted):
    assert run("resume", interrupted, "--quiet") == 0
    assert sha(interrupted / "asset.glb") == sha(whole / "asset.glb")


def test_resume_before_the_first_checkpoint_begins_again(whole, interrupted):
    (interrupted / "work" / CHECKPOINT).unlink()
    assert run("resume", interrupted, "--quiet") == 0
    assert sha(interrupted / "asset.glb") == sha(whole / "asset.glb")


def test_resume_before_anything_was_described(whole, tmp_path):
    folder = tmp_path / "early"
    (folder / "work").mkdir(parents=True)
    content = read_record(whole)
    content.config, content.export, content.threads, content.facts = None, None, None, {}
    content.write(folder)
    assert run("resume", folder, "--quiet") == 0
    assert sha(folder / "asset.glb") == sha(whole / "asset.glb")


def test_resume_by_the_same_command_line_and_with_config(whole, interrupted):
    again = shutil.copytree(interrupted, interrupted.with_name("again"))
    line = ("generate", "a red chair", "--out", interrupted, "--quiet", "--resume", *QUICK)
    assert run(*line) == 0
    assert sha(interrupted / "asset.glb") == sha(whole / "asset.glb")
    config = ("--config", again / "run.yaml")
    assert run("generate", "a red chair", "--out", again, "--quiet", "--resume", *config) == 0
    assert sha(again / "asset.glb") == sha(whole / "asset.glb")


def test_resume_from_python_wants_the_configuration_that_it_was_begun_with(whole, interrupted):
    begun = registry.configuration("latent-nerf", "default")
    settings = RunOptions(out=interrupted, resume=True, quiet=True)
    guidance = replace(begun.distil.guidance, scale=begun.distil.guidance.scale + 1)
    other = replace(begun, distil=replace(begun.distil, guidance=guidance))
    before = {p: p.read_bytes() for p in interrupted.rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError, match=r"distil\.guidance\.scale"):
        generate("a red chair", system=other, run=settings)
    after = {p: p.read_bytes() for p in interrupted.rglob("*") if p.is_file()}
    told = interrupted / "events.jsonl", interrupted / "work" / "lock"
    assert {k: v for k, v in after.items() if k not in told} == {
        k: v for k, v in before.items() if k not in told
    }
    more = begun.with_steps(99)
    assert generate("a red chair", system=more, run=settings).folder == interrupted
    assert sha(interrupted / "asset.glb") == sha(whole / "asset.glb")
    assert "# Made from Python, with its own system" in (interrupted / "report.html").read_text()


@pytest.mark.parametrize("name", ["cisp", "g3dr", "relief", "field"])
def test_a_configuration_of_a_picture_is_compared_as_the_run_wrote_it_down(name, tmp_path):
    """With the surface of its export and its face budget."""
    base = registry.configuration(name, "default", "reconstruct")
    options = Reconstruct(system=name, asset=AssetOptions(faces=500, texture=64))
    written = base.exported(export_config(options, base.surface), 500)
    assert written != base
    check_as_begun(written, options, base, tmp_path)
    way = "nothing" if base.colour.complete == "paint" else "paint"
    other = replace(base, colour=replace(base.colour, complete=way))
    with pytest.raises(CheckpointError, match=r"colour\.complete"):
        check_as_begun(written, options, other, tmp_path)


def test_resume_under_another_memory_plan(whole, interrupted):
    assert run("resume", interrupted, "--quiet", "--memory", "8GB") == 0
    assert sha(interrupted / "asset.glb") == sha(whole / "asset.glb")


def test_resume_with_another_number_of_threads_says_so(interrupted, capsys):
    record = read_record(interrupted)
    record.threads = 2
    record.write(interrupted)
    try:
        assert run("resume", interrupted, "--threads", "1") == 0
    finally:
        torch.set_num_threads(1)
    assert "begun with 2 threads" in capsys.readouterr().err


def test_resume_of_a_finished_run_does_nothing(whole, capsys):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()}
    assert run("resume", whole) == 0
    assert "finished already" in capsys.readouterr().err
    after = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()}
    after.pop(whole / "work" / "lock", None)
    before.pop(whole / "work" / "lock", None)
    assert after == before


@pytest.mark.parametrize("keep", ["all", "model"])
def test_a_finished_run_can_be_given_more_steps(whole, tmp_path, keep):
    folder = tmp_path / "more"
    if keep == "all":
        shutil.copytree(whole, folder)
    else:
        assert run("generate", "a red chair", "--out", folder, "--quiet", *QUICK) == 0
    before = sha(folder / "asset.glb")
    assert run("resume", folder, "--steps", "14", "--quiet") == 0
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    stages = [e for e in events if e["event"] == "stage"]
    assert stages[-1]["stage"] == "rgb"
    assert stages[-1]["start"] == 7
    assert stages[-1]["steps"] == 11
    assert sha(folder / "asset.glb") != before
    assert read_yaml(folder / "run.yaml")["config"]["rgb"]["steps"] == 11


def test_fewer_steps_than_a_run_had_are_refused(whole, capsys):
    assert run("resume", whole, "--steps", "4", "--quiet") == 2
    assert "the run has 10 steps" in capsys.readouterr().err


def test_options_of_another_run_are_refused_by_name(interrupted, capsys):
    words = ("--out", interrupted, "--resume", "--quiet")
    assert run("generate", "a blue chair", *words) == 2
    assert "prompt" in capsys.readouterr().err
    assert run("generate", "a red chair", "--seed", "4", *words) == 2
    assert "--seed" in capsys.readouterr().err
    assert run("texture", MUG, "a red mug", *words) == 2
    assert "a run of generate" in capsys.readouterr().err


def test_a_resume_in_a_users_folder_leaves_nothing_there(tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert run("generate", "a red chair", "--out", folder, "--resume") == 2
    assert run("resume", folder) == 2
    assert [p.name for p in folder.iterdir()] == ["notes.txt"]
    assert "run.yaml" in capsys.readouterr().err


def test_what_a_kill_leaves_is_removed(interrupted):
    left = interrupted / "work" / ".checkpoint.safetensors.99999.part"
    left.write_bytes(b"half")
    with open(interrupted / "events.jsonl", "a") as file:
        file.write('{"t": 1, "event": "st')
    assert run("resume", interrupted, "--quiet") == 0
    assert not left.exists()
    lines = (interrupted / "events.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "end"


def test_a_checkpoint_with_flipped_bytes_is_refused(interrupted, capsys):
    path = interrupted / "work" / CHECKPOINT
    data = bytearray(path.read_bytes())
    for k in range(200):
        data[-1000 - 37 * k] ^= 0xFF
    path.write_bytes(data)
    assert run("resume", interrupted, "--quiet") == 2
    assert "checksum" in capsys.readouterr().err


@pytest.mark.parametrize("stage", [99, -1, "rgb", None])
def test_a_checkpoint_of_no_stage_is_refused(interrupted, stage, capsys):
    path = interrupted / "work" / CHECKPOINT
    tensors, facts = load_checkpoint(path)
    save_checkpoint(path, tensors, {**facts, "stage": stage})
    assert run("resume", interrupted, "--quiet") == 2
    assert "stage" in capsys.readouterr().err


def test_a_checkpoint_that_does_not_fill_a_module_is_refused(interrupted, capsys):
    path = interrupted / "work" / CHECKPOINT
    tensors, facts = load_checkpoint(path)
    save_checkpoint(path, {k: v for k, v in tensors.items() if "rgb/module/field" not in k}, facts)
    assert run("resume", interrupted, "--quiet") == 2
    assert "holds nothing for rgb/field" in capsys.readouterr().err


def test_two_processes_do_not_share_a_folder(interrupted, capsys):
    lock = FolderLock(interrupted)
    try:
        assert run("resume", interrupted, "--quiet") == 2
        assert "another process works in this folder" in capsys.readouterr().err
    finally:
        lock.release()
    FolderLock(interrupted).release()


def test_a_lock_ends_with_its_process(tmp_path):
    (tmp_path / "work").mkdir()
    code = (
        "import sys, time; from pathlib import Path\n"
        "from threestudio_like.runs.lock import FolderLock\n"
        f"lock = FolderLock(Path({str(tmp_path)!r})); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline().strip() == "held"
    with pytest.raises(OutputError, match="another process"):
        FolderLock(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    FolderLock(tmp_path).release()


def test_a_finished_run_is_small(tmp_path):
    folder = tmp_path / "small"
    assert run("generate", "a red chair", "--out", folder, "--quiet", *QUICK) == 0
    assets = {"asset.glb", "preview.png", "turntable.mp4", "report.html"}
    rest = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name not in assets)
    assert rest <= 2e6
    assert (folder / "work" / MODEL).is_file()
    assert not (folder / "work" / CHECKPOINT).exists()


def test_nothing_is_kept_if_nothing_is_to_be(tmp_path, capsys):
    folder = tmp_path / "bare"
    words = ("--out", folder, "--quiet", "--keep", "nothing", *QUICK)
    assert run("generate", "a red chair", *words) == 0
    assert not list(folder.rglob("*.safetensors*"))
    assert run("refine", folder, "--out", tmp_path / "r", "--quiet", "--steps", "2") == 2
    assert "nothing of the run's model was kept" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_latest_moves_when_a_run_has_delivered(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("generate", "a red ball", "--quiet", *QUICK) == 0
    first = (tmp_path / "outputs" / "latest").resolve()
    assert run("generate", "a red dragon", "--quiet", *QUICK) == 2
    assert (tmp_path / "outputs" / "latest").resolve() == first
    assert [p for p in (tmp_path / "outputs").iterdir() if not p.is_symlink()] == [first]
    capsys.readouterr()


def test_a_mistake_leaves_no_folder_of_the_users_choice(tmp_path, capsys):
    assert run("generate", "a red dragon", "--out", tmp_path / "a" / "b", *QUICK) == 2
    assert not (tmp_path / "a" / "b").exists()
    capsys.readouterr()


def test_pictures_and_video_that_fail_are_warnings(tmp_path, monkeypatch, capsys):
    from threestudio_like.runs import delivery

    def broken(*_, **__):
        raise RuntimeError("ffmpeg cannot start")

    monkeypatch.setattr(delivery, "turntable", broken)
    monkeypatch.setattr(delivery, "contact_sheet", broken)
    folder = tmp_path / "plain"
    assert run("generate", "a red ball", "--out", folder, *QUICK, "--turntable") == 0
    err = capsys.readouterr().err
    assert "turntable.mp4 could not be made (ffmpeg cannot start)" in err
    assert "preview.png could not be made" in err
    assert (folder / "asset.glb").is_file()
    assert json.loads((folder / "work" / FINISHED).read_text())["verdict"]


def test_a_run_of_the_first_format_opens(whole, tmp_path):
    """run.yaml as it was written before it had a format."""
    from threestudio_like.commands.jobs.opening import open_model

    folder = shutil.copytree(whole, tmp_path / "old")
    record = read_record(folder)
    from threestudio_like.engine.config import write_yaml

    content = {"verb": "generate", **record.facts, "config": record.config, "export": record.export}
    (folder / "run.yaml").write_text(write_yaml(content))
    (folder / "work" / FINISHED).unlink()
    model = open_model(folder)
    assert model.field.channels == 3
    out = tmp_path / "refined"
    assert run("refine", folder, "--out", out, "--quiet", "--steps", "2", *SMALL) == 0
    assert run("evaluate", folder, "--instances", "2") == 0


def test_later_formats_and_folders_of_nobody_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such run"):
        read_record(tmp_path / "none")
    with pytest.raises(InputError, match=r"run\.yaml"):
        read_record(tmp_path)
    (tmp_path / "run.yaml").write_text("format: 3\ncommand: generate\n")
    with pytest.raises(InputError, match="format is 3"):
        read_record(tmp_path)


def test_a_damaged_model_is_refused(tmp_path):
    from threestudio_like.runs.kept import read_model

    (tmp_path / MODEL).write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="damaged"):
        read_model(tmp_path)


@pytest.mark.timeout(900)
def test_a_kill_at_any_moment_resumes_to_the_same_bytes(whole, tmp_path):
    """Processes of their own are killed at moments that the run itself tells: opened, in the middle
    of a stage, between stages."""
    events_wanted = (None, "step", "stage-end")
    for number, wanted in enumerate(events_wanted):
        folder = tmp_path / f"killed-{number}"
        command = [sys.executable, "-m", "threestudio_like", "generate", "a red chair"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        words = ["--out", str(folder), "--quiet", "--checkpoint-steps", "3", *QUICK]
        killed = subprocess.Popen([*command, *words], env=environment, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not _reached(folder, wanted):
            time.sleep(0.005)
            assert killed.poll() is None, killed.stderr.read()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        killed.stderr.close()
        assert run("resume", folder, "--quiet") == 0
        assert sha(folder / "asset.glb") == sha(whole / "asset.glb"), wanted


def _reached(folder: Path, wanted: str | None) -> bool:
    if wanted is None:
        return (folder / "run.yaml").is_file()
    path = folder / "events.jsonl"
    return path.is_file() and f'"event": "{wanted}"' in path.read_text(errors="ignore")


def as_an_earlier_version_wrote(config, jitter):
    """A configuration with the keys of the version before the published options."""
    later = ("shading", "milestones", "optimiser", "camera_perturb", "center_perturb", "up_perturb")
    later += ("elevation_sampling", "batch_uniform_azimuth")
    kept = {
        key: as_an_earlier_version_wrote(value, jitter) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in later
    }
    return {**kept, "jitter": jitter} if "fov_y" in kept and "target" in kept else kept


@pytest.mark.parametrize("jitter", [False, True])
def test_resume_of_a_run_of_an_earlier_version(whole, interrupted, jitter, capsys):
    """Its run.yaml and its checkpoint have keys that are called otherwise now, and lack later ones.
    The cameras in question are not used here, so the bytes are the same."""
    record = read_record(interrupted)
    record.config = as_an_earlier_version_wrote(record.config, jitter)
    record.write(interrupted)
    assert f"jitter: {str(jitter).lower()}" in (interrupted / "run.yaml").read_text()
    path = interrupted / "work" / CHECKPOINT
    tensors, facts = load_checkpoint(path)
    facts["identity"]["config"] = as_an_earlier_version_wrote(facts["identity"]["config"], jitter)
    save_checkpoint(path, tensors, facts)
    assert run("resume", interrupted) == 0
    said = capsys.readouterr().err
    assert ('"distil.uniform.jitter" is of an earlier version' in said) == jitter
    assert sha(interrupted / "asset.glb") == sha(whole / "asset.glb")
    assert "jitter:" not in (interrupted / "run.yaml").read_text().split("uniform:")[1][:300]


def test_another_configuration_in_a_checkpoint_is_still_refused(interrupted):
    path = interrupted / "work" / CHECKPOINT
    tensors, facts = load_checkpoint(path)
    facts["identity"]["config"]["distil"]["uniform"]["batch"] = 7
    save_checkpoint(path, tensors, facts)
    before = (interrupted / "run.yaml").read_bytes()
    assert run("resume", interrupted, "--quiet") == 2
    assert (interrupted / "run.yaml").read_bytes() == before
