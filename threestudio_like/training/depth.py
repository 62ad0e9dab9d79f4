"""The embedded depth estimator: DPT's layout (Ranftl et al. 2021), trained on toybox pictures with
many kinds of backgrounds."""

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
from ..priors.depth import EMBEDDED_SPAN, FRAME_HALF_WIDTH
from ..priors.framing import FILL, boxes
from ..toybox.editions import edition
from ..toybox.parallel import each
from ..toybox.render import render, view_projection

SIZE = 64
CAMERAS = ((3.0, 40.0), (5.0, 18.0))
"""Distance and field of view in degrees: the toybox's own camera, and G3DR's."""


@dataclass
class DepthPictures:
    """images (N, S, S, 3) uint8 on black, masks (N, S, S) uint8, depth (N, S, S) float16: distance
    along the ray, less the camera's distance, plus one; zero outside the mask. half_width (N,):
    half of what a picture's edge spans at the camera's distance."""

    images: np.ndarray
    masks: np.ndarray
    depth: np.ndarray
    half_width: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def framed(
        self, rows: np.ndarray, fill: torch.Tensor | float = FILL, shift: torch.Tensor | float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows of the data set, with the object centred and scaled to `fill` (B,) of the frame, and
        displaced by `shift` (B, 2).

        Returns images (B, S, S, 3) on black, masks and depths (B, S, S). Depth grows with the
        object, in units in which the frame spans 2 `FRAME_HALF_WIDTH`; the perspective is not
        changed.
        """
        mask = torch.from_numpy(self.masks[rows]).float() / 255
        size, count = mask.shape[1], len(mask)
        box = boxes(mask, 0.5)
        side = (box[:, 2:] - box[:, :2]).amax(1) / torch.as_tensor(fill)
        centre = (box[:, :2] + box[:, 2:]) / 2 + torch.as_tensor(shift) * side[:, None]
        line = (torch.arange(size) + 0.5) / size - 0.5
        y, x = torch.meshgrid(line, line, indexing="ij")
        grid = (
            torch.stack([x, y], -1) * side.view(-1, 1, 1, 1) + centre.view(-1, 1, 1, 2)
        ) / size * 2 - 1
        layers = torch.cat(
            [torch.from_numpy(self.images[rows]).float() / 255, mask[..., None]], -1
        ).permute(0, 3, 1, 2)
        layers = F.grid_sample(
            layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        depth = torch.from_numpy(self.depth[rows].astype(np.float32))
        # Nearest neighbour, because there is no depth between an object and empty space.
        depth = F.grid_sample(
            depth[:, None], grid, mode="nearest", padding_mode="zeros", align_corners=False
        )[:, 0]
        larger = (
            FRAME_HALF_WIDTH
            / torch.from_numpy(self.half_width[rows]).view(-1, 1, 1)
            * (size / side).view(-1, 1, 1)
        )
        grown = torch.where(depth > 0, (1 + (depth - 1) * larger).clamp(0.02, EMBEDDED_SPAN), depth)
        return layers[:, :3].permute(0, 2, 3, 1), layers[:, 3], grown.view(count, size, size)


def picture_with_depth(
    seed: int,
    index: int,
    split: str,
    size: int = SIZE,
    camera: int | None = None,
    world: str = "twenty",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (S, S, 3), mask (S, S) uint8 and depth (S, S) float16 of one object from a random
    direction. Without a `camera` of `CAMERAS`, it is sometimes a scene."""
    obj = edition(world).draw(seed, index, split, scenes=0.15 if camera is None else 0.0)
    rng = np.random.Generator(np.random.Philox(key=[seed + (1 << 42), index]))
    distance, fov = CAMERAS[index % 2 if camera is None else camera]
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(-10, 50))
    matrix = view_projection(azimuth, elevation, distance, fov_y=float(np.deg2rad(fov)))
    view = render(obj, matrix[None], size, backgrounds=np.zeros((1, 3), np.float32))
    image, mask = (
        np.rint(view.image[0] * 255).astype(np.uint8),
        np.rint(view.mask[0] * 255).astype(np.uint8),
    )
    # The rasteriser measures along the optical axis, and the estimator along each ray.
    line = ((np.arange(size) + 0.5) / size * 2 - 1) * np.tan(np.deg2rad(fov) / 2)
    longer = np.sqrt(1 + line[:, None] ** 2 + line[None] ** 2)
    depth = np.where(view.mask[0] > 0.5, view.depth[0] * longer - distance + 1, 0)
    return image, mask, depth.astype(np.float16)


