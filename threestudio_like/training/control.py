"""`train control`: a small ControlNet (Zhang et al. 2023) beside the embedded text-to-image model,
which is told pictures of the geometry: depth and edges.

It learns with the embedded model frozen, from the objects that this was trained on. One network
reads all kinds, because their pictures cannot be taken for one another.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..engine.loop import ParameterGroup, Stage, Step
from ..engine.output import new_folder
from ..engine.training import Batches, Ema
from ..kernels.devices import half_precision
from ..priors.control.kinds import CONTROL_KINDS, ControlInputs
from ..priors.networks.attention import install, joint_views
from ..priors.registry import embedded_folder
from ..renderers.cameras import Cameras
from ..renderers.geometry import Shape, geometry_maps
from ..toybox.dataset import VIEWS, Groups
from ..toybox.editions import edition
from ..toybox.parallel import stored
from ..toybox.render import DISTANCE, FOV_Y
from .options import TrainingOptions, claim, note_world, run, toybox_only
from .recipes import recipe
from .text_to_image.diffusion import FIRST_CAMERA_VECTOR, TWO_DOMAINS, GroupBatches
from .text_to_image.drawn import drawn_groups

KINDS = ("depth", "canny")
"""What it is told, one kind at a time."""
SIZE = 64
SCENES = 0.12


def build_control(unet: Any) -> Any:
    """A ControlNetModel for an embedded UNet: its input, cameras and times, and of its encoder the
    convolutions without the attention, whose weights it begins with; all it adds is zero at
    first."""
    from diffusers import ControlNetModel

    told = unet.config
    control: Any = ControlNetModel(
        in_channels=told.in_channels,
        conditioning_channels=3,
        down_block_types=("DownBlock2D",) * len(told.block_out_channels),
        mid_block_type="UNetMidBlock2D",
        block_out_channels=tuple(told.block_out_channels),
        layers_per_block=told.layers_per_block,
        norm_num_groups=told.norm_num_groups,
        cross_attention_dim=told.cross_attention_dim,
        attention_head_dim=told.attention_head_dim,
        class_embed_type=told.class_embed_type,
        projection_class_embeddings_input_dim=told.projection_class_embeddings_input_dim,
        resnet_time_scale_shift=told.resnet_time_scale_shift,
        conditioning_embedding_out_channels=(16, 32, 64),
    )
    own, other = control.state_dict(), unet.state_dict()
    control.load_state_dict(
        {k: other[k] if k in other and other[k].shape == v.shape else v for k, v in own.items()}
    )
    return control


def control_pictures(
    seed: int, index: int, split: str, views: Cameras, world: str = "twenty"
) -> torch.Tensor:
    """The pictures (K, V, S, S) in [0, 1] of every kind of one object of a world."""
    obj = edition(world).draw(seed, index, split, scenes=SCENES)
    shape = Shape.of(torch.from_numpy(obj.vertices), torch.from_numpy(obj.faces))
    inputs = ControlInputs(geometry_maps(shape, views, SIZE))
    return torch.stack([CONTROL_KINDS.get(kind).draw(inputs)[..., 0] for kind in KINDS])


def _one(job: tuple[int, int, str, np.ndarray, float, str]) -> np.ndarray:
    seed, index, split, azimuth, elevation, world = job
    around = torch.from_numpy(azimuth)
    above = torch.full_like(around, elevation)
    views = Cameras.orbit(around, above, DISTANCE, fov_y=FOV_Y, height=SIZE, width=SIZE)
    found = control_pictures(seed, index, split, views, world)
    return np.rint(found.numpy() * 255).astype(np.uint8)


def cached_pictures(
    folder: Path,
    seed: int,
    data: Groups,
    split: str = "train",
    workers: int = 1,
    world: str = "twenty",
) -> np.ndarray:
    """The control pictures (N, K, 4, S, S) uint8 of groups of a world, stored under `folder`."""
    of = "" if world == "twenty" else f"-{world}"
    stem = folder / f"control-{split}-{seed}-{len(data)}{of}.npy"
    jobs = (
        (seed, n, split, data.azimuth[n], float(data.elevation[n]), world) for n in range(len(data))
    )
    return stored(stem, len(data), _one, jobs, workers)


class ControlBatches(GroupBatches):
    """Batches of groups with a control picture of every view; one kind for each object."""

    def __init__(
        self,
        tokenizer: Any,
        latents: torch.Tensor,
        data: Groups,
        groups: int,
        pictures: np.ndarray,
        camera: tuple[str, ...] = FIRST_CAMERA_VECTOR,
    ) -> None:
        # Half of the prompts are empty, so that the pictures are read (Zhang et al. 2023).
        super().__init__(tokenizer, latents, data, groups=groups, drop_text=0.5, camera=camera)
        self._pictures = pictures

    def __call__(self, step: Step) -> dict[str, Any]:
        """The batch of a step."""
        batch = super().__call__(step)
        pick = batch["pick"].numpy()
        kinds = step.random.integers("kinds", 0, len(KINDS), shape=(len(pick),)).numpy()
        shown = torch.from_numpy(self._pictures[pick, kinds]).float() / 255
        batch["shown"] = shown.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
        return batch


def control_stage(
    control: Any,
    unet: Any,
    text_encoder: Any,
    batches: ControlBatches,
    steps: int,
    lr: float = 1e-3,
) -> Stage:
    """The stage that trains a ControlNet with the v objective beside a frozen UNet. The decay of
    its average is short, as the training is."""
    control.train()
    unet.eval().requires_grad_(False)
    text_encoder.eval().requires_grad_(False)
    processor = install(unet)
    ema = Ema(control, 0.995)
    # Frozen, and not in the checkpoint: they are read again.
    frozen = {"unet": unet, "text": text_encoder}
    drawn_by = Batches(batches, control)

    def loss(step: Step) -> dict[str, torch.Tensor]:
        drawn = drawn_by(step)
        device = drawn["given"].device
        for network in frozen.values():
            network.to(device)
        with half_precision(device), joint_views(processor, VIEWS if drawn["joint"] else 1):
            with torch.no_grad():
                states = text_encoder(drawn["text"]).last_hidden_state
            down, middle = control(
                drawn["given"],
                drawn["t"],
                states,
                controlnet_cond=drawn["shown"],
                class_labels=drawn["vector"],
                return_dict=False,
            )
            predicted = unet(
                drawn["given"],
                drawn["t"],
                states,
                class_labels=drawn["vector"],
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
            ).sample
        return {"v": F.mse_loss(predicted.float(), drawn["target"])}

    def after(step: Step) -> None:
        ema.update(control, step.index)

    group = ParameterGroup(
        "control",
        list(control.parameters()),
        f"cos {lr}->{lr / 20}",
        betas=(0.9, 0.99),
        eps=1e-8,
        weight_decay=0.01,
    )
    modules: dict[str, nn.Module] = {"control": control, "ema": ema}
    return Stage(
        "control", steps, modules, groups=[group], loss=loss, after_step=after, clip_norm=1.0
    )


def train_control(options: TrainingOptions) -> Path:
    """Train the ControlNet of the embedded prior; returns its folder.

    Raises: ConfigError, CheckpointError, OutputError.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import AutoTokenizer, CLIPTextModel
    from transformers.utils import logging

    from .text_to_image.vae import encode_all

    toybox_only(options)
    size = recipe(options.preset, "control")
    logging.disable_progress_bar()
    claim(options, "control")
    torch.manual_seed(options.seed)
    folder = options.start or embedded_folder("diffusion")
    parts = {k: folder / k for k in ("unet", "vae", "text_encoder")}
    unet = UNet2DConditionModel.from_pretrained(parts["unet"]).float()
    coder = AutoencoderKL.from_pretrained(parts["vae"]).float().eval().to(options.device)
    text_encoder = CLIPTextModel.from_pretrained(parts["text_encoder"]).float()
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    # The objects that the embedded model was trained on; a control needs fewer.
    count = min(options.group_count, GROUPS * options.group_count // 16000 or 8)
    data = drawn_groups(options, "train", count, scenes=SCENES)
    world = 1000 * options.seed
    pictures = cached_pictures(
        options.drawn, world, data, workers=options.workers, world=options.world
    )
    with torch.no_grad():
        latents = encode_all(coder, data.images[:].reshape(-1, *data.images.shape[2:]))
    control = build_control(unet)
    numbers = unet.config.projection_class_embeddings_input_dim
    batches = ControlBatches(
        tokenizer,
        latents,
        data,
        groups=min(size.batch, count),
        pictures=pictures,
        camera=TWO_DOMAINS if numbers == len(TWO_DOMAINS) else FIRST_CAMERA_VECTOR,
    )
    stage = control_stage(control, unet, text_encoder, batches, options.steps or size.steps)
    run(options, stage)
    average: Any = stage.modules["ema"]
    average.copy_to(control)
    save_control(control.eval().cpu(), options.out / "control")
    note_world(options, options.out / "control")
    return options.out / "control"


GROUPS = 3000
"""Objects of the shipped recipe."""


def save_control(control: Any, folder: Path) -> None:
    """Write a diffusers folder in float16, and beside it which kinds it reads."""
    with new_folder(folder) as made:
        control.half().save_pretrained(made)
        (made / "control.json").write_text(json.dumps({"kinds": list(KINDS)}), encoding="utf-8")
    control.float()
