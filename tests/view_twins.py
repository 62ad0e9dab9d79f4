"""Tiny twins of view-conditioned models: random weights in the layout of the published folders.
Also a script: python -m tests.view_twins FAMILY FOLDER."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.twins import BETAS, clip, clip_tokenizer, sdxl, unet, vae
from threestudio_like.priors.networks.multi_view_unet import MultiViewUNet, MultiViewUNetRecord

WEIGHTS = "diffusion_pytorch_model.safetensors"
WIDTH = 32
"""Numbers of a text's token and of a picture's embedding."""


def write(folder: Path, part: str, config: dict[str, Any], tensors: Any, name: str = "") -> None:
    """A part of a folder: its configuration and its weights."""
    (folder / part).mkdir(parents=True)
    (folder / part / (name or "config.json")).write_text(json.dumps(config))
    if tensors is not None:
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / part / WEIGHTS)


def processor(folder: Path, part: str, edge: int, **more: Any) -> None:
    """How a picture is read, as transformers writes it."""
    values = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": edge},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": edge, "width": edge},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "do_convert_rgb": True,
    }
    write(folder, part, {**values, **more}, None, "preprocessor_config.json")


def vision(projected: bool = True) -> Any:
    """A small CLIP vision tower."""
    from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=28,
        patch_size=14,
        projection_dim=WIDTH,
    )
    return (CLIPVisionModelWithProjection if projected else CLIPVisionModel)(config)


def index(folder: Path, kind: Any, **parts: Any) -> None:
    """model_index.json."""
    content = {"_class_name": kind, "_diffusers_version": "0.25.0", **parts}
    (folder / "model_index.json").write_text(json.dumps(content))


def scheduler(folder: Path, kind: str = "DDIMScheduler", **more: Any) -> None:
    """The scheduler of Stable Diffusion."""
    import diffusers

    made = getattr(diffusers, kind)(**{**BETAS, **more})
    made.save_pretrained(folder / "scheduler")


def text(folder: Path) -> None:
    """A text encoder with its tokenizer."""
    tokenizer = clip_tokenizer()
    clip(tokenizer, width=WIDTH).save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")


def multi_view(folder: Path, picture_tokens: int = 0) -> None:
    """MVDream's UNet, with the keys that the published config.json has."""
    facts = MultiViewUNetRecord(
        image_size=8,
        model_channels=32,
        num_res_blocks=1,
        attention_resolutions=(2, 1),
        channel_mult=(1, 2),
        num_head_channels=16,
        context_dim=WIDTH,
        camera_dim=16,
        ip_dim=picture_tokens,
        picture_width=24,
        picture_depth=2,
        picture_heads=1,
    )
    network = MultiViewUNet(facts)
    left_out = ("picture_width", "picture_depth", "picture_heads", "num_classes")
    values = {k: v for k, v in asdict(facts).items() if k not in left_out}
    write(folder, "unet", {**values, "use_checkpoint": False}, network.state_dict())


def mvdream(folder: Path) -> None:
    """The layout of ashawkey/mvdream-sd2.1-diffusers."""
    multi_view(folder)
    vae().save_pretrained(folder / "vae")
    text(folder)
    scheduler(folder, steps_offset=1, clip_sample=False, set_alpha_to_one=False)
    index(
        folder,
        "MVDreamPipeline",
        feature_extractor=[None, None],
        image_encoder=[None, None],
        requires_safety_checker=False,
        scheduler=["diffusers", "DDIMScheduler"],
        text_encoder=["transformers", "CLIPTextModel"],
        tokenizer=["transformers", "CLIPTokenizer"],
        unet=["mv_unet", "MultiViewUNetModel"],
        vae=["diffusers", "AutoencoderKL"],
    )


