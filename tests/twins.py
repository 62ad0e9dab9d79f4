"""Tiny twins of every family: random weights in the library's own classes, saved as the library
saves them. Also a script: python -m tests.twins FAMILY FOLDER."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

WORDS = "a red chair blue mug table wooden corgi in space , front side back overhead bottom view of"
DIALOGUE = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for c in m.content %}{{ c.text }}{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def clip_tokenizer(length: int = 77) -> Any:
    """Letters and the toybox's words, as CLIP's tokenizer."""
    from threestudio_like.toybox.twenty import TWENTY
    from threestudio_like.training.text_to_image.diffusion import edition_tokenizer

    tokenizer = edition_tokenizer(TWENTY)
    tokenizer.model_max_length = length
    return tokenizer


def bytes_tokenizer(end: bool = True, dialogue: bool = False, length: int = 4096) -> Any:
    """Every byte is a token, so that any script is known; `end` adds an end to every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<bos>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: i for i, piece in enumerate([*special, *alphabet])}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if end:
        made.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 1)]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", model_max_length=length
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special[2:]})
    if dialogue:
        tokenizer.chat_template = DIALOGUE
    return tokenizer


def clip(tokenizer: Any, projected: bool = False, width: int = 32) -> Any:
    """A small CLIP text encoder."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5(tokenizer: Any, width: int = 32) -> Any:
    """A small T5 encoder."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=width,
            d_kv=8,
            d_ff=37,
            num_layers=2,
            num_heads=4,
            is_encoder_decoder=False,
        )
    )


def vae(channels: int = 4, **more: Any) -> Any:
    """A small autoencoder of two pixels a latent."""
    from diffusers import AutoencoderKL

    values: dict[str, Any] = dict(
        latent_channels=channels,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=16,
    )
    return AutoencoderKL(**{**values, **more})


def unet(**more: Any) -> Any:
    """A small UNet with cross-attention."""
    from diffusers import UNet2DConditionModel

    values: dict[str, Any] = dict(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    return UNet2DConditionModel(**{**values, **more})


BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def sd(**more: Any) -> Any:
    """Stable Diffusion 1."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    tokenizer = clip_tokenizer()
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(tokenizer),
        tokenizer=tokenizer,
        unet=unet(),
        scheduler=DDIMScheduler(**{**BETAS, **more}),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd2() -> Any:
    """Stable Diffusion 2.1: v-prediction, with zero terminal SNR."""
    return sd(prediction_type="v_prediction", rescale_betas_zero_snr=True)


def turbo() -> Any:
    """SD-Turbo: distilled, as its scheduler shows."""
    from diffusers import EulerDiscreteScheduler

    made = sd()
    made.register_modules(scheduler=EulerDiscreteScheduler(**BETAS, timestep_spacing="trailing"))
    return made


def lcm() -> Any:
    """A latent consistency model: its UNet takes the guidance as an embedding."""
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    tokenizer = clip_tokenizer()
    return LatentConsistencyModelPipeline(
        vae=vae(),
        text_encoder=clip(tokenizer),
        tokenizer=tokenizer,
        unet=unet(time_cond_proj_dim=32),
        scheduler=LCMScheduler(**BETAS),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(scheduler: Any = None, **autoencoder: Any) -> Any:
    """Stable Diffusion XL."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    tokenizer = clip_tokenizer()
    return StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025, **autoencoder),
        text_encoder=clip(tokenizer),
        text_encoder_2=clip(tokenizer, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=clip_tokenizer(),
        unet=unet(
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=80,
            cross_attention_dim=64,
        ),
        scheduler=scheduler or EulerDiscreteScheduler(**BETAS, timestep_spacing="leading"),
        add_watermarker=False,
    )


def playground() -> Any:
    """Playground 2.5: SDXL's networks, EDM's noise, latents normalised by channel."""
    from diffusers import EDMEulerScheduler

    return sdxl(
        EDMEulerScheduler(sigma_max=80.0, sigma_min=0.002),
        latents_mean=[-1.6, 1.2, 0.3, -0.4],
        latents_std=[8.4, 5.9, 5.3, 5.7],
    )


def sd3(full: bool = True) -> Any:
    """Stable Diffusion 3; without T5 where not `full`."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    tokenizer, long = clip_tokenizer(), bytes_tokenizer()
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=64,
            pooled_projection_dim=64,
            out_channels=4,
            pos_embed_max_size=32,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=clip(tokenizer, projected=True),
        tokenizer=tokenizer,
        text_encoder_2=clip(tokenizer, projected=True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(long, 64) if full else None,
        tokenizer_3=long if full else None,
    )


def flux(guided: bool = True) -> Any:
    """FLUX.1 dev; schnell where not `guided`."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    tokenizer, long = clip_tokenizer(), bytes_tokenizer()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0 if guided else 1.0, use_dynamic_shifting=guided
        ),
        vae=vae(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=clip(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=t5(long),
        tokenizer_2=long,
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guided,
        ),
    )


