"""Models in one file: a twin written in the layout of the original checkpoints is the twin."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.twins import save_twin
from threestudio_like.engine.errors import ModelError
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.families.own_noise import prediction_by
from threestudio_like.priors.families.single_file import LAYOUTS, _resize, layout_of
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.priors.registry import resolve

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
PLACES = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0",
    "down_blocks.1.attentions.0": "input_blocks.3.1",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.attentions.0": "output_blocks.0.1",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.attentions.1": "output_blocks.1.1",
    "up_blocks.0.upsamplers.0": "output_blocks.1.2",
    "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.resnets.1": "output_blocks.3.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
"""Where the twin's UNet of two levels with one layer stands in the original layout."""


def old_unet_key(key):
    place = max((p for p in PLACES if key.startswith(f"{p}.")), key=len)
    rest = key[len(place) + 1 :]
    if "resnets" in place:
        name, _, last = rest.rpartition(".")
        rest = f"{RESNET[name]}.{last}"
    return f"model.diffusion_model.{PLACES[place]}.{rest}"


def old_vae_key(key):
    def mirrored(match):
        return f"decoder.up.{1 - int(match[1])}."

    for pattern, new in (
        (r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.down.\1.block.\2"),
        (r"encoder\.down_blocks\.(\d+)\.downsamplers\.0", r"encoder.down.\1.downsample"),
        (r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)", r"decoder.up.\1.block.\2"),
        (r"decoder\.up_blocks\.(\d+)\.upsamplers\.0", r"decoder.up.\1.upsample"),
        (r"mid_block\.resnets\.0", "mid.block_1"),
        (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0", "mid.attn_1"),
        (r"conv_shortcut", "nin_shortcut"),
        (r"conv_norm_out", "norm_out"),
        (r"attn_1\.group_norm", "attn_1.norm"),
        (r"attn_1\.to_([qkv])\.", r"attn_1.\1."),
        (r"attn_1\.to_out\.0", "attn_1.proj_out"),
    ):
        key = re.sub(pattern, new, key)
    return f"first_stage_model.{re.sub(r'decoder.up.([0-9]+).', mirrored, key)}"


def checkpoint(folder, path, **extra):
    """The weights of a twin folder in one file."""
    whole = dict(extra)
    name = "diffusion_pytorch_model.safetensors"
    for key, value in load_file(folder / "unet" / name).items():
        whole[old_unet_key(key)] = value
    for key, value in load_file(folder / "vae" / name).items():
        new = old_vae_key(key)
        conv = re.search(r"attn_1\.(q|k|v|proj_out)\.weight$", new)
        whole[new] = value[:, :, None, None] if conv else value
    for key, value in load_file(folder / "text_encoder" / "model.safetensors").items():
        inner = key if key.startswith("text_model.") else f"text_model.{key}"
        whole[f"cond_stage_model.transformer.{inner}"] = value
    save_file({k: v.contiguous() for k, v in whole.items()}, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_twin("sd", tmp_path_factory.mktemp("single") / "twin")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_single_file_is_the_folder(folder, tmp_path, cache):
    path = checkpoint(folder, tmp_path / "model.safetensors")
    config = DiffusersConfig(tokenizer=folder)
    one = load_folder(resolve(str(path)), config, "file")
    two = load_folder(folder, DiffusersConfig(), "folder")
    for a, b in ((one.denoiser, two.denoiser), (one.vae, two.vae)):
        other = b.state_dict()
        assert all(torch.equal(v, other[k]) for k, v in a.state_dict().items())
    assert torch.equal(one.encode_text(["a red chair"]), two.encode_text(["a red chair"]))
    # The second time it is there already.
    path.with_name("again").write_text("")
    assert load_folder(path, config, "again").folder == one.folder


def test_a_file_of_the_hubs_cache_is_read(folder, tmp_path, cache):
    """It is a link, and what it leads to has no suffix."""
    path = checkpoint(folder, tmp_path / "model.safetensors")
    link = tmp_path / "snapshot" / "model.safetensors"
    link.parent.mkdir()
    link.symlink_to(path.rename(tmp_path / "4f2e"))
    prior = load_folder(link, DiffusersConfig(tokenizer=folder), "file")
    assert prior.folder.name.startswith("model-")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("time_embed_of_guidance.0.weight", "configurations of .* are of one of"),
        ("input_blocks.0.0.scale_weight", "weights are scaled"),
    ],
)
def test_what_the_configurations_do_not_ask_for_is_not_left_out(
    extra, words, folder, tmp_path, cache
):
    """As FLUX.1 dev's guidance, by the configurations of schnell: the library drops it."""
    more = {f"model.diffusion_model.{extra}": torch.ones(3)}
    path = checkpoint(folder, tmp_path / "model.safetensors", **more)
    with pytest.raises(ModelError, match=words):
        load_folder(path, DiffusersConfig(tokenizer=folder), "file")


def test_what_a_file_says_of_its_noise_is_read(folder, tmp_path, cache):
    extra = {"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}
    path = checkpoint(folder, tmp_path / "v.safetensors", **extra)
    prior = load_folder(path, DiffusersConfig(tokenizer=folder), "v")
    assert prior.facts.prediction_type == "v_prediction"
    assert float(prior.schedule.alphas_cumprod[-1]) < 1e-6


@pytest.fixture(scope="module")
def noisy(folder, tmp_path_factory):
    """A twin that was taught to predict noise at its last time step; its configurations say v."""
    from diffusers import UNet2DConditionModel

    own = tmp_path_factory.mktemp("noisy") / "twin"
    shutil.copytree(folder, own)
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_pretrained(str(own / "unet"))
    optimiser = torch.optim.Adam(unet.parameters(), 2e-3)
    text = torch.zeros(4, 7, unet.config.cross_attention_dim)
    for _ in range(75):
        noise = torch.randn(4, unet.config.in_channels, 8, 8)
        loss = (unet(noise, 999, encoder_hidden_states=text).sample - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    unet.save_pretrained(str(own / "unet"))
    _says(own, "v_prediction")
    return own


def _says(folder, prediction):
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": prediction}))


def test_what_a_denoiser_predicts_is_asked_of_itself(noisy, folder, tmp_path, cache):
    """As Stable Diffusion 2 base beside the configurations of 2.1: no tensor tells them apart."""
    path = checkpoint(noisy, tmp_path / "base.safetensors")
    prior = load_folder(path, DiffusersConfig(tokenizer=noisy), "base")
    assert prior.facts.prediction_type == "epsilon"
    assert "read as epsilon, and not as v_prediction" in " ".join(prior.facts.notes)
    assert "--load.prediction_type" in " ".join(prior.facts.notes)
    chosen = DiffusersConfig(tokenizer=noisy, prediction_type="v_prediction")
    again = load_folder(path, chosen, "base")
    assert again.facts.prediction_type == "v_prediction"
    assert not again.facts.notes
    # One that hides the noise is none of epsilon, whatever stands beside it.
    other = load_folder(
        checkpoint(folder, tmp_path / "v.safetensors"), DiffusersConfig(tokenizer=folder), "v"
    )
    assert other.facts.prediction_type == "v_prediction"
    assert "does not give back" in " ".join(other.facts.notes)


@pytest.mark.parametrize(
    ("share", "said", "found", "words"),
    [
        (0.99, "epsilon", "epsilon", ""),
        (0.02, "v_prediction", "v_prediction", ""),
        (0.99, "v_prediction", "epsilon", "read as epsilon"),
        (-0.3, "epsilon", "v_prediction", "read as v_prediction"),
        (0.5, "epsilon", "epsilon", "cannot be told"),
        (None, "epsilon", "epsilon", ""),
        (0.02, "sample", "sample", ""),
    ],
)
def test_only_a_clear_answer_decides(share, said, found, words):
    kind, notes = prediction_by(share, said)
    assert kind == found
    assert words in " ".join(notes)
    assert bool(words) == bool(notes)


@pytest.mark.parametrize(("before", "after"), [(96, 64), (64, 64), (8, 8)])
def test_a_base_model_has_its_own_size(before, after, tmp_path):
    second = next(layout for layout in LAYOUTS if layout.name == "Stable Diffusion 2")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"sample_size": before}))
    notes = _resize(path, second, "epsilon")
    assert json.loads(path.read_text())["sample_size"] == after
    assert bool(notes) == (before != after)


