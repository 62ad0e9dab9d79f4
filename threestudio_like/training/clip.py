"""The embedded CLIP: a small transformers CLIPModel trained on toybox pictures and captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.output import new_folder
from ..engine.training import Batches
from ..kernels.devices import half_precision
from ..toybox.dataset import Groups, view_word
from .judge import augment


def build_clip(tokenizer: Any, width: int = 128, layers: int = 3) -> Any:
    """A CLIPModel for 64-pixel pictures and the toybox tokenizer."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=96,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=64,
        patch_size=16,
        projection_dim=96,
    )
    return CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=96)
    )


def clip_stage(clip: Any, tokenizer: Any, data: Groups, steps: int, batch: int = 96) -> Stage:
    """The stage that trains CLIP by the symmetric contrastive loss; equal captions in a batch are
    positives of each other."""
    images = torch.from_numpy(data.images).flatten(0, 1)
    captions = [
        data.captions[n]
        if n % 3
        else f"{data.captions[n]}, {view_word(float(a), float(data.elevation[n]))} view"
        for n in range(len(data))
        for a in data.azimuth[n]
    ]
    ids = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
    number = {c: i for i, c in enumerate(dict.fromkeys(captions))}
    same = torch.tensor([number[c] for c in captions])
    clip.train()

    def draw(step: Step) -> dict[str, torch.Tensor]:
        generator = step.random.generator("batch")
        pick = torch.randint(0, len(images), (batch,), generator=generator)
        pictures = augment(images[pick].float() / 255, generator).permute(0, 3, 1, 2) * 2 - 1
        return {"pictures": pictures, "ids": ids[pick], "same": same[pick]}

    batches = Batches(draw, clip)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        with half_precision(drawn["pictures"].device):
            out = clip(pixel_values=drawn["pictures"], input_ids=drawn["ids"])
        logits = out.logits_per_image.float()
        positive = (drawn["same"][:, None] == drawn["same"][None]).float()
        wanted = positive / positive.sum(1, keepdim=True)
        both = (
            -(wanted * logits.log_softmax(1)).sum(1).mean()
            - (wanted * logits.t().log_softmax(1)).sum(1).mean()
        )
        return {"contrast": both / 2}

    group = ParameterGroup(
        "clip",
        list(clip.parameters()),
        "cos 1e-3->1e-5",
        betas=(0.9, 0.98),
        eps=1e-8,
        weight_decay=0.02,
    )
    return Stage("clip", steps, {"clip": clip}, groups=[group], loss=loss, clip_norm=1.0)


def save_clip(clip: Any, tokenizer: Any, folder: Path) -> None:
    """Write a transformers folder in fp16."""
    facts = {
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "size": {"height": 64, "width": 64},
    }
    with new_folder(folder) as made:
        clip.half().save_pretrained(made)
        clip.float()
        tokenizer.save_pretrained(made)
        (made / "preprocessor_config.json").write_text(json.dumps(facts, indent=1))
