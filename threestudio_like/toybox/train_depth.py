"""The embedded depth estimator: Depth Anything's layout (Yang et al. 2024) on toybox pictures before all sorts of backgrounds."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.loop import ParameterGroup, Stage, Step
from ..priors.depth import EMBEDDED_SPAN
from .render import render, view_projection
from .world import draw

SIZE = 64
CAMERAS = ((3.0, 40.0), (5.0, 18.0))
"""Distance and field of view in degrees: the toybox's own camera, and G3DR's."""


@dataclass
class DepthPictures:
    """images (N, S, S, 3) uint8 on black, masks (N, S, S) uint8, depth (N, S, S) float16: distance along the ray, less the camera's
    distance, plus one; zero outside the mask."""

    images: np.ndarray
    masks: np.ndarray
    depth: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def picture_with_depth(
    seed: int, index: int, split: str, size: int = SIZE, camera: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (S, S, 3), mask (S, S) uint8 and depth (S, S) float16 of one object (or, without a `camera` of `CAMERAS`, now and then of a
    scene) from somewhere."""
    obj = draw(seed, index, split, 0.15 if camera is None else 0.0)
    rng = np.random.Generator(np.random.Philox(key=[seed + (1 << 42), index]))
    distance, fov = CAMERAS[index % 2 if camera is None else camera]
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(-10, 50))
    matrix = view_projection(azimuth, elevation, distance, float(np.deg2rad(fov)))
    view = render(obj, matrix[None], size, np.zeros((1, 3), np.float32))
    image, mask = np.rint(view.image[0] * 255).astype(np.uint8), np.rint(view.mask[0] * 255).astype(np.uint8)
    # The rasteriser measures along the optical axis, rays along themselves.
    line = ((np.arange(size) + 0.5) / size * 2 - 1) * np.tan(np.deg2rad(fov) / 2)
    longer = np.sqrt(1 + line[:, None] ** 2 + line[None] ** 2)
    depth = np.where(view.mask[0] > 0.5, view.depth[0] * longer - distance + 1, 0)
    return image, mask, depth.astype(np.float16)


