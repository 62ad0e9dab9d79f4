"""Every command on the folder of every other: refine, export, evaluate, view."""

from __future__ import annotations

import json

import pytest
import torch

from threestudio_like.commands.jobs.opening import open_model
from threestudio_like.renderers import BackgroundSample, RingCameras
from threestudio_like.runs.record import read_record

from .runs import CAR, MUG, QUICK, SMALL, run, sha

PAINT = [
    *("--start.refine.times", "0.9", "--start.refine.steps", "2", "--start.iterations", "4"),
    *("--start.refine.views", "4", "--steps", "4"),
    *SMALL,
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of every command."""
    root = tmp_path_factory.mktemp("runs")
    lines = {
        "generate": ("generate", "a red chair", *QUICK),
        "texture": ("texture", MUG, "a blue mug", *PAINT),
        "reconstruct": ("reconstruct", CAR, "--method", "g3dr", *SMALL),
        "compose": (
            *("compose", "--text", "a red ball on a blue box", "--method", "g3dr"),
            *("--starts", "1", "--steps", "2", *SMALL),
            *("--save-embeddings", root / "bundle.safetensors"),
        ),
        "refine": ("refine", root / "generate", "--steps", "3", *SMALL),
    }
    for name, words in lines.items():
        assert run(*words, "--out", root / name, "--quiet") == 0, name
    return root


def test_compose_writes_the_embeddings_of_all_its_objects(runs):
    assert (runs / "bundle.safetensors").is_file()


COMMANDS = ("generate", "texture", "reconstruct", "compose", "refine")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_folder_says_which_command_made_it(runs, name):
    assert read_record(runs / name).command == name
    events = (runs / name / "events.jsonl").read_text().splitlines()
    assert json.loads(events[-1])["event"] == "end"


@pytest.mark.parametrize("name", COMMANDS)
def test_export_of_each_command(runs, name, tmp_path, capsys):
    assert run("export", runs / name, "--to", "obj", "stl", "--verify", "--out", tmp_path) == 0
    assert capsys.readouterr().out.count("ok)") == 2
    assert (tmp_path / "asset.obj").is_file()


@pytest.mark.parametrize("name", COMMANDS)
def test_evaluate_of_each_command(runs, name, capsys):
    assert run("evaluate", runs / name, "--instances", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["faces"] > 0


@pytest.mark.parametrize("name", COMMANDS)
def test_view_of_each_command(runs, name, capsys):
    assert run("view", runs / name, "--no-browser", "--seconds", "0.2") == 0
    assert "is shown at http://127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["generate", "texture", "reconstruct", "refine"])
def test_refine_of_each_command(runs, name, tmp_path):
    before = sha(runs / name / "asset.glb")
    words = ("--steps", "2", "--prompt", "a red car" if name == "reconstruct" else "a red chair")
    quick = ["--start.refine.times", ""] if name in ("texture", "reconstruct") else []
    assert (
        run("refine", runs / name, "--out", tmp_path / "r", "--quiet", *words, *quick, *SMALL) == 0
    )
    assert sha(runs / name / "asset.glb") == before
    assert (tmp_path / "r" / "asset.glb").is_file()


def test_refine_of_a_scene_says_how(runs, capsys):
    assert run("refine", runs / "compose", "--quiet") == 2
    assert "Refine them one by one" in capsys.readouterr().err


def picture(model) -> torch.Tensor:
    """Four views of a field, RGB."""
    cameras = RingCameras(count=4, elevation=15.0).all(48)
    behind = BackgroundSample(torch.full((4, 48, 48, model.field.channels), 0.5))
    with torch.no_grad():
        return model.decode(model.renderer.render(model.field, cameras, behind).features)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean().clamp_min(1e-12)))


def test_refine_of_a_refined_run_starts_where_that_one_ended(runs, tmp_path):
    """With a learning rate of nothing the first step shows the field that it starts from."""
    still = [
        "--rgb.rates.voxels",
        "1e-12",
        "--rgb.rates.mlp",
        "1e-12",
        "--rgb.rates.table",
        "1e-12",
    ]
    out = tmp_path / "again"
    words = ("--out", out, "--quiet", "--steps", "1", "--keep", "all", *still, *SMALL)
    assert run("refine", runs / "refine", *words) == 0
    ended, began = open_model(runs / "refine"), open_model(out)
    assert psnr(picture(ended), picture(began)) > 40
    trained, start = picture(ended), picture(open_model(runs / "generate"))
    assert psnr(trained, start) < 60


def test_a_kept_model_shows_what_the_whole_one_does(tmp_path):
    both = {}
    for keep in ("all", "model"):
        out = tmp_path / keep
        assert run("generate", "a red chair", "--out", out, "--quiet", "--keep", keep, *QUICK) == 0
        both[keep] = picture(open_model(out))
    assert sha(tmp_path / "all" / "asset.glb") == sha(tmp_path / "model" / "asset.glb")
    assert psnr(both["all"], both["model"]) > 40