def imagedream(folder: Path) -> None:
    """The layout of ashawkey/imagedream-ipmv-diffusers."""
    multi_view(folder, picture_tokens=4)
    vae().save_pretrained(folder / "vae")
    text(folder)
    vision(projected=False).save_pretrained(folder / "image_encoder")
    processor(folder, "feature_extractor", 28)
    scheduler(folder, steps_offset=1, clip_sample=False, set_alpha_to_one=False)
    index(
        folder,
        ["pipeline_mvdream", "MVDreamPipeline"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
        image_encoder=["transformers", "CLIPVisionModel"],
        scheduler=["diffusers", "DDIMScheduler"],
        text_encoder=["transformers", "CLIPTextModel"],
        tokenizer=["transformers", "CLIPTokenizer"],
        unet=["mv_unet", "MultiViewUNetModel"],
        vae=["diffusers", "AutoencoderKL"],
    )


def zero123(folder: Path, community: bool = False) -> None:
    """The layout of ashawkey/zero123-xl-diffusers; that of kxic/zero123-xl where `community`."""
    unet(in_channels=8, cross_attention_dim=WIDTH).save_pretrained(folder / "unet")
    vae().save_pretrained(folder / "vae")
    vision().save_pretrained(folder / "image_encoder")
    processor(folder, "feature_extractor", 28)
    part, kind, name = "clip_camera_projection", "CLIPCameraProjection", "proj"
    config: dict[str, Any] = {"additional_embeddings": 4, "embedding_dim": WIDTH}
    if community:
        part, kind, name = "cc_projection", "CCProjection", "projection"
        config = {"in_channel": WIDTH + 4, "out_channel": WIDTH}
    tensors = {
        f"{name}.weight": torch.randn(WIDTH, WIDTH + 4) / 4,
        f"{name}.bias": torch.randn(WIDTH),
    }
    write(folder, part, {"_class_name": kind, **config}, tensors)
    scheduler(folder, steps_offset=1, clip_sample=False, set_alpha_to_one=False)
    index(
        folder,
        "Zero1to3StableDiffusionPipeline" if community else "Zero123Pipeline",
        **{part: ["zero123", kind]},
        feature_extractor=["transformers", "CLIPImageProcessor"],
        image_encoder=["transformers", "CLIPVisionModelWithProjection"],
        requires_safety_checker=False,
        safety_checker=[None, None],
        scheduler=["diffusers", "DDIMScheduler"],
        unet=["diffusers", "UNet2DConditionModel"],
        vae=["diffusers", "AutoencoderKL"],
    )


def zero123plus(folder: Path) -> None:
    """The layout of sudo-ai/zero123plus-v1.2."""
    unet(cross_attention_dim=WIDTH, use_linear_projection=True).save_pretrained(folder / "unet")
    vae().save_pretrained(folder / "vae")
    text(folder)
    vision().save_pretrained(folder / "vision_encoder")
    processor(folder, "feature_extractor_clip", 28)
    half = [0.5, 0.5, 0.5]
    processor(folder, "feature_extractor_vae", 12, image_mean=half, image_std=[0.8, 0.8, 0.8])
    scheduler(
        folder,
        "EulerAncestralDiscreteScheduler",
        beta_schedule="linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
    )
    index(
        folder,
        "Zero123PlusPipeline",
        feature_extractor_clip=["transformers", "CLIPImageProcessor"],
        feature_extractor_vae=["transformers", "CLIPImageProcessor"],
        ramping_coefficients=[k / 76 for k in range(77)],
        safety_checker=[None, None],
        scheduler=["diffusers", "EulerAncestralDiscreteScheduler"],
        text_encoder=["transformers", "CLIPTextModel"],
        tokenizer=["transformers", "CLIPTokenizer"],
        unet=["diffusers", "UNet2DConditionModel"],
        vae=["diffusers", "AutoencoderKL"],
        vision_encoder=["transformers", "CLIPVisionModelWithProjection"],
    )


def mv_adapter(folder: Path) -> None:
    """A Stable Diffusion XL of three levels, and huanngzh/mv-adapter's file for it."""
    from diffusers import T2IAdapter

    pipeline = sdxl()
    network = unet(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1, 2),
        projection_class_embeddings_input_dim=80,
        cross_attention_dim=64,
    )
    pipeline.register_modules(unet=network)
    pipeline.save_pretrained(folder)
    tensors = {
        f"{name}.processor.{part}": torch.randn(shape) / 6
        for name, module in network.named_modules()
        if name.endswith("attn1")
        for width in [module.to_q.in_features]
        for part, shape in [
            *((f"to_{k}_mv.weight", (width, width)) for k in "qkv"),
            ("to_out_mv.0.weight", (width, width)),
            ("to_out_mv.0.bias", (width,)),
        ]
    }
    encoder = T2IAdapter(6, [16, 32, 32, 32], 2, 16, "full_adapter_xl")
    save_file({**tensors, **encoder.state_dict()}, folder / ADAPTER)


ADAPTER = "mvadapter_t2mv_sdxl.safetensors"
VIEW_TWINS: dict[str, Callable[[Path], None]] = {
    "mvdream": mvdream,
    "imagedream": imagedream,
    "zero123-xl": zero123,
    "zero123-xl-community": lambda folder: zero123(folder, community=True),
    "stable-zero123": zero123,
    "zero123plus": zero123plus,
    "mv-adapter": mv_adapter,
}
"""What writes the folder of a twin, by its name."""


def save_view_twin(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a twin with random weights."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    VIEW_TWINS[name](folder)
    return folder


if __name__ == "__main__":
    print(save_view_twin(sys.argv[1], Path(sys.argv[2])))
