"""IP-Adapters against the library's own pipeline, on tiny networks of random weights whose adapter
is written in the published layout; and on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.runs import COARSE, SMALL_FIELD
from tests.twins import save_twin
from threestudio_like.cli import main
from threestudio_like.engine.errors import UserError
from threestudio_like.guidance.prompts import PromptConfig, ViewPrompts
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.priors.personal.choice import PersonalParts

PROMPT = "a red chair"


def save_encoder(folder: Path, wide: int = 24) -> None:
    """A small CLIP of pictures, as the library saves it."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(7)
    CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=28,
            patch_size=7,
            projection_dim=wide,
        )
    ).save_pretrained(folder / "image_encoder")


def projection(kind: str, width: int) -> dict[str, torch.Tensor]:
    """Random numbers in the published names: of the plain kind, and of the resampler (plus)."""
    draw = torch.Generator().manual_seed(3)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw) * 0.2

    if kind == "plain":
        return {
            "proj.weight": some(4 * width, 24),
            "proj.bias": some(4 * width),
            "norm.weight": 1 + some(width),
            "norm.bias": some(width),
        }
    if kind == "full":
        return {
            **{"proj.0.weight": some(32, 32), "proj.0.bias": some(32)},
            **{"proj.2.weight": some(width, 32), "proj.2.bias": some(width)},
            **{"proj.3.weight": 1 + some(width), "proj.3.bias": some(width)},
        }
    inner = 64
    made = {
        "latents": some(1, 5, inner),
        **{"proj_in.weight": some(inner, 32), "proj_in.bias": some(inner)},
        **{"proj_out.weight": some(width, inner), "proj_out.bias": some(width)},
        **{"norm_out.weight": 1 + some(width), "norm_out.bias": some(width)},
    }
    for k in range(4):
        for norm in ("norm1", "norm2"):
            made[f"layers.{k}.0.{norm}.weight"] = 1 + some(inner)
            made[f"layers.{k}.0.{norm}.bias"] = some(inner)
        made[f"layers.{k}.0.to_q.weight"] = some(64, inner)
        made[f"layers.{k}.0.to_kv.weight"] = some(128, inner)
        made[f"layers.{k}.0.to_out.weight"] = some(inner, 64)
        made[f"layers.{k}.1.0.weight"], made[f"layers.{k}.1.0.bias"] = 1 + some(inner), some(inner)
        made[f"layers.{k}.1.1.weight"] = some(4 * inner, inner)
        made[f"layers.{k}.1.3.weight"] = some(inner, 4 * inner)
    return made


def save_adapter(folder: Path, unet: Any, kind: str = "plain") -> Path:
    """An adapter for a UNet, with its encoder of pictures beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(5)
    width = unet.config.cross_attention_dim
    tensors = {f"image_proj.{k}": v for k, v in projection(kind, width).items()}
    names = [n for n in unet.attn_processors if not n.endswith("attn1.processor")]
    for number, name in enumerate(names):
        layer = unet.get_submodule(name.removesuffix(".processor"))
        for what in "kv":
            key = f"ip_adapter.{2 * number + 1}.to_{what}_ip.weight"
            tensors[key] = torch.randn(layer.to_k.weight.shape, generator=draw) * 0.3
    save_file(tensors, folder / "ip-adapter.safetensors")
    save_encoder(folder)
    return folder / "ip-adapter.safetensors"


def save_picture(path: Path, colour: int = 0, size: tuple[int, int] = (50, 37)) -> Path:
    """Noise with a colour."""
    pixels = np.random.Generator(np.random.Philox(colour)).integers(0, 255, (*size, 3))
    pixels[..., colour] = 250
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def pipeline_of(folder: Path) -> Any:
    from diffusers import DiffusionPipeline

    made = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module", params=["sd", "sdxl"])
def family(request, tmp_path_factory):
    """A model folder of each family, adapters of each kind, and two pictures."""
    base = tmp_path_factory.mktemp("like")
    folder = save_twin(request.param, base / "model")
    unet = pipeline_of(folder).unet
    adapters = {k: save_adapter(base / k, unet, k) for k in ("plain", "plus", "full")}
    pictures = [save_picture(base / "a.png", 0), save_picture(base / "b.png", 1, (40, 40))]
    return folder, adapters, pictures


def with_picture(folder: Path, adapter: Path, pictures: list[Path], weight: float = 1.0) -> Any:
    parts = PersonalParts(like=tuple(pictures), ip_adapter=adapter, like_weight=weight)
    return load_folder(folder, DiffusersConfig(image_size=16, parts=parts), "model")


def theirs(pipe: Any, adapter: Path, pictures: list[Path], weight: float) -> dict[str, Any]:
    """What the library's denoiser is given and answers, in one step of its pipeline."""
    pipe.load_ip_adapter(
        str(adapter.parent), subfolder="", weight_name=adapter.name, local_files_only=True
    )
    pipe.set_ip_adapter_scale(weight)
    seen: dict[str, Any] = {}
    plain = pipe.unet.forward

    def forward(*arguments: Any, **named: Any) -> Any:
        out = plain(*arguments, **named)
        seen.setdefault("x", arguments[0].clone())
        seen.setdefault("t", int(arguments[1]))
        seen.setdefault("out", out[0].clone())
        return out

    pipe.unet.forward = forward
    with torch.no_grad():
        pipe(
            PROMPT,
            ip_adapter_image=[[Image.open(p) for p in pictures]],
            height=16,
            width=16,
            num_inference_steps=1,
            guidance_scale=5.0,
            generator=torch.Generator().manual_seed(1),
            output_type="latent",
        )
    return seen


