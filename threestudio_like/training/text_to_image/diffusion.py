"""The embedded latent diffusion model: a UNet2DConditionModel and a CLIPTextModel trained together
on toybox latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...engine.loop import ParameterGroup, Stage, Step
from ...engine.output import new_folder
from ...engine.training import Batches, Ema
from ...kernels.devices import half_precision
from ...priors.networks.attention import install, joint_views
from ...priors.stable_diffusion import FIRST_CAMERA_VECTOR, camera_vector
from ...renderers.cameras import Cameras
from ...toybox.dataset import VIEWS, Groups, view_word
from ...toybox.edition import Edition
from ...toybox.render import DISTANCE, FOV_Y

CAMERA_CHANNELS = 8
CHANNELS = (48, 96, 128)


def edition_tokenizer(edition: Edition) -> Any:
    """The CLIPTokenizer of an edition of the toybox: as long as its longest prompt."""
    return build_tokenizer(edition.vocabulary.words, edition.longest_prompt)


def build_tokenizer(words: tuple[str, ...], longest: int) -> Any:
    """A CLIPTokenizer in which every word of a vocabulary is one token, for prompts of up to
    `longest` tokens."""
    from transformers import CLIPTokenizer

    merges: Any = []
    pieces: dict[str, int] = {}

    def add(piece: str) -> None:
        pieces.setdefault(piece, len(pieces))

    for letter in "abcdefghijklmnopqrstuvwxyz,":
        add(letter)
        add(letter + "</w>")
    for word in words:
        # Apply the merges so far, then merge the remaining pieces from the left, so that earlier
        # words stay one token.
        parts = [*word[:-1], word[-1] + "</w>"]
        for left, right in merges:
            i = 0
            while i < len(parts) - 1:
                if parts[i] == left and parts[i + 1] == right:
                    parts[i : i + 2] = [left + right]
                i += 1
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
            add(parts[0])
    add("<|startoftext|>")
    add("<|endoftext|>")
    tokenizer = CLIPTokenizer(vocab=pieces, merges=merges, model_max_length=longest)
    return tokenizer


def build_text_encoder(tokenizer: Any, width: int = 128, layers: int = 2) -> Any:
    """A small CLIPTextModel for `build_tokenizer`."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    return CLIPTextModel(config)


def build_unet(
    channels: tuple[int, ...] = CHANNELS,
    text_width: int = 128,
    latent_size: int = 16,
    latents: int = 4,
    numbers: int = CAMERA_CHANNELS,
) -> Any:
    """A UNet2DConditionModel for the channels of latents and 6 of ray maps, with a camera vector of
    `numbers` in its class embedding."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=latents + 6,
        out_channels=latents,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=numbers,
        resnet_time_scale_shift="scale_shift",
    )


def build_scheduler() -> Any:
    """The Stable Diffusion noise schedule with v prediction."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


VIEW_WORDS = ("front", "side", "back", "overhead")
TWO_DOMAINS = (*FIRST_CAMERA_VECTOR, "normal domain")
"""The camera vector of a model of colours and normals."""
NORMALS = 1 / 3
"""Share of the objects of a batch that are shown as normals, where they are known."""