def _one(job: tuple[int, int, str, int | None, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seed, index, split, camera, world = job
    return picture_with_depth(seed, index, split, size=SIZE, camera=camera, world=world)


def depth_pictures(
    folder: Path,
    seed: int,
    count: int,
    split: str = "train",
    workers: int = 1,
    camera: int | None = None,
    world: str = "twenty",
) -> DepthPictures:
    """`count` pictures of a world, stored under `folder`, with both cameras alternately or with one
    of them."""
    kind = ("" if camera is None else f"-camera{camera}") + (
        "" if world == "twenty" else f"-{world}"
    )
    stem = folder / f"depth-{split}-{seed}-{count}{kind}.npz"
    if not stem.is_file():
        images, masks = (
            np.empty((count, SIZE, SIZE, 3), np.uint8),
            np.empty((count, SIZE, SIZE), np.uint8),
        )
        depth = np.empty((count, SIZE, SIZE), np.float16)
        jobs = ((seed, n, split, camera, world) for n in range(count))
        with each(_one, jobs, workers) as drawn:
            for n, (image, mask, far) in enumerate(drawn):
                images[n], masks[n], depth[n] = image, mask, far
        with new_file(stem) as temporary:
            np.savez(temporary, images=images, masks=masks, depth=depth)
    found = np.load(stem, allow_pickle=False)
    half_widths = np.array(
        [distance * np.tan(np.deg2rad(fov) / 2) for distance, fov in CAMERAS], np.float32
    )
    which = np.arange(count) % 2 if camera is None else np.full(count, camera)
    return DepthPictures(
        found["images"], found["masks"], found["depth"], half_width=half_widths[which]
    )


def build_depth(width: int = 96) -> Any:
    """A DPTForDepthEstimation for 64 pixels.

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
    return DPTForDepthEstimation(DPTConfig(**sizes))


def before_backgrounds(
    images: torch.Tensor, masks: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Put pictures (B, S, S, 3) on black with masks (B, S, S), both in [0, 1], before plain, graded
    and blotchy backgrounds of random colours."""
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
    light = 0.8 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    noisy = images * light + (1 - masks[..., None]) * behind
    return (noisy + 0.02 * torch.randn(noisy.shape, generator=generator)).clamp(0, 1)


def depth_stage(model: Any, data: DepthPictures, steps: int, batch: int = 32) -> Stage:
    """The stage that trains the estimator: absolute error, and error of differences between
    neighbours, both inside the mask; the background has to be far away."""
    model.train()

    def draw(step: Step) -> dict[str, torch.Tensor]:
        generator = step.random.generator("batch")
        pick = torch.randint(0, len(data), (batch,), generator=generator)
        fill = 0.6 + 0.35 * torch.rand(batch, generator=generator)
        shift = 0.16 * (torch.rand(batch, 2, generator=generator) - 0.5)
        images, mask, known = data.framed(pick.numpy(), fill, shift)
        pictures = before_backgrounds(images, mask, generator)
        flip = torch.rand(batch, generator=generator) < 0.5
        pictures, mask, known = (
            torch.where(flip.view(-1, *[1] * (x.ndim - 1)), x.flip(2), x)
            for x in (pictures, mask, known)
        )
        return {"pictures": pictures, "mask": mask, "known": known}

    batches = Batches(draw, model)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        pictures, mask, known = drawn["pictures"], drawn["mask"], drawn["known"]
        with half_precision(pictures.device):
            found = model(pixel_values=pictures.permute(0, 3, 1, 2) * 2 - 1).predicted_depth.float()
        solid = ((mask > 0.99) & (known > 0)).float()
        total = solid.sum().clamp_min(1)
        error = ((found - known).abs() * solid).sum() / total
        slopes = found.new_zeros(())
        for axis in (1, 2):
            both = solid.narrow(axis, 1, SIZE - 1) * solid.narrow(axis, 0, SIZE - 1)
            slope = (found - known).diff(dim=axis).abs()
            slopes = slopes + (slope * both).sum() / both.sum().clamp_min(1)
        away = ((found - EMBEDDED_SPAN).abs() * (mask < 0.01)).mean()
        return {"depth": error, "slope": 2 * slopes, "background": 0.2 * away}

    group = ParameterGroup(
        "depth",
        list(model.parameters()),
        "cos 1e-3->1e-5",
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.01,
    )
    return Stage("depth", steps, {"depth": model}, groups=[group], loss=loss, clip_norm=1.0)


@torch.no_grad()
def depth_accuracy(model: Any, data: DepthPictures) -> dict[str, float]:
    """Mean absolute error inside the mask, in units of the frame, of objects that fill it, before
    plain and other backgrounds; and the share of the background that is placed behind the object.
    """
    model.eval()
    images, mask, known = data.framed(np.arange(len(data)))
    plain = images + (1 - mask[..., None]) * 0.8
    solid = (mask > 0.99) & (known > 0)
    out = {}
    for name, pictures in (
        ("plain", plain),
        ("any", before_backgrounds(images, mask, torch.Generator().manual_seed(0))),
    ):
        found = torch.cat(
            [
                model(pixel_values=p.permute(0, 3, 1, 2) * 2 - 1).predicted_depth
                for p in pictures.split(128)
            ]
        )
        out[f"error, {name} background"] = float((found - known).abs()[solid].mean())
        out[f"background told, {name}"] = float((found > 1.8)[mask < 0.01].float().mean())
    flat = known.clone()
    flat[solid] = known[solid].mean()
    out["error of a flat guess"] = float((flat - known).abs()[solid].mean())
    return out


def save_depth(model: Any, folder: Path) -> None:
    """Write a transformers folder in float16."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    facts = {
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "size": {"height": SIZE, "width": SIZE},
    }
    with new_folder(folder) as made:
        model.half().save_pretrained(made)
        model.float()
        (made / "preprocessor_config.json").write_text(json.dumps(facts, indent=1))
