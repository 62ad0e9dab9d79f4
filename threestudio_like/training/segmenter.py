"""The embedded segmenter: Segment Anything's layout (Kirillov et al. 2023) at 128 pixels, on toybox
scenes with exact masks of every object."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.output import new_file, new_folder
from ..engine.training import Batches
from ..kernels.devices import half_precision
from ..toybox.editions import edition
from ..toybox.parallel import each
from ..toybox.render import FOV_Y, render, view_projection
from ..toybox.rooms import in_room, room_picture
from .depth import before_backgrounds
from .depth_pictures import Rooms

SIZE = 128
LOW = 64
"""Edge length in pixels of the masks that the decoder makes."""
PROMPTS = 4


@dataclass
class ScenePictures:
    """images (N, S, S, 3) uint8 on black; masks (N, S, S) uint8; labels (N, S, S) uint8: object +
    1, 0 behind them; rooms (N, S, S, 3) uint8 behind the scenes, and in_room (N,) bool, which of
    them are in one, or None where none is."""

    images: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    rooms: np.ndarray | None = None
    in_room: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def behind(self, rows: np.ndarray) -> Rooms | None:
        """The rooms behind some of the scenes."""
        if self.rooms is None or self.in_room is None:
            return None
        pictures = torch.from_numpy(self.rooms[rows]).float() / 255
        return Rooms(pictures, torch.from_numpy(self.in_room[rows]))


def _one(
    job: tuple[int, int, str, str, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    seed, index, split, world, rooms = job
    inside = in_room(seed, index, rooms)
    known = edition(world)
    if inside:
        scene = known.draw_interior(seed, index, split)
    else:
        scene = known.draw_layout(seed, index, split, counts=(2, 3, 4))
    rng = np.random.Generator(np.random.Philox(key=[seed + (1 << 43), index]))
    # Sometimes a closer view, so that objects are cut by the frame.
    azimuth, elevation = rng.uniform(-0.9, 0.9), np.deg2rad(rng.uniform(0, 45))
    camera = view_projection(azimuth, elevation, 3.0, fov_y=FOV_Y * rng.uniform(0.75, 1.2))
    view = render(
        scene.whole(),
        camera[None].astype(np.float32),
        SIZE,
        backgrounds=np.zeros((1, 3), np.float32),
    )
    behind = None
    if inside:
        points = [p.apply(o.vertices) for o, p in zip(scene.objects, scene.placements)]
        seen = room_picture(seed, index, points, camera, azimuth, elevation, size=SIZE)
        behind = np.rint(seen * 255).astype(np.uint8)
    return (
        np.rint(view.image[0] * 255).astype(np.uint8),
        np.rint(view.mask[0] * 255).astype(np.uint8),
        view.label[0].astype(np.uint8),
        behind,
    )


def scene_pictures(
    folder: Path,
    seed: int,
    count: int,
    split: str = "train",
    workers: int = 1,
    world: str = "twenty",
    rooms: float = 0.0,
) -> ScenePictures:
    """`count` pictures of scenes of a world, stored under `folder`. `rooms` is the share of those
    that are interiors in rooms."""
    kind = ("" if world == "twenty" else f"-{world}") + (
        f"-rooms{round(100 * rooms)}" if rooms else ""
    )
    stem = folder / f"scenes-{split}-{seed}-{count}{kind}.npz"
    if not stem.is_file():
        found = ScenePictures(
            *(np.empty((count, SIZE, SIZE, *tail), np.uint8) for tail in ((3,), (), ()))
        )
        behind: dict[str, np.ndarray] = {}
        if rooms:
            behind["rooms"] = np.zeros_like(found.images)
            behind["in_room"] = np.zeros(count, bool)
        jobs = ((seed, n, split, world, rooms) for n in range(count))
        with each(_one, jobs, workers) as drawn:
            for n, (image, mask, label, room) in enumerate(drawn):
                found.images[n], found.masks[n], found.labels[n] = image, mask, label
                if room is not None:
                    behind["rooms"][n], behind["in_room"][n] = room, True
        with new_file(stem) as temporary:
            np.savez_compressed(
                temporary,
                images=found.images,
                masks=found.masks,
                labels=found.labels,
                **behind,  # type: ignore[arg-type]
            )
    with np.load(stem, allow_pickle=False) as arrays:
        stored = (arrays["images"], arrays["masks"], arrays["labels"])
        if not rooms:
            return ScenePictures(*stored)
        return ScenePictures(*stored, rooms=arrays["rooms"], in_room=arrays["in_room"])


def build_segmenter(width: int = 128, layers: int = 4, inner: int = 64) -> Any:
    """A SamModel for 128 pixels: 0.96 million parameters."""
    from transformers import (
        SamConfig,
        SamMaskDecoderConfig,
        SamModel,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    vision = SamVisionConfig(
        hidden_size=width,
        output_channels=inner,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=8,
        window_size=8,
        global_attn_indexes=[1, 3],
        mlp_ratio=3.0,
        num_pos_feats=inner // 2,
        initializer_range=0.04,
    )
    prompt = SamPromptEncoderConfig(
        hidden_size=inner, image_size=SIZE, patch_size=8, mask_input_channels=8
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=inner,
        mlp_dim=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        iou_head_hidden_dim=inner,
    )
    model = SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    )
    with torch.no_grad():
        # transformers starts with frequencies that are meant to be replaced by released weights,
        # and under which neighbouring positions are unrelated.
        model.shared_image_embedding.positional_embedding.normal_()
        model.vision_encoder.pos_embed.normal_(0, 0.02)  # type: ignore[union-attr]
    model.shared_image_embedding.positional_embedding.requires_grad_(False)
    return model


@dataclass
class _Asked:
    """Prompts of a batch: boxes (B, K, 4) or points (B, K, 1, 2), and the soft masks (B, K, LOW,
    LOW) that are the correct answers."""

    targets: torch.Tensor
    boxes: torch.Tensor | None = None
    points: torch.Tensor | None = None


def _ask(labels: torch.Tensor, boxed: bool, generator: torch.Generator) -> _Asked:
    """Make prompts for the objects of label pictures (B, S, S). A point may lie on the background,
    and then stands for everything that is not an object."""
    count = len(labels)
    targets, places = [], []
    for picture in labels:
        present = [
            int(k)
            for k in picture.unique()
            if (int(k) > 0 or not boxed) and int((picture == k).sum()) > 24
        ]
        present = present or [int(picture.flatten().mode().values)]
        for pick in torch.randint(0, len(present), (PROMPTS,), generator=generator).tolist():
            mask = picture == present[pick]
            targets.append(F.avg_pool2d(mask[None, None].float(), SIZE // LOW)[0, 0])
            rows, columns = mask.nonzero(as_tuple=True)
            if boxed:
                edges = torch.stack(
                    [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                ).float()
                extent = (edges[2:] - edges[:2]).repeat(2)
                places.append(
                    (edges + 0.06 * extent * torch.randn(4, generator=generator)).clamp(0, SIZE)
                )
            else:
                n = int(torch.randint(0, len(rows), (1,), generator=generator))
                places.append(torch.stack([columns[n], rows[n]]).float() + 0.5)
    asked = torch.stack(places)
    whole = torch.stack(targets).view(count, PROMPTS, LOW, LOW)
    if boxed:
        return _Asked(whole, boxes=asked.view(count, PROMPTS, 4))
    return _Asked(whole, points=asked.view(count, PROMPTS, 1, 2))


def _answer(model: Any, pictures: torch.Tensor, asked: _Asked) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, K, M, LOW, LOW) and predicted IoUs (B, K, M): one guess for a box, three for a
    point."""
    x = pictures.permute(0, 3, 1, 2) * 2 - 1
    if asked.boxes is not None:
        out = model(pixel_values=x, input_boxes=asked.boxes, multimask_output=False)
    else:
        assert asked.points is not None
        labels = torch.ones(asked.points.shape[:3], dtype=torch.long, device=asked.points.device)
        out = model(
            pixel_values=x, input_points=asked.points, input_labels=labels, multimask_output=True
        )
    return out.pred_masks.float(), out.iou_scores.float()


