"""Model folders of Stable Diffusion's layout: how they are loaded, and the facts in their
configurations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from ..engine.errors import ModelError
from ..engine.schema.bounds import Count
from .diffusion import CameraProtocol, PriorFacts
from .model_files import (
    AutoencoderRecord,
    PriorRecord,
    SchedulerRecord,
    UnetRecord,
    read_json,
    record,
)

R = TypeVar("R", bound=Any)


@dataclass(frozen=True, kw_only=True)
class DiffusersConfig:
    """How a pretrained model is loaded."""

    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "float32"
    """Number type of the weights. auto: float16 on a GPU; on a CPU, bfloat16 for the UNet if the
    processor has such instructions (the autoencoder stays float32), else float32."""
    device: str = "cpu"
    attention_slicing: bool = False
    """Compute attention in slices, which takes less memory and more time."""
    offload: bool = False
    """Keep weights in main memory and move each module to the device when it runs (for small GPUs).
    """
    sample_posterior: bool = False
    """Sample the autoencoder's posterior instead of taking its mean."""
    entries: Count = 0
    """Number of entries of the UNet's batch that are processed at once; 0 for all. Entries are
    independent, except views that are denoised together."""
    images: Count = 0
    """Number of pictures that the autoencoder processes at once, which the backward pass computes
    again; 0 for all."""
    tiling: bool = False
    """Decode large pictures in blended tiles, which takes less memory and changes the result
    slightly."""
    keep_text: bool | None = None
    """Keep the text encoder after a prompt; None keeps it only in main memory."""
    compile: bool = False
    """Use torch.compile for the UNet, which is faster after a first minute. It needs a C++ compiler
    on a CPU, and none on a GPU."""
    graphs: bool | None = None
    """Record the UNet's kernels once for every shape and replay them; None does so on GPUs if
    nothing is offloaded or compiled."""


def camera_vector(
    azimuth: torch.Tensor, elevation: torch.Tensor, background: torch.Tensor
) -> torch.Tensor:
    """The vector (B, 8) of the class embedding.

    It has the sines and cosines of the azimuth, of twice the azimuth and of the elevation, then
    2 background - 1, and one.

    All zeros mean that the camera is not known. Angles (B,) in radians, background (B,) in [0, 1].
    """
    return torch.stack(
        [
            azimuth.sin(),
            azimuth.cos(),
            (2 * azimuth).sin(),
            (2 * azimuth).cos(),
            elevation.sin(),
            elevation.cos(),
            2 * background - 1,
            torch.ones_like(background),
        ],
        -1,
    )


def read_config(folder: Path, part: str, kind: type[R]) -> R:
    """What is needed of the configuration of a part of a model folder. Raises ModelError if it is
    missing or damaged."""
    for name in ("config.json", "scheduler_config.json"):
        path = folder / part / name
        if path.is_file():
            return record(kind, read_json(path), path)
    raise ModelError(
        f'has no "{part}" with a configuration',
        str(folder),
        "Give a folder of Stable Diffusion's layout (unet, vae, text_encoder, tokenizer, "
        "scheduler)",
    )


def number_types(dtype: str, device: torch.device) -> tuple[torch.dtype, torch.dtype]:
    """The types of UNet (and text encoder) and of the autoencoder for a `DiffusersConfig.dtype`."""
    if dtype != "auto":
        return getattr(torch, dtype), getattr(torch, dtype)
    if device.type != "cpu":
        return torch.float16, torch.float16
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    fast = bool(supported and supported())
    return (torch.bfloat16 if fast else torch.float32), torch.float32


def read_facts(folder: Path) -> PriorRecord:
    """What prior.json says beside a model of this project's; nothing special without one. Raises
    ModelError."""
    path = folder / "prior.json"
    return record(PriorRecord, read_json(path) if path.is_file() else {}, path, strict=True)


def facts_of(
    name: str,
    own: PriorRecord,
    unet: UnetRecord,
    vae: AutoencoderRecord,
    scheduler: SchedulerRecord,
) -> PriorFacts:
    """The facts of a model from its parts' configurations and its prior.json."""
    down = 2 ** (len(vae.block_out_channels) - 1)
    latent, camera = unet.sample_size, own.camera
    return PriorFacts(
        name,
        scheduler.prediction_type,
        vae.latent_channels,
        latent_size=latent,
        image_size=latent * down,
        vocabulary=own.vocabulary,
        camera=CameraProtocol(
            camera.distance, camera.fov_y, camera.elevation, background=camera.background
        )
        if camera is not None
        else None,
        light=own.light,
        joint_views=own.joint_views,
        licence=own.licence,
        territory=own.territory,
    )
