"""The embedded depth estimator: DPT's layout (Ranftl et al. 2021) with a second head for the back
of things, trained on toybox pictures with many kinds of backgrounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.output import new_folder
from ..engine.training import Batches
from ..kernels.devices import half_precision
from ..priors.depth import EMBEDDED_SPAN, TransformersDepth
from ..priors.networks.back_head import TwoSidedDepth, new_back_head, save_back_head
from .depth_pictures import SIZE, DepthPictures, Rooms


def build_depth(width: int = 96) -> TwoSidedDepth:
    """A DPTForDepthEstimation for 64 pixels, with a head for the back.

    It is the hybrid (Ranftl et al. 2021), with convolutions before and beside the transformer,
    which learns most from few pictures. Its answers lie in [0, 2] or slightly above, and its
    configuration marks them as metric.
    """
    from transformers import BitConfig, DPTConfig, DPTForDepthEstimation

    convolutions: dict[str, Any] = dict(
        num_channels=3,
        embedding_size=16,
        hidden_sizes=[32, 64, width],
        depths=[1, 1, 2],
        layer_type="preactivation",
        num_groups=8,
        out_features=["stage1", "stage2", "stage3"],
        global_padding="same",
        embedding_dynamic_padding=False,
    )
    sizes: dict[str, Any] = dict(
        hidden_size=width,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=2 * width,
        image_size=SIZE,
        patch_size=16,
        is_hybrid=True,
        backbone_config=BitConfig(**convolutions),
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[32, 64, 48, 48],
        fusion_hidden_size=24,
        reassemble_factors=[1, 1, 1, 0.5],
        neck_ignore_stages=[0, 1],
        backbone_featmap_shape=[1, width, 4, 4],
        initializer_range=0.05,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        head_in_index=-1,
        depth_estimation_type="metric",
        depth_units="frame",
    )
    model = DPTForDepthEstimation(DPTConfig(**sizes))
    return TwoSidedDepth(model, new_back_head(model.config))


def start_depth(folder: Path) -> TwoSidedDepth:
    """The model of a folder, to be trained on. One that knows no back gets a head that says the
    same everywhere. Raises ModelError."""
    found = TransformersDepth(folder)
    head = found.sides.head if found.sides else new_back_head(found.model.config)
    return TwoSidedDepth(found.model, head).requires_grad_(True)


def before_backgrounds(
    images: torch.Tensor,
    masks: torch.Tensor,
    generator: torch.Generator,
    rooms: Rooms | None = None,
) -> torch.Tensor:
    """Put pictures (B, S, S, 3) on black with masks (B, S, S), both in [0, 1], before plain, graded
    and blotchy backgrounds of random colours, or before the rooms that some have."""
    count, size = masks.shape[:2]
    one, two = torch.rand(2, count, 1, 1, 3, generator=generator)
    kind = torch.randint(0, 3, (count, 1, 1, 1), generator=generator)
    line = torch.linspace(0, 1, size)
    ramp = one + (two - one) * line.view(1, size, 1, 1)
    noise = torch.rand(count, 1, 5, 5, generator=generator)
    blotch = torch.nn.functional.interpolate(
        noise, (size, size), mode="bilinear", align_corners=True
    )[:, 0, ..., None]
    behind = torch.where(
        kind == 0,
        one.expand(-1, size, size, -1),
        torch.where(kind == 1, ramp.expand(-1, -1, size, -1), one + (two - one) * blotch),
    )
    if rooms is not None:
        behind = torch.where(rooms.there.view(-1, 1, 1, 1), rooms.pictures, behind)
    light = 0.8 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    noisy = images * light + (1 - masks[..., None]) * behind
    return (noisy + 0.02 * torch.randn(noisy.shape, generator=generator)).clamp(0, 1)


def depth_stage(
    model: TwoSidedDepth, data: DepthPictures, steps: int, batch: int = 32, rate: float = 1e-3
) -> Stage:
    """The stage that trains the estimator: for the visible surface and for the back absolute error,
    and error of differences between neighbours, both inside the mask; the background has to be far
    away; the camera's elevation.

    Args:
        rate: highest learning rate.
    """
    # A fifth faster on CPUs.
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def draw(step: Step) -> dict[str, torch.Tensor]:
        generator = step.random.generator("batch")
        pick = torch.randint(0, len(data), (batch,), generator=generator)
        fill = 0.6 + 0.35 * torch.rand(batch, generator=generator)
        shift = 0.16 * (torch.rand(batch, 2, generator=generator) - 0.5)
        images, mask, known, back = data.framed(pick.numpy(), fill, shift)
        rooms = data.rooms_behind(pick.numpy(), fill, shift)
        pictures = before_backgrounds(images, mask, generator, rooms)
        flip = torch.rand(batch, generator=generator) < 0.5
        pictures, mask, known, back = (
            torch.where(flip.view(-1, *[1] * (x.ndim - 1)), x.flip(2), x)
            for x in (pictures, mask, known, back)
        )
        elevation = torch.from_numpy(data.elevation[pick.numpy()])
        return {
            "pictures": pictures,
            "mask": mask,
            "known": known,
            "back": back,
            "elevation": elevation,
        }

    batches = Batches(draw, model)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        pictures, mask = drawn["pictures"], drawn["mask"]
        with half_precision(pictures.device):
            sides = model(pictures.permute(0, 3, 1, 2) * 2 - 1)
        visible, behind = sides.visible.float(), sides.back.float()
        solid = ((mask > 0.99) & (drawn["known"] > 0)).float()
        depth, slope = _errors(visible, drawn["known"], solid)
        back, back_slope = _errors(behind, drawn["back"], solid)
        away = ((visible - EMBEDDED_SPAN).abs() * (mask < 0.01)).mean()
        off = (sides.elevation.float() - drawn["elevation"]).abs().mean()
        return {
            "depth": depth,
            "slope": 2 * slope,
            "background": 0.2 * away,
            "back": 0.7 * back,
            "slope of the back": back_slope,
            "elevation": 0.3 * off,
        }

    group = ParameterGroup(
        "depth",
        list(model.parameters()),
        f"cos {rate:g}->1e-5",
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.01,
    )
    return Stage("depth", steps, {"depth": model}, groups=[group], loss=loss, clip_norm=1.0)


def _errors(
    found: torch.Tensor, known: torch.Tensor, solid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean absolute errors of depths (B, S, S), and of their differences between neighbours, where
    `solid` (B, S, S) is 1."""
    error = ((found - known).abs() * solid).sum() / solid.sum().clamp_min(1)
    slopes = found.new_zeros(())
    for axis in (1, 2):
        both = solid.narrow(axis, 1, SIZE - 1) * solid.narrow(axis, 0, SIZE - 1)
        slope = (found - known).diff(dim=axis).abs()
        slopes = slopes + (slope * both).sum() / both.sum().clamp_min(1)
    return error, slopes


