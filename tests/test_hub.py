"""What is downloaded of a repository, and where models are looked for offline."""

from __future__ import annotations

import pytest

from threestudio_like.engine.errors import ModelError
from threestudio_like.priors import registry
from threestudio_like.priors.hub import snapshot_in, wanted_files

GB = 1e9
SD15 = {
    "model_index.json": 541,
    "README.md": 14e3,
    "v1-inference.yaml": 2e3,
    "v1-5-pruned.safetensors": 7.7 * GB,
    "v1-5-pruned.ckpt": 7.7 * GB,
    "v1-5-pruned-emaonly.safetensors": 4.27 * GB,
    "feature_extractor/preprocessor_config.json": 342,
    "safety_checker/config.json": 5e3,
    "safety_checker/model.safetensors": 1.22 * GB,
    "safety_checker/model.fp16.safetensors": 0.61 * GB,
    "scheduler/scheduler_config.json": 308,
    "text_encoder/config.json": 617,
    "text_encoder/model.safetensors": 0.492 * GB,
    "text_encoder/model.fp16.safetensors": 0.246 * GB,
    "text_encoder/pytorch_model.bin": 0.492 * GB,
    "tokenizer/merges.txt": 525e3,
    "tokenizer/vocab.json": 1.06e6,
    "tokenizer/tokenizer_config.json": 806,
    "unet/config.json": 743,
    "unet/diffusion_pytorch_model.safetensors": 3.44 * GB,
    "unet/diffusion_pytorch_model.fp16.safetensors": 1.72 * GB,
    "unet/diffusion_pytorch_model.non_ema.safetensors": 3.44 * GB,
    "unet/diffusion_pytorch_model.bin": 3.44 * GB,
    "vae/config.json": 547,
    "vae/diffusion_pytorch_model.safetensors": 0.335 * GB,
    "vae/diffusion_pytorch_model.fp16.safetensors": 0.167 * GB,
}
"""Bytes of the files of a repository as Stable Diffusion 1.5 is published."""


def test_stable_diffusion_takes_four_gigabytes():
    files = wanted_files(SD15)
    assert sum(SD15[f] for f in files) < 4.5 * GB
    for part in ("unet", "vae", "text_encoder"):
        assert sum(f.startswith(f"{part}/") and f.endswith(".safetensors") for f in files) == 1
    assert "tokenizer/merges.txt" in files
    assert "scheduler/scheduler_config.json" in files
    assert not any("safety" in f or "fp16" in f or f.endswith((".bin", ".ckpt")) for f in files)


def test_a_variant_is_taken_where_there_is_nothing_else():
    names = [n for n in SD15 if n != "unet/diffusion_pytorch_model.safetensors"]
    files = wanted_files(names)
    assert [f for f in files if f.startswith("unet/") and "safetensors" in f] == [
        "unet/diffusion_pytorch_model.fp16.safetensors"
    ]


def test_shards_come_with_their_index():
    names = [
        "model_index.json",
        "flux1-dev.safetensors",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
        "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "text_encoder_2/model.fp16-00001-of-00002.safetensors",
        "text_encoder_2/model.fp16-00002-of-00002.safetensors",
        "text_encoder_2/model.safetensors.index.fp16.json",
        "tokenizer_2/spiece.model",
    ]
    assert wanted_files(names) == sorted(set(names) - {"flux1-dev.safetensors"})


def test_a_plain_repository_of_transformers_is_whole():
    names = ["config.json", "model.safetensors", "pytorch_model.bin", "preprocessor_config.json"]
    assert wanted_files(names) == sorted(set(names) - {"pytorch_model.bin"})


def test_a_cache_folder_is_its_main_snapshot(tmp_path, tiny_folder):
    cache = tmp_path / "models--owner--model"
    for revision in ("abc", "def"):
        (cache / "snapshots" / revision).mkdir(parents=True)
    with pytest.raises(ModelError, match="2 snapshots"):
        snapshot_in(cache)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("def")
    assert registry.resolve(str(cache)) == cache / "snapshots" / "def"
    assert registry.resolve(str(tiny_folder)) == tiny_folder


def test_every_mirror_is_looked_at_offline(tmp_path, monkeypatch, tiny_folder):
    """The second mirror in the cache serves, and nothing is asked of the network."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    second = registry.MODELS["sd-1.5"].mirrors[1]

    def here(name, local_files_only=False, **_):
        assert local_files_only
        if name != second:
            raise LocalEntryNotFoundError("not here")
        return str(tiny_folder)

    monkeypatch.setenv("THREESTUDIO_LIKE_MODELS", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", here)
    assert registry.resolve("sd-1.5") == tiny_folder


@pytest.mark.parametrize("suffix", ["ckpt", "pt", "bin"])
def test_pickled_checkpoints_are_refused_with_the_command(tmp_path, suffix):
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match="python -c") as problem:
        registry.resolve(str(path))
    assert "weights_only=True" in problem.value.line()


def test_the_command_converts(tmp_path):
    import re
    import subprocess
    import sys

    import torch
    from safetensors.torch import load_file

    from threestudio_like.priors.hub import pickle_advice

    torch.save({"state_dict": {"a": torch.ones(2, 2).t()}}, tmp_path / "model.ckpt")
    found = re.search(r'python -c "(.*)"', pickle_advice(tmp_path / "model.ckpt"))
    subprocess.run([sys.executable, "-c", found[1]], cwd=tmp_path, check=True)
    assert torch.equal(load_file(tmp_path / "model.safetensors")["a"], torch.ones(2, 2))
