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
TEXT = ("q_proj", "fc1")


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


def compare(folder: Path, files: list[tuple[Path, float]]) -> None:
    """Ours against the library's with the same files, and both against the plain model."""
    ours, texts = answers(loaded(folder, *[f for f, _ in files], weights=tuple(w for _, w in files)))
    plain, plain_texts = answers(loaded(folder))
    theirs, their_texts = answers(with_networks(loaded(folder), library(folder, files)))
    torch.testing.assert_close(texts, their_texts, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert (ours - plain).abs().max() > 1e-3


def saved(tensors: dict[str, torch.Tensor], path: Path, **metadata: str) -> Path:
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata=metadata or None)
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
    compare(folders(name), [(saved(tensors, tmp_path / "a.safetensors"), 0.8)])


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_kohyas_layout_is_the_librarys(name, folders, tmp_path):
    """With alphas, convolutions, text encoders, in float16."""
    tensors = kohya_lora(pipeline_of(folders(name)))
    if name == "sdxl":
        # The library knows these only by the blocks of the first publication.
        assert any("down_blocks" in key for key in tensors)
    compare(folders(name), [(saved(tensors, tmp_path / "a.safetensors"), 0.6)])


def test_several_add_up_as_the_librarys(folders, tmp_path):
    pipeline = pipeline_of(folders("sd"))
    first = saved(diffusers_lora(pipeline), tmp_path / "a.safetensors")
    second = saved(kohya_lora(pipeline), tmp_path / "b.safetensors")
    compare(folders("sd"), [(first, 0.7), (second, -0.4)])
