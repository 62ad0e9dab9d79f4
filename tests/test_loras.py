"""LoRAs of every layout against peft's layers in the library's own pipelines, on tiny twins."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.twins import save_twin
from threestudio_like.engine.errors import UserError
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.priors.personal.choice import PersonalParts

PROMPT = "a red chair"


@functools.cache
def folder_of(name: str, root: Path) -> Path:
    return save_twin(name, root / name)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("lora-twins")
    return lambda name: folder_of(name, root)


def loaded(folder: Path, *files: Path, weights: tuple[float, ...] = (), **more: Any) -> Any:
    parts = PersonalParts(lora=files, lora_weight=weights, **more)
    size = 32 if folder.name.startswith("flux") else 16
    return load_folder(folder, DiffusersConfig(image_size=size, parts=parts), folder.name)


def answers(prior: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What a prior says of fixed latents, with and without the prompt; and its texts."""
    text = prior.encode_text([PROMPT, ""])
    size = prior.facts.latent_size
    random = torch.Generator().manual_seed(7)
    x = torch.randn(1, prior.facts.channels, size, size, generator=random).repeat(2, 1, 1, 1)
    return prior.predict(x, torch.tensor([400, 400]), Condition(text)), text


LINEAR = {"to_q": 1.0, "to_v": 0.7, "to_out.0": 1.3}
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def layers_in(network: Any, ends: tuple[str, ...], convolutions: bool = False) -> dict[str, Any]:
    kinds = (torch.nn.Linear, torch.nn.Conv2d) if convolutions else (torch.nn.Linear,)
    named = {n: m for n, m in network.named_modules() if isinstance(m, kinds)}
    return {n: m for n, m in named.items() if n.endswith(ends)}


