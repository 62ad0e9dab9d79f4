"""The command line on real files: runs, bytes, resume after kill -9, thirty mistakes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from threestudio_like.cli import cores_of_others, main
from threestudio_like.engine.events import read_events

QUICK = [
    "--start.refine.times",
    "1.0",
    "--start.refine.steps",
    "2",
    "--start.iterations",
    "8",
    "--steps",
    "10",
    "--refine.refine.times",
    "0.3",
    "--refine.refine.steps",
    "2",
    "--refine.refine.views",
    "4",
    "--refine.iterations",
    "8",
    "--refine.rays",
    "1024",
    "--export.resolution",
    "64",
    "--faces",
    "1500",
    "--texture",
    "128",
]


RUN = ["generate", "a red chair", "--quiet", "--keep", "all", *QUICK]


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "chair"
    assert main([*RUN, "--out", str(folder)]) == 0
    return folder


def test_a_run_leaves_what_is_promised(run_folder):
    for name in (
        "asset.glb",
        "preview.png",
        "turntable.mp4",
        "report.html",
        "run.yaml",
        "events.jsonl",
        "work",
    ):
        assert (run_folder / name).exists(), name
    page = (run_folder / "report.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert "<canvas" in page
    events = [json.loads(line) for line in (run_folder / "events.jsonl").read_text().splitlines()]
    assert events[0]["event"] == "begin"
    assert events[-1]["event"] == "end"
    assert {e["stage"] for e in events if e["event"] == "stage-end"} == {
        "start",
        "distil",
        "rgb",
        "refine",
    }


def test_same_seed_same_bytes_whatever_is_logged(run_folder, tmp_path):
    arguments = [
        "generate",
        "a red chair",
        "--quiet",
        "--log-every",
        "1",
        "--preview-seconds",
        "0.05",
        "--checkpoint-steps",
        "3",
        "--no-turntable",
        *QUICK,
    ]
    assert main([*arguments, "--out", str(tmp_path / "again")]) == 0
    assert sha(tmp_path / "again" / "asset.glb") == sha(run_folder / "asset.glb")
    assert main([*arguments, "--out", str(tmp_path / "other"), "--seed", "1"]) == 0
    assert sha(tmp_path / "other" / "asset.glb") != sha(run_folder / "asset.glb")


def test_a_printed_configuration_can_be_fed_back(run_folder, tmp_path):
    arguments = [
        "generate",
        "a red chair",
        "--quiet",
        "--config",
        str(run_folder / "run.yaml"),
        "--export.resolution",
        "64",
        "--faces",
        "1500",
        "--texture",
        "128",
    ]
    assert main([*arguments, "--out", str(tmp_path / "fed")]) == 0
    assert sha(tmp_path / "fed" / "asset.glb") == sha(run_folder / "asset.glb")


@pytest.mark.timeout(900)
def test_kill_minus_nine_at_three_steps_then_resume_gives_the_same_bytes(run_folder, tmp_path):
    folder = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "threestudio_like",
        "generate",
        "a red chair",
        "--out",
        str(folder),
        "--quiet",
        "--log-every",
        "1",
        "--checkpoint-steps",
        "1",
        *QUICK,
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    for number, steps in enumerate((2, 10, 20)):
        resume = ["--resume"] if (folder / "work" / "checkpoint.safetensors").is_file() else []
        if not resume and number:
            pytest.fail("no checkpoint after a kill")
        process = subprocess.Popen(
            [*command, *resume], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        done, deadline = 0, time.monotonic() + 240
        while done < steps and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
            path = folder / "events.jsonl"
            done = _progress(path) if path.is_file() else 0
        assert process.poll() is None, process.stderr.read().decode()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
    assert (
        main(["generate", "a red chair", "--out", str(folder), "--quiet", "--resume", *QUICK]) == 0
    )
    assert sha(folder / "asset.glb") == sha(run_folder / "asset.glb")


def _progress(path: Path) -> int:
    """Steps done over all stages, by the events."""
    offset = {"start": 0, "distil": 8, "rgb": 11, "refine": 18}
    best = 0
    for line in path.read_text(errors="ignore").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if event["event"] == "step":
            best = max(best, offset[event["stage"]] + event["step"])
    return best


def test_refine_makes_a_run_of_its_own(run_folder, tmp_path):
    before = sha(run_folder / "asset.glb")
    out = tmp_path / "refined"
    assert (
        main(
            [
                "refine",
                str(run_folder),
                "--out",
                str(out),
                "--quiet",
                "--steps",
                "4",
                "--faces",
                "1500",
                "--texture",
                "128",
            ]
        )
        == 0
    )
    assert (out / "asset.glb").is_file()
    assert sha(run_folder / "asset.glb") == before


def test_refine_of_a_latent_run_goes_through_the_linear_layer(tmp_path):
    latent, out = tmp_path / "latent", tmp_path / "refined"
    assert (
        main(
            [
                "generate",
                "a blue ball",
                "--out",
                str(latent),
                "--quiet",
                "--no-turntable",
                *QUICK,
                "--refine.refine.times",
                "",
                "--rgb.steps",
                "0",
            ]
        )
        == 0
    )
    assert (
        main(
            [
                "refine",
                str(latent),
                "--out",
                str(out),
                "--quiet",
                "--keep",
                "all",
                "--steps",
                "3",
                "--faces",
                "1500",
                "--texture",
                "128",
            ]
        )
        == 0
    )
    from threestudio_like.engine.checkpoint import load_checkpoint

    tensors, _ = load_checkpoint(out / "work" / "checkpoint.safetensors")
    assert tensors["rgb/module/field/matrix"].shape == (4, 3)
    assert tensors["rgb/module/field/latent.grid"].shape[-1] == 5


def test_steps_are_divided_and_the_negative_prompt_reaches_every_stage():
    from threestudio_like.commands.generate import Generate
    from threestudio_like.engine.config import dotted
    from threestudio_like.runs.configure import configure
    from threestudio_like.runs.options import MethodOptions
    from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

    def configured(base, **method):
        return configure(Generate(method=MethodOptions(**method)), base)

    config = configured(LatentNerf(), steps=70, negative="a hat")
    assert (config.distil.steps, config.rgb.steps) == (20, 50)
    negatives = {k: v for k, v in dotted(config).items() if k.endswith("prompt.negative")}
    assert len(negatives) == 5
    assert set(negatives.values()) == {"a hat"}
    two = configured(LatentNerf(), steps=2)
    assert (two.distil.steps, two.rgb.steps) == (1, 1)
    paper = configured(LatentNerf.paper(), steps=70)
    assert (paper.distil.steps, paper.rgb.steps) == (70, 0)


def test_dreamfusion_runs(tmp_path):
    out = tmp_path / "df"
    arguments = [
        "generate",
        "a blue ball",
        "--system",
        "dreamfusion",
        "--steps",
        "4",
        "--resolution",
        "32",
        "--out",
        str(out),
        "--quiet",
    ]
    assert main([*arguments, "--faces", "1500", "--texture", "128"]) == 0
    assert (out / "asset.glb").is_file()


def test_the_paper_preset_runs_on_any_pipeline(tiny_folder, tmp_path):
    out = tmp_path / "paper"
    arguments = [
        "generate",
        "a corgi in space",
        "--prior",
        str(tiny_folder),
        "--steps",
        "2",
        "--out",
        str(out),
        "--quiet",
        "--faces",
        "1500",
    ]
    small = [
        "--texture",
        "128",
        "--representation.hash.levels",
        "4",
        "--representation.hash.log2_size",
        "12",
        "--renderer.samples",
        "32",
        "--renderer.occupancy",
        "32",
    ]
    assert main([*arguments, *small]) == 0
    content = (out / "run.yaml").read_text()
    assert "preset: paper" in content
    assert "scale: 100.0" in content


def test_export_writes_and_verifies_every_format(run_folder, capsys):
    assert main(["export", str(run_folder), "--to", "glb", "obj", "ply", "stl", "--verify"]) == 0
    out = capsys.readouterr().out
    assert out.count("ok)") == 4
    for kind in ("obj", "mtl", "png", "ply", "stl"):
        assert (run_folder / f"asset.{kind}").is_file()


def test_evaluate_prints_figures(run_folder, capsys):
    truth = run_folder / "asset.glb"
    assert (
        main(["evaluate", str(run_folder), "--instances", "6", "--json", "--truth", str(truth)])
        == 0
    )
    figures = json.loads(capsys.readouterr().out)
    assert figures["prompt"] == "a red chair"
    assert 0 <= figures["silhouette iou, nearest of 6"] <= 1
    assert figures["volume iou"] == pytest.approx(1.0)
    assert {
        "judge: category",
        "judge: colour",
        "clip r-precision",
        "view consistency",
        "pieces",
    } <= set(figures)
    # A draft may have no front that the index could be of.
    assert {"janus index", "front-likeness (no front)"} & set(figures)


def test_doctor_and_vocabulary(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "self-check passed" in out
    assert "Works now" in out
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kernels"]
    assert main(["vocabulary"]) == 0
    assert "mushroom" in capsys.readouterr().out


def test_embeddings_can_be_saved_and_used(tmp_path):
    bundle = tmp_path / "b.safetensors"
    a, b = tmp_path / "a", tmp_path / "b"
    arguments = ["generate", "a red ball", "--quiet", "--no-turntable", *QUICK]
    assert main([*arguments, "--out", str(a), "--save-embeddings", str(bundle)]) == 0
    assert main([*arguments, "--out", str(b), "--embeddings", str(bundle)]) == 0
    assert sha(a / "asset.glb") == sha(b / "asset.glb")


@pytest.mark.parametrize("command", ["generate", "texture", "compose", "batch", "train"])
def test_who_stops_a_command_is_told_how_it_goes_on(command, monkeypatch, capsys):
    from threestudio_like.commands.registry import options_of
    from threestudio_like.engine.loop import Interrupted

    def stopped(*_):
        raise Interrupted

    monkeypatch.setattr("threestudio_like.cli.carry_out", stopped)
    monkeypatch.setattr("threestudio_like.cli.parse", lambda *_: SimpleNamespace())
    assert main([command]) == 130
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    ways = {"batch": "the same command: what is made", "train": "the same command and --resume"}
    assert ways.get(command, "threestudio-like resume and the run's folder") in said
    assert ("--resume" not in said) or "resume" in {f.name for f in fields(options_of(command))}


def test_the_time_limit_is_kept(tmp_path):
    code = main(
        [
            "generate",
            "a red ball",
            "--minutes",
            "0.001",
            "--out",
            str(tmp_path / "short"),
            "--quiet",
            "--faces",
            "1500",
            "--texture",
            "128",
        ]
    )
    assert code == 0
    events = read_events(tmp_path / "short/events.jsonl")
    ended = [event for event in events if event["event"] == "minutes"]
    asked = [event["steps"] for event in events if event["event"] == "stage"]
    assert ended
    assert ended[0]["step"] < asked[0]
    assert (tmp_path / "short/asset.glb").is_file()


def test_help_version_and_completion(capsys):
    assert main([]) == 0
    assert main(["--help"]) == 0
    assert main(["--version"]) == 0
    for verb in ("generate", "refine", "export", "evaluate", "train", "doctor", "vocabulary"):
        assert main([verb, "--help"]) == 0
    assert "usage" in capsys.readouterr().out
    assert main(["completion", "bash"]) == 0
    assert "threestudio" in capsys.readouterr().out


def test_the_configuration_can_be_printed(capsys):
    import yaml

    assert main(["generate", "a red chair", "--print-config", "--distil.guidance.scale", "7"]) == 0
    content = yaml.safe_load(capsys.readouterr().out)
    assert content["config"]["distil"]["guidance"]["scale"] == 7.0


def test_importing_the_package_is_light():
    code = (
        "import sys, threestudio_like, threestudio_like.cli; "
        "bad = [m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules]; "
        "sys.exit(len(bad))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    code = (
        "import sys; import threestudio_like.runs.session; sys.exit('diffusers' in sys.modules "
        "or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


FIRST_OF_OPENMP = """
import os, sys
class Seen:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "numba"):
            print(os.environ.get("OMP_WAIT_POLICY"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Seen())
from threestudio_like import cli
cli.cores_of_others = lambda: float(sys.argv[1])
cli.main(["generate", "a red chair"])
"""


@pytest.mark.parametrize(
    ("busy", "own", "seen"),
    [
        (0.1, {}, "None"),
        (64, {}, "passive"),
        (64, {"GOMP_SPINCOUNT": "7"}, "None"),
        (64, {"OMP_WAIT_POLICY": "active"}, "active"),
    ],
)
def test_threads_wait_asleep_beside_other_programs(busy, own, seen):
    """It is said before OpenMP is loaded, which reads it once; what the user has set stays."""
    plain = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = [sys.executable, "-c", FIRST_OF_OPENMP, str(busy)]
    told = subprocess.run(code, env={**plain, **own}, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [seen]


def test_the_work_of_other_programs_is_seen():
    if not Path("/proc/stat").exists():
        assert cores_of_others() == 0
        return
    other = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=-1
    )
    try:
        other.stdout.readline()
        assert cores_of_others(0.3) > 0.4
    finally:
        other.kill()
        other.wait()


def test_a_run_needs_no_network_and_no_write_outside_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "a red ball", "--quiet", *QUICK]) == 0
    runs = list((tmp_path / "outputs").iterdir())
    assert (tmp_path / "outputs" / "latest").resolve() in runs
    assert {p.name for p in tmp_path.iterdir()} == {"outputs"}


def _damaged(folder: Path, run: Path) -> Path:
    import shutil

    shutil.copytree(run, folder, dirs_exist_ok=True)
    (folder / "work" / "finished.json").unlink()
    path = folder / "work" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    return folder


def _other_system(folder: Path, run: Path) -> Path:
    import shutil

    shutil.copytree(run, folder, dirs_exist_ok=True)
    return folder


MISTAKES = {
    "unknown verb": (["genrate", "a red chair"], 'Did you mean "generate"'),
    "unknown option": (["generate", "a red chair", "--sed", "3"], 'Did you mean "--seed"'),
    "misspelt config key": (
        ["generate", "a red chair", "--distil.guidence.scale", "3"],
        'Did you mean "guidance"',
    ),
    "config key without a value": (
        ["generate", "a red chair", "--distil.guidance.scale"],
        "wants a value",
    ),
    "config value of the wrong type": (
        ["generate", "a red chair", "--distil.guidance.scale", "much"],
        "wants a number",
    ),
    "config choice that is not there": (
        ["generate", "a red chair", "--distil.guidance.weighting", "clever"],
        "not a value",
    ),
    "bad schedule": (
        ["generate", "a red chair", "--distil.guidance.t_max", "late"],
        "not a schedule",
    ),
    "empty prompt": (["generate", ""], "prompt is empty"),
    "prompt of signs": (["generate", "?!"], "holds no words"),
    "10,000-word prompt": (["generate", "a red chair " * 3334], "characters"),
    "unknown word": (["generate", "a pinkk dragon"], '"dragon"'),
    "prompt without a thing": (["generate", "red"], "names no thing"),
    "zero steps": (["generate", "a red chair", "--steps", "0"], "at least 1"),
    "steps that are no number": (["generate", "a red chair", "--steps", "many"], "--steps"),
    "negative size": (["generate", "a red chair", "--resolution", "-4"], "from 8 to 1024"),
    "negative seed": (["generate", "a red chair", "--seed", "-1"], "at least 0"),
    "no time": (["generate", "a red chair", "--minutes", "0"], "at least"),
    "tiny texture": (["generate", "a red chair", "--texture", "3"], "64 to 8192"),
    "too few faces": (["generate", "a red chair", "--faces", "7"], "at least 50"),
    "unknown device": (["generate", "a red chair", "--device", "gpu"], "there is no device"),
    "unknown system": (
        ["generate", "a red chair", "--system", "latent-nref"],
        'Did you mean "latent-nerf"',
    ),
    "unknown preset": (["generate", "a red chair", "--preset", "fast"], "preset"),
    "unknown prior": (["generate", "a red chair", "--prior", "toy-box"], 'Did you mean "toybox"'),
    "wrong prior folder": (["generate", "a red chair", "--prior", "{tmp}"], "has no"),
    "prior that is a file": (["generate", "a red chair", "--prior", "{file}"], "is a file"),
    "missing config file": (
        ["generate", "a red chair", "--config", "{tmp}/none.yaml"],
        "no such file",
    ),
    "config that is no YAML": (["generate", "a red chair", "--config", "{file}"], "{file}"),
    "missing concept": (
        ["generate", "a red chair", "--concept", "{tmp}/none.safetensors"],
        "no such file",
    ),
    "damaged bundle": (["generate", "a red chair", "--embeddings", "{file}"], "damaged"),
    "full folder": (["generate", "a red chair", "--out", "{run}"], "holds files already"),
    "out is a file": (["generate", "a red chair", "--out", "{file}/x"], "{file}"),
    "read-only disk": (["generate", "a red chair", "--out", "/proc/none/x"], "--out"),
    "full disk": (["generate", "a red chair", "--out", "{full}/x"], "disk is full"),
    "nothing to resume": (
        ["generate", "a red chair", "--out", "{tmp}/none", "--resume"],
        "no run to resume",
    ),
    "damaged checkpoint": (
        ["generate", "a red chair", "--out", "{damaged}", "--resume"],
        "damaged",
    ),
    "checkpoint of another system": (
        ["generate", "a red chair", "--system", "dreamfusion", "--out", "{copy}", "--resume"],
        "another run",
    ),
    "checkpoint of another prompt": (
        ["generate", "a blue chair", "--out", "{copy}", "--resume", *QUICK],
        "another run",
    ),
    "refine what is no run": (["refine", "{tmp}"], "run.yaml"),
    "refine what is not there": (["refine", "{tmp}/none"], "no such run"),
    "export of nothing": (["export", "{tmp}/none"], "no asset"),
    "unknown format": (["export", "{run}", "--to", "fbx"], "no format"),
    "unreadable mesh": (["evaluate", "{mesh}"], "ends too early"),
    "evaluate without instances": (["evaluate", "{run}", "--instances", "0"], "at least 1"),
    "train with zero steps": (
        ["train", "toybox", "--steps", "0", "--out", "{tmp}/t"],
        "at least 1",
    ),
    "train on another world": (["train", "imagenet"], "toybox"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_give_one_line_and_exit_code_2(name, run_folder, tmp_path, capsys, monkeypatch):
    arguments, expected = MISTAKES[name]
    before = {p: sha(p) for p in run_folder.rglob("*") if p.is_file()}
    file = tmp_path / "file.txt"
    file.write_text("just [text")
    mesh = tmp_path / "mesh.glb"
    mesh.write_bytes(b"glTF nonsense")
    joined = " ".join(arguments)
    places = {"tmp": tmp_path, "file": file, "run": run_folder, "mesh": mesh}
    if "{damaged}" in joined:
        places["damaged"] = _damaged(tmp_path / "damaged", run_folder)
    if "{copy}" in joined:
        places["copy"] = _other_system(tmp_path / "copy", run_folder)
    if "{full}" in joined:
        places["full"] = tmp_path / "full"
        original = Path.write_bytes

        def full(self, data):
            if "full" in str(self):
                raise OSError(28, "No space left on device")
            return original(self, data)

        monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.chdir(tmp_path)
    code = main([a.format(**places) if "{" in a else a for a in arguments])
    message = capsys.readouterr().err.strip()
    assert code == 2, message
    assert len(message.splitlines()) == 1, message
    assert "Traceback" not in message
    assert expected.format(**places) in message, message
    assert {p: sha(p) for p in run_folder.rglob("*") if p.is_file()} == before
    assert not (tmp_path / "outputs").exists() or not list(
        (tmp_path / "outputs").glob("*/asset.glb")
    )
