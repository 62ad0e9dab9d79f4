"""Priors of colours and normals, made of the embedded one, whose camera vector's ninth number says
which: with other weights of that number, other declarations, or without the normals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from threestudio_like.priors.model_folder import FIRST_CAMERA_VECTOR
from threestudio_like.priors.registry import embedded_folder


def two_domains(folder: Path, told: float = 0.0, **declared: Any) -> Path:
    """Save a prior of both to a folder that does not exist.

    Args:
        told: size of the ninth column, by which normals differ from colours.
        declared: keys of its prior.json in place of the true ones; None leaves a key out.
    """
    source = embedded_folder("diffusion")
    shutil.copytree(source, folder)
    first = _first_layer(folder)
    drawn = torch.randn(len(first), 1, generator=torch.Generator().manual_seed(5))
    _first_layer(folder, torch.cat([first[:, : len(FIRST_CAMERA_VECTOR)], told * drawn], 1))
    facts = {
        **json.loads((source / "prior.json").read_text()),
        "camera_vector": [*FIRST_CAMERA_VECTOR, "normal domain"],
        "normals": {"space": "world"},
        **declared,
    }
    kept = {key: value for key, value in facts.items() if value is not None}
    (folder / "prior.json").write_text(json.dumps(kept))
    return folder


def one_domain(folder: Path) -> Path:
    """Save the embedded prior without its normals to a folder that does not exist."""
    shutil.copytree(embedded_folder("diffusion"), folder)
    _first_layer(folder, _first_layer(folder)[:, : len(FIRST_CAMERA_VECTOR)])
    facts = json.loads((folder / "prior.json").read_text())
    del facts["camera_vector"], facts["normals"]
    (folder / "prior.json").write_text(json.dumps(facts))
    return folder


def _first_layer(folder: Path, made: torch.Tensor | None = None) -> torch.Tensor:
    """The weights (W, N) of the camera vector's first layer, replaced by others if there are."""
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    first = weights["class_embedding.linear_1.weight"]
    if made is not None:
        weights["class_embedding.linear_1.weight"] = made.to(first).contiguous()
        save_file(weights, path)
        config = json.loads((folder / "unet/config.json").read_text())
        config["projection_class_embeddings_input_dim"] = made.shape[1]
        (folder / "unet/config.json").write_text(json.dumps(config))
    return first
