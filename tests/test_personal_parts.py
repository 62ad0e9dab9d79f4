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

from tests.runs import COARSE, SMALL_FIELD
from tests.twins import save_twin, vae
from threestudio_like.cli import main
from threestudio_like.commands.generate import Generate
from threestudio_like.commands.jobs import refine as refine_job
from threestudio_like.commands.jobs import resume as resume_job
from threestudio_like.commands.jobs.refine import as_the_source
from threestudio_like.commands.parsing import flags_of
from threestudio_like.commands.refine import Refine
from threestudio_like.commands.registry import command_names, options_of
from threestudio_like.commands.resume import Resume
from threestudio_like.engine.config import from_dict, to_dict
from threestudio_like.engine.errors import UserError
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.priors.personal.choice import PersonalParts
from threestudio_like.priors.text.concepts import in_tokens, read_concept, unused_words
from threestudio_like.runs.contents import PRIOR_OBJECT
from threestudio_like.runs.options import PriorOptions, RunOptions
from threestudio_like.runs.prior import load_prior
from threestudio_like.runs.record import RunRecord
from threestudio_like.runs.repeat import command_words
from threestudio_like.runs.written import asked, names_written, written_options


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


@pytest.mark.parametrize("beside", ["its own", "another's weights", "another kind", "a tiny one"])
def test_the_file_that_is_named_is_the_one_that_is_read(beside, sd, tmp_path, monkeypatch):
    """Not the one that the config.json beside it would be read with."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "vae"
    torch.manual_seed(3)
    made, other = vae(scaling_factor=0.5), vae(scaling_factor=0.25)
    path = folder / "mine.safetensors"
    if beside == "its own":
        made.save_pretrained(folder)
        path = folder / "diffusion_pytorch_model.safetensors"
    else:
        (tiny() if beside == "a tiny one" else other).save_pretrained(folder)
        save_file(made.state_dict(), path)
    if beside == "another kind":
        (folder / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    if beside == "a tiny one":
        with pytest.raises(UserError, match="no file that the config"):
            with_vae(sd, path)
        return
    prior = with_vae(sd, path)
    wanted = made.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in prior.vae.state_dict().items())
    scales = {"its own": 0.5, "another's weights": 0.25}
    known = scales.get(beside, with_vae(sd, sd / "vae").vae_facts.scaling_factor)
    assert prior.vae_facts.scaling_factor == known


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


FEW = ["--steps", "2", "--resolution", "16", *COARSE]
COMMAND = [*FEW, *SMALL_FIELD, "--quiet"]


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


PARTS = {
    "--concept": ["x.safetensors"],
    "--lora": ["x.safetensors"],
    "--vae": ["x.safetensors"],
    "--ip-adapter": ["x.safetensors"],
    "--like": ["x.png"],
    "--embeddings": ["x.safetensors"],
}


def takes_a_prior(command: str) -> bool:
    return "--attention-slicing" in flags_of(options_of(command))


@pytest.mark.parametrize("command", [c for c in command_names() if not takes_a_prior(c)])
def test_commands_without_a_prior_refuse_parts(command, capsys):
    """Of every command, also of those that come later: an option that it has not is named."""
    for option, value in PARTS.items():
        assert main([command, option, *value]) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1, told
        assert option in told[0]


@pytest.mark.parametrize("command", [c for c in command_names() if takes_a_prior(c)])
def test_commands_with_a_prior_know_all_parts(command):
    assert set(PARTS) <= set(flags_of(options_of(command)))


@pytest.mark.parametrize("option", PARTS)
def test_a_method_that_asks_no_prior_refuses_parts(option, tmp_path, capsys):
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    picture.paste((200, 30, 30, 255), (16, 16, 48, 48))
    picture.save(tmp_path / "photo.png")
    line = ["reconstruct", str(tmp_path / "photo.png"), "--method", "relief"]
    line += ["--out", str(tmp_path / "out"), option, str(tmp_path / PARTS[option][0])]
    assert main(line) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert f"{option}: this method asks no prior" in told[-1], told
    assert not (tmp_path / "out").exists()


def test_a_layout_that_is_only_settled_refuses_parts(tmp_path, capsys):
    (tmp_path / "poses.json").write_text("{}")
    line = ["compose", "--poses", str(tmp_path / "poses.json"), "--objects", str(tmp_path)]
    assert main([*line, "--lora", "x.safetensors", "--out", str(tmp_path / "out")]) == 2
    assert "--lora" in capsys.readouterr().err


def test_a_plug_ins_prior_refuses_what_it_does_not_read(monkeypatch):
    from threestudio_like.priors.loading import PRIORS, PriorKind, load_prior
    from threestudio_like.priors.text.embeddings import EmbeddingStore

    def load(options: Any) -> Any:
        raise AssertionError

    monkeypatch.setitem(PRIORS._added, "mine", PriorKind(summary="", load=load))
    for parts in (PersonalParts(lora=(Path("x"),)), PersonalParts(vae=Path("x"))):
        with pytest.raises(UserError, match="reads no parts of yours"):
            load_prior("mine", DiffusersConfig(parts=parts))
    with pytest.raises(UserError, match="Leave out --embeddings"):
        load_prior("mine", DiffusersConfig(), EmbeddingStore())


def word_file(path: Path, count: int = 1, seed: int = 0) -> Path:
    draw = torch.Generator().manual_seed(seed)
    save_file({"emb_params": torch.randn(count, 32, generator=draw)}, path)
    return path


def test_several_words_are_the_librarys(sd, tmp_path):
    """Words that begin alike, of several vectors each."""
    from diffusers import DiffusionPipeline

    words = {"mystyle": 2, "mystyle-b": 1, "other": 3}
    pipeline = DiffusionPipeline.from_pretrained(sd, local_files_only=True)
    files = []
    for k, (word, count) in enumerate(words.items()):
        files.append(word_file(tmp_path / f"{word}.safetensors", count, seed=k))
        pipeline.load_textual_inversion(str(files[-1]), token=word, local_files_only=True)
    prior = load_prior(PriorOptions(prior=str(sd), concept=tuple(files)), "cpu")
    assert prior.facts.words == tuple(words)
    for prompt in ("a chair in mystyle", "other chair, mystyle and other", "a red chair"):
        theirs = pipeline.encode_prompt(prompt, "cpu", 1, False)[0]
        torch.testing.assert_close(prior.encode_text([prompt]), theirs, atol=1e-5, rtol=0)


def test_words_are_whole_and_the_longest_counts():
    written = {"mug": "mug mug_1", "mug-b": "mug-b", "<x>": "<x> <x>_1"}
    said = in_tokens("mug mug-b mugs <x>, <x>y (mug)", written)
    assert said == "mug mug_1 mug-b mugs <x> <x>_1, <x>y (mug mug_1)"
    assert unused_words(["mug", "<x>"], "mugs of <x>") == ["mug"]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, ()),
        ("/a b/x.bin", (Path("/a b/x.bin"),)),
        (["/a b/x.bin", "y.bin"], (Path("/a b/x.bin"), Path("y.bin"))),
        ([], ()),
    ],
)
def test_words_of_an_earlier_run_are_read(value, wanted):
    """run.yaml had one file or none."""
    read = from_dict(Generate, {"model": {"concept": value}}).model
    assert read.concept == wanted
    assert from_dict(PriorOptions, to_dict(read)) == read


def test_a_refinement_takes_the_parts_along(sd, tmp_path, capsys):
    """Of a run with a LoRA and two words, whose run.yaml an earlier version wrote with one."""
    lora, out = one_lora(tmp_path / "mine.safetensors"), tmp_path / "run"
    words = [word_file(tmp_path / f"{w}.safetensors", seed=k) for k, w in enumerate(("<a>", "<b>"))]
    line = ["generate", "a red <a> chair", "--prior", str(sd), "--out", str(out)]
    line += ["--lora", str(lora), "--lora-weight", "0.5", "--concept", str(words[0])]
    assert main([*line, "--concept", str(words[1]), *COMMAND[:-1]]) == 0
    assert 'does not use the concept\'s token "<b>"' in capsys.readouterr().err
    record = yaml.safe_load((out / "run.yaml").read_text())
    assert record["options"]["model"]["concept"] == [str(w) for w in words]
    assert len(record["concepts"]) == 2
    record["options"]["model"]["concept"] = str(words[0])
    del record["checksum"]
    (out / "run.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    finer = tmp_path / "finer"
    assert main(["refine", str(out), "--out", str(finer), *FEW]) == 0
    assert "As in the run before: --concept, --lora, --lora-weight." in capsys.readouterr().err
    model = yaml.safe_load((finer / "run.yaml").read_text())["options"]["model"]
    assert model["prior"] == str(sd)
    assert (model["lora"], model["lora_weight"]) == ([str(lora)], [0.5])
    assert model["concept"] == [str(words[0])]


def test_what_is_given_now_replaces_what_was_given_before():
    record = RunRecord(
        command="generate",
        options={"model": {"lora": ["a.safetensors"], "lora_weight": [0.5], "vae": "v"}},
        facts={"prior": "sd-1.5"},
    )
    taken, told = as_the_source(PriorOptions(lora=(Path("b.safetensors"),)), record)
    assert (taken.prior, taken.lora, taken.lora_weight) == ("sd-1.5", (Path("b.safetensors"),), ())
    assert taken.vae == Path("v")
    assert told == ["As in the run before: --vae."]
    other, told = as_the_source(PriorOptions(prior="sd-2.1-base"), record)
    assert other == PriorOptions(prior="sd-2.1-base")
    assert "--lora, --lora-weight, --vae of the run before is left out" in told[0]


def test_a_default_that_is_written_does_not_give_way_to_the_run_before():
    record = RunRecord(
        command="generate",
        options={"model": {"prior": "sd-1.5", "like": ["p.png"], "like_weight": 0.5, "vae": "v"}},
        facts={"prior": "sd-1.5"},
    )
    taken, told = as_the_source(PriorOptions(), record, {"prior"})
    assert taken == PriorOptions()
    assert "of the run before is left out: --prior is another" in told[0]
    taken, _ = as_the_source(PriorOptions(), record, {"like", "dtype"})
    assert (taken.prior, taken.vae, taken.like) == ("sd-1.5", Path("v"), ())
    assert as_the_source(PriorOptions(), record)[0].like == (Path("p.png"),)


@pytest.mark.parametrize("own", [True, False])
def test_a_refinement_goes_on_with_its_own_prior(own, tmp_path, monkeypatch):
    """Not with its source's, where --prior toybox was written; with one made in Python, as ever."""
    options = Refine(source=tmp_path / "source", run=RunOptions(out=tmp_path))
    facts = {"prompt": "a chair"} if own else {"prompt": "a chair", PRIOR_OBJECT: "0"}
    RunRecord(command="refine", options=to_dict(options), facts=facts).write(tmp_path)
    said = []
    monkeypatch.setattr(resume_job, "call_of", lambda _: lambda o: said.append(asked(o)))
    resume_job.resume(Resume(folder=tmp_path))
    assert ("prior" in said[0]) is own
    assert "like" in said[0]
    assert "--prior toybox" in " ".join(command_words("refine", options))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--prior", "toybox", "a red chair"], {"prior"}),
        (["--no-turntable", "--like_weight=1"], {"turntable", "like_weight"}),
        (["--turntable", "--distil.steps", "3"], {"turntable"}),
        (["a red chair"], set()),
    ],
)
def test_options_are_known_as_written(words, names):
    assert names_written(Refine, words) == names
    with written_options(Refine, names):
        assert {*names} <= {*asked(Refine())}
        assert not asked(Resume())
    assert not asked(Refine())