def soft_iou(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """Intersection over union of masks (..., H, W) above one half."""
    a, b = one > 0.5, two > 0.5
    return (a & b).sum((-2, -1)) / (a | b).sum((-2, -1)).clamp_min(1)


def segmenter_stage(model: Any, data: ScenePictures, steps: int, batch: int = 8) -> Stage:
    """The stage that trains the segmenter.

    Its loss is cross-entropy and dice of the best guess (with a small weight of every guess), and
    the error of the IoU that the model predicts for itself. Boxes and points alternate.
    """
    model.train()

    def draw(step: Step) -> dict[str, torch.Tensor]:
        generator = step.random.generator("batch")
        pick = torch.randint(0, len(data), (batch,), generator=generator).numpy()
        images, mask = (
            torch.from_numpy(data.images[pick]).float() / 255,
            torch.from_numpy(data.masks[pick]).float() / 255,
        )
        labels = torch.from_numpy(data.labels[pick]).long()
        pictures = before_backgrounds(images, mask, generator, data.behind(pick))
        flip = torch.rand(batch, generator=generator) < 0.5
        pictures = torch.where(flip.view(-1, 1, 1, 1), pictures.flip(2), pictures)
        labels = torch.where(flip.view(-1, 1, 1), labels.flip(2), labels)
        asked = _ask(labels, step.index % 2 == 0, generator)
        prompts = {"boxes": asked.boxes} if asked.boxes is not None else {"points": asked.points}
        return {"pictures": pictures, "targets": asked.targets, **prompts}  # type: ignore[dict-item]

    batches = Batches(draw, model)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        pictures = drawn.pop("pictures")
        asked = _Asked(**drawn)
        with half_precision(pictures.device):
            logits, expected = _answer(model, pictures, asked)
        target = asked.targets[:, :, None].expand_as(logits)
        cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((-2, -1))
        chance = logits.sigmoid()
        dice = 1 - (2 * (chance * target).sum((-2, -1)) + 1) / (
            chance.sum((-2, -1)) + target.sum((-2, -1)) + 1
        )
        each = 2 * cross + dice
        truth = soft_iou(chance.detach(), target)
        # Guesses that are never the best would otherwise not be trained at all.
        best = 0.9 * each.min(-1).values.mean() + 0.1 * each.mean()
        return {"mask": best, "expected": 0.5 * (expected - truth).square().mean()}

    group = ParameterGroup(
        "segmenter",
        [p for p in model.parameters() if p.requires_grad],
        "cos 1e-3->1e-5",
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.01,
    )
    return Stage("segmenter", steps, {"segmenter": model}, groups=[group], loss=loss, clip_norm=1.0)


@torch.no_grad()
def segmenter_accuracy(model: Any, data: ScenePictures, count: int = 100) -> dict[str, float]:
    """Mean IoU, at LOW pixels, of the answers to boxes and to points (the guess with the highest
    predicted IoU) before other backgrounds, and the mean error of the predicted IoU."""
    model.eval()
    count = min(count, len(data))
    generator = torch.Generator().manual_seed(1)
    images, mask = (
        torch.from_numpy(data.images[:count]).float() / 255,
        torch.from_numpy(data.masks[:count]).float() / 255,
    )
    pictures = before_backgrounds(images, mask, generator, data.behind(np.arange(count)))
    labels = torch.from_numpy(data.labels[:count]).long()
    out = {}
    for name, boxed in (("box", True), ("point", False)):
        ious, errors = [], []
        for some, truth in zip(pictures.split(20), labels.split(20)):
            asked = _ask(truth, boxed, generator)
            logits, expected = _answer(model, some, asked)
            iou = soft_iou(logits.sigmoid(), asked.targets[:, :, None].expand_as(logits))
            first = expected.argmax(-1, keepdim=True)
            ious.append(iou.gather(-1, first).flatten())
            errors.append((expected - iou).abs().gather(-1, first).flatten())
        out[f"IoU by a {name}"] = float(torch.cat(ious).mean())
        out[f"error of the expected IoU, {name}"] = float(torch.cat(errors).mean())
    return out


def save_segmenter(model: Any, folder: Path) -> None:
    """Write a transformers folder in float16."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    facts = {
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "size": {"longest_edge": SIZE},
        "pad_size": {"height": SIZE, "width": SIZE},
    }
    with new_folder(folder) as made:
        model.half().save_pretrained(made)
        model.float()
        (made / "preprocessor_config.json").write_text(json.dumps(facts, indent=1))