@pytest.mark.parametrize(
    ("kind", "count", "weight"),
    [("plain", 1, 1.0), ("plain", 2, 0.6), ("plus", 1, 0.8), ("full", 1, 1.0)],
)
def test_predictions_with_pictures_are_the_librarys(kind, count, weight, family):
    """Both branches: the unconditional one is told no picture, in the library's way."""
    folder, adapters, pictures = family
    seen = theirs(pipeline_of(folder), adapters[kind], pictures[:count], weight)
    prior = with_picture(folder, adapters[kind], pictures[:count], weight)
    prompts = ViewPrompts(prior, PROMPT, PromptConfig(view_dependent=False))
    text = torch.stack([prompts.negative, prompts.by_direction["front"]])
    time = torch.full((2,), seen["t"])
    # What the network is given; the noise's own scale of the library's scheduler is undone.
    x = seen["x"] / prior.schedule.seen(torch.ones(2, 1, 1, 1), time)
    ours = prior.predict(x, time, Condition(text))
    torch.testing.assert_close(ours, seen["out"], atol=1e-5, rtol=0)
    without = load_folder(folder, DiffusersConfig(image_size=16), "model")
    told = without.encode_text(["", PROMPT])
    assert (without.predict(x, time, Condition(told)) - ours).abs().amax((1, 2, 3)).min() > 1e-3


def test_a_weight_of_zero_is_no_picture(family):
    folder, adapters, pictures = family
    prior = with_picture(folder, adapters["plain"], pictures, 0.0)
    plain = load_folder(folder, DiffusersConfig(image_size=16), "model")
    x, time = torch.randn(2, 4, 8, 8), torch.tensor([400, 400])
    said = [p.predict(x, time, Condition(p.encode_text([PROMPT, ""]))) for p in (prior, plain)]
    torch.testing.assert_close(said[0], said[1], atol=1e-6, rtol=0)


def test_weighted_words_and_training_beside_go_on(family):
    """Emphasis falls on the words alone; a forecast counts the adapter."""
    folder, adapters, pictures = family
    prior = with_picture(folder, adapters["plain"], pictures)
    prompts = ViewPrompts(prior, "a (red:1.5) chair", PromptConfig(view_dependent=False))
    factors = prompts.factors["front"]
    assert len(factors) == len(prompts.negative)
    x, time = torch.randn(1, 4, 8, 8), torch.tensor([400])
    text = prompts.by_direction["front"][None]
    plain = prior.predict(x, time, Condition(text))
    weighted = prior.predict(x, time, Condition(text, emphasis=factors[None]))
    assert (plain - weighted).abs().max() > 1e-6
    normal = prior.predict(x, time, Condition(text, emphasis=factors[None], normalised=True))
    assert (normal - weighted).abs().max() > 1e-6
    held = sum(p.numel() * 4 for n in (prior.unet, prior.vae) for p in n.parameters())
    working = prior.rehearse(8, 2, 1, gradient=True, offload=False)
    assert abs(working.weights - held) < 4096


