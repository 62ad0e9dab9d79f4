"""Folders of diffusers as inpainters: what is downloaded of one is enough, and others are refused
in a line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.twins import save_twin
from threestudio_like.engine.errors import ModelError
from threestudio_like.priors.inpainter import DiffusersInpainting, InpaintConfig


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return save_twin("sd", tmp_path_factory.mktemp("inpainters") / "sd")


def filled(folder: Path) -> torch.Tensor:
    picture = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:12, 4:12] = 1
    inpainter = DiffusersInpainting(folder, InpaintConfig(steps=2))
    return inpainter.fill(picture, mask, "a red chair", seed=0)


def test_a_safety_checker_that_was_not_downloaded_is_not_missed(sd, tmp_path):
    """Stable Diffusion 1.5's index names one, and downloads leave it out."""
    folder = tmp_path / "sd"
    shutil.copytree(sd, folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["requires_safety_checker"] = True
    (folder / "model_index.json").write_text(json.dumps(index))
    assert torch.equal(filled(folder), filled(sd))


def test_a_variant_alone_is_loaded(sd, tmp_path):
    folder = tmp_path / "sd"
    shutil.copytree(sd, folder)
    for path in list(folder.rglob("*.safetensors")):
        save_file(load_file(path), path.with_suffix(".fp16.safetensors"), {"format": "pt"})
        path.unlink()
    assert torch.equal(filled(folder), filled(sd))


def test_a_pipeline_without_a_unet_is_refused(tmp_path):
    folder = save_twin("flux-schnell", tmp_path / "flux")
    with pytest.raises(ModelError, match=r"FluxInpaintPipeline.*UNet"):
        DiffusersInpainting(folder, InpaintConfig())
