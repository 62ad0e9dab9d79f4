"""Autoencoders and words of the user's own against the library, and the parts on the command
line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from tests.twins import save_twin, vae
from threestudio_like.cli import main
from threestudio_like.engine.errors import UserError
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.priors.personal.choice import PersonalParts
from threestudio_like.priors.text.concepts import read_concept


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return save_twin("sd", tmp_path_factory.mktemp("parts") / "sd")


def tiny(channels: int = 4, levels: int = 2) -> Any:
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        latent_channels=channels,
        encoder_block_out_channels=(8,) * levels,
        decoder_block_out_channels=(8,) * levels,
        num_encoder_blocks=(1,) * levels,
        num_decoder_blocks=(1,) * levels,
    )


def with_vae(folder: Path, chosen: Path) -> Any:
    config = DiffusersConfig(image_size=16, parts=PersonalParts(vae=chosen))
    return load_folder(folder, config, "sd")


@pytest.mark.parametrize("kind", ["tiny", "another"])
def test_autoencoders_are_the_librarys(kind, sd, tmp_path):
    """Pictures to latents and back, with the replacement's own scale and shift."""
    torch.manual_seed(3)
    made = tiny() if kind == "tiny" else vae(scaling_factor=0.5, shift_factor=0.25)
    made.save_pretrained(tmp_path / "vae")
    prior = with_vae(sd, tmp_path / "vae")
    picture = torch.rand(1, 16, 16, 3)
    x = picture.permute(0, 3, 1, 2) * 2 - 1
    with torch.no_grad():
        coded = made.encode(x)
        raw = coded.latents if kind == "tiny" else coded.latent_dist.mode()
        shift = made.config.shift_factor or 0.0
        theirs = (raw - shift) * made.config.scaling_factor
        shown = (made.decode(raw).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
        torch.testing.assert_close(prior.encode_image(picture), theirs, atol=1e-5, rtol=0)
        torch.testing.assert_close(prior.decode_latents(theirs), shown, atol=1e-5, rtol=0)
    working = prior.rehearse(8, 2, 1, gradient=True, offload=False)
    weights = sum(p.numel() * 4 for n in (prior.denoiser, made) for p in n.parameters())
    assert abs(working.weights - weights) < 4096
    assert working.encoding > 0


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: tiny(channels=16), "16 channels"),
        (lambda: tiny(levels=3), "4 pixels along a latent"),
        (lambda: vae(channels=8), "8 channels"),
    ],
)
def test_autoencoders_of_other_families_are_refused(made, words, sd, tmp_path):
    made().save_pretrained(tmp_path / "vae")
    with pytest.raises(UserError, match=words):
        with_vae(sd, tmp_path / "vae")


def test_files_that_are_no_autoencoder_are_one_line(sd, tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.ckpt")
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    cases = {
        "a.ckpt": "weights_only",
        "a.safetensors": "no autoencoder",
        "b.safetensors": "damaged",
        "empty": "no config.json",
        "missing": "no such file",
    }
    for name, words in cases.items():
        with pytest.raises(UserError, match=words):
            with_vae(sd, tmp_path / name)


def test_words_of_a1111s_layout_are_the_librarys(sd, tmp_path):
    """Several vectors a word, whose name is that of the file."""
    from diffusers import DiffusionPipeline

    path = tmp_path / "mystyle.safetensors"
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(5))
    save_file({"emb_params": vectors}, path)
    prior = load_folder(sd, DiffusersConfig(image_size=16), "sd")
    prior.add_concept(read_concept(path))
    pipeline = DiffusionPipeline.from_pretrained(sd, local_files_only=True)
    pipeline.load_textual_inversion(str(path), token="mystyle", local_files_only=True)
    prompt = "a red chair in mystyle"
    theirs = pipeline.encode_prompt(prompt, "cpu", 1, False)[0]
    torch.testing.assert_close(prior.encode_text([prompt]), theirs, atol=1e-5, rtol=0)


def test_words_of_two_encoders_are_the_librarys(tmp_path):
    """SDXL's files, two of them at once, with several vectors a word."""
    from diffusers import DiffusionPipeline

    folder = save_twin("sdxl", tmp_path / "sdxl")
    draw = torch.Generator().manual_seed(5)
    prior = load_folder(folder, DiffusersConfig(image_size=16), "sdxl")
    pipeline = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    for word, count in (("mystyle", 2), ("myclay", 1)):
        table = {k: torch.randn(count, 32, generator=draw) for k in ("clip_l", "clip_g")}
        save_file(table, tmp_path / f"{word}.safetensors")
        prior.add_concept(read_concept(tmp_path / f"{word}.safetensors"))
        for key, part in (("clip_l", ""), ("clip_g", "_2")):
            pipeline.load_textual_inversion(
                table[key],
                token=word,
                text_encoder=getattr(pipeline, f"text_encoder{part}"),
                tokenizer=getattr(pipeline, f"tokenizer{part}"),
            )
    prompt = "a red chair in mystyle of myclay"
    states, _, pooled, _ = pipeline.encode_prompt(
        prompt, device="cpu", do_classifier_free_guidance=False
    )
    ours = prior.layout.unpack(prior.encode_text([prompt]))
    torch.testing.assert_close(ours.states, states, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.pooled, pooled, atol=1e-5, rtol=0)