def broken(kind: str, good: Path, folder: Path) -> list[str]:
    """Arguments with something wrong in the adapter."""
    folder.mkdir()
    path, tensors = folder / "a.safetensors", load_file(good)
    if kind == "no encoder":
        save_file(tensors, path)
        return ["--ip-adapter", str(path)]
    save_encoder(folder, wide=20 if kind == "another encoder" else 24)
    first = next(k for k in tensors if k.startswith("ip_adapter.") and "to_k" in k)
    if kind == "one layer less":
        del tensors[first]
    elif kind == "other sizes":
        tensors[first] = tensors[first][:, :-1].contiguous()
    elif kind == "one layer more":
        tensors["ip_adapter.99.to_k_ip.weight"] = tensors[first].clone()
    elif kind == "a face":
        tensors = {k: v for k, v in tensors.items() if k != "image_proj.proj.weight"}
        tensors["image_proj.proj.0.weight"] = torch.ones(4, 4)
    elif kind == "no projection":
        tensors = {k: v for k, v in tensors.items() if not k.startswith("image_proj.")}
    elif kind == "half a projection":
        del tensors["image_proj.norm.bias"]
    elif kind == "no numbers":
        tensors[first] = torch.full_like(tensors[first], float("nan"))
    save_file(tensors, path)
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    if kind == "a pickle":
        path = folder / "a.bin"
        torch.save({"image_proj": {}, "ip_adapter": {}}, path)
    return ["--ip-adapter", str(path)]


KINDS = {
    "no encoder": "no image_encoder",
    "another encoder": "has 20",
    "one layer less": "another model",
    "one layer more": "another model",
    "other sizes": "another model",
    "a face": "FaceID",
    "no projection": "no IP-Adapter",
    "half a projection": "cannot be read",
    "no numbers": "no numbers",
    "cut off": "no whole",
    "a pickle": "weights_only",
}


def test_adapters_that_do_not_fit_end_a_command_in_one_line(tmp_path, capsys):
    model = save_twin("sd", tmp_path / "model")
    good = save_adapter(tmp_path / "good", pipeline_of(model).unet)
    picture, out = save_picture(tmp_path / "a.png"), tmp_path / "out"
    (tmp_path / "text.png").write_text("no picture")
    cases = [(broken(k, good, tmp_path / k), picture, words) for k, words in KINDS.items()]
    cases += [
        (["--ip-adapter", str(tmp_path / "missing")], picture, "no such file"),
        (["--ip-adapter", str(good)], tmp_path / "text.png", "text.png"),
        (["--ip-adapter", str(good)], tmp_path / "none.png", "none.png"),
        ([], picture, "none is named"),
    ]
    for more, shown, words in cases:
        told = ["generate", PROMPT, "--prior", str(model), "--like", str(shown), "--out", str(out)]
        code = main([*told, *more])
        error = capsys.readouterr().err.strip().splitlines()
        assert (code, len(error), out.exists()) == (2, 1, False), (more, error)
        assert words in error[0], (words, error)


@pytest.mark.parametrize("name", ["sd3", "flux-dev", "pixart-sigma", "deepfloyd-if"])
def test_families_without_adapters_refuse(name, tmp_path):
    folder, picture = save_twin(name, tmp_path / name), save_picture(tmp_path / "a.png")
    with pytest.raises(UserError, match="no IP-Adapter"):
        with_picture(folder, picture, [picture])


COMMAND = ["--steps", "2", "--resolution", "16", *COARSE, *SMALL_FIELD, "--quiet"]


def test_a_picture_reaches_the_result(tmp_path):
    """Two pictures make two results. (Other commands: `test_personal_parts`.)"""
    model = save_twin("sd", tmp_path / "model")
    adapter = save_adapter(tmp_path / "ip", pipeline_of(model).unet)
    made = []
    for k in (0, 1):
        picture, out = save_picture(tmp_path / f"{k}.png", k), tmp_path / f"out-{k}"
        told = ["--like", str(picture), "--ip-adapter", str(adapter), "--like-weight", "4"]
        words = ["generate", PROMPT, "--prior", str(model), "--out", str(out), *told, *COMMAND]
        assert main(words) == 0
        made.append((out / "asset.glb").read_bytes())
    assert made[0] != made[1]
