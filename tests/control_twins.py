"""Tiny control networks with random weights for the twins of `tests.twins`, and the library's own
pipelines with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def _woken(network: Any) -> Any:
    """No layer is zero, so that what the network says is seen."""
    with torch.no_grad():
        for p in network.parameters():
            if p.abs().max() == 0:
                p.normal_(0, 0.2)
    return network


def controlnet(pipeline: Any, **more: Any) -> Any:
    """A ControlNet of a UNet's encoder."""
    from diffusers import ControlNetModel

    values = {"conditioning_embedding_out_channels": (8, 16), **more}
    return _woken(ControlNetModel.from_unet(pipeline.unet, **values))


def t2i_adapter(pipeline: Any, **more: Any) -> Any:
    """A T2I-Adapter of a UNet."""
    from diffusers import T2IAdapter

    values = dict(in_channels=3, channels=[16, 32], num_res_blocks=1, downscale_factor=2)
    return _woken(T2IAdapter(**{**values, **more}))


def sd3_controlnet(pipeline: Any, **more: Any) -> Any:
    """A ControlNet of SD3, of the published medium's kind: no pooled text, no shift."""
    from diffusers import SD3ControlNetModel

    network = SD3ControlNetModel.from_transformer(
        pipeline.transformer, num_layers=1, num_extra_conditioning_channels=0
    )
    network.register_to_config(**more)
    return _woken(network)


def flux_controlnet(pipeline: Any, **more: Any) -> Any:
    """A ControlNet of FLUX.1."""
    from diffusers import FluxControlNetModel

    values = dict(pipeline.transformer.config)
    keep = (
        *("patch_size", "in_channels", "attention_head_dim", "num_attention_heads"),
        *("joint_attention_dim", "pooled_projection_dim", "guidance_embeds", "axes_dims_rope"),
    )
    made = {k: values[k] for k in keep}
    return _woken(FluxControlNetModel(**made, num_layers=1, num_single_layers=1, **more))


def pipeline_with(name: str, folder: Path, networks: list[Any]) -> Any:
    """The library's pipeline of a twin's folder with control networks."""
    import diffusers

    kinds = {
        ("sd", "ControlNetModel"): "StableDiffusionControlNetPipeline",
        ("sdxl", "ControlNetModel"): "StableDiffusionXLControlNetPipeline",
        ("sd", "T2IAdapter"): "StableDiffusionAdapterPipeline",
        ("sd3", "SD3ControlNetModel"): "StableDiffusion3ControlNetPipeline",
        ("flux", "FluxControlNetModel"): "FluxControlNetPipeline",
    }
    kind = type(networks[0]).__name__
    row = {"sd": "sd", "sdxl": "sdxl", "sd3": "sd3", "flux-dev": "flux"}[name]
    given = networks[0] if len(networks) == 1 else networks
    part = {"adapter": given} if kind == "T2IAdapter" else {"controlnet": given}
    more: dict[str, Any] = {"add_watermarker": False} if row == "sdxl" else {}
    return getattr(diffusers, kinds[row, kind]).from_pretrained(
        folder, local_files_only=True, torch_dtype=torch.float32, **part, **more
    )