def test_words_that_cannot_be_read_are_refused(sd, tmp_path):
    save_file({"clip_l": torch.ones(1, 8)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="two text encoders"):
        read_concept(tmp_path / "a.safetensors")
    save_file({"clip_l": torch.ones(1, 8), "clip_g": torch.ones(2, 8)}, tmp_path / "c.safetensors")
    with pytest.raises(UserError, match="1 and 2 vectors"):
        read_concept(tmp_path / "c.safetensors")
    save_file({k: torch.ones(1, 32) for k in ("clip_l", "clip_g")}, tmp_path / "d.safetensors")
    prior = load_folder(sd, DiffusersConfig(image_size=16), "sd")
    with pytest.raises(UserError, match="has 64 numbers"):
        prior.add_concept(read_concept(tmp_path / "d.safetensors"))
    save_file({"emb_params": torch.full((1, 8), float("nan"))}, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match="no numbers"):
        read_concept(tmp_path / "b.safetensors")


def one_lora(path: Path, value: float = 1.0) -> Path:
    start = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file(
        {
            f"{start}.lora_down.weight": torch.full((2, 32), value),
            f"{start}.lora_up.weight": torch.ones(32, 2),
        },
        path,
    )
    return path


COMMAND = ["--steps", "2", "--resolution", "16", "--no-turntable", "--quiet"]


def test_parts_reach_a_run_and_decide_whether_it_goes_on(sd, tmp_path, capsys):
    lora, out = one_lora(tmp_path / "mine.safetensors"), tmp_path / "run"
    tiny().save_pretrained(tmp_path / "vae")
    arguments = ["generate", "a red chair", "--prior", str(sd), "--out", str(out)]
    arguments += ["--lora", str(lora), "--lora-weight", "0.8", "--vae", str(tmp_path / "vae")]
    assert main([*arguments, *COMMAND]) == 0
    record = yaml.safe_load((out / "run.yaml").read_text())
    assert record["options"]["model"]["lora"] == [str(lora)]
    known = record["parts"] if "parts" in record else record["facts"]["parts"]
    assert known["lora"][0]["weight"] == 0.8
    assert len(known["vae"]) == 64
    one_lora(lora, value=2.0)
    capsys.readouterr()
    assert main(["resume", str(out), "--steps", "4", "--quiet"]) == 2
    assert "parts" in capsys.readouterr().err


def test_wrong_parts_end_a_command_in_one_line(sd, tmp_path, capsys):
    save_file({"x.weight": torch.ones(3)}, tmp_path / "a.safetensors")
    wrong = [
        ["--lora", str(tmp_path / "a.safetensors")],
        ["--lora-weight", "2"],
        ["--vae", str(tmp_path / "a.safetensors")],
        ["--load.parts.vae", "x"],
    ]
    for more in wrong:
        out = tmp_path / "out"
        code = main(["generate", "a red chair", "--prior", str(sd), "--out", str(out), *more])
        error = capsys.readouterr().err.strip().splitlines()
        assert (code, len(error), out.exists()) == (2, 1, False), error


@pytest.mark.parametrize("command", ["generate", "texture", "reconstruct", "compose"])
def test_parts_reach_the_prior_of_every_command(command, sd, tmp_path, capsys):
    """A LoRA that fits nothing of the prior, an autoencoder of another family and a file that is
    no IP-Adapter are told: a command that did not give them to its prior would not know."""
    assets = Path(__file__).parent.parent / "assets"
    Image.new("RGB", (64, 64), (200, 30, 30)).save(tmp_path / "photo.png")
    save_file({"lora_unet_x.lora_down.weight": torch.ones(2, 2)}, tmp_path / "odd.safetensors")
    tiny(channels=16).save_pretrained(tmp_path / "vae")
    words = {
        "generate": ["a red chair"],
        "texture": [str(assets / "shapes" / "mug.obj"), "a blue mug"],
        "reconstruct": [str(tmp_path / "photo.png"), "--method", "field"],
        "compose": [str(tmp_path / "photo.png"), "a red chair on a blue table"],
    }[command]
    words += ["--prior", str(sd), "--out", str(tmp_path / "out"), "--quiet"]
    wrong = {"--lora": tmp_path / "odd.safetensors", "--vae": tmp_path / "vae"}
    wrong["--ip-adapter"] = tmp_path / "odd.safetensors"
    for option, path in wrong.items():
        more = [option, str(path)]
        if option == "--ip-adapter":
            more += ["--like", str(tmp_path / "photo.png")]
        assert main([command, *words, *more]) == 2
        assert str(path) in capsys.readouterr().err