class GroupBatches:
    """Batches of groups of four views of an object, with the inputs and targets of the denoiser.

    Args:
        latents: (N * 4, C, h, w) float16, with the group as the outer index.
        groups: number of objects in a batch.
        drop_text: share of the objects whose prompt is empty.
        normals: latents of the same views' normals; some objects are then shown as normals.
        camera: the numbers of the camera vector, where normals do not decide.
    """

    def __init__(
        self,
        tokenizer: Any,
        latents: torch.Tensor,
        data: Groups,
        groups: int,
        drop_text: float = 0.1,
        normals: torch.Tensor | None = None,
        camera: tuple[str, ...] = FIRST_CAMERA_VECTOR,
    ) -> None:
        self._drop_text = drop_text
        self._count, self._groups, self._size = len(data), groups, latents.shape[-1]
        self._alphas = build_scheduler().alphas_cumprod
        shape = (self._count, VIEWS, *latents.shape[1:])
        self._latents = latents.view(shape)
        self._normals = None if normals is None else normals.view(shape)
        self._camera = camera if normals is None else TWO_DOMAINS
        self._azimuth = torch.from_numpy(data.azimuth)
        self._elevation = torch.from_numpy(data.elevation)
        self._background = torch.from_numpy(data.background)

        def ids(text: str) -> list[int]:
            longest = tokenizer.model_max_length
            return tokenizer(text, padding="max_length", max_length=longest).input_ids

        self._tokens = torch.tensor(
            [[ids(f"{c}, {v} view") for v in VIEW_WORDS] for c in data.captions]
        )
        self._empty = torch.tensor(ids(""))
        self._views = torch.tensor(
            [
                [VIEW_WORDS.index(view_word(float(a), float(e))) for a in row]
                for row, e in zip(data.azimuth, data.elevation)
            ]
        )

    def __call__(self, step: Step) -> dict[str, Any]:
        """The batch of a step."""
        count, groups, size = self._count, self._groups, self._size
        generator = step.random.generator("batch")
        # A shuffled pass over the objects, so that every object is drawn once in an epoch.
        first = step.index * groups
        epoch = first // count
        order = torch.randperm(
            count, generator=torch.Generator().manual_seed(step.seed * 1000003 + epoch)
        )
        pick = order[torch.arange(first, first + groups) % count]
        joint = bool(torch.rand((), generator=generator) < 0.75)
        clean = self._latents[pick].flatten(0, 1).float()
        az, el = self._azimuth[pick].flatten(), self._elevation[pick].repeat_interleave(VIEWS)
        bg = self._background[pick].repeat_interleave(VIEWS)
        rays = Cameras.orbit(az, el, DISTANCE, fov_y=FOV_Y, height=size, width=size).ray_maps(
            size, size
        )
        normal = torch.zeros_like(bg)
        if self._normals is not None:
            shown = torch.rand(groups, generator=generator) < NORMALS
            normal = shown.repeat_interleave(VIEWS).to(bg)
            other = self._normals[pick].flatten(0, 1).float()
            clean = torch.where(normal.view(-1, 1, 1, 1) > 0, other, clean)
        vector = camera_vector(self._camera, az, el, background=bg, normal=normal)
        drop_text = torch.rand(groups, generator=generator) < self._drop_text
        text = self._tokens[pick[:, None], self._views[pick]]
        text = torch.where(drop_text[:, None, None], self._empty, text).flatten(0, 1)
        if not joint:
            drop_camera = torch.rand(groups * VIEWS, generator=generator) < 0.15
            # Which of the two domains is shown is told even without a camera.
            vector[:, : len(FIRST_CAMERA_VECTOR)] *= ~drop_camera[:, None]
            rays = rays * ~drop_camera[:, None, None, None]
        # Stratified time steps, one for each group.
        t = (
            ((torch.arange(groups) + torch.rand(groups, generator=generator)) / groups * 1000)
            .long()
            .clamp(0, 999)
        )
        t = t[torch.randperm(groups, generator=generator)].repeat_interleave(VIEWS)
        noise = torch.randn(clean.shape, generator=generator)
        abar = self._alphas[t].view(-1, 1, 1, 1)
        noisy = abar.sqrt() * clean + (1 - abar).sqrt() * noise
        target = abar.sqrt() * noise - (1 - abar).sqrt() * clean
        given = torch.cat([noisy, rays], 1)
        return {
            "joint": joint,
            "pick": pick,
            "text": text,
            "given": given,
            "t": t,
            "vector": vector,
            "target": target,
        }


def diffusion_stage(
    unet: Any,
    text_encoder: Any,
    tokenizer: Any,
    latents: torch.Tensor,
    data: Groups,
    steps: int,
    groups: int = 12,
    lr: float = 1e-3,
    normals: torch.Tensor | None = None,
    camera: tuple[str, ...] = FIRST_CAMERA_VECTOR,
) -> Stage:
    """The stage that trains UNet and text encoder with the v objective on groups of four views.

    In three quarters of the steps, the four views of an object share their self-attention. The text
    is dropped for a tenth of the objects, and camera vector and ray maps for another tenth (never
    in joint steps, in which the views could not be distinguished without cameras).

    Args:
        latents: (N * 4, C, h, w) float16, with the group as the outer index.
        normals: of the same views, where the model learns both.
        camera: the numbers of the denoiser's camera vector, where normals do not decide.
    """
    unet.train()
    text_encoder.train()
    processor = install(unet)
    ema = nn.ModuleDict({"unet": Ema(unet, 0.9985), "text": Ema(text_encoder, 0.9985)})
    drawn_batches = GroupBatches(tokenizer, latents, data, groups, normals=normals, camera=camera)
    batches = Batches(drawn_batches, unet)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = batches(step)
        with (
            half_precision(drawn["given"].device),
            joint_views(processor, VIEWS if drawn["joint"] else 1),
        ):
            states = text_encoder(drawn["text"]).last_hidden_state
            predicted = unet(
                drawn["given"], drawn["t"], states, class_labels=drawn["vector"]
            ).sample
        return {"v": (predicted.float() - drawn["target"]).square().mean()}

    def after(step: Step) -> None:
        ema["unet"].update(unet, step.index)  # type: ignore[operator]
        ema["text"].update(text_encoder, step.index)  # type: ignore[operator]

    parameters = [*unet.parameters(), *text_encoder.parameters()]
    group = ParameterGroup(
        "denoiser",
        parameters,
        f"cos {lr}->{lr / 50}",
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.01,
    )
    return Stage(
        "diffusion",
        steps,
        {"unet": unet, "text": text_encoder, "ema": ema},
        groups=[group],
        loss=loss,
        after_step=after,
        clip_norm=1.0,
    )


def save_pipeline(folder: Path, unet: Any, text_encoder: Any, tokenizer: Any) -> None:
    """Write unet, text_encoder, tokenizer and scheduler of a folder of Stable Diffusion's layout in
    float16."""
    import json

    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
    }
    with new_folder(folder) as made:
        unet.half().save_pretrained(made / "unet")
        text_encoder.half().save_pretrained(made / "text_encoder")
        unet.float()
        text_encoder.float()
        tokenizer.save_pretrained(made / "tokenizer")
        build_scheduler().save_pretrained(made / "scheduler")
        (made / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
