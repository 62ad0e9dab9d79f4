"""The second stage of the embedded text-to-image model: its UNet, fine-tuned for pictures of twice
the size, beside the first in the same folder; or low-rank layers beside the first's, which are a
fifth of it (LoRA, Hu et al. 2021).

Autoencoder and text encoder stay as they are: a latent of a large picture is one of a small one's
neighbours, and what has to be learnt is what lies twice as far away.
"""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ...engine.errors import CheckpointError
from ...engine.loop import ParameterGroup, Stage, Step
from ...engine.output import new_folder, write_file
from ...engine.training import Batches, Ema
from ...kernels.devices import half_precision
from ...priors.networks.attention import install, joint_views
from ...priors.networks.low_rank import LowRank, LowRankConfig
from ...priors.personal.from_hub import LORA_NAMES
from ...toybox.dataset import VIEWS, cached_groups
from ..options import TrainingOptions, run
from ..recipes import recipe
from .diffusion import TWO_DOMAINS, GroupBatches

PIXELS = 128
"""Height and width of its pictures."""
PART = f"unet_{PIXELS}"
"""Its folder, beside the first stage's `unet`."""
GROUPS = 4000
"""Objects of the shipped recipe; it begins with what the first stage has learnt of more."""
SCENES = 0.12


def larger_stage(
    unet: Any,
    text_encoder: Any,
    batches: GroupBatches,
    steps: int,
    low: LowRank | None = None,
) -> Stage:
    """The stage that fine-tunes a UNet with the v objective on larger latents, beside a frozen text
    encoder. The decay of its average is short, as the training is.

    Args:
        low: low-rank layers beside the UNet's, which learn in its place.
    """
    unet.train()
    text_encoder.eval().requires_grad_(False)
    processor = install(unet)
    learner = unet if low is None else low
    if low is not None:
        unet.requires_grad_(False)
    lr = 3e-4 if low is None else 1e-3
    ema = Ema(learner, 0.995)
    drawn_by = Batches(batches, learner)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = drawn_by(step)
        # Not in the checkpoint: they are read again.
        text_encoder.to(drawn["given"].device)
        unet.to(drawn["given"].device)
        with (
            nullcontext() if low is None else low.active(),
            half_precision(drawn["given"].device),
            joint_views(processor, VIEWS if drawn["joint"] else 1),
        ):
            with torch.no_grad():
                states = text_encoder(drawn["text"]).last_hidden_state
            predicted = unet(
                drawn["given"], drawn["t"], states, class_labels=drawn["vector"]
            ).sample
        return {"v": (predicted.float() - drawn["target"]).square().mean()}

    def after(step: Step) -> None:
        ema.update(learner, step.index)

    group = ParameterGroup(
        "denoiser",
        list(learner.parameters()),
        f"cos {lr}->{lr / 20}",
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.01,
    )
    modules: dict[str, nn.Module] = {"unet" if low is None else "low": learner, "ema": ema}
    return Stage(
        "larger", steps, modules, groups=[group], loss=loss, after_step=after, clip_norm=1.0
    )


def train_larger(options: TrainingOptions) -> Path:
    """Train the second stage of the model in the training's folder; returns its own folder, which
    that model's prior.json then names.

    Raises: CheckpointError, also where there is no first stage; OutputError.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import AutoTokenizer, CLIPTextModel

    from .vae import encode_all

    folder = options.out / "diffusion"
    for part, only in (("vae", "vae"), ("unet", "diffusion")):
        if not (folder / part).is_dir():
            raise CheckpointError(
                f"there is no trained {part} to begin with",
                str(folder),
                f"First: threestudio-like train toybox --only {only}",
            )
    torch.manual_seed(options.seed)
    size = recipe(options.preset, "larger")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").float()
    unet.register_to_config(sample_size=PIXELS // 4)
    coder = AutoencoderKL.from_pretrained(folder / "vae").float().eval().to(options.device)
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").float()
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    # A first stage that knows normals goes on learning them.
    both = unet.config.projection_class_embeddings_input_dim == len(TWO_DOMAINS)
    count = min(options.group_count, GROUPS * options.group_count // 16000 or 8)
    data = cached_groups(
        options.drawn,
        1000 * options.seed,
        count,
        size=PIXELS,
        scenes=SCENES,
        workers=options.workers,
        world=options.world,
        normals=both,
    )
    latents, normals = (
        None if p is None else encode_all(coder, p[:].reshape(-1, *p.shape[2:]), batch=32)
        for p in (data.images, data.normals)
    )
    assert latents is not None
    batches = GroupBatches(tokenizer, latents, data, groups=min(size.batch, count), normals=normals)
    low = None
    if size.rank:
        config = LowRankConfig(rank=size.rank, layers="all", camera="none")
        low = LowRank(unet, config, options.seed)
    stage = larger_stage(unet, text_encoder, batches, options.steps or size.steps, low=low)
    run(options, stage)
    average: Any = stage.modules["ema"]
    average.copy_to(unet if low is None else low)
    if low is None:
        save_larger(unet.eval().cpu(), folder)
    else:
        save_addition(low.cpu(), folder)
    return folder / PART


def save_larger(unet: Any, folder: Path) -> None:
    """Write a UNet in float16 beside the first of a folder, and name it in its prior.json."""
    _clear(folder)
    with new_folder(folder / PART) as made:
        unet.half().save_pretrained(made)
    unet.float()
    _declare(folder)


def save_addition(low: LowRank, folder: Path) -> None:
    """Write low-rank layers in float16 as a LoRA in diffusers' format, and name them in the
    folder's prior.json."""
    tensors = {
        f"unet.{name.replace('/', '.')}.lora_{role}.weight": weight.detach().half().contiguous()
        for name, layer in low.layers.items()
        for role, weight in zip("AB", layer.parameters())
    }
    path = folder / PART / LORA_NAMES[0]
    _clear(folder)
    write_file(path, save(tensors, {"format": "pt"}))
    _declare(folder)


def _clear(folder: Path) -> None:
    """Remove the second stage that the training was told to replace: one of the other kind would
    stand beside the new one."""
    shutil.rmtree(folder / PART, ignore_errors=True)


def _declare(folder: Path) -> None:
    path = folder / "prior.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["larger"] = {**facts.get("larger", {}), PART: PIXELS}
    write_file(path, json.dumps(facts, indent=1).encode(), force=True)
