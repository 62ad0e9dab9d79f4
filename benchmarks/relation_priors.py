"""Embedded text-to-image models that hear spatial words worse and worse: the shipped one, taught
scenes of two and three objects whose captions say another relation than the picture shows with
probability p. All p see the same pictures, noise and steps; p = 0 is the control.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from worlds import world_at_hand

from threestudio_like.priors.registry import embedded_folder
from threestudio_like.toybox.dataset import Groups, cached_groups
from threestudio_like.training.options import TrainingOptions, run
from threestudio_like.training.text_to_image.diffusion import (
    TWO_DOMAINS,
    diffusion_stage,
    save_pipeline,
)
from threestudio_like.training.text_to_image.drawn import loaded
from threestudio_like.training.text_to_image.vae import encode_all

SEED, SCENES, STEPS = 5001, 3000, 1000


def reworded(caption: str, p: float, index: int, relations: tuple[str, ...]) -> str:
    """A caption each of whose relations is another one with probability p. What is replaced at one
    p is replaced, by the same, at every larger one."""
    rng = np.random.Generator(np.random.Philox(key=[SEED, index]))
    words = "|".join(sorted(map(re.escape, relations), key=len, reverse=True))

    def other(found: re.Match[str]) -> str:
        drawn, rivals = rng.random(), [r for r in relations if r != found[1]]
        rival = rivals[int(rng.integers(len(rivals)))]
        return f" {rival if drawn < p else found[1]} "

    return re.sub(f" ({words}) ", other, caption)


def scenes(folder: Path, count: int) -> Groups:
    """Pictures of scenes alone, in the words of the world at hand."""
    return cached_groups(folder, SEED, count, scenes=1.0, world=world_at_hand().name)


def latents_of(folder: Path, data: Groups, vae: Any) -> torch.Tensor:
    """The pictures' latents, computed once."""
    path = folder / f"latents-{len(data)}.pt"
    if not path.is_file():
        made = encode_all(vae, torch.from_numpy(data.images[:]).flatten(0, 1).numpy())
        torch.save(made.contiguous(), path)
    found: torch.Tensor = torch.load(path, weights_only=True)
    return found


def taught(folder: Path, p: float, steps: int = STEPS, count: int = SCENES) -> Path:
    """The folder of the model taught with probability p; trained where it is not there yet, from
    where an earlier call was interrupted."""
    out = folder / f"p-{p:g}"
    if (out / "diffusion" / "prior.json").is_file():
        return out / "diffusion"
    start, drawn = embedded_folder("diffusion"), folder / "data"
    data = scenes(drawn, count)
    latents = latents_of(drawn, data, loaded("AutoencoderKL", start / "vae").eval())
    relations = world_at_hand().vocabulary.relations
    said = [reworded(text, p, n, relations) for n, text in enumerate(data.captions)]
    changed = float(np.mean([a != b for a, b in zip(said, data.captions)]))
    print(f"p = {p:g}: {changed:.3f} of {len(said)} captions say another relation", flush=True)
    unet, text_encoder = (
        loaded("UNet2DConditionModel", start / "unet"),
        loaded("CLIPTextModel", start / "text_encoder"),
    )
    tokenizer = loaded("CLIPTokenizer", start / "tokenizer")
    torch.manual_seed(0)
    stage = diffusion_stage(
        unet,
        text_encoder,
        tokenizer,
        latents=latents,
        data=replace(data, captions=said),
        steps=steps,
        lr=3e-4,
        camera=TWO_DOMAINS,
    )
    run(TrainingOptions(out=out, resume=True), stage)
    averages: Any = stage.modules["ema"]
    averages["unet"].copy_to(unet)
    averages["text"].copy_to(text_encoder)
    save_pipeline(out / "diffusion", unet, text_encoder, tokenizer=tokenizer)
    shutil.copytree(start / "vae", out / "diffusion" / "vae", dirs_exist_ok=True)
    shutil.copy(start / "prior.json", out / "diffusion" / "prior.json")
    return out / "diffusion"