@torch.no_grad()
def depth_accuracy(model: TwoSidedDepth, data: DepthPictures) -> dict[str, float]:
    """Mean absolute errors inside the mask, in units of the frame, of objects that fill it, before
    plain and other backgrounds: of the visible surface, of the back, and of the elevation in
    degrees; and the share of the background that is placed behind the object."""
    model.eval()
    rows = np.arange(len(data))
    images, mask, known, back = data.framed(rows)
    plain = images + (1 - mask[..., None]) * 0.8
    solid = (mask > 0.99) & (known > 0)
    out = {}
    for name, pictures in (
        ("plain", plain),
        (
            "any",
            before_backgrounds(
                images, mask, torch.Generator().manual_seed(0), data.rooms_behind(rows)
            ),
        ),
    ):
        parts = [model(p.permute(0, 3, 1, 2) * 2 - 1) for p in pictures.split(128)]
        visible, behind, elevation = (torch.cat(side) for side in zip(*parts, strict=True))
        out[f"error, {name} background"] = float((visible - known).abs()[solid].mean())
        out[f"error of the back, {name}"] = float((behind - back).abs()[solid].mean())
        off = (elevation - torch.from_numpy(data.elevation)).abs().mean()
        out[f"error of the elevation, {name}, degrees"] = float(off.rad2deg())
        out[f"background told, {name}"] = float((visible > 1.8)[mask < 0.01].float().mean())
    for name, truth in (("error of a flat guess", known), ("error of a flat guess, back", back)):
        flat = truth.clone()
        flat[solid] = truth[solid].mean()
        out[name] = float((flat - truth).abs()[solid].mean())
    return out


def save_depth(model: TwoSidedDepth, folder: Path) -> None:
    """Write a transformers folder in float16, with the second head beside the model."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    facts = {
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "size": {"height": SIZE, "width": SIZE},
    }
    with new_folder(folder) as made:
        # Weights lie in a file as the rows that they are.
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        model.visible.half().save_pretrained(made)
        model.float()
        save_back_head(model.head, made)
        (made / "preprocessor_config.json").write_text(json.dumps(facts, indent=1))