def _one(job: tuple[int, int, str, int | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seed, index, split, camera = job
    return picture_with_depth(seed, index, split, SIZE, camera)


def depth_pictures(
    folder: Path, seed: int, count: int, split: str = "train", workers: int = 1, camera: int | None = None
) -> DepthPictures:
    """`count` pictures of a world, by both cameras in turn or by one, kept under `folder`."""
    stem = folder / f"depth-{split}-{seed}-{count}{'' if camera is None else f'-camera{camera}'}.npz"
    if not stem.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        images, masks = np.empty((count, SIZE, SIZE, 3), np.uint8), np.empty((count, SIZE, SIZE), np.uint8)
        depth = np.empty((count, SIZE, SIZE), np.float16)
        jobs = ((seed, n, split, camera) for n in range(count))
        with contextlib.ExitStack() as stack:
            drawn: Iterable = map(_one, jobs)
            if workers > 1:
                drawn = stack.enter_context(multiprocessing.get_context("spawn").Pool(workers)).imap(_one, jobs, 32)
            for n, (image, mask, far) in enumerate(drawn):
                images[n], masks[n], depth[n] = image, mask, far
        temporary = stem.with_name("." + stem.name)
        np.savez(temporary, images=images, masks=masks, depth=depth)
        temporary.replace(stem)
    found = np.load(stem, allow_pickle=False)
    return DepthPictures(found["images"], found["masks"], found["depth"])


def build_depth(width: int = 80) -> Any:
    """A DepthAnythingForDepthEstimation for 64 pixels that answers in [0, 2]."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    sizes: dict[str, Any] = {
        "hidden_size": width, "num_hidden_layers": 4, "num_attention_heads": 4, "mlp_ratio": 3, "image_size": SIZE, "patch_size": 8,
        "out_indices": [1, 2, 3, 4], "reshape_hidden_states": False, "apply_layernorm": True,
    }  # fmt: skip
    backbone = Dinov2Config(**sizes)
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=width, patch_size=8, neck_hidden_sizes=[16, 24, 32, 48], fusion_hidden_size=24,
        head_hidden_size=16, depth_estimation_type="metric", max_depth=round(EMBEDDED_SPAN),
    )  # fmt: skip
    return DepthAnythingForDepthEstimation(config)


def before_backgrounds(images: torch.Tensor, masks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pictures (B, S, S, 3) on black with masks (B, S, S), both in [0, 1], before plain, graded and blotchy backgrounds of random colours."""
    count, size = masks.shape[:2]
    one, two = torch.rand(2, count, 1, 1, 3, generator=generator)
    kind = torch.randint(0, 3, (count, 1, 1, 1), generator=generator)
    line = torch.linspace(0, 1, size)
    ramp = one + (two - one) * line.view(1, size, 1, 1)
    noise = torch.rand(count, 1, 5, 5, generator=generator)
    blotch = torch.nn.functional.interpolate(noise, (size, size), mode="bilinear", align_corners=True)[:, 0, ..., None]
    behind = torch.where(
        kind == 0,
        one.expand(-1, size, size, -1),
        torch.where(kind == 1, ramp.expand(-1, -1, size, -1), one + (two - one) * blotch),
    )
    light = 0.8 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    noisy = images * light + (1 - masks[..., None]) * behind
    return (noisy + 0.02 * torch.randn(noisy.shape, generator=generator)).clamp(0, 1)


def depth_stage(model: Any, data: DepthPictures, steps: int, batch: int = 32) -> Stage:
    """Absolute error and error of differences between neighbours, both within the mask; the background is asked to be far."""
    images, masks = torch.from_numpy(data.images), torch.from_numpy(data.masks)
    depth = torch.from_numpy(data.depth)
    model.train()
    half = torch.autocast(device_type="cpu", dtype=torch.bfloat16)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        generator = step.random.generator("batch")
        pick = torch.randint(0, len(images), (batch,), generator=generator)
        mask, known = masks[pick].float() / 255, depth[pick].float()
        pictures = before_backgrounds(images[pick].float() / 255, mask, generator)
        flip = torch.rand(batch, generator=generator) < 0.5
        pictures, mask, known = (
            torch.where(flip.view(-1, *[1] * (x.ndim - 1)), x.flip(2), x) for x in (pictures, mask, known)
        )
        with half:
            found = model(pixel_values=pictures.permute(0, 3, 1, 2) * 2 - 1).predicted_depth.float()
        solid = (mask > 0.99).float()
        total = solid.sum().clamp_min(1)
        error = ((found - known).abs() * solid).sum() / total
        slopes = found.new_zeros(())
        for axis in (1, 2):
            both = solid.narrow(axis, 1, SIZE - 1) * solid.narrow(axis, 0, SIZE - 1)
            slope = (found - known).diff(dim=axis).abs()
            slopes = slopes + (slope * both).sum() / both.sum().clamp_min(1)
        away = ((found - EMBEDDED_SPAN).abs() * (mask < 0.01)).mean()
        return {"depth": error, "slope": 2 * slopes, "background": 0.2 * away}

    group = ParameterGroup("depth", list(model.parameters()), "cos 1e-3->1e-5", (0.9, 0.99), 1e-8, 0.01)
    return Stage("depth", steps, {"depth": model}, [group], loss, clip_norm=1.0)


@torch.no_grad()
def depth_accuracy(model: Any, data: DepthPictures) -> dict[str, float]:
    """Mean absolute error in scene units within the mask, before plain and before other backgrounds, and the share of background that is
    put behind the object."""
    model.eval()
    mask, known = torch.from_numpy(data.masks).float() / 255, torch.from_numpy(data.depth).float()
    images = torch.from_numpy(data.images).float() / 255
    plain = images + (1 - mask[..., None]) * 0.8
    solid = mask > 0.99
    out = {}
    for name, pictures in (
        ("plain", plain),
        ("any", before_backgrounds(images, mask, torch.Generator().manual_seed(0))),
    ):
        found = torch.cat(
            [model(pixel_values=p.permute(0, 3, 1, 2) * 2 - 1).predicted_depth for p in pictures.split(128)]
        )
        out[f"error, {name} background"] = float((found - known).abs()[solid].mean())
        out[f"background told, {name}"] = float((found > 1.8)[mask < 0.01].float().mean())
    flat = known.clone()
    flat[solid] = known[solid].mean()
    out["error of a flat guess"] = float((flat - known).abs()[solid].mean())
    return out


def save_depth(model: Any, folder: Path) -> None:
    """Write a transformers folder in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    model.float()
    facts = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": {"height": SIZE, "width": SIZE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts, indent=1))
