"""Broken and odd model folders: one line that says what is wrong, exit code 2, and never a silent
wrong reading."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.twins import save_twin
from tests.view_twins import save_view_twin
from threestudio_like.cli import main
from threestudio_like.engine.errors import ModelError, UserError
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.model_folder import DiffusersConfig

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    for name in ("sd", "sdxl", "sd3", "flux-dev", "deepfloyd-if"):
        save_twin(name, folder / name)
    for name in ("mvdream", "imagedream", "zero123-xl", "zero123plus"):
        save_view_twin(name, folder / name)
    return folder


def edit(path, **values):
    content = json.loads(path.read_text())
    for key, value in values.items():
        if value is ...:
            content.pop(key, None)
        else:
            content[key] = value
    path.write_text(json.dumps(content))


def config(part, name="config.json", **values):
    return lambda f: edit(f / part / name, **values)


def scheduler(**values):
    return config("scheduler", "scheduler_config.json", **values)


def index(**values):
    return lambda f: edit(f / "model_index.json", **values)


def without(path):
    def remove(f):
        shutil.rmtree(f / path) if (f / path).is_dir() else (f / path).unlink()

    return remove


def text(path, content):
    return lambda f: (f / path).write_text(content)


def tensors(part, change, name=WEIGHTS):
    def apply(f):
        table = load_file(f / part / name)
        change(table)
        save_file(table, f / part / name, metadata={"format": "pt"})

    return apply


def first(table):
    return sorted(table)[0]


def pickled(part, name):
    def apply(f):
        (f / part / name).unlink()
        (f / part / name.replace("safetensors", "bin")).write_bytes(pickle.dumps({"a": 1}))

    return apply


def renamed(part, name, new):
    return lambda f: (f / part / name).rename(f / part / new)


def shards(f):
    """An index of two shards of which one is missing."""
    part = f / "unet"
    table = load_file(part / WEIGHTS)
    (part / WEIGHTS).unlink()
    names = sorted(table)
    save_file({k: table[k] for k in names[:9]}, part / "one.safetensors")
    places = {k: "one.safetensors" if k in names[:9] else "two.safetensors" for k in names}
    (part / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": places}))


def outside(f):
    part = f / "unet"
    (part / WEIGHTS).unlink()
    places = {"a": "../../elsewhere.safetensors"}
    (part / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": places}))


def unclip(f):
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(f / "unet")
    values = {**unet.config, "class_embed_type": "projection"}
    values["projection_class_embeddings_input_dim"] = 2048
    UNet2DConditionModel.from_config(values).save_pretrained(f / "unet")


def prior_json(**values):
    def apply(f):
        unclip(f)
        (f / "prior.json").write_text(json.dumps(values))

    return apply


ODD = {
    # Which model it is.
    "no index, no networks": ("sd", without("unet"), 'has no "unet"'),
    "empty index": ("sd", text("model_index.json", ""), "damaged"),
    "index is a list": ("sd", text("model_index.json", "[]"), "damaged"),
    "MVDream's pipeline": ("sd", index(_class_name="MVDreamPipeline"), "MultiViewUNetModel"),
    "MVDream's UNet": ("sd", config("unet", _class_name="MultiViewUNetModel"), "StableDiffusion"),
    "Zero123++": ("sd", index(_class_name="Zero123PlusPipeline"), "feature_extractor_vae"),
    "Zero123++ as a list": (
        "sd",
        index(_class_name=["pipeline", "Zero123PlusPipeline"]),
        "feature_extractor_vae",
    ),
    "Zero123": ("sd", index(_class_name="Zero123Pipeline"), "text_encoder"),
    "Zero123 without its projection": (
        "zero123-xl",
        without("clip_camera_projection"),
        "clip_camera_projection",
    ),
    "a projection without cameras": (
        "zero123-xl",
        tensors("clip_camera_projection", lambda t: t.update({"proj.weight": torch.ones(32, 32)})),
        "4 of a camera",
    ),
    "a projection of other names": (
        "zero123-xl",
        tensors("clip_camera_projection", lambda t: t.update(bias=t.pop("proj.bias"))),
        "lacks 1 of",
    ),
    "Zero123 without the picture's channels": (
        "zero123-xl",
        config("unet", in_channels=4),
        "beside the 4 noisy ones",
    ),
    "MVDream with other cameras": ("mvdream", config("unet", camera_dim=12), "12 numbers"),
    "MVDream without cameras": ("mvdream", config("unet", camera_dim=None), "no numbers"),
    "MVDream of another kind": (
        "mvdream",
        config("unet", use_scale_shift_norm=True),
        "use_scale_shift_norm",
    ),
    "MVDream of another depth": ("mvdream", config("unet", num_res_blocks=2), "lacks"),
    "MVDream's pickle": ("mvdream", pickled("unet", WEIGHTS), "python -c"),
    "ImageDream called MVDream": ("imagedream", config("unet", ip_dim=0), "knows nothing of"),
    "no image encoder": ("zero123-xl", without("image_encoder"), "image_encoder"),
    "no processor of pictures": ("imagedream", without("feature_extractor"), "feature_extractor"),
    "a processor of no size": (
        "zero123plus",
        config("feature_extractor_vae", "preprocessor_config.json", size="large"),
        "no edge",
    ),
    "another image encoder": (
        "zero123plus",
        config("vision_encoder", architectures=["Dinov2Model"]),
        "Dinov2Model",
    ),
    "Zero123++ without weights of tokens": (
        "zero123plus",
        index(ramping_coefficients=None),
        "ramping_coefficients",
    ),
    "a vision encoder": (
        "sd",
        index(vision_encoder=["transformers", "CLIPVisionModelWithProjection"]),
        "vision_encoder",
    ),
    "ramping coefficients": ("sd", index(ramping_coefficients=["x", "y"]), "ramping_coefficients"),
    "GLIGEN's pipeline": ("sd", index(_class_name="StableDiffusionGLIGENPipeline"), "GLIGEN"),
    "GLIGEN's UNet": ("sd", config("unet", attention_type="gated"), "GLIGEN"),
    "StableUnCLIP": ("sd", index(_class_name="StableUnCLIPPipeline"), "StableUnCLIP"),
    "StableUnCLIP's UNet": ("sd", unclip, "StableUnCLIP"),
    "a refiner": ("sdxl", index(_class_name="StableDiffusionXLImg2ImgPipeline"), "refiner"),
    "a refiner's parts": ("sdxl", lambda f: refiner(f), "refiner"),
    "an inpainting model": ("sd", lambda f: inpainting(f), "fills masks"),
    "an upscaler": ("sd", index(_class_name="StableDiffusionUpscalePipeline"), "enlarges"),
    "an unknown pipeline": ("sd", index(_class_name="MysteryPipeline"), "MysteryPipeline"),
    "a pipeline of another family": ("sd", index(_class_name="FluxPipeline"), "FluxPipeline"),
    "an unknown transformer": (
        "sd3",
        config("transformer", _class_name="MysteryTransformer"),
        "MysteryTransformer",
    ),
    "Kandinsky's text": ("sd", config("unet", encoder_hid_dim_type="text_image_proj"), "Kandinsky"),
    "an unknown added embedding": ("sd", config("unet", addition_embed_type="image"), '"image"'),
    "a class embedding": ("sd", config("unet", class_embed_type="timestep"), "timestep"),
    "a class table": ("sd", config("unet", num_class_embeds=1000), "class embedding"),
    "sizes that are not SDXL's": ("sdxl", config("unet", addition_time_embed_dim=64), "sizes"),
    "IF's second stage": ("deepfloyd-if", config("unet", in_channels=6), "enlarges"),
    "IF's second pipeline": (
        "deepfloyd-if",
        index(_class_name="IFSuperResolutionPipeline"),
        "enlarges",
    ),
    "another autoencoder": ("sd", config("vae", _class_name="VQModel"), "VQModel"),
    "another text encoder": (
        "sd",
        config("text_encoder", architectures=["XLMRobertaModel"]),
        "XLMRobertaModel",
    ),
    # What it predicts, and its noise.
    "v-prediction": ("sd", scheduler(prediction_type="v-prediction"), "v-prediction"),
    "an unknown prediction": ("sd", scheduler(prediction_type="guess"), "guess"),
    "an unknown scheduler": ("sd", scheduler(_class_name="MysteryScheduler"), "MysteryScheduler"),
    "an unknown schedule": ("sd", scheduler(beta_schedule="wavy"), "wavy"),
    "betas that are none": ("sd", scheduler(beta_end=2.0), "beta_end"),
    "trained betas that are none": ("sd", scheduler(trained_betas=[0.1, 7.0]), "trained_betas"),
    "a single trained beta": ("sd", scheduler(trained_betas=[0.1]), "trained_betas"),
    "a negative shift": ("sd3", scheduler(shift=-3.0), "shift"),
    "no scheduler": ("sd", without("scheduler/scheduler_config.json"), "scheduler"),
    "a damaged scheduler": ("sd", text("scheduler/scheduler_config.json", "{"), "damaged"),
    # Tokenizers.
    "no tokenizer": ("sd", without("tokenizer"), "tokenizer"),
    "an empty tokenizer": ("sd", lambda f: empty(f / "tokenizer"), "tokenizer"),
    "a damaged tokenizer": ("sd", text("tokenizer/tokenizer.json", "{"), "tokenizer"),
    "no second tokenizer": ("sdxl", without("tokenizer_2"), "tokenizer_2"),
    "no text encoder": ("sd", without("text_encoder"), "text_encoder"),
    "no second text encoder": ("sdxl", without("text_encoder_2"), "text_encoder_2"),
    "a tokenizer of another model": (
        "sd",
        config("text_encoder", vocab_size=100),
        "text_encoder",
    ),
    # Weights.
    "no weights": ("sd", without(f"unet/{WEIGHTS}"), "no weights"),
    "pickled weights": ("sd", pickled("unet", WEIGHTS), "python -c"),
    "a pickled text encoder": ("sd", pickled("text_encoder", "model.safetensors"), "python -c"),
    "a missing tensor": ("sd", tensors("unet", lambda t: t.pop(first(t))), "lacks 1 of"),
    "a missing tensor of the vae": ("sd", tensors("vae", lambda t: t.pop(first(t))), "lacks 1 of"),
    "a missing tensor of the text": (
        "sd",
        tensors("text_encoder", lambda t: t.pop(first(t)), "model.safetensors"),
        "lacks 1",
    ),
    "an extra tensor": (
        "sd",
        tensors("unet", lambda t: t.update(extra=torch.ones(2))),
        "knows nothing of",
    ),
    "another shape": (
        "sd",
        tensors("unet", lambda t: t.update({first(t): torch.ones(3)})),
        "asks for",
    ),
    "another width": ("sd", config("unet", cross_attention_dim=48), "asks for"),
    "other layers": ("sd", config("unet", layers_per_block=2), "lacks"),
    "a truncated file": ("sd", lambda f: truncate(f / "unet" / WEIGHTS), "damaged"),
    "an empty file": ("sd", text(f"unet/{WEIGHTS}", ""), "damaged"),
    "a pointer of Git LFS": (
        "sd",
        text(f"unet/{WEIGHTS}", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "damaged",
    ),
    "a missing shard": ("sd", shards, "two.safetensors"),
    "a shard outside of the folder": ("sd", outside, "elsewhere"),
    "a damaged list of shards": (
        "sd",
        lambda f: (
            without(f"unet/{WEIGHTS}")(f),
            text(f"unet/{WEIGHTS}.index.json", "{}")(f),
        ),
        "list of shards",
    ),
    "a configuration of no network": (
        "sd",
        config("unet", down_block_types=["Mystery"]),
        "makes no",
    ),
    "no configuration of the vae": ("sd", without("vae/config.json"), "vae"),
    # Numbers.
    "a scale of zero": ("sd", config("vae", scaling_factor=0), "scaling_factor"),
    "a size of zero": ("sd", config("unet", sample_size=0), "sample_size"),
    # Cameras.
    "an unknown number of a camera": (
        "sd",
        prior_json(camera_vector=["sinus azimuth"]),
        "sinus azimuth",
    ),
    "too few numbers of a camera": ("sd", prior_json(camera_vector=["azimuth"]), "2048"),
    "channels that are not described": ("sd", lambda f: rays(f), "six channels"),
}


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def refiner(f):
    shutil.rmtree(f / "text_encoder")
    shutil.rmtree(f / "tokenizer")
    index(text_encoder=[None, None], tokenizer=[None, None])(f)


def widened(f, channels):
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(f / "unet")
    made = UNet2DConditionModel.from_config({**unet.config, "in_channels": channels})
    made.save_pretrained(f / "unet")


def inpainting(f):
    widened(f, 9)


def rays(f):
    widened(f, 10)


def opened(folder):
    return load_folder(folder, DiffusersConfig(image_size=16), "odd").encode_text(["a red chair"])


@pytest.mark.parametrize("name", ODD)
def test_odd_folders_are_one_line(name, good, tmp_path):
    twin, change, words = ODD[name]
    folder = tmp_path / "model"
    shutil.copytree(good / twin, folder)
    change(folder)
    with pytest.raises(UserError) as problem:
        opened(folder)
    assert words in problem.value.line()
    assert "\n" not in problem.value.line()
    assert problem.value.exit_code == 2


@pytest.mark.parametrize(
    "name", ["MVDream's UNet", "v-prediction", "no tokenizer", "an extra tensor"]
)
def test_the_command_line_says_so_and_leaves_nothing(name, good, tmp_path, capsys):
    twin, change, words = ODD[name]
    folder = tmp_path / "model"
    shutil.copytree(good / twin, folder)
    change(folder)
    out = tmp_path / "out"
    line = ["generate", "a red chair", "--prior", str(folder), "--steps", "3", "--out", str(out)]
    assert main([*line, "--quiet"]) == 2
    told = capsys.readouterr().err.strip()
    assert words in told
    assert len(told.splitlines()) == 1
    assert not (out / "asset.glb").exists()


def test_a_variant_alone_is_loaded(good, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(good / "sdxl", folder)
    for path in list(folder.rglob("*.safetensors")):
        half = {k: v.half() for k, v in load_file(path).items()}
        save_file(half, path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
        path.unlink()
    prior = load_folder(folder, DiffusersConfig(), "fp16")
    whole = load_folder(good / "sdxl", DiffusersConfig(), "whole")
    a, b = (p.encode_text(["a red chair"]) for p in (prior, whole))
    torch.testing.assert_close(a, b, atol=2e-2, rtol=2e-2)
    assert prior.denoiser.dtype == torch.float32


def test_shards_are_loaded(good, tmp_path):
    from diffusers import SD3Transformer2DModel

    folder = tmp_path / "model"
    shutil.copytree(good / "sd3", folder)
    part = folder / "transformer"
    network = SD3Transformer2DModel.from_pretrained(part)
    shutil.rmtree(part)
    network.save_pretrained(part, max_shard_size="20KB")
    assert len(list(part.glob("*.safetensors"))) > 2
    sharded = load_folder(folder, DiffusersConfig(), "sharded").denoiser
    for a, b in zip(network.parameters(), sharded.parameters()):
        assert torch.equal(a, b)


def test_a_relative_folder_is_never_a_hub_id(good, tmp_path, monkeypatch):
    shutil.copytree(good / "sd", tmp_path / "owner" / "model")
    monkeypatch.chdir(tmp_path)
    from threestudio_like.priors.loading import load_prior

    prior = load_prior("owner/model")
    a, b = prior.encode_text(["a red chair", "a blue sofa"])
    assert not torch.allclose(a, b)
    shutil.rmtree(tmp_path / "owner" / "model" / "tokenizer")
    with pytest.raises(ModelError, match="tokenizer"):
        load_prior("owner/model").encode_text(["a red chair"])


def test_trained_betas_are_the_schedule(good, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(good / "sd", folder)
    scheduler(trained_betas=[0.1, 0.2, 0.4], num_train_timesteps=3)(folder)
    prior = load_folder(folder, DiffusersConfig(), "betas")
    torch.testing.assert_close(
        prior.schedule.alphas_cumprod, torch.tensor([0.9, 0.72, 0.432]), atol=1e-6, rtol=0
    )


def test_every_reading_can_be_overridden(good):
    config = DiffusersConfig(
        prediction_type="v_prediction",
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        guidance="none",
        latent_scale=0.5,
        latent_shift=0.25,
        image_size=32,
    )
    prior = load_folder(good / "sd", config, "changed")
    plain = load_folder(good / "sd", DiffusersConfig(), "plain")
    assert prior.facts.prediction_type == "v_prediction"
    assert prior.facts.guidance == "none"
    assert (prior.facts.latent_size, prior.facts.image_size) == (16, 32)
    assert not torch.equal(prior.schedule.alphas_cumprod, plain.schedule.alphas_cumprod)
    image = torch.rand(1, 16, 16, 3)
    raw = plain.latents.raw(plain.encode_image(image))
    torch.testing.assert_close(prior.encode_image(image), (raw - 0.25) * 0.5, atol=1e-5, rtol=1e-5)
    flow = load_folder(good / "sd3", DiffusersConfig(shift=1.0, text_length=64), "flow")
    assert float(flow.schedule.times[499]) == pytest.approx(500)
    assert flow.encode_text([""]).shape[1] == 77 + 64 + 1


def test_a_camera_is_fed_as_it_is_described(good, tmp_path):
    from threestudio_like.priors.diffusion import Condition
    from threestudio_like.renderers import Cameras

    folder = tmp_path / "model"
    shutil.copytree(good / "sd", folder)
    unclip(folder)
    with pytest.raises(ModelError, match="camera_vector"):
        load_folder(folder, DiffusersConfig(), "undeclared")
    blind = load_folder(folder, DiffusersConfig(ignore_camera=True), "blind")
    names = ["57.29578 * azimuth", "-1 * sin elevation", "level", *["zero"] * 2045]
    (folder / "prior.json").write_text(json.dumps({"camera_vector": names}))
    prior = load_folder(folder, DiffusersConfig(), "declared")
    cameras = Cameras.orbit(torch.tensor([0.5]), torch.tensor([0.3]), 3.0, 0.7, 8, 8)
    condition = Condition(prior.encode_text([""]), cameras, 0.4)
    fed = prior._labels(condition, 1)[0]
    wanted = torch.tensor([0.5 * 57.29578, -torch.tensor(0.3).sin(), 0.4])
    torch.testing.assert_close(fed[:3], wanted, atol=1e-5, rtol=0)
    assert not fed[3:].any()
    assert not blind._labels(condition, 1).any()


def test_unknown_tokens_are_refused(good):
    prior = load_folder(good / "sd", DiffusersConfig(), "plain")
    with pytest.raises(UserError, match="红色"):
        prior.encode_text(["红色 chair"])
    # A tokenizer of bytes knows every script.
    pixels = load_folder(good / "deepfloyd-if", DiffusersConfig(), "bytes")
    a, b = pixels.encode_text(["红色 chair", "chair"])
    assert not torch.allclose(a, b)
