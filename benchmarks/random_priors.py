"""Model folders of Stable Diffusion's layouts and sizes with random weights: speed and memory do
not depend on what weights say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch

from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.priors.text.embeddings import EmbeddingStore

Layout = Literal["sd-1.5", "sd-2.1", "tiny"]

UNETS: dict[str, dict[str, Any]] = {
    "sd-1.5": dict(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
    "sd-2.1": dict(
        sample_size=64,
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
    ),
    "tiny": dict(
        sample_size=16,
        cross_attention_dim=32,
        attention_head_dim=4,
        block_out_channels=(32, 64, 64, 64),
    ),
}
VAES: dict[str, dict[str, Any]] = {
    "full": dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512),
    "tiny": dict(block_out_channels=(32, 32, 32, 32), layers_per_block=1, sample_size=128),
}
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
TOKENS = 77


def build_networks(
    folder: Path, layout: Layout, dtype: torch.dtype, device: str | torch.device
) -> Path:
    """Write unet, vae and scheduler, in a number type; the weights are drawn on a device."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            UNet2DConditionModel(**UNETS[layout]).save_pretrained(folder / "unet")
            AutoencoderKL(
                latent_channels=4,
                norm_num_groups=32,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                **VAES["tiny" if layout == "tiny" else "full"],
            ).save_pretrained(folder / "vae")
    finally:
        torch.set_default_dtype(before)
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


class AnyText(EmbeddingStore):
    """Knows every prompt: random numbers that its letters seed. No text encoder is needed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    @property
    def width(self) -> int:
        """Numbers a token."""
        return self._width

    def __contains__(self, prompt: str) -> bool:
        return True

    def __getitem__(self, prompt: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(sum(prompt.encode()))
        return torch.randn(TOKENS, self.width, generator=generator)


class RandomPrior(StableDiffusionPrior):
    """A folder of `build_networks` with `AnyText`; a word is the token of its place."""

    def __init__(self, folder: Path, layout: Layout, dtype: str, device: str) -> None:
        super().__init__(
            folder,
            DiffusersConfig(dtype=dtype, device=device),
            layout,
            AnyText(UNETS[layout]["cross_attention_dim"]),
        )

    def word_columns(self, prompt: str, words: str) -> list[int]:
        """See `DiffusionPrior.word_columns`."""
        first = prompt.split().index(words.split()[0])
        return [1 + first + n for n in range(len(words.split()))]
