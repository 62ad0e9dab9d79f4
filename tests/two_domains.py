"""A prior of colours and normals, made of the embedded one: a ninth number of its camera vector
says which. Also of other declarations."""

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
    """Save it to a folder that does not exist.

    Args:
        told: size of the ninth column, by which normals differ from colours.
        declared: keys of its prior.json in place of the true ones; None leaves a key out.
    """
    source = embedded_folder("diffusion")
    shutil.copytree(source, folder)
    config = json.loads((folder / "unet/config.json").read_text())
    config["projection_class_embeddings_input_dim"] = 9
    (folder / "unet/config.json").write_text(json.dumps(config))
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    first = weights["class_embedding.linear_1.weight"]
    drawn = torch.randn(len(first), 1, generator=torch.Generator().manual_seed(5))
    wider = torch.cat([first, (told * drawn).to(first)], 1)
    weights["class_embedding.linear_1.weight"] = wider.contiguous()
    save_file(weights, path)
    facts = {
        **json.loads((source / "prior.json").read_text()),
        "camera_vector": [*FIRST_CAMERA_VECTOR, "normal domain"],
        "normals": {"space": "world"},
        **declared,
    }
    kept = {key: value for key, value in facts.items() if value is not None}
    (folder / "prior.json").write_text(json.dumps(kept))
    return folder