@pytest.mark.parametrize(("guided", "name"), [(True, "FLUX.1-dev"), (False, "FLUX.1-schnell")])
def test_flux_asks_for_the_configurations_of_its_own_form(guided, name, tmp_path, cache):
    keys = ["double_blocks.0.img_attn.qkv.weight", *["guidance_in.in_layer.weight"] * guided]
    path = tmp_path / "flux.safetensors"
    save_file({f"model.diffusion_model.{key}": torch.zeros(1) for key in keys}, path)
    assert [m.rpartition("/")[2] for m in layout_of(path).mirrors] == [name]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["lora_unet_down.lora_up.weight"], "LoRA"),
        (["control_model.input_blocks.0.0.weight"], "ControlNet"),
        (["conditioner.embedders.0.model.ln_final.weight"], "refiner"),
        (["double_blocks.0.img_attn.qkv.weight"], "denoiser alone"),
        (["encoder.conv_in.weight", "decoder.conv_in.weight"], "autoencoder alone"),
        (["something.else"], "something.else"),
    ],
)
def test_files_that_are_no_model_say_what_they_are(keys, words, tmp_path):
    path = tmp_path / "odd.safetensors"
    save_file({key: torch.zeros(1) for key in keys}, path)
    with pytest.raises(ModelError, match=words):
        load_folder(path, DiffusersConfig(), "odd")


def test_a_file_without_configurations_says_how_to_get_them(folder, tmp_path, cache):
    path = checkpoint(folder, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"--load\.tokenizer FOLDER.*hf download"):
        load_folder(path, DiffusersConfig(), "bare")
    other = tmp_path / "other"
    other.mkdir()
    (other / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelError, match="no folder of Stable Diffusion 1"):
        load_folder(path, DiffusersConfig(tokenizer=other), "other")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="damaged"):
        load_folder(tmp_path / "broken.safetensors", DiffusersConfig(), "broken")