def pair(layer: Any, rank: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Down and up of a layer, large enough to be seen."""
    out, into, *kernel = layer.weight.shape
    down = torch.randn(rank, into, *kernel, generator=random) * 0.2
    up = torch.randn(out, rank, *[1] * len(kernel), generator=random) * 0.2
    return down, up


def diffusers_lora(pipeline: Any, rank: int = 3) -> dict[str, torch.Tensor]:
    """A LoRA in the names that the library saves itself."""
    random, tensors = torch.Generator().manual_seed(1), {}
    network = getattr(pipeline, "transformer", None) or pipeline.unet
    prefix = "transformer" if getattr(pipeline, "transformer", None) is not None else "unet"
    chosen = layers_in(network, tuple(LINEAR))
    texts = layers_in(pipeline.text_encoder, TEXT)
    for start, layers in ((prefix, chosen), ("text_encoder", texts)):
        for name, layer in layers.items():
            down, up = pair(layer, rank, random)
            tensors[f"{start}.{name}.lora_A.weight"] = down
            tensors[f"{start}.{name}.lora_B.weight"] = up
    return tensors


def kohya_lora(pipeline: Any, rank: int = 4, alpha: float | None = 2.0) -> dict[str, torch.Tensor]:
    """A LoRA of model sites: underscores, alphas, convolutions, text encoders."""
    random, tensors = torch.Generator().manual_seed(2), {}
    unet = layers_in(
        pipeline.unet, ("to_k", "to_out.0", "proj_in", "conv1", "conv_shortcut"), convolutions=True
    )
    networks = {"lora_unet": unet}
    second = getattr(pipeline, "text_encoder_2", None)
    first = "lora_te1" if second is not None else "lora_te"
    networks[f"{first}_text_model"] = layers_in(pipeline.text_encoder, TEXT)
    if second is not None:
        networks["lora_te2_text_model"] = layers_in(second, TEXT)
    for start, layers in networks.items():
        for name, layer in layers.items():
            down, up = pair(layer, rank, random)
            name = name.removeprefix("text_model.").replace(".", "_")
            tensors[f"{start}_{name}.lora_down.weight"] = down.half()
            tensors[f"{start}_{name}.lora_up.weight"] = up.half()
            if alpha is not None:
                tensors[f"{start}_{name}.alpha"] = torch.tensor(alpha)
    return tensors


def library(folder: Path, files: list[tuple[Path, float]]) -> Any:
    """The library's pipeline with the same LoRAs by peft."""
    pytest.importorskip("peft")
    from diffusers import DiffusionPipeline

    more: dict[str, Any] = {"add_watermarker": False} if folder.name == "sdxl" else {}
    pipeline = DiffusionPipeline.from_pretrained(
        folder, local_files_only=True, torch_dtype=torch.float32, **more
    )
    names = []
    for number, (path, _) in enumerate(files):
        names.append(f"part{number}")
        pipeline.load_lora_weights(str(path), adapter_name=names[-1], local_files_only=True)
    pipeline.set_adapters(names, [weight for _, weight in files])
    return pipeline


def with_networks(prior: Any, pipeline: Any) -> Any:
    """A plain prior that calls the library's networks instead of its own."""
    prior.denoiser = getattr(pipeline, "transformer", None) or pipeline.unet
    text = prior.text
    if hasattr(text, "_encoders"):
        for part in ("text_encoder", "text_encoder_2", "text_encoder_3"):
            if getattr(pipeline, part, None) is not None:
                text._encoders[part] = getattr(pipeline, part)
    else:
        text._load_tokenizer()
        text._text_encoder = pipeline.text_encoder
    return prior


def compare(folder: Path, files: list[tuple[Path, float]]) -> float:
    """How far a LoRA moved the answer, after ours and the library's were found equal."""
    ours, texts = answers(
        loaded(folder, *[f for f, _ in files], weights=tuple(w for _, w in files))
    )
    plain, _plain_texts = answers(loaded(folder))
    theirs, their_texts = answers(with_networks(loaded(folder), library(folder, files)))
    torch.testing.assert_close(texts, their_texts, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    return float((ours - plain).abs().max())


def saved(tensors: dict[str, torch.Tensor], path: Path, **metadata: str) -> Path:
    save_file(
        {k: v.clone().contiguous() for k, v in tensors.items()}, path, metadata=metadata or None
    )
    return path


def pipeline_of(folder: Path) -> Any:
    from diffusers import DiffusionPipeline

    more: dict[str, Any] = {"add_watermarker": False} if folder.name == "sdxl" else {}
    return DiffusionPipeline.from_pretrained(
        folder, local_files_only=True, torch_dtype=torch.float32, **more
    )


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux-dev", "qwen-image", "z-image", "sana"])
def test_diffusers_layout_is_the_librarys(name, folders, tmp_path):
    pipeline = pipeline_of(folders(name))
    tensors = diffusers_lora(pipeline)
    if name in ("qwen-image", "z-image", "sana"):
        tensors = {k: v for k, v in tensors.items() if not k.startswith("text")}
    assert compare(folders(name), [(saved(tensors, tmp_path / "a.safetensors"), 0.8)]) > 1e-3


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_kohyas_layout_is_the_librarys(name, folders, tmp_path):
    """With alphas, convolutions, text encoders, in float16."""
    tensors = kohya_lora(pipeline_of(folders(name)))
    if name == "sdxl":
        # The library knows these only by the blocks of the first publication.
        assert any("down_blocks" in key for key in tensors)
    assert compare(folders(name), [(saved(tensors, tmp_path / "a.safetensors"), 0.6)]) > 1e-3


def test_several_add_up_as_the_librarys(folders, tmp_path):
    pipeline = pipeline_of(folders("sd"))
    first = saved(diffusers_lora(pipeline), tmp_path / "a.safetensors")
    second = saved(kohya_lora(pipeline), tmp_path / "b.safetensors")
    assert compare(folders("sd"), [(first, 0.7), (second, -0.4)]) > 1e-3


def test_a_long_name_of_the_first_publication_is_read(folders, tmp_path):
    """SDXL's LoRAs of model sites name its blocks as the first publication did: the same numbers
    under these names give the same model."""
    from threestudio_like.priors.personal.names import first_name

    folder = folders("sdxl")
    tensors = kohya_lora(pipeline_of(folder))
    unet = pipeline_of(folder).unet
    count = unet.config.layers_per_block
    renamed = {}
    names = {n.replace(".", "_"): n for n, _ in unet.named_modules()}
    for key, tensor in tensors.items():
        layer, _dot, role = key.partition(".")
        other = None
        if layer.startswith("lora_unet_"):
            other = first_name(names[layer.removeprefix("lora_unet_")], count)
        renamed[f"lora_unet_{other}.{role}" if other else key] = tensor
    assert sum("input_blocks" in k or "output_blocks" in k for k in renamed) > 20
    one = saved(tensors, tmp_path / "a.safetensors")
    two = saved(renamed, tmp_path / "b.safetensors")
    a, b = answers(loaded(folder, one)), answers(loaded(folder, two))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert compare(folder, [(two, 0.5)]) > 1e-3


@pytest.mark.parametrize("kind", ["LoHa", "LoKr", "DoRA"])
def test_lycoris_kinds_are_pefts(kind, folders, tmp_path):
    """The denoiser that peft injects, saved by peft, and read by us."""
    peft = pytest.importorskip("peft")
    folder = folders("sd")
    unet = pipeline_of(folder).unet
    chosen, patterns = ["to_q", "to_v", "proj_out"], {"mid_block.*to_v": 5}
    config = {
        "LoHa": lambda: peft.LoHaConfig(r=3, alpha=2, target_modules=chosen),
        "LoKr": lambda: peft.LoKrConfig(
            r=3, alpha=2, target_modules=chosen, rank_pattern={"to_q": 2}, alpha_pattern=patterns
        ),
        "DoRA": lambda: peft.LoraConfig(r=3, lora_alpha=2, target_modules=chosen, use_dora=True),
    }[kind]()
    torch.manual_seed(4)
    changed = peft.get_peft_model(unet, config)
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            if any(w in name for w in ("hada_", "lokr_", "lora_A", "lora_B")):
                parameter.normal_(0, 0.3)
            elif "magnitude" in name:
                parameter.mul_(1.2)
    changed.save_pretrained(tmp_path / kind)
    plain = loaded(folder)
    before = answers(plain)[0]
    plain.denoiser = changed.eval()
    theirs = answers(plain)[0]
    ours = answers(loaded(folder, tmp_path / kind))[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert (ours - before).abs().max() > 1e-3


def test_settings_of_a_file_are_the_librarys(folders, tmp_path):
    """Where the library saved the settings beside the tensors, its alpha counts."""
    pipeline = pipeline_of(folders("sd"))
    tensors = {k: v for k, v in diffusers_lora(pipeline).items() if k.startswith("unet")}
    names = sorted({k.split(".lora_")[0].removeprefix("unet.") for k in tensors})
    settings = {"unet.r": 3, "unet.lora_alpha": 6, "unet.target_modules": names}
    path = saved(tensors, tmp_path / "a.safetensors", lora_adapter_metadata=json.dumps(settings))
    assert compare(folders("sd"), [(path, 0.5)]) > 1e-3
    plain = saved(tensors, tmp_path / "b.safetensors")
    ours = answers(loaded(folders("sd"), path, weights=(0.5,)))[0]
    twice = answers(loaded(folders("sd"), plain, weights=(1.0,)))[0]
    torch.testing.assert_close(ours, twice, atol=1e-6, rtol=0)


def test_patterns_of_a_file_are_the_librarys(folders, tmp_path):
    """Layers of other alphas, by the expressions in which peft says them: the first one counts."""
    pipeline = pipeline_of(folders("sd"))
    tensors = {k: v for k, v in diffusers_lora(pipeline).items() if k.startswith("unet")}
    names = sorted({k.split(".lora_")[0].removeprefix("unet.") for k in tensors})
    patterns = {r"down_blocks.*\.to_q": 9, "attn1.to_q": 1, r".*to_out\.0": 24}
    assert any("attn1.to_q" in n and "down" in n for n in names)
    settings = {"unet.r": 3, "unet.lora_alpha": 3, "unet.target_modules": names}
    told = json.dumps({**settings, "unet.alpha_pattern": patterns})
    path = saved(tensors, tmp_path / "a.safetensors", lora_adapter_metadata=told)
    assert compare(folders("sd"), [(path, 0.5)]) > 1e-3


@pytest.mark.parametrize("before", ["", "text_model."])
def test_patterns_of_text_encoders_count_by_either_name(before, folders, tmp_path):
    """Files of earlier versions of transformers have CLIP's layers below "text_model"."""
    tensors = diffusers_lora(pipeline_of(folders("sd")))
    tensors = {k: v for k, v in tensors.items() if k.startswith("text_encoder.")}
    tensors = {k.replace(".text_model.", "."): v for k, v in tensors.items()}
    names = sorted({k.split(".lora_")[0].removeprefix("text_encoder.") for k in tensors})
    chosen = next(n for n in names if n.endswith("q_proj"))
    settings = {
        "text_encoder.r": 3,
        "text_encoder.lora_alpha": 3,
        "text_encoder.alpha_pattern": {f"{before}{chosen}": 12},
    }
    told = {"lora_adapter_metadata": json.dumps(settings)}
    path = saved(tensors, tmp_path / "a.safetensors", **told)
    by_hand = {k: v * 4 if f".{chosen}.lora_B" in k else v for k, v in tensors.items()}
    plain = saved(by_hand, tmp_path / "b.safetensors")
    ours = answers(loaded(folders("sd"), path))[1]
    torch.testing.assert_close(ours, answers(loaded(folders("sd"), plain))[1], atol=1e-6, rtol=0)
    once = answers(loaded(folders("sd"), saved(tensors, tmp_path / "c.safetensors")))[1]
    assert (ours - once).abs().max() > 1e-3


def test_a_renamed_file_of_pefts_keeps_its_settings(folders, tmp_path):
    """Beside the only file there is, the settings are of that one; beside several, of peft's."""
    tensors = diffusers_lora(pipeline_of(folders("sd")))
    peft = {
        k.replace("unet.", "base_model.model."): v for k, v in tensors.items() if k[:5] == "unet."
    }
    lone = tmp_path / "lone"
    lone.mkdir()
    path = saved(peft, lone / "clay.safetensors")
    (lone / "adapter_config.json").write_text(json.dumps({"r": 3, "lora_alpha": 6}))
    ours = answers(loaded(folders("sd"), path))[0]
    twice = answers(loaded(folders("sd"), saved(peft, tmp_path / "b.safetensors"), weights=(2.0,)))
    torch.testing.assert_close(ours, twice[0], atol=1e-6, rtol=0)
    saved(peft, lone / "other.safetensors")
    once = answers(loaded(folders("sd"), path))[0]
    assert (ours - once).abs().max() > 1e-3


@pytest.mark.parametrize("alpha", [None, 1.0])
def test_kohyas_flux_with_its_t5_is_read_whole(alpha, folders, tmp_path):
    """Its scripts number T5 as in Stable Diffusion 3; the library's conversion would leave it
    out, or fail. The same change in diffusers' names is the same model."""
    pipeline = pipeline_of(folders("flux-dev"))
    block = pipeline.transformer.transformer_blocks[0]
    layers = {
        ("lora_unet_double_blocks_0_img_mlp_0", "transformer.transformer_blocks.0.ff.net.0.proj"): (
            block.ff.net[0].proj
        ),
        ("lora_unet_double_blocks_0_img_mlp_2", "transformer.transformer_blocks.0.ff.net.2"): (
            block.ff.net[2]
        ),
    }
    for start, part in (("lora_te1", "text_encoder"), ("lora_te3", "text_encoder_2")):
        for name, layer in layers_in(getattr(pipeline, part), ("q_proj", "Attention.q")).items():
            bare = name.removeprefix("text_model.")
            inner = f"text_model.{bare}" if start == "lora_te1" else bare
            layers[f"{start}_{inner.replace('.', '_')}", f"{part}.{bare}"] = layer
    random, kohya, named = torch.Generator().manual_seed(5), {}, {}
    for (short, long), layer in layers.items():
        down, up = pair(layer, 2, random)
        kohya |= {f"{short}.lora_down.weight": down, f"{short}.lora_up.weight": up}
        if alpha is not None:
            kohya[f"{short}.alpha"] = torch.tensor(alpha)
        scale = 1.0 if alpha is None else alpha / 2
        named |= {f"{long}.lora_A.weight": down, f"{long}.lora_B.weight": up * scale}
    one = loaded(folders("flux-dev"), saved(kohya, tmp_path / "a.safetensors"))
    two = loaded(folders("flux-dev"), saved(named, tmp_path / "b.safetensors"))
    assert {p: len(v) for p, v in one.loras[0].layers.items()}["text_encoder_2"] > 0
    for a, b in zip(answers(one), answers(two)):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    assert bool(one.facts.notes) == (alpha is None)


def one_layer(**tensors: torch.Tensor) -> dict[str, torch.Tensor]:
    start = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    return {f"{start}.{role.replace('__', '.')}": tensor for role, tensor in tensors.items()}


DOWN, UP = torch.ones(2, 32), torch.ones(32, 2)
BROKEN: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "rank 0": (
        one_layer(lora_down__weight=torch.ones(0, 32), lora_up__weight=torch.ones(32, 0)),
        "empty",
    ),
    "not a number": (
        one_layer(lora_down__weight=DOWN * float("nan"), lora_up__weight=UP),
        "no numbers",
    ),
    "infinite": (one_layer(lora_down__weight=DOWN / 0, lora_up__weight=UP), "no numbers"),
    "half of a pair": (one_layer(lora_down__weight=DOWN), "other half"),
    "other ranks": (one_layer(lora_down__weight=torch.ones(3, 32), lora_up__weight=UP), "fit"),
    "other width": (
        one_layer(lora_down__weight=torch.ones(2, 48), lora_up__weight=UP),
        "another family",
    ),
    "alpha 0": (
        one_layer(lora_down__weight=DOWN, lora_up__weight=UP, alpha=torch.tensor(0.0)),
        "alpha",
    ),
    "alpha of two numbers": (
        one_layer(lora_down__weight=DOWN, lora_up__weight=UP, alpha=torch.ones(2)),
        "alpha",
    ),
    "quantised": (
        one_layer(lora_down__weight=DOWN.to(torch.int8), lora_up__weight=UP),
        "whole numbers",
    ),
    "tucker": (
        one_layer(
            lora_down__weight=DOWN, lora_up__weight=UP, lora_mid__weight=torch.ones(2, 2, 1, 1)
        ),
        "not read",
    ),
    "a full difference": (one_layer(diff=torch.ones(32, 32)), "not read"),
    "an alpha alone": (one_layer(alpha=torch.tensor(1.0)), "alone"),
    "loha without its half": (one_layer(hada_w1_a=UP, hada_w1_b=DOWN), "other half"),
    "lokr of another size": (
        one_layer(lokr_w1=torch.ones(3, 3), lokr_w2=torch.ones(5, 5)),
        "another family",
    ),
    "dora of another size": (
        one_layer(lora_down__weight=DOWN, lora_up__weight=UP, dora_scale=torch.ones(7, 1)),
        "DoRA scale",
    ),
    "a lora of FLUX": (
        {
            "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": DOWN,
            "transformer.single_transformer_blocks.0.attn.to_q.lora_B.weight": UP,
        },
        "FLUX",
    ),
    "a lora of SDXL": (
        {
            "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_k.lora_down.weight": (
                torch.ones(2, 2048)
            ),
            "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_k.lora_up.weight": (
                torch.ones(1280, 2)
            ),
        },
        "Stable Diffusion XL",
    ),
    "a word": ({"emb_params": torch.ones(2, 32)}, "--concept"),
    "an adapter": ({"image_proj.proj.weight": UP, "ip_adapter.1.to_k_ip.weight": UP}, "IP-Adapter"),
    "an autoencoder": ({"encoder.conv_in.weight": UP, "decoder.conv_in.weight": UP}, "--vae"),
    "a whole model": (
        {"model.diffusion_model.out.weight": UP, "cond_stage_model.x.weight": UP},
        "whole model",
    ),
    "said twice": (
        {**one_layer(lora_down__weight=DOWN, lora_up__weight=UP, lora_A__weight=DOWN)},
        "the same",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_one_line(case, folders, tmp_path):
    tensors, words = BROKEN[case]
    path = saved(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UserError) as caught:
        loaded(folders("sd"), path)
    assert words in caught.value.line()
    assert "\n" not in caught.value.line()
    assert caught.value.exit_code == 2


FILES = {
    "truncated": (lambda data: data[: len(data) // 2], "whole"),
    "no bytes": (lambda data: b"", "whole"),
    "text": (lambda data: b"<html>not found</html>" * 20, "whole"),
    "a header without tensors": (lambda data: b"\x02\0\0\0\0\0\0\0{}", "no tensors"),
}


@pytest.mark.parametrize("case", FILES)
def test_damaged_files_are_one_line(case, folders, tmp_path):
    change, words = FILES[case]
    path = saved(one_layer(lora_down__weight=DOWN, lora_up__weight=UP), tmp_path / "a.safetensors")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=words):
        loaded(folders("sd"), path)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt"])
def test_pickles_are_refused_with_the_conversion(suffix, folders, tmp_path):
    path = tmp_path / f"a{suffix}"
    torch.save(one_layer(lora_down__weight=DOWN, lora_up__weight=UP), path)
    with pytest.raises(UserError, match=r"weights_only=True"):
        loaded(folders("sd"), path)


def test_what_fits_nothing_is_told(folders, tmp_path):
    tensors = one_layer(lora_down__weight=DOWN, lora_up__weight=UP)
    tensors["lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = DOWN
    path = saved(tensors, tmp_path / "mine.safetensors")
    prior = loaded(folders("sd"), path)
    told = " ".join(prior.facts.notes)
    assert "1 of the 3 tensors" in told
    assert "lora_te2_text_model" in told
    assert "no alpha for 1 layers" in told


@pytest.mark.parametrize("weights", [(0.5, 0.5), (float("nan"),)])
def test_weights_that_fit_no_files_are_refused(weights, folders, tmp_path):
    path = saved(one_layer(lora_down__weight=DOWN, lora_up__weight=UP), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="--lora-weight"):
        loaded(folders("sd"), path, weights=weights)
