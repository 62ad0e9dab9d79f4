"""The second stage of a prior: another network in its folder for larger pictures."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.two_domains import two_domains
from threestudio_like.cli import main
from threestudio_like.engine.errors import CheckpointError, ModelError
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.loading import load_prior
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.priors.registry import embedded_folder
from threestudio_like.runs.memory_budget import PLANS, forecast
from threestudio_like.stages.demand import demands
from threestudio_like.systems import registry
from threestudio_like.training.options import TrainingOptions
from threestudio_like.training.toybox import train

from .runs import QUICK


def trained(out: Path, preset: str) -> Path:
    """The folder of the embedded prior with a second stage of two steps."""
    shutil.copytree(embedded_folder("diffusion"), out / "diffusion")
    options = TrainingOptions(out=out, only="larger", preset=preset, steps=2, groups=8, quiet=True)
    assert train(options) == out
    return out / "diffusion"


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """Low-rank layers beside the first network's."""
    return trained(tmp_path_factory.mktemp("low"), "quick")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A network of its own."""
    return trained(tmp_path_factory.mktemp("whole"), "large")


@pytest.fixture(params=["second", "whole"])
def either(request):
    """Each of them."""
    return request.getfixturevalue(request.param)


def test_it_is_written_beside_the_first_and_declared(second, whole):
    for folder in (second, whole):
        facts = json.loads((folder / "prior.json").read_text())
        assert facts["larger"] == {"unet_128": 128}
    written = [path.name for path in (second / "unet_128").iterdir()]
    assert written == ["pytorch_lora_weights.safetensors"]
    config = json.loads((whole / "unet_128/config.json").read_text())
    assert config["sample_size"] == 32
    first, other = (
        {
            **json.loads((whole / n / "config.json").read_text()),
            "sample_size": 0,
            "_name_or_path": 0,
        }
        for n in ("unet", "unet_128")
    )
    assert first == other


def test_low_rank_layers_are_a_lora_of_the_library(second):
    pytest.importorskip("peft")
    from diffusers import UNet2DConditionModel

    path = second / "unet_128" / "pytorch_lora_weights.safetensors"
    unet = UNet2DConditionModel.from_pretrained(
        second / "unet", torch_dtype=torch.float32, local_files_only=True
    )
    unet.load_lora_adapter(str(path), prefix="unet", local_files_only=True)
    prior = load_prior(str(second), DiffusersConfig(image_size=128, dtype="float32"))
    random = torch.Generator().manual_seed(1)
    x = torch.randn(1, 10, 32, 32, generator=random)
    text = torch.randn(1, 77, unet.config.cross_attention_dim, generator=random)
    told = {"timestep": torch.tensor([500]), "class_labels": torch.randn(1, 9, generator=random)}
    with torch.no_grad():
        theirs = unet(x, encoder_hidden_states=text, **told).sample
        ours = prior.unet(x, encoder_hidden_states=text, **told).sample
        first = load_prior(str(second)).unet(x, encoder_hidden_states=text, **told).sample
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(ours, first, atol=1e-3)


def test_another_kind_replaces_the_first(whole, tmp_path):
    """A UNet that stayed beside the new LoRA would be the one that is read."""
    shutil.copytree(whole, tmp_path / "diffusion")
    options = TrainingOptions(
        **{"out": tmp_path, "only": "larger", "preset": "quick", "steps": 1, "groups": 8},
        quiet=True,
        force=True,
    )
    train(options)
    written = [path.name for path in (tmp_path / "diffusion" / "unet_128").iterdir()]
    assert written == ["pytorch_lora_weights.safetensors"]


def test_low_rank_layers_that_do_not_all_fit_are_refused(second, tmp_path):
    folder = tmp_path / "strange"
    shutil.copytree(second, folder)
    path = folder / "unet_128" / "pytorch_lora_weights.safetensors"
    tensors = load_file(path)
    some = next(name for name in tensors if name.endswith("lora_A.weight"))
    tensors[some.replace("unet.", "unet.no.", 1)] = tensors[some].clone()
    save_file(tensors, path)
    with pytest.raises(ModelError, match="not whole"):
        load_prior(str(folder), DiffusersConfig(image_size=128))


def test_a_training_of_the_second_needs_the_first(tmp_path):
    with pytest.raises(CheckpointError, match="--only vae"):
        train(TrainingOptions(out=tmp_path, only="larger", preset="quick", groups=8, quiet=True))


def test_the_size_of_the_pictures_picks_the_network(either):
    plain = load_prior(str(either))
    larger = load_prior(str(either), DiffusersConfig(image_size=128))
    assert (plain.facts.image_size, plain.facts.larger) == (64, (128,))
    assert (larger.facts.image_size, larger.facts.latent_size) == (128, 32)
    assert plain.at_size(0) is plain.at_size(64) is plain
    beside = plain.at_size(128)
    assert beside is plain.at_size(128)
    assert beside.vae is plain.vae
    noisy = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(3))
    t = torch.full((1,), 500)
    condition = Condition(plain.encode_text(["a red chair"]))
    asked = [p.predict(noisy, t, condition) for p in (plain, larger, beside)]
    assert torch.equal(asked[1], asked[2])
    assert not torch.equal(asked[0], asked[1])
    # It begins with what the first knows, and has learnt two steps.
    assert float((asked[0] - asked[1]).abs().mean()) < 0.2 * float(asked[0].abs().mean())


def test_without_one_it_is_refused(toybox_prior, second, tmp_path):
    with pytest.raises(ModelError, match="no network for pictures of 256"):
        load_prior(str(second)).at_size(256)
    with pytest.raises(ModelError, match="It has: 64"):
        toybox_prior.at_size(128)
    for number, wrong in enumerate(({"../unet": 128}, {"unet_128": 0}, {"unet_96": "x"})):
        folder = two_domains(tmp_path / str(number), larger=wrong)
        with pytest.raises(ModelError, match="larger"):
            load_prior(str(folder))


def test_a_memory_plan_counts_both_networks(either):
    """Low-rank layers are added to a copy of the first network's weights."""
    prior = load_prior(str(either))
    config = registry.configuration("latent-nerf", "default", "generate")
    peaks = []
    for size in (0, 128):
        chosen = replace(config, rgb=replace(config.rgb, picture_size=size))
        wanted = [d for d in demands(chosen, prior) if d.name == "rgb"]
        assert wanted[0].size == (size or 64)
        found = forecast(PLANS[0], wanted, prior)
        peaks.append(found)
    assert peaks[1].parts["weights"] > 1.5 * peaks[0].parts["weights"]
    assert peaks[1].parts["networks at work"] > 2 * peaks[0].parts["networks at work"]


def test_a_stage_asks_the_second(second, tmp_path, capsys):
    out = tmp_path / "run"
    line = ["generate", "a red chair", *QUICK, "--rgb.steps", "1", "--prior", str(second)]
    assert main([*line, "--rgb.picture-size", "128", "--quiet", "--out", str(out)]) == 0
    assert "picture_size: 128" in (out / "run.yaml").read_text()
    wrong = [*line, "--distil.picture-size", "128", "--quiet", "--out", str(tmp_path / "wrong")]
    assert main(wrong) == 2
    assert "latents" in capsys.readouterr().err
