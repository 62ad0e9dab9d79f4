"""View-conditioned models through the command line: `generate` by MVDream, `reconstruct` by the
others, two priors weighted; what cannot be meant is one line."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.twins import save_twin
from tests.view_twins import ADAPTER, save_view_twin
from threestudio_like.cli import main
from threestudio_like.engine.config import read_yaml
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.systems.registry import configuration

SMALL = [
    *("--representation.hash.levels", "4", "--representation.hash.log2_size", "10"),
    *("--renderer.samples", "16", "--renderer.occupancy", "16", "--no-turntable"),
    *("--faces", "300", "--texture", "64", "--steps", "2", "--load.image_size", "16"),
]


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view-models")

    @functools.cache
    def saved(name):
        save = save_twin if name == "sd" else save_view_twin
        return str(save(name, folder / name))

    return saved


@pytest.fixture
def picture(tmp_path):
    """A red ellipse with alpha."""
    y, x = np.mgrid[:64, :64]
    inside = (x - 32) ** 2 / 400 + (y - 32) ** 2 / 600 < 1
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 3] = 200, 60, 255 * inside
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


@pytest.mark.parametrize("name", ["stable-zero123", "zero123plus", "imagedream"])
def test_a_picture_is_reconstructed(name, models, picture, tmp_path, capsys):
    out = tmp_path / "out"
    line = ["reconstruct", picture, "--method", "field", "--prior", models(name)]
    assert main([*line, *SMALL, "--out", str(out), "--prompt", "a red chair"]) == 0
    assert (out / "asset.glb").is_file()
    told = capsys.readouterr().err
    assert ("takes a picture and no prompt" in told) == (name != "imagedream")
    assert ("By its name" in told) == (name == "stable-zero123")
    assert read_yaml(out / "run.yaml")["preset"] == name


def test_a_prompt_becomes_an_object_by_four_views(models, tmp_path):
    out = tmp_path / "out"
    line = ["generate", "a red chair", "--system", "dreamfusion", "--prior", models("mvdream")]
    assert main([*line, *SMALL, "--out", str(out), "--memory", "8GB"]) == 0
    assert (out / "asset.glb").is_file()
    saved = read_yaml(out / "run.yaml")
    assert saved["preset"] == "mvdream"
    assert saved["config"]["distil"]["stratified"]["batch"] == 4


def test_a_prompt_becomes_an_object_by_six_views(models, tmp_path, capsys):
    out, folder = tmp_path / "out", models("mv-adapter")
    line = ["generate", "a red chair", "--system", "dreamfusion", "--prior", folder, *SMALL]
    line += ["--load.view_adapter", f"{folder}/{ADAPTER}"]
    assert main([*line, "--out", str(out)]) == 0
    assert read_yaml(out / "run.yaml")["preset"] == "mv-adapter"
    other = ["generate", "a red chair", "--prior", models("sd"), "--out", str(tmp_path / "b")]
    told = one_line([*other, "--load.view_adapter", f"{folder}/{ADAPTER}"], capsys)
    assert "Stable Diffusion XL" in told
    wrong = [*line, "--out", str(tmp_path / "c"), "--load.view_adapter", f"{folder}/none"]
    assert "no .safetensors file" in one_line(wrong, capsys)


def test_two_priors_are_weighted(models, picture, tmp_path):
    """Magic123: a text-to-image prior and a view-conditioned one beside it; both leave figures."""
    out = tmp_path / "out"
    line = ["reconstruct", picture, "--method", "field", "--preset", "magic123"]
    line += ["--prior", models("sd"), "--prompt", "a red chair"]
    second = ["--guidance.second-prior.prior", models("stable-zero123")]
    second += ["--guidance.second-prior.load.image_size", "16"]
    assert main([*line, *SMALL, *second, "--out", str(out)]) == 0
    assert (out / "asset.glb").is_file()
    kept = read_yaml(out / "run.yaml")["config"]["distil"]
    assert kept["weight"] == 0.025
    assert kept["guidances"]["second-prior"]["weight"] == "1"
    assert kept["guidances"]["second-prior"]["distil"]["scale"] == 5.0
    assert "second-prior.gradient" in (out / "events.jsonl").read_text()


def one_line(arguments, capsys):
    capsys.readouterr()
    assert main([*arguments, "--quiet"]) == 2
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1
    return told


def test_a_prompt_cannot_be_made_by_a_model_that_turns_pictures(models, tmp_path, capsys):
    for command in (["generate", "a red chair"], ["texture", "assets/shapes/mug.obj", "blue"]):
        for name in ("stable-zero123", "zero123plus", "imagedream"):
            out = tmp_path / "out"
            told = one_line([*command, "--prior", models(name), "--out", str(out)], capsys)
            assert "turns a picture" in told
            assert "reconstruct" in told
            assert not out.exists()


def test_a_wrong_number_of_views_is_said(models, picture, tmp_path, capsys):
    line = ["generate", "a red chair", "--system", "dreamfusion", "--prior", models("mvdream")]
    line += [*SMALL, "--out", str(tmp_path / "out"), "--distil.stratified.batch", "3"]
    assert "was given 3" in one_line(line, capsys)


def test_a_second_prior_wants_a_name_and_rgb(models, tmp_path, capsys):
    line = ["generate", "a red chair", "--prior", models("sd"), *SMALL]
    line += ["--guidance.second-prior.weight", "1"]
    system = ["--system", "dreamfusion", "--preset", "default"]
    assert "wants a prior" in one_line([*line, *system, "--out", str(tmp_path / "a")], capsys)
    line += ["--out", str(tmp_path / "b")]
    named = ["--guidance.second-prior.prior", models("stable-zero123")]
    assert "has none" in one_line([*line, *system, *named], capsys)
    line[-1] = str(tmp_path / "c")
    told = one_line([*line, *named, "--system", "latent-nerf", "--preset", "paper"], capsys)
    assert "RGB" in told


def test_the_configuration_that_is_printed_is_the_one_that_runs(models, picture, capsys):
    line = ["reconstruct", picture, "--method", "field", "--prior", models("zero123plus")]
    assert main([*line, "--load.image_size", "16", "--print-config"]) == 0
    told = capsys.readouterr().out
    assert "preset: zero123plus" in told
    assert "batch: 6" in told


@pytest.mark.parametrize("name", ["mvdream", "imagedream", "zero123-xl", "zero123plus"])
def test_memory_is_forecast(name, models):
    """What works on more entries holds more, and weights are at least the network's."""
    prior = load_folder(Path(models(name)), DiffusersConfig(image_size=16), name)
    size = prior.facts.latent_size
    one = prior.rehearse(size, 4, 1, True, False)
    more = prior.rehearse(size, 12, 1, True, False)
    assert more.denoising > one.denoising > 0
    assert one.weights >= sum(p.numel() * 4 for p in prior.denoiser.parameters())


def test_presets_see_the_object_as_the_prior_does(models):
    """Random cameras and the picture's are of one distance and field of view."""
    for name, twin in [
        ("zero123", "zero123-xl"),
        ("stable-zero123", "stable-zero123"),
        ("imagedream", "imagedream"),
    ]:
        folder = Path(models(twin))
        protocol = load_folder(folder, DiffusersConfig(image_size=16), twin).facts.camera
        distil = configuration("field", name).distil
        sampler = distil.sampler()
        assert sampler.distance in (protocol.distance, (protocol.distance,) * 2)
        assert sampler.fov_y in (protocol.fov_y, (protocol.fov_y,) * 2)
        assert sampler.elevation == protocol.elevation