def qwen3(tokenizer: Any, layers: int = 3) -> Any:
    """A small Qwen3."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
        )
    )


def flux2(klein: bool = False) -> Any:
    """FLUX.2; its small model where `klein`."""
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Pipeline,
        Flux2Transformer2DModel,
    )

    tokenizer = bytes_tokenizer(end=False, dialogue=True)
    coder = AutoencoderKLFlux2(
        latent_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=16,
    )
    coder.bn.running_mean.normal_(0, 0.3)
    coder.bn.running_var.uniform_(0.5, 2.0)
    parts: dict[str, Any] = dict(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=coder,
        tokenizer=tokenizer,
        transformer=Flux2Transformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=48,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=not klein,
        ),
    )
    if klein:
        return Flux2KleinPipeline(
            text_encoder=qwen3(tokenizer, layers=28), is_distilled=False, **parts
        )
    return Flux2Pipeline(text_encoder=mistral3(tokenizer), **parts)


def mistral3(tokenizer: Any) -> Any:
    """A small Mistral 3."""
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    return Mistral3ForConditionalGeneration(
        Mistral3Config(
            text_config=dict(
                model_type="mistral",
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=31,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=8,
                max_position_embeddings=4096,
            ),
            vision_config=dict(
                model_type="pixtral",
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=28,
                patch_size=14,
                head_dim=8,
            ),
            spatial_merge_size=1,
        )
    )


def qwen_image() -> Any:
    """Qwen-Image."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = bytes_tokenizer(end=False, dialogue=True)
    text = Qwen2_5_VLConfig(
        text_config=dict(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            rope_parameters=dict(rope_type="default", rope_theta=10000.0, mrope_section=[1, 1, 2]),
        ),
        vision_config=dict(
            depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=16
        ),
    )
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192
        ),
        vae=AutoencoderKLQwenImage(
            base_dim=24,
            z_dim=4,
            dim_mult=[1, 2, 4],
            num_res_blocks=1,
            temperal_downsample=[False, True],
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[1.2, 0.8, 2.0, 1.0],
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(text),
        tokenizer=tokenizer,
        transformer=QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=3,
            joint_attention_dim=16,
            guidance_embeds=False,
            axes_dims_rope=(8, 4, 4),
        ),
    )


def z_image() -> Any:
    """Z-Image."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        ZImagePipeline,
        ZImageTransformer2DModel,
    )

    tokenizer = bytes_tokenizer(end=False, dialogue=True)
    transformer = ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[512, 32, 32],
    )
    with torch.no_grad():
        for parameter in transformer.parameters():
            # Two tables are made without numbers.
            if not torch.isfinite(parameter).all() or parameter.abs().max() > 10:
                parameter.normal_(0, 0.02)
        for name in ("x_pad_token", "cap_pad_token"):
            getattr(transformer, name).normal_(0, 0.02)
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=qwen3(tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
    )


def pixart() -> Any:
    """PixArt-Sigma."""
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    tokenizer = bytes_tokenizer()
    return PixArtSigmaPipeline(
        tokenizer=tokenizer,
        text_encoder=t5(tokenizer),
        vae=vae(scaling_factor=0.13025),
        transformer=PixArtTransformer2DModel(
            sample_size=8,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=3,
            caption_channels=32,
            in_channels=4,
            cross_attention_dim=24,
            out_channels=8,
            attention_bias=True,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
        ),
        scheduler=DPMSolverMultistepScheduler(beta_start=1e-4, beta_end=0.02),
    )


def sana() -> Any:
    """Sana."""
    from diffusers import (
        AutoencoderDC,
        DPMSolverMultistepScheduler,
        SanaPipeline,
        SanaTransformer2DModel,
    )
    from transformers import Gemma2Config, Gemma2Model

    tokenizer = bytes_tokenizer()
    blocks: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        blocks[f"{side}_block_types"] = ("ResBlock", "EfficientViTBlock")
        blocks[f"{side}_block_out_channels"] = (8, 8)
        blocks[f"{side}_qkv_multiscales"] = ((), (5,))
        blocks[f"{side}_layers_per_block"] = (1, 1)
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=Gemma2Model(
            Gemma2Config(
                vocab_size=len(tokenizer),
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=16,
            )
        ),
        vae=AutoencoderDC(
            in_channels=3,
            latent_channels=4,
            attention_head_dim=2,
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            decoder_norm_types="rms_norm",
            decoder_act_fns="silu",
            scaling_factor=0.41407,
            **blocks,
        ),
        transformer=SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=8,
            sample_size=8,
        ),
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def deepfloyd() -> Any:
    """DeepFloyd IF's first stage."""
    from diffusers import DDPMScheduler, IFPipeline, UNet2DConditionModel

    tokenizer = bytes_tokenizer()
    return IFPipeline(
        tokenizer=tokenizer,
        text_encoder=t5(tokenizer),
        unet=UNet2DConditionModel(
            sample_size=16,
            layers_per_block=1,
            block_out_channels=(16, 32),
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            in_channels=3,
            out_channels=6,
            cross_attention_dim=32,
            encoder_hid_dim=32,
            attention_head_dim=8,
            addition_embed_type="text",
            addition_embed_type_num_heads=2,
            cross_attention_norm="group_norm",
            resnet_time_scale_shift="scale_shift",
            act_fn="gelu",
            norm_num_groups=8,
        ),
        scheduler=DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", variance_type="learned_range", thresholding=True
        ),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


TWINS: dict[str, Callable[[], Any]] = {
    "sd": sd,
    "sd-2.1": sd2,
    "sd-turbo": turbo,
    "lcm": lcm,
    "sdxl": sdxl,
    "playground-2.5": playground,
    "sd3": sd3,
    "sd3-without-t5": lambda: sd3(full=False),
    "flux-dev": flux,
    "flux-schnell": lambda: flux(guided=False),
    "flux2": flux2,
    "flux2-klein": lambda: flux2(klein=True),
    "qwen-image": qwen_image,
    "z-image": z_image,
    "pixart-sigma": pixart,
    "sana": sana,
    "deepfloyd-if": deepfloyd,
}
"""What builds the pipeline of a twin, by its name."""


def save_twin(name: str, folder: Path, seed: int = 0) -> Path:
    """Build a twin with random weights and save it as the library does."""
    torch.manual_seed(seed)
    made = TWINS[name]()
    made.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    print(save_twin(sys.argv[1], Path(sys.argv[2])))