def test_a_run_does_not_go_on_with_another_default(tmp_path, capsys):
    options = to_dict(Generate(prompt="a red chair", run=RunOptions(seed=5, out=tmp_path)))
    RunRecord(command="generate", options=options, facts={"prompt": "a red chair"}).write(tmp_path)
    assert main(["generate", "a red chair", "--resume", "--out", str(tmp_path), "--seed", "0"]) == 2
    assert "different: --seed" in capsys.readouterr().err
    assert main(["resume", str(tmp_path), "--seed", "0"]) == 2
    assert "--seed: cannot change" in capsys.readouterr().err


def test_painting_on_keeps_prior_parts_and_control(tmp_path, monkeypatch):
    mesh = Path(__file__).parent.parent / "assets" / "meshes" / "robot.glb"
    (tmp_path / "asset.glb").write_bytes(mesh.read_bytes())
    record = RunRecord(
        command="texture",
        options={"control": ["depth@0.5"], "model": {"vae": "v"}},
        facts={"prior": "somewhere", "prompt": "a robot"},
    )
    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        "threestudio_like.commands.jobs.texture.texture",
        lambda options, **more: asked.update(options=options, **more),
    )
    refine_job._refine_texture(Refine(), tmp_path, record, system=None, prior=None)
    chosen = asked["options"]
    assert (chosen.control, chosen.model.prior) == (("depth@0.5",), "somewhere")
    assert chosen.model.vae == Path("v")
    assert asked["notes"][-1] == "As in the run before: --control depth@0.5."
    other = Refine(model=PriorOptions(prior="another"))
    refine_job._refine_texture(other, tmp_path, record, system=None, prior=None)
    assert asked["options"].control == ()
    assert "--control of the run is not kept" in asked["notes"][-1]
